-- Commits what folding a run of records changed in one shard: all of it, or nothing.
--
-- KEYS  1 head  2 timers  3 urgent  4 outbox  5 repairs  6 crossings  7 customers, then profile and state of each
--       profile, then one segment each
-- ARGV  1 expected commit id   2 new commit id   3 sequence   4 clock or ''   5 positions (JSON) or ''
--       6 due before (ms) or ''  7 due names at most
--       8 count of head arguments  9 profiles  10 timer arguments to set  11 to remove
--       12 urgent timers' arguments to set  13 to remove
--       14 segments  15 changes  16 stage of a repair or '', and from 17 on, in this order:
--         head        field value ...
--         profiles    each: 0, 1 to write anew, 2 for one who is new here; count removed, count of field arguments,
--                     state, removed ..., field value ...
--         timers      score member ...; member ...
--         urgent      score member ...; member ...
--         segments    each: name, count of arguments to add, to remove, of crossings, score member ..., member ...,
--                     minute entered left ...
--         changes     each: customer segment crossing change value
-- Gives {1, commit id, changes waiting, due ...}, or {0, present commit id, changes waiting} when the head
-- is not the expected one. Those with urgent timers come first.
--
-- While the head is marked `repair` changes do not go to the outbox: of each customer and segment the number before
-- the first of them is kept in `repairs`; by a change that 'differs' it is replaced, by one that was 'told' forgotten. Stages: 'begin' marks the head, with a sequence number that may leap;
-- 'announce' brings changes to the outbox all the same; 'end' takes the mark and `repairs` away.
--
-- `crossings` has of each segment how many members it has in this shard, and how many entered and left in each minute of
-- the last hour and each hour of the last day before the shard's clock; the layout is described in crossings.py.
--
-- Redis does not undo a script that fails half-way. So everything that can fail is tried before the first
-- write, and the head is written last.

local head_key, timers_key, urgent_key, outbox_key, repairs_key, crossings_key, customers_key = unpack(KEYS, 1, 7)
local FIXED, UNPACK_MAX = 16, 3500
local HEAD_KEYS = 7
local MINUTE_MS, HOUR_MINUTES, DAY_MINUTES = 60000, 60, 1440
local call = redis.call

local function refuse(what)
  return redis.error_reply('PROFILESTREAM refused a commit: ' .. what)
end

-- 1. The lock. A writer that is not the last one learns it here and has changed nothing.
local present = call('HMGET', head_key, 'commit', 'sequence', 'clock', 'positions', 'starts', 'repair')
local current = present[1] or ''
if current ~= ARGV[1] then
  return {0, current, call('XLEN', outbox_key)}
end

-- 2. The structure: counts add up, numbers are numbers.
local function is_whole(text)
  return text ~= nil and #text <= 16 and string.find(text, '^%d+$') ~= nil
end
local function is_score(text)
  return text ~= nil and #text <= 17 and string.find(text, '^%-?%d+$') ~= nil
end

local count = {}
for i = 8, 15 do
  if not is_whole(ARGV[i]) then return refuse('argument ' .. i .. ' is not a count') end
  count[i] = tonumber(ARGV[i])
end
local heads, profiles, timers_set, timers_gone, urgent_set, urgent_gone, segments, changes = unpack(count, 8, 15)
local commit, sequence, clock, positions = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local due_before, due_max, stage = ARGV[6], ARGV[7], ARGV[16]

if not string.find(commit, '^%x+$') then return refuse('the commit id is not hexadecimal') end
local step = is_whole(sequence) and tonumber(sequence) - tonumber(present[2] or '0') or 0
if step < 1 or (step > 1 and stage ~= 'begin') then
  return refuse('the sequence number does not follow the head')
end
if stage ~= '' and stage ~= 'begin' and stage ~= 'announce' and stage ~= 'end' then
  return refuse('an unknown stage of a repair')
end
local silent = present[6] and stage ~= 'announce'
if clock ~= '' and not is_score(clock) then return refuse('the clock is not a number') end
if due_before ~= '' and not is_score(due_before) then return refuse('due_before is not a number') end
if not is_whole(due_max) then return refuse('the page of due timers is not a count') end
if #KEYS ~= HEAD_KEYS + 2 * profiles + segments then return refuse('keys and counts differ') end
if heads % 2 ~= 0 or timers_set % 2 ~= 0 or urgent_set % 2 ~= 0 then return refuse('an odd number of pairs') end

local last = #ARGV
local at = FIXED + 1 + heads
local profiles_at = at
for _ = 1, profiles do
  local anew, removed, fields = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if (anew ~= '0' and anew ~= '1' and anew ~= '2') or not is_whole(removed) or not is_whole(fields) or fields % 2 ~= 0 then
    return refuse('the shape of a profile')
  end
  at = at + 4 + removed + fields
