-- Open-loop load: `luajit paced.lua PORT RATE SECONDS CONNECTIONS SEED USERS PATH` asks at times that are laid down
-- beforehand, and measures every answer from the time its request was due. Prints one line, RESULT and JSON.
--
-- SIGINT ends it early, with what was due until then.
--
-- The gaps between requests are those of users who know nothing of each other (exponential). A request that finds no
-- connection free waits, and its wait counts; so a peer that stalls is charged for everybody who would have come in the
-- meantime, not for the few whom a closed loop would have let ask (coordinated omission). LuaJIT, since this must cost
-- less than the peers it measures; the system calls are libc's (epoll_pwait2: glibc 2.35, Linux 5.11).

local ffi = require("ffi")
local C = ffi.C
local packed = ffi.arch == "x64" and "__attribute__((packed))" or ""
ffi.cdef([[
struct timespec { long tv_sec; long tv_nsec; };
struct sockaddr_in { uint16_t family; uint16_t port; uint32_t address; uint8_t zero[8]; };
struct epoll_event { uint32_t events; uint32_t index; uint32_t rest; } ]] .. packed .. [[;
int socket(int, int, int);
int connect(int, const struct sockaddr_in *, unsigned);
int setsockopt(int, int, int, const int *, unsigned);
int close(int);
ssize_t send(int, const char *, size_t, int);
ssize_t recv(int, char *, size_t, int);
int epoll_create1(int);
int epoll_ctl(int, int, int, struct epoll_event *);
int epoll_pwait2(int, struct epoll_event *, int, const struct timespec *, const void *);
int clock_gettime(int, struct timespec *);
int prctl(int, unsigned long);
uint16_t htons(uint16_t);
uint32_t htonl(uint32_t);
void *memmem(const void *, size_t, const void *, size_t);
char *strcasestr(const char *, const char *);
long strtol(const char *, char **, int);
typedef struct { unsigned long bits[16]; } sigset_t;
int sigemptyset(sigset_t *);
int sigaddset(sigset_t *, int);
int sigprocmask(int, const sigset_t *, sigset_t *);
int signalfd(int, const sigset_t *, int);
]])

local MSG_DONTWAIT, MSG_NOSIGNAL, EAGAIN, EPOLLIN = 0x40, 0x4000, 11, 1
local ROOM = 16384 -- bytes kept of an answer: its head must fit
local PATIENCE = 2e6 -- microseconds that the last answers have
local port, rate, seconds, connections = tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4])
local seed, users, path = tonumber(arg[5]), tonumber(arg[6]), arg[7]

local moment = ffi.new("struct timespec")
local function microseconds()
  C.clock_gettime(1, moment)
  return tonumber(moment.tv_sec) * 1e6 + tonumber(moment.tv_nsec) / 1e3
end

-- What is laid down beforehand: who asks, and when.
math.randomseed(seed)
local requests = {}
for user = 1, users do
  requests[user] = "GET " .. path .. " HTTP/1.1\r\nHost: bench\r\nx-user-id: user-" .. math.random(1, 1000000) .. "\r\n\r\n"
end
local total = math.max(1, math.floor(rate * seconds))
local due = ffi.new("double[?]", total + 1)
local at = 0
for number = 0, total - 1 do
  due[number] = at
  at = at - math.log(1 - math.random()) * 1e6 / rate
end
due[total] = 1e300

-- Histograms: exact below 256 microseconds, then 128 steps for each doubling (bench/paced.py knows the same).
local BUCKETS = 128 * 32
local waited, late = ffi.new("uint32_t[?]", BUCKETS), ffi.new("uint32_t[?]", BUCKETS)
local function note(histogram, value)
  value = math.max(0, math.floor(value))
  local doubled = 0
  while value >= 256 do
    value = math.floor(value / 2)
    doubled = doubled + 1
  end
  local bucket = math.min(BUCKETS - 1, doubled * 128 + value)
  histogram[bucket] = histogram[bucket] + 1
end

-- Connections, by number: descriptor, what has come of the answer, which request it carries, since when it is free.
local descriptor = ffi.new("int[?]", connections)
local buffers = ffi.new("char[?]", connections * (ROOM + 1))
local have, missing = ffi.new("int[?]", connections), ffi.new("double[?]", connections)
local carries, idle_since = ffi.new("int[?]", connections), ffi.new("double[?]", connections)
local free, free_count = ffi.new("int[?]", connections), 0
local scratch = ffi.new("char[?]", 65536)
local poll = C.epoll_create1(0)
local answered, failed = 0, 0

local function release(number, now)
  have[number], missing[number], carries[number], idle_since[number] = 0, -1, -1, now
  free[free_count] = number
  free_count = free_count + 1
end

local function open(number)
  local socket = C.socket(2, 1, 0)
  local address = ffi.new("struct sockaddr_in", { family = 2, port = C.htons(port), address = C.htonl(0x7f000001) })
  if socket < 0 or C.connect(socket, address, 16) ~= 0 then
    error("no connection to port " .. port .. ": errno " .. ffi.errno())
  end
  C.setsockopt(socket, 6, 1, ffi.new("int[1]", 1), 4) -- TCP_NODELAY
  local event = ffi.new("struct epoll_event")
  event.events, event.index = EPOLLIN, number
  C.epoll_ctl(poll, 1, socket, event)
  descriptor[number] = socket
