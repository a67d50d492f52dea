-- Draws on the counters of many requests in one atomic step.
--
-- KEYS     every counter named in the batch, each once. In a Redis Cluster all of one slot.
-- ARGV[1]  the batch: for each group (one request) two doubles: how many draws, and the mode
--          (0 each for itself, 1 all or none, 2 look only); then for each draw 14 doubles:
--            key         index into KEYS, from 1
--            algorithm   0 fixed window, 1 sliding window, 2 token bucket
--            role        0 plain, 1 quota, 2 shadow, 3 shadow of a quota: what it decides
--            consume     0 when it fits, 1 always, 2 correction (never over)
--            cost        in ticks; a correction's may be negative
--            capacity    in ticks
--            now         of the caller, in microseconds; this script never asks for the time
--            drawn     when a corrected cost was taken; else now
--            start, previous start, length    of the window of now; 0 for buckets
--            scale, drain    of a bucket: ticks per hit, ticks per microsecond
--            ttl         in milliseconds, where the level does not say it
-- Returns  for each draw 5 doubles: over (0 or 1), level before, level after, and a sliding
--          window's two counts.
-- Keys hold: a fixed window's count as text; otherwise three doubles: a sliding window's start,
-- current and previous count; a bucket's level, time and scale. A request that takes nothing writes
-- nothing, but for a clock that was put back. Time is linear in the number of draws.
--
-- The arithmetic is ratelimit/algorithms.py, line by line; change both or neither.
local STEP_BACK_MAX_US = 5000000
local COUNT_MAX = 4503599627370496
local DEBT_MAX_CAPACITIES = 60
local FIXED, SLIDING, BUCKET = 0, 1, 2
local ALWAYS, CORRECTION = 1, 2
local PLAIN, QUOTA, SHADOW_QUOTA = 0, 1, 3
local ALL_OR_NONE, LOOK = 1, 2
local ceil, max, min = math.ceil, math.max, math.min
local pack, unpack_doubles = struct.pack, struct.unpack

local known = {}    -- key index -> {a, b, c} as held or made by this batch; false: holds nothing
local written = {}  -- key index -> ttl: which of them to write at the end
local existing = {} -- key index -> a fixed window's count as it lies in Redis

local function read(draw)
  local index = draw.key
  local state = known[index]
  if state ~= nil then return state end
  local value = redis.call('GET', KEYS[index])
  state = false
  if value and draw.algorithm == FIXED then
    existing[index] = tonumber(value) -- nil for what is not ours: it is written over
    if existing[index] then state = {existing[index], 0, 0} end
  elseif value and #value == 24 then
    local a, b, c = unpack_doubles('<ddd', value)
    state = {a, b, c}
  end
  known[index] = state
  return state
end

local function brought_up(draw, state)
  if draw.algorithm == FIXED then return state or {0, 0, 0} end
  if draw.algorithm == SLIDING then
    if not state then return {draw.start, 0, 0} end
    local start, current = state[1], state[2]
    if start < draw.start then
      return {draw.start, 0, start == draw.previous_start and current or 0}
    end
    if start - draw.now > STEP_BACK_MAX_US then return {draw.start, current, 0} end
    return state
  end
  if not state then return {0, draw.now, draw.scale} end
  local ticks, last, scale = state[1], state[2], state[3]
  if scale ~= draw.scale then ticks = ceil(ticks * draw.scale / scale) end
  local elapsed = draw.now - last
  if elapsed < 0 and elapsed >= -STEP_BACK_MAX_US then return {ticks, last, draw.scale} end
  return {max(0, ticks - max(0, elapsed) * draw.drain), draw.now, draw.scale}
end

local function stepped_back(draw, state)
  if draw.algorithm == FIXED then return false end
  local at = draw.algorithm == SLIDING and state[1] or state[2]
  return at - draw.now > STEP_BACK_MAX_US
end

local function level(draw, state)
  if draw.algorithm ~= SLIDING then return state[1] end
  local left = max(0, draw.length - max(0, draw.now - state[1]))
  return state[2] + ceil(state[3] * left / draw.length)
