-- Move the end of life of live reservations, never backwards.
--
-- KEYS[i]         "tk:{ACCOUNT}", as hot_counts.lua lays it out: a record ends with the end of life
-- ARGV[2*i - 1]   "#ID", ARGV[2*i] Unix seconds

for i, key in ipairs(KEYS) do
  local field, expires = ARGV[2 * i - 1], tonumber(ARGV[2 * i])
  local record = redis.call('HGET', key, field)
  if record and struct.unpack('<i8', record, #record - 7) < expires then
    redis.call('HSET', key, field, string.sub(record, 1, -9) .. struct.pack('<i8', expires))
  end
end
return 1
