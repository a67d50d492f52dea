-- Move the end of life of live reservations, never backwards.
--
-- KEYS[i]         "tk:{ACCOUNT}"
-- ARGV[2*i - 1]   reservation, ARGV[2*i] Unix seconds

for i, key in ipairs(KEYS) do
  local field, expires = 'r:' .. ARGV[2 * i - 1], ARGV[2 * i]
  local record = redis.call('HGET', key, field)
  if record then
    local head, before, rest = string.match(record, '^(%d+)|(%d+)(.*)$')
    if tonumber(before) < tonumber(expires) then
      redis.call('HSET', key, field, head .. '|' .. expires .. rest)
    end
  end
end
return 1
