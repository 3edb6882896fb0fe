-- Makes whoever works on a shard begin anew from its head: gives the head another commit id, and changes nothing else.
--
-- KEYS  1 head
-- ARGV  1 what the head says was announced, '' for nothing  2 the new commit id
-- Gives 1, or 0 without changing anything when the head says something else by now, or is in repair.

if redis.call('HGET', KEYS[1], 'repair') then return 0 end
if (redis.call('HGET', KEYS[1], 'announced') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'commit', ARGV[2])
return 1
