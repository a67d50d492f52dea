-- Begins admit.lua, load.lua and publish.lua: how a copy is laid out.
--
-- A copy is the hash "tk:{ACCOUNT}":
--   v    "-EPOCH" in which it was built; the sign says that the copy is laid out as written here
--   e    "-1", which no epoch is: versions of Tollkeeper before this layout take the copy for one
--        that is void, and what they publish overwrites v, so that it is void here too
--   p o n posted, overdraft and version, as text
--   a    available; amounts of credits are 64-bit and only ever moved by HINCRBY, which is exact
--   b    the names of what is counted, "|NAME|NAME"
--   c    for each name three doubles: the window, what is used and what is held of it; for a rate
--        (billing/rate.py) the time at which its burst is whole again, and twice 0
--   #ID  the record of a live reservation: how many budgets (a byte), the amount of credits (a text),
--        "NAME|NAME", the windows, the amounts, the end of life
--   %ID  what is left of a lease (lease.lua): the number of its last call (8 bytes), then as a record
--   k    the fields of leases, "%ID%ID"; t those of reservations that ended before their lease told of
--        them, "#ID#ID"; r when leases were last called back, in milliseconds of Redis's clock
-- While a copy is being loaded, the key holds only l, the token of the loader.
--
-- A text ends with a zero byte; a number is an integer of eight bytes, little-endian. What is counted
-- stays below 2^53 (reservations.MAX_COUNTED), so Lua, whose numbers are doubles, has it exactly. A
-- copy counts at most 2600 names, because Lua passes 8000 values.

local EXACT = 9007199254740992

-- Formats and lists of names are worked out once for each call, not for each of its accounts.
local lists, counts_formats, record_formats = {}, {}, {}

local function worked_out(formats, begin, kind, numbers)
  local format = '<' .. begin .. string.rep(kind, numbers)
  formats[numbers] = format
  return format
end

local function counts_format(numbers)
  return counts_formats[numbers] or worked_out(counts_formats, '', 'd', numbers)
end

-- The names in their order, and for each name where its numbers begin among those of a copy.
local function listed(names)
  local list = lists[names]
  if not list then
    list = {}
    for name in string.gmatch(names, '[^|]+') do
      list[#list + 1] = name
      list[name] = 3 * #list - 2
    end
    lists[names] = list
  end
  return list
end

local function unpacked(packed)
  local counts = {struct.unpack(counts_format(#packed / 8), packed)}
  counts[#counts] = nil -- the last says where struct stopped reading
  return counts
end

local function repacked(counts)
  return struct.pack(counts_format(#counts), unpack(counts))
end

-- Where the numbers of a name begin that may not have been counted before; then it is from now on, and
-- the names have to be written, too: counts.names.
local function place(counts, names, name)
  local known = counts.names or names
  local at = listed(known)[name]
  if not at then
    at = #counts + 1
    counts.names = known .. '|' .. name
    counts[at], counts[at + 1], counts[at + 2] = -1, 0, 0
  end
  return at
end

-- Move a budget on to a window; what was counted in the one before no longer counts.
local function roll(counts, at, window)
  if counts[at] < window then
    counts[at], counts[at + 1], counts[at + 2] = window, 0, 0
  end
end

-- {budgets, amount, names, windows.., amounts.., end of life, where the text goes on}
local function read_record(text, at)
  local numbers = 2 * string.byte(text, at) + 1
  local format = record_formats[numbers] or worked_out(record_formats, 'Bss', 'i8', numbers)
  return {struct.unpack(format, text, at)}
end

-- Let what is used grow to what Postgres says: {name, window, used, name, ...}.
local function use(counts, names, said)
  local places = listed(names)
  for i = 1, #said, 3 do
    local name, window, used = said[i], said[i + 1], said[i + 2]
    local at = places[name] or place(counts, names, name)
    roll(counts, at, window)
    if counts[at] == window and counts[at + 1] < used then counts[at + 1] = used end
  end
end

