-- Admit requests: hold all budgets of each, all or nothing. One call decides many requests in order.
--
-- KEYS[i]  the copy of the account of request i: "tk:{ACCOUNT}"
-- ARGV[1]  epoch of the asker; a copy of an older epoch is no copy
-- ARGV[2]  token under which the asker may load a copy that is absent
-- ARGV[3]  milliseconds for which the right to load lasts
-- ARGV[3+i] msgpack: {reservation, amount as text, record, {{name, window, limit, amount}, ...}} and,
--          where the rate is limited too, {name, interval, burst, now} in microseconds
-- returns  per request {1, available} | {0, budget, left, limit} | {2} absent, load it | {3} wait;
--          with a rate {1, available, requests, full after} and, when it is short,
--          {0, name, 0, burst, wait}
--
-- Fields of a copy: e epoch, p posted, o overdraft, v version, a available, r:ID record, for each
-- counted budget w:NAME window, u:NAME used, h:NAME held, and for each rate g:NAME the time at which
-- its burst is whole again (billing/rate.py says how it is counted). Amounts of credits are 64-bit and are only
-- ever moved by HINCRBY, which is exact; Lua sees but their sign. While a copy is being loaded the
-- key holds only l, the token.

local epoch, token, right_ms = tonumber(ARGV[1]), ARGV[2], ARGV[3]

local function absent(key, loading)
  if loading then
    if loading == token then return {2} end
    return {3}
  end
  redis.call('DEL', key)
  redis.call('HSET', key, 'l', token)
  redis.call('PEXPIRE', key, right_ms)
  return {2}
end

local function exact(key, number)
  if number > -9007199254740992 and number < 9007199254740992 then
    return string.format('%.0f', number)
  end
  return redis.call('HGET', key, 'a')
end

-- Which fields change when all counted budgets admit, or which budget is short.
local function count(budgets, copy, writes)
  for i = 1, #budgets do
    local budget, at = budgets[i], 2 + 3 * i
    local name, window, limit, amount = budget[1], budget[2], budget[3], budget[4]
    local stored = tonumber(copy[at]) or -1
    local used, held = tonumber(copy[at + 1]) or 0, tonumber(copy[at + 2]) or 0
    if stored < window then used, held = 0, 0 end
    if used + held + amount > limit then
      return {0, name, string.format('%.0f', limit - used - held), string.format('%.0f', limit)}
    end
    if stored < window then
      writes[#writes + 1] = 'w:' .. name
      writes[#writes + 1] = string.format('%.0f', window)
      writes[#writes + 1] = 'u:' .. name
      writes[#writes + 1] = '0'
    end
    if stored <= window then
      writes[#writes + 1] = 'h:' .. name
      writes[#writes + 1] = string.format('%.0f', held + amount)
    end
  end
end

-- The turn of a request: what is left when it may come, or how long it has to wait.
local function pace(rate, stored, writes)
  local name, interval, burst, now = rate[1], rate[2], rate[3], rate[4]
  local full = math.max(tonumber(stored) or 0, now) + interval
  local wait = full - burst * interval - now
  if wait > 0 then return nil, {0, name, '0', string.format('%.0f', burst), wait} end
  writes[#writes + 1] = 'g:' .. name
  writes[#writes + 1] = string.format('%.0f', full)
  return {math.floor(-wait / interval), full - now}
end

local function admit(key, request)
  local id, amount, record, budgets, rate =
    request[1], request[2], request[3], request[4], request[5]
  local fields = {'e', 'l', 'a', 'r:' .. id}
  for i = 1, #budgets do
    local name = budgets[i][1]
    fields[#fields + 1] = 'w:' .. name
    fields[#fields + 1] = 'u:' .. name
    fields[#fields + 1] = 'h:' .. name
  end
  if rate then fields[#fields + 1] = 'g:' .. rate[1] end
  local copy = redis.call('HMGET', key, unpack(fields))
  local built = tonumber(copy[1])
  if built ~= epoch then
    if built and built > epoch then return {3} end
    return absent(key, copy[2])
  end
  if copy[4] then return {1, copy[3]} end
  local writes = {'r:' .. id, record}
  local short = count(budgets, copy, writes)
  if short then return short end
  local turn
  if rate then
    turn, short = pace(rate, copy[#fields], writes)
    if short then return short end
  end
  local left = copy[3]
  if amount ~= '0' then
    local after = redis.call('HINCRBY', key, 'a', '-' .. amount)
    if after < 0 then
      redis.call('HINCRBY', key, 'a', amount)
      return {0, 'credits', left, amount}
    end
    left = exact(key, after)
  end
  redis.call('HSET', key, unpack(writes))
  if turn then return {1, left, turn[1], turn[2]} end
  return {1, left}
end

local answers = {}
for i, key in ipairs(KEYS) do
  answers[i] = admit(key, cmsgpack.unpack(ARGV[3 + i]))
end
return answers
