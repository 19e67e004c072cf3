"""What Redis itself does, in Lua: each question and each change is one step and one round trip.

What is stored, under one hash tag, so that a Cluster keeps it on one node:

`state`     hash: `e` epoch, a random word; `n` entries told so far; `r` the server's run_id; `g` trees dropped so
            far, `t<path>` the value of `g` when the tree at that path was dropped
`stream`    the feed: `o` origin, `e` and `n` as they were after it, then kind, path and record of each change
`dir:<path>` hash: name -> record; and, as no name has a slash, `/e` its epoch, `/b` the `g` when it was begun,
            `/v` its version, `/c` when it was complete
`content`, `content:<n>` hashes: the segment that is filled and its bytes; contents by the SHA-1 of key and etag

Redis may lose any of it at any time. Without `state` nothing is known, and a directory counts only with the epoch of
the state and if no tree above it was dropped since it was begun. Versions are random, so one that comes back after a
loss cannot be taken for an older one. All writes that memory is refused for (OOM) come first in their scripts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from vfs.meta.redis.codec import ETAG_AT

MOST_TREES = 4096
"""Dropped trees that are remembered; then all directories are forgotten at once."""

KEPT = 7 * 24 * 3600
"""Seconds for which the state and the stream outlive the last mount."""

ORIGIN = b"-"
"""Of an entry that is not a mount's: what was known is lost."""


@dataclass(frozen=True, slots=True)
class Script:
    text: str
    sha: str


def _script(*parts: str) -> Script:
    text = "".join(parts)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_DIRECTORIES = f"""
local function broken(reply) return type(reply) == 'table' and reply.err end

local state = redis.pcall('HMGET', KEYS[1], 'e', 'g', 'n')
if broken(state) or not state[1] or not state[2] then return false end
local epoch, trees, told = state[1], tonumber(state[2]), state[3]

local function buried(path, begun)
  if begun >= trees then return false end
  while true do
    local dropped = redis.call('HGET', KEYS[1], 't' .. path)
    if dropped and tonumber(dropped) > begun then return true end
    if path == '' then return false end
    path = string.match(path, '^(.*)/[^/]*$') or ''
  end
end

local function version(key, path)
  local head = redis.pcall('HMGET', key, '/e', '/b', '/v')
  if not broken(head) then
    if not head[1] then return false end
    local begun = tonumber(head[2] or '')
    if head[1] == epoch and begun and not buried(path, begun) then return head[3] end
  end
  redis.pcall('UNLINK', key)
  return false
end

local function begin(call, key, number)
  return call('HSET', key, '/e', epoch, '/b', trees, '/v', number)
end

local function rotate(word)
  local server = redis.call('HGET', KEYS[1], 'r') or ''
  redis.call('DEL', KEYS[1])
  epoch, trees = word, 0
  redis.call('HSET', KEYS[1], 'e', epoch, 'n', told, 'g', 0, 'r', server)
  redis.call('EXPIRE', KEYS[1], {KEPT})
end
"""

_VERSION = """
local number = version(KEYS[2], ARGV[1])
if not number then
  number = ARGV[2]
  if broken(begin(redis.pcall, KEYS[2], number)) then return {'-1', false, {}} end
  redis.pcall('EXPIRE', KEYS[2], ARGV[3])
end
"""

FOLDER = _script(_DIRECTORIES, _VERSION, "return {number, redis.call('HGETALL', KEYS[2])}")
"""KEYS state, directory; ARGV path, a version if it has none, seconds to keep that. -> version, fields"""

_KEPT_CONTENT = """
local function content(first, field)
  for i = first, #KEYS do
    local data = redis.pcall('HGET', KEYS[i], field)
    if type(data) == 'string' then return data end
  end
  return false
end
"""

NAME = _script(
    _DIRECTORIES,
    _VERSION,
    _KEPT_CONTENT,
    f"""
local found = redis.call('HMGET', KEYS[2], ARGV[4], '/c')
local record = found[1] or ''
local low, high = string.byte(record, {ETAG_AT - 1}, {ETAG_AT})
if not high then return {{number, found, false}} end
local etag = string.sub(record, {ETAG_AT + 1}, {ETAG_AT} + low + 256 * high)
return {{number, found, content(3, redis.sha1hex(ARGV[5] .. '\0' .. etag))}}
""",
)
"""KEYS state, directory, segments; ARGV as FOLDER, with the name and its object's key.
-> version, (record, complete), the content of that version"""

NAMES = _script(
    _DIRECTORIES,
    """
local found, at = {}, 1
for i = 2, #KEYS do
  local path, count = ARGV[at], tonumber(ARGV[at + 1])
  if version(KEYS[i], path) then
    found[#found + 1] = redis.call('HMGET', KEYS[i], '/c', unpack(ARGV, at + 2, at + 1 + count))
  else
    found[#found + 1] = false
  end
  at = at + 2 + count
end
return found
""",
)
"""KEYS state, directories; ARGV for each: path, number of names (1,000 at most), names.
-> for each: complete, records"""

FILL = _script(
    _DIRECTORIES,
    """
if version(KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
local complete, most = ARGV[3], tonumber(ARGV[5])
local size = (#ARGV - 5) / 2
if complete == '' then size = size + redis.call('HLEN', KEYS[2]) end
if size > most then
  redis.call('UNLINK', KEYS[2])
  return 0
end
if complete ~= '' then
  begin(redis.call, KEYS[2], ARGV[2])
  redis.call('UNLINK', KEYS[2])
  begin(redis.call, KEYS[2], ARGV[2])
  redis.call('HSET', KEYS[2], '/c', complete)
end
for first = 6, #ARGV, 2000 do
  redis.call('HSET', KEYS[2], unpack(ARGV, first, math.min(first + 1999, #ARGV)))
end
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
""",
)
"""KEYS state, directory; ARGV path, version, complete or "", seconds to keep, most names, then name, record, ...
-> 0|1"""

