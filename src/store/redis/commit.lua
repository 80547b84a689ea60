-- One commit: judges every condition, then applies every write. Answers the version that every key put has now, or an
-- empty string when a condition does not hold.
--
-- KEYS: the newest version of the partition, its index, then the keys that ARGV names by their numbers here.
-- ARGV: now in Unix milliseconds; a random byte; how many conditions there are, each as
--         number of its key | version, empty for absent;
--       then the writes, each as
--         number of its key | what the index calls it, empty where it has no entry | milliseconds until the server may
--         forget it, 0 for never, empty for a delete | expiry and value, empty for a delete.
local now = tonumber(ARGV[1])
local at = 4
for _ = 1, tonumber(ARGV[3]) do
    local head = redis.call('GETRANGE', KEYS[tonumber(ARGV[at])], 0, 15)
    local version = ''
    if #head == 16 then
        local expires = struct.unpack('>I8', head, 9)
        if expires == 0 or expires > now then
            version = string.sub(head, 1, 8)
        end
    end
    if version ~= ARGV[at + 1] then
        return ''
    end
    at = at + 2
end

-- Later than any before, also than one that a failover has lost: there the time has gone on, and the random byte makes
-- up for a clock that has not.
local time = redis.call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
if micros <= last then
    micros = last + 1
end
redis.call('SET', KEYS[1], string.format('%.0f', micros))
local version = struct.pack('>I7', micros) .. ARGV[2]

while at <= #ARGV do
    local key, member, lifetime = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
    if lifetime == '' then
        redis.call('DEL', key)
        if member ~= '' then
            redis.call('ZREM', KEYS[2], member)
        end
    else
        if lifetime == '0' then
            redis.call('SET', key, version .. ARGV[at + 3])
        else
            redis.call('SET', key, version .. ARGV[at + 3], 'PX', lifetime)
        end
        if member ~= '' then
            redis.call('ZADD', KEYS[2], 0, member)
        end
    end
    at = at + 4
end
return version