end
local function scores_stand(from, args)
  if from + args - 1 > last then return false end
  for i = from, from + args - 1, 2 do
    if not is_score(ARGV[i]) then return false end
  end
  return true
end
local timers_at = at
if not scores_stand(at, timers_set) then return refuse('the time of a timer') end
at = at + timers_set + timers_gone
local urgent_at = at
if not scores_stand(at, urgent_set) then return refuse('the time of an urgent timer') end
at = at + urgent_set + urgent_gone
local segments_at = at
for _ = 1, segments do
  local added, removed, crossed = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if not is_whole(added) or not is_whole(removed) or not is_whole(crossed) or added % 2 ~= 0 or crossed % 3 ~= 0 then
    return refuse('the shape of a segment')
  end
  if not scores_stand(at + 4, tonumber(added)) then return refuse('the time of a membership') end
  at = at + 4 + added + removed
  if at + crossed - 1 > last then return refuse('arguments and counts differ') end
  for i = at, at + crossed - 1, 3 do
    if not is_score(ARGV[i]) or not is_whole(ARGV[i + 1]) or not is_whole(ARGV[i + 2]) then
      return refuse('the crossings of a segment')
    end
  end
  at = at + crossed
end
local changes_at = at
if at + 5 * changes ~= last + 1 then return refuse('arguments and counts differ') end

-- 3. The keys: of the kind that the writes need, and the outbox below the ids it is to get.
local function is_kind(key, kind)
  local found = call('TYPE', key).ok
  return found == kind or found == 'none'
end
local function all_of_kind(kind, from, to, step)
  for i = from, to, step do
    if not is_kind(KEYS[i], kind) then return false end
  end
  return true
