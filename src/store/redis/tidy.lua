-- Takes entries out of the index whose records the server has forgotten. Answers how many.
--
-- KEYS: the index, then the records. ARGV: what the index calls them, in the same order.
local gone = 0
for at = 1, #ARGV do
    if redis.call('EXISTS', KEYS[at + 1]) == 0 then
        gone = gone + redis.call('ZREM', KEYS[1], ARGV[at])
    end
end
return gone
