-- One settler's word of its spool, which holds for a while.
--
-- KEYS[1]  hash of all words
-- ARGV[1]  settler, ARGV[2] "1" when its spool is full, else "0", ARGV[3] milliseconds for which it holds

local now = redis.call('TIME')
local ends_ms = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. string.format('%.0f', ends_ms))
redis.call('EXPIRE', KEYS[1], 3600)
return 1
