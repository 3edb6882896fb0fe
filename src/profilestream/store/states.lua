-- States of customers together with the head of their shard, all of one instant.
--
-- KEYS  1 head, then one state each
-- ARGV  1 how many bytes of states to give at most; the first state is given whatever it weighs
-- Gives {head (field value ...), state or false ...}: of the customers in their order, as many as there is room for.

local call = redis.call
local room = tonumber(ARGV[1])
local reply = {call('HGETALL', KEYS[1])}
for i = 2, #KEYS do
  local state = call('GET', KEYS[i])
  room = room - (state and #state or 0)
  if room < 0 and i > 2 then break end
  reply[i] = state
end
return reply