end

local function bounded(amount, most) return max(0, min(amount, most)) end

local function taken(draw, state)
  local cost = draw.cost
  if draw.algorithm == FIXED then return {bounded(state[1] + cost, COUNT_MAX), 0, 0} end
  if draw.algorithm == BUCKET then
    return {bounded(state[1] + cost, DEBT_MAX_CAPACITIES * draw.capacity), state[2], state[3]}
  end
  local start, current, previous = state[1], state[2], state[3]
  if cost >= 0 or draw.drawn >= start then
    return {start, bounded(current + cost, COUNT_MAX), previous}
  end
  if start - draw.drawn <= draw.length then
    return {start, current, bounded(previous + cost, COUNT_MAX)}
  end
  return state
end

local function ttl(draw, state)
  if draw.drain == 0 then return draw.ttl end
  return ceil(state[1] / (draw.drain * 1000)) + 1000
end

local function write(index, draw)
  local state = known[index]
  local ttl_ms = string.format('%.0f', min(max(written[index], 1), 1e14))
  if draw.algorithm ~= FIXED then
    redis.call('SET', KEYS[index], pack('<ddd', state[1], state[2], state[3]), 'PX', ttl_ms)
  elseif not existing[index] then
    if state[1] > 0 then
      redis.call('SET', KEYS[index], string.format('%.0f', state[1]), 'PX', ttl_ms)
    end
  elseif state[1] ~= existing[index] then
    redis.call('INCRBY', KEYS[index], string.format('%.0f', state[1] - existing[index]))
  end
end

local batch, at = ARGV[1], 1
local draws_by_key, answers = {}, {}
local size = #batch
while at <= size do
  local count, mode
  count, mode, at = unpack_doubles('<dd', batch, at)
  local before_group, ttl_before, plain_over, quotas, quotas_over = {}, {}, false, 0, 0
  local first_answer = #answers
  for _ = 1, count do
    local c = {}
    c.key, c.algorithm, c.role, c.consume, c.cost, c.capacity, c.now, c.drawn, c.start,
      c.previous_start, c.length, c.scale, c.drain, c.ttl, at =
      unpack_doubles('<dddddddddddddd', batch, at)
    local index = c.key
    local held = read(c)
    local state = brought_up(c, held)
    if held and stepped_back(c, held) then
      held = state
      known[index], written[index], draws_by_key[index] = state, ttl(c, state), c
    end
    local before = level(c, state)
    local after = before
    local over = c.consume ~= CORRECTION and before + c.cost > c.capacity
    if not over or c.consume == ALWAYS then
      local now_state = taken(c, state)
      after = level(c, now_state)
      if c.cost ~= 0 then
        if before_group[index] == nil then
          before_group[index] = held
          ttl_before[index] = written[index] or false
        end
        known[index] = now_state
        written[index] = ttl(c, now_state)
        draws_by_key[index] = c
      end
    end
    if c.role == PLAIN and over then plain_over = true end
    if c.role == QUOTA or c.role == SHADOW_QUOTA then quotas = quotas + 1 end
    if c.role == QUOTA and over then quotas_over = quotas_over + 1 end
    local current, previous = 0, 0
    if c.algorithm == SLIDING then current, previous = state[2], state[3] end
    answers[#answers + 1] = {over and 1 or 0, before, after, current, previous}
  end
  local refused = plain_over or (quotas > 0 and quotas == quotas_over)
  if mode == LOOK or (mode == ALL_OR_NONE and refused) then
    for index, state in pairs(before_group) do
      known[index] = state
      written[index] = ttl_before[index] or nil
    end
    for i = first_answer + 1, #answers do answers[i][3] = answers[i][2] end
  end
end

for index, _ in pairs(written) do write(index, draws_by_key[index]) end
local reply = {}
for i = 1, #answers do
  local a = answers[i]
  reply[i] = pack('<ddddd', a[1], a[2], a[3], a[4], a[5])
end
return table.concat(reply)
