-- Admit requests: hold all budgets of each, all or nothing. One call decides many requests in order.
--
-- KEYS[i]  the copy of the account of request i; hot_counts.lua says how it is laid out
-- ARGV[1]  epoch of the asker; a copy of an older epoch, or of another layout, is no copy
-- ARGV[2]  token under which the asker may load a copy that is absent
-- ARGV[3]  milliseconds for which the right to load lasts
-- ARGV[4]  milliseconds for which a request that is short may wait for leases to come back
-- ARGV[5]  milliseconds after which leases are called back anew
-- ARGV[5+i] request i: how many budgets (a byte), "#ID", the name of the rate or an empty text, the
--          record, the limits, and of the rate interval, burst and now in microseconds
-- returns  msgpack, per request {1, available} | {0, budget, left, limit} | {2} absent, load it |
--          {3} wait; with a rate {1, available, requests, full after} and, when it is short,
--          {0, name, 0, burst, wait}. An amount of credits may be a text. What is short while others
--          hold leases has a wait (perhaps 0) and a 1: they were called back, ask again soon.
--
-- All answers are one text, because a table within a table costs Redis 4 us to send.

local epoch, token, right_ms = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local patience_ms, pause_ms = tonumber(ARGV[4]), tonumber(ARGV[5])
local sign, request_formats = '-' .. ARGV[1], {}

-- No copy for this asker: it may load one, or has to wait. The layout before this one has its epoch
-- in e, and its version, which is never below 0, in v.
local function absent(key)
  local copy = redis.call('HMGET', key, 'v', 'e', 'l')
  local built = tonumber(copy[1]) or 0
  if built < 0 then built = -built else built = tonumber(copy[2]) or 0 end
  if built > epoch then return {3} end
  if copy[3] then
    if copy[3] == token then return {2} end
    return {3}
  end
  redis.call('DEL', key)
  redis.call('HSET', key, 'l', token)
  redis.call('PEXPIRE', key, right_ms)
  return {2}
end

-- Take what a request asks of each budget, or say which one is short.
local function count(counts, names, request, budgets)
  local asked, places = listed(request[6]), listed(names)
  for i = 1, budgets do
    local at = places[asked[i]] or place(counts, names, asked[i])
    local window, amount = request[6 + i], request[6 + budgets + i]
    local limit = request[7 + 2 * budgets + i]
    roll(counts, at, window)
    local left = limit - counts[at + 1] - counts[at + 2]
    if amount > left then return {0, asked[i], left, limit} end
    if counts[at] == window then counts[at + 2] = counts[at + 2] + amount end
  end
end

-- The turn of a request: what is left when it may come, or how long it has to wait.
local function pace(counts, names, name, interval, burst, now)
  local at = place(counts, names, name)
  local full = math.max(counts[at], now) + interval
  local wait = full - burst * interval - now
  if wait > 0 then return nil, {0, name, 0, burst, wait} end
  counts[at] = full
  return {1, 0, math.floor(-wait / interval), full - now}
end

local function exact(key, number)
  if math.abs(number) < EXACT then return number end
  return redis.call('HGET', key, 'a')
end

-- What is left after an amount of credits was taken, or how much they are short.
local function pay(key, amount)
  if amount == '0' then return redis.call('HGET', key, 'a') end
  local after = redis.call('HINCRBY', key, 'a', '-' .. amount)
  if after >= 0 then return exact(key, after) end
  return nil, {0, 'credits', exact(key, redis.call('HINCRBY', key, 'a', amount)), amount}
end

-- {budgets, "#ID", rate, budgets, amount, names, windows.., amounts.., end of life, limits.., interval,
-- burst, now}
local function read_request(text, budgets)
  local numbers = 3 * budgets + 4
  local format = request_formats[numbers] or worked_out(request_formats, 'BssBss', 'i8', numbers)
  return {struct.unpack(format, text)}
end

-- What is short may be in leases: their holders find r, and let go.
local function call_back(key, short)
  local copy = redis.call('HMGET', key, 'k', 'r')
  if not copy[1] then return short end
  local time, called_ms = redis.call('TIME'), tonumber(copy[2])
  local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  if not called_ms or called_ms > now_ms or now_ms - called_ms >= pause_ms then
    called_ms = now_ms
    redis.call('HSET', key, 'r', string.format('%.0f', now_ms))
  end
  if now_ms - called_ms < patience_ms then
    short[5], short[6] = short[5] or 0, 1
  end
  return short
end

local function admit(key, text)
  local budgets = string.byte(text)
  local request = read_request(text, budgets)
  local field, rate = request[2], request[3]
  local copy = redis.call('HMGET', key, 'v', field, 'b', 'c')
  if copy[1] ~= sign then return absent(key) end
  if copy[2] then return {1, redis.call('HGET', key, 'a')} end
  local counts, names, admitted = unpacked(copy[4]), copy[3], {1}
  local short = count(counts, names, request, budgets)
  if short then return call_back(key, short) end
  if rate ~= '' then
    admitted, short = pace(counts, names, rate, unpack(request, 3 * budgets + 8, 3 * budgets + 10))
    if short then return call_back(key, short) end
  end
  admitted[2], short = pay(key, request[5])
  if short then return call_back(key, short) end
  local record = string.sub(text, #field + #rate + 4, -8 * budgets - 25)
  redis.call('HSET', key, field, record, 'c', repacked(counts))
  if counts.names then redis.call('HSET', key, 'b', counts.names) end
  return admitted
end

local answers = {}
for i, key in ipairs(KEYS) do
  answers[i] = admit(key, ARGV[5 + i])
end
return cmsgpack.pack(answers)
