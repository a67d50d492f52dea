-- Whether a settler says that its spool is full and none says that it has room. Words whose time is
-- over are struck out; the time is this server's, whatever the clocks of settlers say.
--
-- KEYS[1]  hash of all words
-- returns  1 or 0

local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local words = redis.call('HGETALL', KEYS[1])
local full, room = 0, 0
for i = 1, #words, 2 do
  if tonumber(string.sub(words[i + 1], 2)) <= now_ms then
    redis.call('HDEL', KEYS[1], words[i])
  elseif string.sub(words[i + 1], 1, 1) == '1' then
    full = 1
  else
    room = 1
  end
end
return full * (1 - room)
