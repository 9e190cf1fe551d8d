"""The steps of the journal in Redis, each one atomic script, and the keys they stand on.

    meta       hash    layout, last number given, bytes stored, proof of the key that seals
    accepted   stream  the requests in order of acceptance, `<number>-0`. Its group `workers` has pending
                       for a consumer what that holder has leased
    names      hash    name -> number
    state      hash    number -> what changes about it (JSON; every value a string, as Lua rounds)
    answers    hash    number -> the application's answer
    queue      sorted  `<order><number>` of all unfinished: the first of an order is next in it
    busy       hash    order -> number that runs
    ready      sorted  numbers that may be leased, oldest first: the next of its order, nothing of it runs
    later      sorted  the same, by the moment from which they may be
    leases     sorted  numbers that run, by the end of their lease
    finished   sorted  numbers done or failed, by when
    pending, running, done, failed, dead     sorted  numbers by state

A step that frees memory writes with a command that Redis allows when it is out of memory first: then
the rest of its script may write, too. A step that takes memory begins with one that is refused.
"""

from __future__ import annotations

LAYOUT = 1
KEYS = (
    "meta",
    "accepted",
    "names",
    "state",
    "answers",
    "queue",
    "busy",
    "ready",
    "later",
    "leases",
    "finished",
    "pending",
    "running",
    "done",
    "failed",
    "dead",
)
STRANGE = "HOLDFAST"  # begins the error of a step that did not find the layout it knows

_NAMED = f"local {', '.join(KEYS)} = unpack(KEYS)\nlocal call = redis.call\n"

_COMMON = f"""
if call('HGET', meta, 'layout') ~= '{LAYOUT}' then
  return redis.error_reply('{STRANGE} the journal is not of layout {LAYOUT}')
end
local again = ARGV[1] == '1'
local lists = {{pending=pending, running=running, done=done, failed=failed, dead=dead}}

local function text(number) return string.format('%.0f', number) end

local function load(n)
  local found = call('HGET', state, n)
  return found and cjson.decode(found)
end

local function save(n, one) call('HSET', state, n, cjson.encode(one)) end

local function place(order, n) return order .. string.format('%016.0f', tonumber(n)) end

local function head(order)
  local first = call('ZRANGEBYLEX', queue, '[' .. order, '[' .. order .. '~', 'LIMIT', 0, 1)[1]
  return first and text(tonumber(string.sub(first, #order + 1)))
end

local function offer(order)  -- let the next of an order be leased, unless one of it runs
  local n = head(order)
  if not n or call('HEXISTS', busy, order) == 1 then return end
  call('ZREM', ready, n)
  call('ZREM', later, n)
  local not_before = load(n).not_before
  if tonumber(not_before) > 0 then call('ZADD', later, not_before, n) else call('ZADD', ready, n, n) end
end

local function let_go(n, one)  -- it runs no more
  call('XACK', accepted, 'workers', n .. '-0')
  call('ZREM', leases, n)
  call('ZREM', running, n)
  call('HDEL', busy, one.order)
  one.holder, one.lease, one.leased_until = nil, nil, '0'
end

local function free(n, asking)  -- its lease has ended, or its holder
  local one = load(n)
  if one.holder ~= asking then one.interruptions = text(tonumber(one.interruptions or '0') + 1) end
  let_go(n, one)
  one.state = 'pending'
  call('ZADD', pending, n, n)
  save(n, one)
  offer(one.order)
end

local function held(consumer)
  local numbers = {{}}
  for _, found in ipairs(call('XPENDING', accepted, 'workers', '-', '+', 10000, consumer)) do
    numbers[#numbers + 1] = string.match(found[1], '^%d+')
  end
  return numbers
end

local function erase(n, one)
  call('XDEL', accepted, n .. '-0')
  call('ZREM', lists[one.state], n)
  call('ZREM', finished, n)
  call('ZREM', queue, place(one.order, n))
  call('ZREM', ready, n)
  call('ZREM', later, n)
  call('HDEL', names, one.name)
  call('HDEL', state, n)
  call('HDEL', answers, n)
  call('HINCRBY', meta, 'bytes', 0 - tonumber(one.size) - tonumber(one.answer_size))
end

local function whole(n)
  local found = call('HGET', state, n)
  if not found then return false end
  local request = call('XRANGE', accepted, n .. '-0', n .. '-0')[1]
  return {{n, found, request and request[2][2] or false, call('HGET', answers, n)}}
end
"""

