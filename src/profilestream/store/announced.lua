-- Takes commits out of the outbox that were announced, and marks in the head up to where that was, both or neither.
--
-- KEYS  1 head  2 outbox
-- ARGV  1 sequence number and 2 id of the last commit announced  3 end of what was announced in topic `announced`
-- Gives 1, or 0 without changing anything when this Redis has never had that commit: it was set back.
--
-- The mark proves that a shard's history holds all that was announced: it is made of the commit itself, which is still
-- in the outbox then, and a Redis that is set back loses both. Whoever asks late, about a commit before the marked one,
-- is answered by the mark: what was announced is one line, so a history with a later commit of it has the earlier.

local call = redis.call
local sequence, commit = ARGV[1], ARGV[2]
local mark = call('HGET', KEYS[1], 'announced') or ''
local marked_sequence, marked_commit, marked_end = string.match(mark, '^(%d+) (%x+) (%d+)$')
local is_past = marked_commit and tonumber(marked_sequence) > tonumber(sequence) and tonumber(marked_end) >= tonumber(ARGV[3])

if marked_commit ~= commit and not is_past then
  local entry = call('XREVRANGE', KEYS[2], sequence .. '-18446744073709551615', sequence .. '-0', 'COUNT', 1)[1]
  local found = false
  for i = 1, entry and #entry[2] or 0, 2 do
    if entry[2][i] == 'head' and string.find(entry[2][i + 1], '"commit":"' .. commit .. '"', 1, true) then
      found = true
    end
  end
  if not found then return 0 end
  call('HSET', KEYS[1], 'announced', sequence .. ' ' .. commit .. ' ' .. ARGV[3])
end
call('XTRIM', KEYS[2], 'MINID', string.format('%.0f', sequence + 1) .. '-0')
return 1