end
local segment_keys_at = HEAD_KEYS + 2 * profiles + 1
if not is_kind(timers_key, 'zset') or not is_kind(urgent_key, 'zset') or not is_kind(outbox_key, 'stream')
  or not is_kind(repairs_key, 'hash') or not is_kind(crossings_key, 'hash') or not is_kind(customers_key, 'set')
  or not all_of_kind('hash', HEAD_KEYS + 1, segment_keys_at - 1, 2)
  or not all_of_kind('zset', segment_keys_at, #KEYS, 1) then
  return refuse('a key of another kind is in the way')
end
if changes > 0 and not silent and call('EXISTS', outbox_key) == 1 then
  local info = call('XINFO', 'STREAM', outbox_key)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      local reached = string.match(info[i + 1], '^(%d+)%-')
      if tonumber(reached) >= tonumber(sequence) then return refuse('the outbox is ahead of the head') end
    end
  end
end

-- 4. The writes.
local function write(command, key, from, args)
  local to = from + args - 1
  while from <= to do
    local stop = math.min(from + UNPACK_MAX - 1, to)
    call(command, key, unpack(ARGV, from, stop))
    from = stop + 1
  end
end

at = profiles_at
local new, id_at = {}, #head_key - #'head' + #'state:' + 1
for i = HEAD_KEYS + 1, segment_keys_at - 1, 2 do
  local profile_key = KEYS[i]
  local removed, fields = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  -- First a command that needs memory: a full Redis refuses a script at its first write only, and only such a one.
  call('SET', KEYS[i + 1], ARGV[at + 3])
  if ARGV[at] ~= '0' then call('DEL', profile_key) end
  if ARGV[at] == '2' then new[#new + 1] = string.sub(KEYS[i + 1], id_at) end
  at = at + 4
  if removed > 0 then write('HDEL', profile_key, at, removed) end
  at = at + removed
  if fields > 0 then write('HSET', profile_key, at, fields) end
  at = at + fields
end

for i = 1, #new, UNPACK_MAX do
  call('SADD', customers_key, unpack(new, i, math.min(i + UNPACK_MAX - 1, #new)))
end

write('ZADD', timers_key, timers_at, timers_set)
write('ZREM', timers_key, timers_at + timers_set, timers_gone)
write('ZADD', urgent_key, urgent_at, urgent_set)
write('ZREM', urgent_key, urgent_at + urgent_set, urgent_gone)

-- Adds to one tile of a window: the sums of all tiles, then `tile entered left` of each, the newest first. Tiles up to
-- `oldest` fall out.
local function with_crossings(counted, tile, entered, left, oldest)
  local at = tonumber(tile)
  if at <= oldest then return counted end
  local sum_entered, sum_left, first, had_entered, had_left, rest =
    string.match(counted, '^(%d+) (%d+) (%-?%d+) (%d+) (%d+)()')
  if first == tile then
    return table.concat({sum_entered + entered, sum_left + left, tile, had_entered + entered, had_left + left}, ' ')
      .. string.sub(counted, rest)
  end
  local kept, waits = {0, 0}, true
  local function keep(began, e, l)
    if tonumber(began) <= oldest then return end
    kept[1], kept[2] = kept[1] + e, kept[2] + l
    kept[#kept + 1] = began .. ' ' .. e .. ' ' .. l
  end
  for began, e, l in string.gmatch(string.match(counted, '^%d+ %d+ (.*)$') or '', '(%-?%d+) (%d+) (%d+)') do
    if waits and tonumber(began) <= at then
      waits = false
      if tonumber(began) == at then e, l = e + entered, l + left else keep(tile, entered, left) end
    end
    keep(began, e, l)
  end
  if waits then keep(tile, entered, left) end
  return table.concat(kept, ' ')
end

local minute_now = math.floor((clock ~= '' and clock or present[3] or 0) / MINUTE_MS)
at = segments_at
for i = segment_keys_at, #KEYS do
  local name, added, removed, crossed = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  at = at + 4
  write('ZADD', KEYS[i], at, added)
  write('ZREM', KEYS[i], at + added, removed)
  at = at + added + removed
  local known = call('HGET', crossings_key, name) or ''
  local minutes, hours = '', ''
  local begin = string.find(known, '|', 1, true)
  local middle = begin and string.find(known, '|', begin + 1, true)
  if middle then minutes, hours = string.sub(known, begin + 1, middle - 1), string.sub(known, middle + 1) end
  for tile = at, at + crossed - 1, 3 do
    local minute, entered, left = ARGV[tile], ARGV[tile + 1], ARGV[tile + 2]
    local hour = string.format('%d', math.floor(minute / HOUR_MINUTES))
    minutes = with_crossings(minutes, minute, entered, left, minute_now - HOUR_MINUTES)
    hours = with_crossings(hours, hour, entered, left, math.floor((minute_now - DAY_MINUTES) / HOUR_MINUTES))
  end
  at = at + crossed
  call('HSET', crossings_key, name, call('ZCARD', KEYS[i]) .. '|' .. minutes .. '|' .. hours)
end

if silent then
  at = changes_at
  for _ = 1, changes do
    local pair, before = ARGV[at] .. '\0' .. ARGV[at + 1], string.format('%.0f', ARGV[at + 2] - 1)
    if ARGV[at + 3] == 'told' then
      call('HDEL', repairs_key, pair)
    else
      call(ARGV[at + 3] == 'differs' and 'HSET' or 'HSETNX', repairs_key, pair, before)
    end
    at = at + 5
  end
elseif changes > 0 then
  local clock_now = clock ~= '' and clock or present[3] or 'null'
  local positions_now = positions ~= '' and positions or present[4] or '{}'
  local starts_now = present[5]
  for i = FIXED + 1, FIXED + heads, 2 do
    if ARGV[i] == 'starts' then starts_now = ARGV[i + 1] end
  end
  local head = '{"commit":"' .. commit .. '","sequence":' .. sequence .. ',"clock":' .. clock_now
    .. ',"positions":' .. positions_now .. (starts_now and ',"starts":' .. starts_now or '') .. '}'
  at = changes_at
  for i = 1, changes do
    local entry = {sequence .. '-' .. i, 'customer', ARGV[at], 'segment', ARGV[at + 1], 'crossing', ARGV[at + 2],
      'change', ARGV[at + 3], 'value', ARGV[at + 4]}
    if i == changes then
      entry[12], entry[13] = 'head', head
    end
    call('XADD', outbox_key, unpack(entry))
    at = at + 5
  end
end

-- 5. The head, last.
if clock ~= '' then call('HSET', head_key, 'clock', clock) end
if positions ~= '' then call('HSET', head_key, 'positions', positions) end
write('HSET', head_key, FIXED + 1, heads)
call('HSET', head_key, 'commit', commit, 'sequence', sequence)
if stage == 'begin' then
  call('HSET', head_key, 'repair', '1')
elseif stage == 'end' then
  call('HDEL', head_key, 'repair')
  call('UNLINK', repairs_key)
end

local reply = {1, commit, call('XLEN', outbox_key)}
if due_before ~= '' then
  local named = {}
  for _, key in ipairs({urgent_key, timers_key}) do
    local due = call('ZRANGEBYSCORE', key, '-inf', due_before, 'LIMIT', 0, due_max + 3 - #reply)
    for i = 1, #due do
      if not named[due[i]] then
        named[due[i]] = true
        reply[#reply + 1] = due[i]
      end
    end
  end
end
return reply
