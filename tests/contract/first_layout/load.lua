-- Build copies of accounts from a snapshot of Postgres, where the right to load still stands.
--
-- KEYS[i]   "tk:{ACCOUNT}"
-- ARGV[1]   epoch
-- ARGV[1+i] msgpack: {token, posted, overdraft, version, {{name, window, used}, ...}, {{id, record}, ...}},
--           all amounts of credits and the version as text
-- returns   per account 1 when built, 0 when the right was lost (another loads, or a publication came)

local function hold(key, id, record)
  redis.call('HSET', key, 'r:' .. id, record)
  local head, rest = string.match(record, '^(%d+)|%d+(.*)$')
  if head ~= '0' then redis.call('HINCRBY', key, 'a', '-' .. head) end
  for name, window, amount in string.gmatch(rest, '|([^~|]+)~(%d+)~(%d+)') do
    local stored = tonumber(redis.call('HGET', key, 'w:' .. name)) or -1
    if stored < tonumber(window) then
      redis.call('HSET', key, 'w:' .. name, window, 'u:' .. name, '0', 'h:' .. name, amount)
    elseif stored == tonumber(window) then
      redis.call('HINCRBY', key, 'h:' .. name, amount)
    end
  end
end

local function build(key, epoch, copy)
  if redis.call('HGET', key, 'l') ~= copy[1] then return 0 end
  redis.call('DEL', key)
  redis.call('HSET', key, 'e', epoch, 'p', copy[2], 'o', copy[3], 'v', copy[4], 'a', copy[2])
  redis.call('HINCRBY', key, 'a', copy[3])
  for _, budget in ipairs(copy[5]) do
    redis.call('HSET', key, 'w:' .. budget[1], string.format('%.0f', budget[2]),
      'u:' .. budget[1], string.format('%.0f', budget[3]), 'h:' .. budget[1], '0')
  end
  for _, live in ipairs(copy[6]) do hold(key, live[1], live[2]) end
  return 1
end

local built = {}
for i, key in ipairs(KEYS) do
  built[i] = build(key, ARGV[1], cmsgpack.unpack(ARGV[1 + i]))
end
return built
