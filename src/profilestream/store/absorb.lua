-- At the beginning of a repair: takes changes out of the outbox that were not known to be announced, and keeps of each
-- customer and segment the number before the first of them.
--
-- KEYS  1 head  2 outbox  3 repairs
-- ARGV  1 expected commit id  2 new commit id  3 entries at most
-- Gives {changes left, commit id of the head}; changes left are -1 when the head is not the expected one.
--
-- Where anything is taken the head gets the new commit id. Whoever put it there may be at it still, at the end of a
-- repair, and would end that repair with changes that are not in the outbox any more.

local call = redis.call

if (call('HGET', KEYS[1], 'commit') or '') ~= ARGV[1] then return {-1, ''} end
local entries = call('XRANGE', KEYS[2], '-', '+', 'COUNT', ARGV[3])
if #entries > 0 then call('HSET', KEYS[1], 'commit', ARGV[2]) end
for _, entry in ipairs(entries) do
  local fields = {}
  for i = 1, #entry[2], 2 do
    fields[entry[2][i]] = entry[2][i + 1]
  end
  local before = string.format('%.0f', fields['crossing'] - 1)
  call('HSETNX', KEYS[3], fields['customer'] .. '\0' .. fields['segment'], before)
  call('XDEL', KEYS[2], entry[1])
end
return {call('XLEN', KEYS[2]), #entries > 0 and ARGV[2] or ARGV[1]}