PUBLISH = _script(
    _DIRECTORIES,
    f"""
local origin, number, seconds, most, length = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local word, steps = ARGV[6], tonumber(ARGV[7])
local ready, paths, at = {{}}, {{}}, 8
local counted = redis.pcall('HINCRBY', KEYS[1], 'n', 1)
if broken(counted) then
  redis.pcall('DEL', KEYS[1])
  return counted
end
told = counted
for i = 3, #KEYS do
  paths[i] = ARGV[at]
  at = at + 1
end

local function put(key, path, name, record)
  if not ready[key] then
    if not version(key, path) then begin(redis.call, key, number) end
    if redis.call('HLEN', key) > most then
      redis.call('UNLINK', key)
      begin(redis.call, key, number)
    end
    ready[key] = true
  end
  redis.call('HSET', key, name, record, '/v', number)
  redis.call('EXPIRE', key, seconds)
end

local function drop(key, path, name)
  if version(key, path) then
    redis.call('HDEL', key, name)
    redis.call('HSET', key, '/v', number)
  end
end

for _ = 1, steps do
  local what, i, name, record = ARGV[at], tonumber(ARGV[at + 1]) + 3, ARGV[at + 2], ARGV[at + 3]
  at = at + 4
  if what == 'put' then
    put(KEYS[i], paths[i], name, record)
  elseif what == 'drop' then
    drop(KEYS[i], paths[i], name)
  elseif what == 'forget' then
    redis.call('UNLINK', KEYS[i])
    ready[KEYS[i]] = nil
  elseif what == 'tree' then
    trees, ready = trees + 1, {{}}
    redis.call('HSET', KEYS[1], 'g', trees, 't' .. name, trees)
    if redis.call('HLEN', KEYS[1]) > {MOST_TREES} then rotate(word) end
  else
    rotate(word)
    ready = {{}}
  end
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', length, '*', 'o', origin, 'e', epoch, 'n', told, unpack(ARGV, at))
return 1
""",
)
"""KEYS state, stream, directories; ARGV origin, version, seconds to keep, most names, length of the stream, the next
epoch, number of steps, paths of the directories, the steps (what, index of the directory, name, record), then the
fields for the stream."""

ENTER = _script(
    f"""
local function broken(reply) return type(reply) == 'table' and reply.err end

local server = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local state = redis.pcall('HMGET', KEYS[1], 'e', 'n', 'r', 'g')
if broken(state) then
  redis.call('UNLINK', KEYS[1])
  state = {{}}
end
local epoch, told = state[1], tonumber(state[2] or '') or 0
if not epoch or not state[4] or state[3] ~= server or ARGV[2] == '1' then
  epoch, told = ARGV[1], told + 1
  local fields = {{'e', epoch, 'n', told, 'r', server, 'g', 0}}
  redis.call('HSET', KEYS[1], unpack(fields))
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], unpack(fields))
  if broken(redis.pcall('XLEN', KEYS[2])) then redis.call('UNLINK', KEYS[2]) end
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'o', '{ORIGIN.decode()}', 'e', epoch, 'n', told)
else
  redis.call('HSET', KEYS[1], 'b', 1)
end
redis.call('EXPIRE', KEYS[1], {KEPT})
redis.call('EXPIRE', KEYS[2], {KEPT})
local last = redis.pcall('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
if broken(last) then
  redis.call('UNLINK', KEYS[2])
  last = {{}}
end
return {{epoch, told, last[1] and last[1][1] or '0-0'}}
"""
)
"""KEYS state, stream; ARGV a new epoch, 1 if changes of this mount were lost, length of the stream.
-> epoch, entries told, id of the last one. Writes always, so that it fails where changes could not be told."""

CONTENT = _script(_KEPT_CONTENT, "return content(1, ARGV[1])")
"""KEYS segments; ARGV digest. -> the content"""

KEEP = _script(
    """
for i = 2, #KEYS do
  local there = redis.pcall('HEXISTS', KEYS[i], ARGV[1])
  if there == 1 then return 0 end
  if there ~= 0 then redis.call('UNLINK', KEYS[i]) end
end
local place = redis.pcall('HMGET', KEYS[1], 'at', 'used')
local at, used
if place.err then redis.call('UNLINK', KEYS[1]) else at, used = tonumber(place[1] or ''), tonumber(place[2] or '') end
local size = #ARGV[1] + #ARGV[2]
local fresh = not at or not used or not KEYS[at + 2]
if fresh then at = 0 elseif used + size > tonumber(ARGV[3]) then at, fresh = (at + 1) % (#KEYS - 1), true end
if fresh then used = 0 end
redis.call('HSET', KEYS[1], 'at', at, 'used', used + size)
if fresh then redis.call('UNLINK', KEYS[at + 2]) end
redis.call('HSET', KEYS[at + 2], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[at + 2], ARGV[4])
return 1
"""
)
"""KEYS control, segments; ARGV digest, content, bytes of a segment, seconds to keep. -> 0|1

Segments are filled one after the other, in a ring: when the last is full the oldest is dropped as a whole.
"""
