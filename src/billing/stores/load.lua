-- Build copies of accounts from a snapshot of Postgres, where the right to load still stands.
--
-- KEYS[i]   "tk:{ACCOUNT}"; hot_counts.lua says how it is laid out
-- ARGV[1]   epoch
-- ARGV[2*i] msgpack: {token, posted, overdraft, version, {name, window, used, name, ...}}, with posted,
--           overdraft and version as text
-- ARGV[2*i+1] for each live reservation "#ID" and its record
-- returns   per account 1 when built, 0 when the right was lost (another loads, or a publication came)

-- Hold what the record of a reservation says; returns where the next one begins.
local function hold(key, counts, text, at)
  local field, start = struct.unpack('s', text, at)
  local record = read_record(text, start)
  local budgets, amount, after = record[1], record[2], record[#record]
  local names = listed(record[3])
  redis.call('HSET', key, field, string.sub(text, start, after - 1))
  if amount ~= '0' then redis.call('HINCRBY', key, 'a', '-' .. amount) end
  for i = 1, budgets do
    local begins = place(counts, '', names[i])
    local window, share = record[3 + i], record[3 + budgets + i]
    roll(counts, begins, window)
    if counts[begins] == window then counts[begins + 2] = counts[begins + 2] + share end
  end
  return after
end

local function build(key, epoch, truth, live)
  if redis.call('HGET', key, 'l') ~= truth[1] then return 0 end
  redis.call('DEL', key)
  redis.call('HSET', key, 'e', '-1', 'v', '-' .. epoch,
    'p', truth[2], 'o', truth[3], 'n', truth[4], 'a', truth[2])
  redis.call('HINCRBY', key, 'a', truth[3])
  local counts, at = {names = ''}, 1
  use(counts, '', truth[5])
  while at <= #live do at = hold(key, counts, live, at) end
  redis.call('HSET', key, 'b', counts.names, 'c', repacked(counts))
  return 1
end

local built = {}
for i, key in ipairs(KEYS) do
  built[i] = build(key, ARGV[1], cmsgpack.unpack(ARGV[2 * i]), ARGV[2 * i + 1])
end
return built
