-- Tell copies what Postgres says and which reservations have ended. Idempotent, in any order: an older
-- version never overwrites a newer one, what is used of a window only grows, an end removes once.
--
-- KEYS[i]  "tk:{ACCOUNT}"; hot_counts.lua says how it is laid out
-- ARGV[i]  msgpack: {posted, overdraft, version, {name, window, used, name, ...}, {"#ID", ...}}, with
--          posted, overdraft and version as text
-- An absent copy stays absent; one that is being loaded loses its loader, whose snapshot may be older;
-- one of another layout goes, for it cannot be told.

local ENDS = 256 -- at once; Lua passes 8000 values at most
local MOST_REMEMBERED = 500

-- A sum of amounts that a double holds exactly; what does not fit is moved in the copy at once.
local function add(key, sum, amount)
  local number = tonumber(amount)
  local after = sum + number
  if math.abs(number) < EXACT and math.abs(after) < EXACT then return after end
  redis.call('HINCRBY', key, 'a', amount)
  return sum
end

local function negated(text)
  if text == '0' then return text end
  if string.sub(text, 1, 1) == '-' then return string.sub(text, 2) end
  return '-' .. text
end

-- Give back what a reservation holds of windows that still count; returns its amount of credits.
local function release(counts, places, text)
  local record = read_record(text, 1)
  local budgets, names = record[1], listed(record[3])
  for i = 1, budgets do
    local at = places[names[i]]
    if counts[at] == record[3 + i] then
      counts[at + 2] = counts[at + 2] - record[3 + budgets + i]
    end
  end
  return record[2]
end

-- What ended before the lease it was admitted from told of it: remembered until that is told, or no
-- lease is left. A copy that would remember too much goes, and is built anew; returns whether it did.
local function remember(key, missing)
  local ended = redis.call('HGET', key, 't') or ''
  if #ended / #missing[1] + #missing > MOST_REMEMBERED then
    redis.call('DEL', key)
    return true
  end
  for i = 1, #missing do
    if not string.find(ended, missing[i], 1, true) then ended = ended .. missing[i] end
  end
  redis.call('HSET', key, 't', ended)
end

-- End the reservations after so many, whose records come after so many other fields of the copy;
-- returns the sum, with the credits that they held.
local function finish(key, counts, places, sum, ended, done, copy, others, missing)
  local gone = {}
  for i = 1, #copy - others do
    local field, record = ended[done + i], copy[others + i]
    if record and not gone[field] then
      gone[field] = true
      gone[#gone + 1] = field
      sum = add(key, sum, release(counts, places, record))
    elseif not record then
      missing[#missing + 1] = field
    end
  end
  if gone[1] then redis.call('HDEL', key, unpack(gone)) end
  return sum
end

local function tell(key, said)
  local posted, overdraft, version, ended = said[1], said[2], said[3], said[5]
  local copy = redis.call('HMGET', key, 'v', 'p', 'o', 'n', 'b', 'c', 'k',
    unpack(ended, 1, math.min(#ended, ENDS)))
  if not copy[1] or string.byte(copy[1]) ~= 45 then -- a minus
    redis.call('DEL', key)
    return
  end
  local counts, names, missing = unpacked(copy[6]), copy[5], {}
  local places = listed(names)
  local sum = finish(key, counts, places, 0, ended, 0, copy, 7, missing)
  for done = ENDS, #ended - 1, ENDS do
    local more = redis.call('HMGET', key, unpack(ended, done + 1, math.min(#ended, done + ENDS)))
    sum = finish(key, counts, places, sum, ended, done, more, 0, missing)
  end
  if copy[7] and missing[1] and remember(key, missing) then return end
  use(counts, names, said[4])
  if tonumber(version) > tonumber(copy[4]) then
    sum = add(key, add(key, sum, negated(copy[2])), posted)
    sum = add(key, add(key, sum, negated(copy[3])), overdraft)
    redis.call('HSET', key, 'p', posted, 'o', overdraft, 'n', version, 'c', repacked(counts))
  else
    redis.call('HSET', key, 'c', repacked(counts))
  end
  if counts.names then redis.call('HSET', key, 'b', counts.names) end
  if sum ~= 0 then redis.call('HINCRBY', key, 'a', string.format('%.0f', sum)) end
end

for i, key in ipairs(KEYS) do
  tell(key, cmsgpack.unpack(ARGV[i]))
end
return 1
