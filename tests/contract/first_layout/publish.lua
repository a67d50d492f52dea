-- Tell copies what Postgres says and which reservations have ended. Idempotent, in any order: an older
-- version never overwrites a newer one, what is used of a window only grows, an end removes once.
--
-- KEYS[i]  "tk:{ACCOUNT}"
-- ARGV[i]  msgpack: {posted, overdraft, version, {{name, window, used}, ...}, {id, ...}}, with posted,
--          overdraft and version as text
-- An absent copy stays absent; one that is being loaded loses its loader, whose snapshot may be older.

local function negated(text)
  if text == '0' then return text end
  if string.sub(text, 1, 1) == '-' then return string.sub(text, 2) end
  return '-' .. text
end

local function move(key, field, before, after)
  if before == after then return end
  redis.call('HINCRBY', key, 'a', negated(before))
  redis.call('HINCRBY', key, 'a', after)
  redis.call('HSET', key, field, after)
end

local function finish(key, id)
  local record = redis.call('HGET', key, 'r:' .. id)
  if not record then return end
  redis.call('HDEL', key, 'r:' .. id)
  local head, rest = string.match(record, '^(%d+)|%d+(.*)$')
  if head ~= '0' then redis.call('HINCRBY', key, 'a', head) end
  for name, window, amount in string.gmatch(rest, '|([^~|]+)~(%d+)~(%d+)') do
    if amount ~= '0' and redis.call('HGET', key, 'w:' .. name) == window then
      redis.call('HINCRBY', key, 'h:' .. name, '-' .. amount)
    end
  end
end

local function use(key, name, window, used)
  local stored = redis.call('HMGET', key, 'w:' .. name, 'u:' .. name)
  local at = tonumber(stored[1]) or -1
  if at < window then
    redis.call('HSET', key, 'w:' .. name, string.format('%.0f', window),
      'u:' .. name, string.format('%.0f', used), 'h:' .. name, '0')
  elseif at == window and (tonumber(stored[2]) or 0) < used then
    redis.call('HSET', key, 'u:' .. name, string.format('%.0f', used))
  end
end

for i, key in ipairs(KEYS) do
  local said = cmsgpack.unpack(ARGV[i])
  local copy = redis.call('HMGET', key, 'e', 'l', 'p', 'o', 'v')
  if copy[2] then
    redis.call('DEL', key)
  elseif copy[1] then
    for _, id in ipairs(said[5]) do finish(key, id) end
    if tonumber(said[3]) > tonumber(copy[5]) then
      move(key, 'p', copy[3], said[1])
      move(key, 'o', copy[4], said[2])
      redis.call('HSET', key, 'v', said[3])
    end
    for _, budget in ipairs(said[4]) do use(key, budget[1], budget[2], budget[3]) end
  end
end
return 1
