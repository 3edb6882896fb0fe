-- States of customers together with the head of their shard, all of one instant; and what nobody was told of it yet.
--
-- KEYS  1 head  2 outbox  3 repairs, then one state each, of the customers in ARGV
-- ARGV  1 how many bytes of states to give at most; the first state is given whatever it weighs
--       2 changes of the outbox to give at most  3 the id of the last one that is known
--       4 how many segments, 5 ... their names, then the customers, each behind the other
-- Gives {head (field value ...), {id customer segment number-before ...}, state or false ...}: of the outbox the changes
-- behind the known one, and of a shard in repair, with id '', what `repairs` keeps of these customers and segments; then
-- of the customers in their order as many states as there is room for.

local call = redis.call
local room, changes_max, segments = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
local head = call('HGETALL', KEYS[1])
local untold = {}
if changes_max > 0 then
  for _, entry in ipairs(call('XRANGE', KEYS[2], '(' .. ARGV[3], '+', 'COUNT', changes_max)) do
    local fields = {}
    for i = 1, #entry[2], 2 do
      fields[entry[2][i]] = entry[2][i + 1]
    end
    local before = string.format('%.0f', fields['crossing'] - 1)
    for _, value in ipairs({entry[1], fields['customer'], fields['segment'], before}) do
      untold[#untold + 1] = value
    end
  end
end
local reply = {head, untold}
local in_repair = segments > 0 and call('HGET', KEYS[1], 'repair')
for i = 4, #KEYS do
  local state = call('GET', KEYS[i])
  room = room - (state and #state or 0)
  if room < 0 and i > 4 then break end
  reply[i - 1] = state
  for s = 5, in_repair and 4 + segments or 0 do
    local customer = ARGV[4 + segments + i - 3]
    local before = call('HGET', KEYS[3], customer .. '\0' .. ARGV[s])
    if before then
      for _, value in ipairs({'', customer, ARGV[s], before}) do
        untold[#untold + 1] = value
      end
    end
  end
end
return reply