_OPEN = f"""
if call('EXISTS', meta) == 0 then
  call('XGROUP', 'CREATE', accepted, 'workers', '0', 'MKSTREAM')
  call('HSET', meta, 'layout', '{LAYOUT}')
end
local layout = call('HGET', meta, 'layout')
local proof = call('HGET', meta, 'proof')
if layout == '{LAYOUT}' and ARGV[2] and (not proof or call('XLEN', accepted) == 0) then
  proof = ARGV[2]
  call('HSET', meta, 'proof', proof)
end
return {{layout or '', proof}}
"""

_ACCEPT = """
local name, order, size, most, journaled_at, request = unpack(ARGV, 2)
local known = call('HGET', names, name)
if known then
  if again then call('HSET', meta, 'again', known) end  -- so that WAITAOF has a write to wait for
  return known
end
local stored = tonumber(call('HGET', meta, 'bytes') or '0')
local missing = stored + tonumber(size) - tonumber(most)
local let_go_of = {}
for _, list in ipairs({done, failed}) do  -- each has 256 bytes or more
  local oldest = missing > 0 and call('ZRANGE', list, 0, math.floor(missing / 256)) or {}
  for _, old in ipairs(oldest) do
    if missing <= 0 then break end
    local one = load(old)
    let_go_of[#let_go_of + 1] = {old, one}
    missing = missing - tonumber(one.size) - tonumber(one.answer_size)
  end
end
if missing > 0 then return 'full ' .. text(stored) end
local n = text(call('HINCRBY', meta, 'last', 1))
for _, old in ipairs(let_go_of) do erase(old[1], old[2]) end
call('XADD', accepted, n .. '-0', 'request', request)
call('HINCRBY', meta, 'bytes', size)
call('HSET', names, name, n)
call('ZADD', queue, 0, place(order, n))
call('ZADD', pending, n, n)
save(n, {
  state='pending', name=name, order=order, size=size, at=journaled_at,
  attempts='0', not_before='0', leased_until='0', cause='', answer_size='0'
})
if head(order) == n then offer(order) end
return n
"""

_HOLDERS = """
local names = {}
for _, one in ipairs(call('XINFO', 'CONSUMERS', accepted, 'workers')) do
  if one[4] > 0 then names[#names + 1] = one[2] end
end
return names
"""

_LEASE = """
local ticket, most, consumer, until_, now = unpack(ARGV, 2, 6)
local given = {}
if again then  -- the answer was lost: what this very call was given is given again
  for _, n in ipairs(held(consumer)) do
    if load(n).lease == ticket then given[#given + 1] = whole(n) end
  end
  if #given > 0 then return given end
end
for at = 7, #ARGV do
  for _, n in ipairs(held(ARGV[at])) do free(n, consumer) end
  if #held(ARGV[at]) == 0 then call('XGROUP', 'DELCONSUMER', accepted, 'workers', ARGV[at]) end
end
for _, n in ipairs(call('ZRANGEBYSCORE', leases, '-inf', now)) do free(n, consumer) end
for _, n in ipairs(call('ZRANGEBYSCORE', later, '-inf', now)) do
  call('ZREM', later, n)
  call('ZADD', ready, n, n)
end
while #given < tonumber(most) do
  local n = call('ZPOPMIN', ready)[1]
  if not n then break end
  local one = load(n)
  if tonumber(one.not_before) > tonumber(now) then  -- it was due by another machine's clock
    call('ZADD', later, one.not_before, n)
  else
    call('ZREM', pending, n)
    call('ZADD', running, n, n)
    call('ZADD', leases, until_, n)
    call('HSET', busy, one.order, n)
    call('XCLAIM', accepted, 'workers', consumer, 0, n .. '-0', 'FORCE', 'JUSTID')
    one.state, one.holder, one.lease, one.leased_until = 'running', consumer, ticket, until_
    save(n, one)
    given[#given + 1] = whole(n)
  end
end
return given
"""

_RENEW = """
local consumer, until_ = ARGV[2], ARGV[3]
local ours = {}
for at = 4, #ARGV do
  local n = ARGV[at]
  local one = load(n)
  if one and one.state == 'running' and one.holder == consumer then
    if tonumber(until_) > tonumber(one.leased_until) then
      call('ZREM', leases, n)
      call('ZADD', leases, until_, n)
      one.leased_until = until_
      save(n, one)
    end
    ours[#ours + 1] = n
  end
end
return ours
"""

