-- Makes whoever works on a shard begin anew from its head: gives the head another commit id, and changes nothing else.
--
-- KEYS  1 head
-- ARGV  1 commit id that the head is to have  2 the new one
-- Gives 1, or 0 without changing anything when the head has another.

if redis.call('HGET', KEYS[1], 'commit') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'commit', ARGV[2])
return 1