end

-- SIGINT as an event like any other.
local STOP = 0xffffffff
do
  local signals, event = ffi.new("sigset_t"), ffi.new("struct epoll_event")
  C.sigemptyset(signals)
  C.sigaddset(signals, 2)
  C.sigprocmask(0, signals, nil)
  event.events, event.index = EPOLLIN, STOP
  C.epoll_ctl(poll, 1, C.signalfd(-1, signals, 0), event)
end

local start -- when the first request is due
local function settle(number, now, well)
  if carries[number] >= 0 then
    note(waited, now - start - due[carries[number]])
    if well then answered = answered + 1 else failed = failed + 1 end
  end
end

local function broken(number, now)
  settle(number, now, false)
  C.close(descriptor[number])
  if carries[number] < 0 then -- it was idle, and stands in the list of the free ones already
    open(number)
    return
  end
  open(number)
  release(number, now)
end

local function ask(number, request, now)
  local text = requests[request % users + 1]
  note(late, now - math.max(start + due[request], idle_since[number]))
  carries[number] = request
  if C.send(descriptor[number], text, #text, MSG_NOSIGNAL) ~= #text then broken(number, now) end
end

-- How many bytes of the answer are still to come; nil: its head is not whole yet; -1: it is not one we can read.
local function to_come(number)
  local answer = buffers + number * (ROOM + 1)
  local blank = ffi.cast("char *", C.memmem(answer, have[number], "\r\n\r\n", 4))
  if blank == nil then return have[number] >= ROOM and -1 or nil end
  blank[2] = 0 -- the head ends here, for strcasestr
  local length = C.strcasestr(answer, "\r\ncontent-length:")
  if length == nil then return -1 end
  return (blank - answer) + 4 + tonumber(C.strtol(length + 17, nil, 10)) - have[number]
end

local function heard(number)
  local answer = buffers + number * (ROOM + 1)
  local got
  if missing[number] > 0 then
    got = tonumber(C.recv(descriptor[number], scratch, 65536, MSG_DONTWAIT))
  else
    got = tonumber(C.recv(descriptor[number], answer + have[number], ROOM - have[number], MSG_DONTWAIT))
  end
  local now = microseconds()
  if got <= 0 then
    if got == 0 or ffi.errno() ~= EAGAIN then broken(number, now) end
    return
  end
  if carries[number] < 0 then -- an answer nobody asked for
    failed = failed + 1
    return
  end
  if missing[number] > 0 then
    missing[number] = missing[number] - got
  else
    have[number] = have[number] + got
    local more = to_come(number)
    if more == nil then return end
    if more < 0 then return broken(number, now) end
    missing[number] = more
  end
  if missing[number] == 0 then
    settle(number, now, answer[9] == 50) -- "HTTP/1.1 2..": the status begins with 2
    release(number, now)
  end
end

for number = 0, connections - 1 do
  open(number)
  release(number, 0)
end
C.prctl(29, 1) -- PR_SET_TIMERSLACK: waits end when asked to, not up to 50 microseconds later

local ready, timeout = ffi.new("struct epoll_event[256]"), ffi.new("struct timespec")
start = microseconds() + 1e4
local asked, last, stopped = 0, due[total - 1] + PATIENCE, false
while answered + failed < total do
  local now = microseconds()
  while free_count > 0 and start + due[asked] <= now do
    free_count = free_count - 1
    ask(free[free_count], asked, now)
    asked = asked + 1
  end
  if now - start > last then break end
  local wait = 1e5
  if free_count > 0 then wait = math.min(wait, math.max(0, start + due[asked] - microseconds())) end
  timeout.tv_nsec = wait * 1e3
  for event = 0, C.epoll_pwait2(poll, ready, 256, timeout, nil) - 1 do
    local number = ready[event].index
    if number ~= STOP then
      heard(number)
    elseif not stopped then
      stopped = true
      total = asked
      local passed = microseconds() - start
      while due[total] <= passed do total = total + 1 end
      due[total] = 1e300
      last = passed + PATIENCE
    end
  end
end

-- Who is not answered by now has waited at least until now.
local now = microseconds()
for number = 0, connections - 1 do settle(number, now, false) end
for request = asked, total - 1 do
  note(waited, now - start - due[request])
  failed = failed + 1
end

local function listed(histogram)
  local parts = {}
  for bucket = 0, BUCKETS - 1 do
    if histogram[bucket] > 0 then parts[#parts + 1] = string.format("[%d,%d]", bucket, histogram[bucket]) end
  end
  return "[" .. table.concat(parts, ",") .. "]"
end
print(string.format(
  'RESULT {"requests":%d,"failed":%d,"microseconds":%d,"waited":%s,"late":%s}',
  answered, failed, now - start, listed(waited), listed(late)))