_FINISH = """
local n, consumer, ticket, state_, attempts, interruptions, cause = unpack(ARGV, 2, 8)
local not_before, now, weight, answer = unpack(ARGV, 9)
local one = load(n)
if not one then return 0 end
if one.step == ticket then return 1 end  -- it was done before, and the answer to it was lost
if one.state ~= 'running' or one.holder ~= consumer then return 0 end
if tonumber(one.leased_until) <= tonumber(now) then return 0 end
let_go(n, one)
one.state, one.attempts, one.interruptions = state_, attempts, interruptions
one.cause, one.step = cause, ticket
call('ZADD', lists[state_], n, n)
if state_ == 'pending' then
  one.not_before = not_before
else
  call('ZREM', queue, place(one.order, n))
  one.finished_at = now
  if state_ ~= 'dead' then call('ZADD', finished, now, n) end
end
if answer then
  call('HSET', answers, n, answer)
  one.answer_size = weight
  call('HINCRBY', meta, 'bytes', weight)
end
save(n, one)
offer(one.order)
return 1
"""

_FIND = """
local n = call('HGET', names, ARGV[2])
return n and whole(n)
"""

_ENTRY = "return whole(ARGV[2])"

_BACKLOG = """
local oldest
for _, list in ipairs({pending, running}) do
  local n = tonumber(call('ZRANGE', list, 0, 0)[1])
  if n and (not oldest or n < oldest) then oldest = n end
end
local counts = {call('HGET', meta, 'bytes') or '0', oldest and load(text(oldest)).at or ''}
for at, list in ipairs({pending, running, done, failed, dead}) do counts[at + 2] = call('ZCARD', list) end
return counts
"""

_LISTED = """
local state_, most, after = unpack(ARGV, 2)
local found = {}
if state_ == '' then
  for _, one in ipairs(call('XRANGE', accepted, text(tonumber(after) + 1) .. '-0', '+', 'COUNT', most)) do
    found[#found + 1] = whole(string.match(one[1], '^%d+'))
  end
else
  for _, n in ipairs(call('ZRANGEBYSCORE', lists[state_], '(' .. after, '+inf', 'LIMIT', 0, most)) do
    found[#found + 1] = whole(n)
  end
end
return found
"""

_RETRY = """
local n, ticket = ARGV[2], ARGV[3]
local one = load(n)
if not one then return 0 end
if one.step == ticket then return 1 end
if one.state ~= 'failed' and one.state ~= 'dead' then return 0 end
call('ZREM', lists[one.state], n)
call('ZREM', finished, n)
call('HDEL', answers, n)
call('HINCRBY', meta, 'bytes', 0 - tonumber(one.answer_size))
local before = head(one.order)  -- it may stand before the one that is on offer
if before then
  call('ZREM', ready, before)
  call('ZREM', later, before)
end
one.state, one.attempts, one.interruptions = 'pending', '0', '0'
one.not_before, one.answer_size, one.finished_at, one.step = '0', '0', nil, ticket
call('ZADD', pending, n, n)
call('ZADD', queue, 0, place(one.order, n))
save(n, one)
offer(one.order)
return 1
"""

_DROP = """
local n = ARGV[2]
local one = load(n)
if not one then
  local given = tonumber(n) >= 1 and tonumber(n) <= tonumber(call('HGET', meta, 'last') or '0')
  return (again and given) and 1 or 0  -- our own answer was lost
end
if one.state == 'running' then return 0 end
erase(n, one)
offer(one.order)
return 1
"""

_PRUNE = """
local numbers = call('ZRANGEBYSCORE', finished, '-inf', '(' .. ARGV[2], 'LIMIT', 0, ARGV[3])
for _, n in ipairs(numbers) do erase(n, load(n)) end
for _, one in ipairs(call('XINFO', 'CONSUMERS', accepted, 'workers')) do
  if one[4] == 0 and one[6] > 3600000 then call('XGROUP', 'DELCONSUMER', accepted, 'workers', one[2]) end
end
return #numbers
"""

SCRIPTS = {"open": _NAMED + _OPEN} | {
    step: _NAMED + _COMMON + body
    for step, body in {
        "accept": _ACCEPT,
        "holders": _HOLDERS,
        "lease": _LEASE,
        "renew": _RENEW,
        "finish": _FINISH,
        "find": _FIND,
        "entry": _ENTRY,
        "backlog": _BACKLOG,
        "listed": _LISTED,
        "retry": _RETRY,
        "drop": _DROP,
        "prune": _PRUNE,
    }.items()
}


def keys_of(journal: str) -> tuple[str, ...]:
    """The keys of *journal*: what stands in braces keeps them all in one slot of a cluster."""
    return tuple(f"holdfast:{{{journal}}}:{key}" for key in KEYS)
