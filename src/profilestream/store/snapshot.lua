-- Reads a page of customers and the head that they belong to, all of one instant. Writes nothing.
--
-- KEYS  1 head  2 timers  3 customers, then one segment's members each, then profile and state of each customer
-- ARGV  1 count of segments, then the customers' ids
-- Gives {head flat, {profile flat, state or false, timer or false, 1 if named among the customers} of each customer,
-- scores of all of them of each segment}.

local segments = tonumber(ARGV[1])
local ids = {}
for i = 2, #ARGV do ids[i - 1] = ARGV[i] end
local reply = {redis.call('HGETALL', KEYS[1]), {}, {}}
local timers = #ids > 0 and redis.call('ZMSCORE', KEYS[2], unpack(ids)) or {}
local named = #ids > 0 and redis.call('SMISMEMBER', KEYS[3], unpack(ids)) or {}
for i = 1, #ids do
  local at = 3 + segments + 2 * i - 1
  reply[2][i] = {redis.call('HGETALL', KEYS[at]), redis.call('GET', KEYS[at + 1]), timers[i], named[i]}
end
if #ids > 0 then
  for i = 1, segments do reply[3][i] = redis.call('ZMSCORE', KEYS[3 + i], unpack(ids)) end
end
return reply
