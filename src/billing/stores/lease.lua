-- Tend leases: take note of what was admitted from each, and open, top up or close it.
--
-- KEYS[i]    "tk:{ACCOUNT}"; hot_counts.lua says how it is laid out
-- ARGV[1]    epoch of the holders: a copy of an older one is no copy to take from
-- ARGV[2]    part of what is left that a lease leaves to others: all but one in so many
-- ARGV[3]    milliseconds after a call-back in which nothing is leased
-- ARGV[3+i]  lease i: how many budgets (a byte), "%ID", the name of the rate or an empty text, the names
--            of the budgets, then numbers: those of `read_call`, windows.., amounts.., limits..; then of
--            each admitted reservation "#ID" and its record
-- returns    msgpack, per lease {0} there is none | {1, granted, available, full, called back}
--
-- A call that was made already is known by its number and is not made again. What ended before its
-- lease told of it stands in t; it gives back at once what it holds.

local OPEN, CLOSE = 1, 2
local NUMBERS = 11 -- before the windows, amounts and limits
local epoch_sign, part, pause_ms = '-' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local call_formats = {}

local function read_call(text)
  local budgets = string.byte(text)
  local numbers = NUMBERS + 3 * budgets
  local format = call_formats[numbers] or worked_out(call_formats, 'Bsss', 'i8', numbers)
  local said = {struct.unpack(format, text)}
  return {
    field = said[2], rate = said[3], names = said[4],
    number = said[5], step = said[6], wanted = said[7], amount = said[8], life = said[9],
    draws = said[10], turns = said[11],
    interval = said[12], burst = said[13], now = said[14], till = said[15],
    windows = {unpack(said, 16, 15 + budgets)},
    amounts = {unpack(said, 16 + budgets, 15 + 2 * budgets)},
    limits = {unpack(said, 16 + 2 * budgets, 15 + 3 * budgets)},
    text = text, at = said[#said],
  }
end

-- What is left of a lease: {number, names, windows, amount, amounts, life}.
local function read_lease(kept, call)
  if not kept then
    local amounts = {}
    for i = 1, #call.windows do amounts[i] = 0 end
    return {number = call.number, names = call.names, windows = call.windows, amount = 0,
      amounts = amounts, life = call.life}
  end
  local record = read_record(kept, 9)
  local budgets = record[1]
  return {
    number = struct.unpack('<i8', kept), names = record[3], amount = tonumber(record[2]),
    windows = {unpack(record, 4, 3 + budgets)},
    amounts = {unpack(record, 4 + budgets, 3 + 2 * budgets)},
    life = math.max(record[4 + 2 * budgets], call.life),
  }
end

local function write_lease(lease)
  local budgets = #lease.windows
  local numbers = {unpack(lease.windows)}
  for i = 1, budgets do numbers[budgets + i] = lease.amounts[i] end
  numbers[2 * budgets + 1] = lease.life
  local format = record_formats[#numbers] or worked_out(record_formats, 'Bss', 'i8', #numbers)
  return struct.pack('<i8', lease.number) .. struct.pack(format, budgets,
    string.format('%.0f', lease.amount), lease.names, unpack(numbers))
end

-- Give shares back to the windows that still count.
local function give_back(copy, lease, amounts)
  local asked, places = listed(lease.names), listed(copy.names)
  for i = 1, #lease.windows do
    local at = places[asked[i]]
    if copy.counts[at] == lease.windows[i] then
      copy.counts[at + 2] = copy.counts[at + 2] - amounts[i]
    end
  end
  copy.changed = true
end

-- Reservations instead of their part of the lease; returns the credits of those that have ended.
local function note(copy, lease, call)
  local budgets, back, fields, at = #lease.windows, 0, {}, call.at
  for _ = 1, call.draws do
    local field, start = struct.unpack('s', call.text, at)
    local record = read_record(call.text, start)
    local amounts = {unpack(record, 4 + budgets, 3 + 2 * budgets)}
    at = record[#record]
    lease.amount = lease.amount - tonumber(record[2])
    for i = 1, budgets do lease.amounts[i] = lease.amounts[i] - amounts[i] end
    local ended = copy.ended and string.find(copy.ended, field, 1, true)
    if ended then
      copy.ended = string.sub(copy.ended, 1, ended - 1) .. string.sub(copy.ended, ended + #field)
      back = back + tonumber(record[2])
      give_back(copy, lease, amounts)
    else
      fields[#fields + 1] = field
      fields[#fields + 1] = string.sub(call.text, start, at - 1)
    end
  end
  if fields[1] then redis.call('HSET', copy.key, unpack(fields)) end
  return back
end

-- For how many requests more there is room, what the rate says then, and whether a budget is over its
-- limit: then not even who asks for nothing of it is admitted, so nobody keeps a lease.
local function room(copy, lease, call, available)
  local most, asked, full, stale = call.wanted, listed(call.names), 0, false
  if call.names ~= lease.names then return 0, 0 end
  for i = 1, #call.windows do
    local at = listed(copy.names)[asked[i]] or place(copy.counts, copy.names, asked[i])
    copy.names = copy.counts.names or copy.names
    roll(copy.counts, at, call.windows[i])
    stale = stale or copy.counts[at] ~= call.windows[i]
    local left = call.limits[i] - copy.counts[at + 1] - copy.counts[at + 2]
    if left < 0 then return 0, 0, true end
    if call.amounts[i] > 0 then most = math.min(most, left / (part * call.amounts[i])) end
  end
  if stale then return 0, 0 end
  if call.amount > 0 then
    most = math.min(most, available / (part * call.amount), (EXACT - 1 - lease.amount) / call.amount)
  end
  if call.rate ~= '' then
    local at = place(copy.counts, copy.names, call.rate)
    copy.names = copy.counts.names or copy.names
    full = math.max(copy.counts[at] - call.turns * call.interval, call.till)
      + call.turns * call.interval
    local turns = (call.now + call.burst * call.interval - full) / call.interval
    if turns < 0 then return 0, 0 end
    most = math.min(most, turns / part)
  end
  return math.max(0, math.floor(most)), full
end

local function exactly(key, number)
  if math.abs(number) < EXACT then return number end
  return redis.call('HGET', key, 'a')
end

-- More of everything for so many requests; returns what the rate says.
local function take(copy, lease, call, granted, full)
  if granted == 0 and full == 0 then return 0 end
  local asked, places = listed(call.names), listed(copy.names)
  for i = 1, #call.windows do
    local at, amount = places[asked[i]], granted * call.amounts[i]
    copy.counts[at + 2] = copy.counts[at + 2] + amount
    lease.amounts[i] = lease.amounts[i] + amount
  end
  if full > 0 then
    full = full + granted * call.interval
    copy.counts[places[call.rate]] = full
  end
  lease.amount = lease.amount + granted * call.amount
  copy.changed = true
  return full
end

local function called_back(copy)
  if not copy.called_ms then return false end
  local time = redis.call('TIME')
  local since_ms = time[1] * 1000 + math.floor(time[2] / 1000) - copy.called_ms
  if since_ms >= 0 and since_ms < pause_ms then return true end
  redis.call('HDEL', copy.key, 'r')
  return false
end

local function close(copy, lease, call)
  give_back(copy, lease, lease.amounts)
  local rate = listed(copy.names)[call.rate]
  if rate then copy.counts[rate] = copy.counts[rate] - call.turns * call.interval end
  redis.call('HDEL', copy.key, call.field)
  local first, last = string.find(copy.leases, call.field, 1, true)
  local others = string.sub(copy.leases, 1, first - 1) .. string.sub(copy.leases, last + 1)
  if others == '' then
    redis.call('HDEL', copy.key, 'k', 't')
    copy.had = nil
    copy.ended = nil
  else
    redis.call('HSET', copy.key, 'k', others)
  end
  return lease.amount
end

local function write(copy)
  if copy.changed then redis.call('HSET', copy.key, 'c', repacked(copy.counts)) end
  if copy.changed and copy.counts.names then redis.call('HSET', copy.key, 'b', copy.counts.names) end
  if copy.ended == '' then
    redis.call('HDEL', copy.key, 't')
  elseif copy.ended ~= copy.had then
    redis.call('HSET', copy.key, 't', copy.ended)
  end
end

local function tend(key, text)
  local call = read_call(text)
  local found = redis.call('HMGET', key, 'v', call.field, 'b', 'c', 'k', 't', 'r', 'a')
  if not found[1] or string.byte(found[1]) ~= 45 then return {0} end -- a minus
  if not found[2] and (call.step ~= OPEN or found[1] ~= epoch_sign) then return {0} end
  local copy = {key = key, names = found[3], counts = unpacked(found[4]), leases = found[5] or '',
    ended = found[6], had = found[6], called_ms = tonumber(found[7])}
  local lease, back = read_lease(found[2], call), 0
  if found[2] and lease.number < call.number then
    back = note(copy, lease, call)
    lease.number = call.number
  end
  if call.step == CLOSE then
    back = back + close(copy, lease, call)
    if back > 0 then redis.call('HINCRBY', key, 'a', string.format('%.0f', back)) end
    write(copy)
    return {1, 0, redis.call('HGET', key, 'a'), 0, false}
  end
  local called, granted, full = called_back(copy), 0, 0
  if found[1] == epoch_sign and not called then
    granted, full, called = room(copy, lease, call, tonumber(found[8]) + back)
  end
  if not found[2] and granted == 0 then return {0} end
  full = take(copy, lease, call, granted, full)
  back = back - granted * call.amount
  local available = found[8]
  if back ~= 0 then
    available = exactly(key, redis.call('HINCRBY', key, 'a', string.format('%.0f', back)))
  end
  redis.call('HSET', key, call.field, write_lease(lease))
  if not found[2] then redis.call('HSET', key, 'k', copy.leases .. call.field) end
  write(copy)
  return {1, granted, available, full, called or false}
end

local answers = {}
for i, key in ipairs(KEYS) do
  answers[i] = tend(key, ARGV[3 + i])
end
return cmsgpack.pack(answers)
