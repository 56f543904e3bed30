import { REASON_HEADER, REFUSALS } from '../model/refusal.ts';
import type { RefusalCode } from '../model/refusal.ts';
import type { Route, RouteTable, Version } from '../model/route-table.ts';
import { hasFeed, REASON_VARIABLE } from './render-log.ts';
import type { RenderOptions } from './render-options.ts';
import { backendNames } from './section-names.ts';

export const BREAKER_SCRIPT = 'breakers.lua';
/** `BACKEND threshold:window:breakTime`, in seconds; changed at run time. */
export const BREAKER_MAP = 'maps/breakers.map';
/** Names of the backends whose breaker is open: only the running worker writes it, the file stays empty. */
export const OPEN_LIST = 'maps/open-breakers.map';
/** Table that counts calls refused by versions, by caller: `gpc0` conn-limit, `gpc1` breaker-open. */
export const REFUSED_TABLE = 'refused-by-version';

/** `LIMIT+1:MOST 1`: counts of connections that are too many for this backend; changed at run time. */
export const limitMap = (backend: string): string => `maps/${backend}.limit.map`;
/** HAProxy counts no more. */
export const MOST_CONNECTIONS = 2 ** 32 - 1;

export const hasBreaker = ({ breaker }: Version, options: RenderOptions): boolean => options.haproxy.lua && (breaker?.threshold ?? 0) > 0;

const versionsOf = (table: RouteTable): readonly Version[] => table.routes.flatMap((route) => (route.invalid ? [] : route.versions));

/** Protocols of the routes that have a version with a breaker. */
export const breakerProtocols = (table: RouteTable, options: RenderOptions): ReadonlySet<Route['protocol']> =>
  new Set(table.routes.filter((route) => !route.invalid && route.versions.some((version) => hasBreaker(version, options))).map(({ protocol }) => protocol));

export const hasBreakers = (table: RouteTable, options: RenderOptions): boolean => breakerProtocols(table, options).size > 0;

const hasLimits = (table: RouteTable): boolean => versionsOf(table).some(({ breaker }) => (breaker?.connLimit ?? 0) > 0);

/** Whether calls may be refused by a version: then {@link REFUSED_TABLE} is there. */
export const countsRefused = (table: RouteTable, options: RenderOptions): boolean => hasLimits(table) || hasBreakers(table, options);

/** The table's section, when anything counts into it. */
export const renderRefusedTable = (table: RouteTable, options: RenderOptions): readonly string[] =>
  countsRefused(table, options) ? [`backend ${REFUSED_TABLE} from http`, '  stick-table type ipv6 size 10k store gpc0,gpc1', ''] : [];

/**
 * A refusal inside a version's section. The second condition counts it and always holds (negated: it does too when there is nothing
 * to count by); it is only read when the first one holds. `deny` rather than `return`: it stands in the backend's `dreq`.
 * `told`: finished calls of this tcp route are told, so the reason is set as well.
 */
function refuse(code: RefusalCode, protocol: Route['protocol'], told: boolean, condition: string, counter: 'gpc0' | 'gpc1'): readonly string[] {
  const counted = `${condition} !{ src_inc_${counter}(${REFUSED_TABLE}) lt 0 }`;
  if (protocol === 'http') {
    const { status, text } = REFUSALS[code];
    return [`  http-request deny deny_status ${status} content-type text/plain hdr ${REASON_HEADER} ${code} string "${text}\\n" if ${counted}`];
  }
  return [...(told ? [`  tcp-request content set-var(${REASON_VARIABLE}) str(${code}) if ${condition}`] : []), `  tcp-request content reject if ${counted}`];
}

/**
 * What versions with a breaker do besides, in defaults of their own: rules of a `defaults` section are shared by the sections that use it, so
 * that one list of open breakers is kept and not one for each version. While no breaker is open that list is empty, which costs next to nothing.
 * Only where a section uses them: 2.6 frees defaults that none uses, and then every list of the same file matches anything.
 * An error is a 5xx while a server is assigned: our own refusals have none, whatever a header says.
 */
export const renderBreakerRules = (protocol: Route['protocol']): readonly string[] => [
  ...refuse('breaker-open', protocol, true, `{ be_name -m str -f ${OPEN_LIST} }`, 'gpc1'),
  ...(protocol === 'http' ? ['  http-after-response set-var(txn.breaker) lua.breaker_error if { status ge 500 } { srv_id -m found }'] : []),
];

/**
 * Concurrent calls of a version, in all of its backends. HAProxy counts a call into its backend before it reads these rules, so the limit is exact with
 * any number of threads.
 */
export function renderConnLimit(route: Route, { breaker }: Version, [near = '', ...farther]: readonly string[]): readonly string[] {
  if ((breaker?.connLimit ?? 0) === 0) return [];
  const rule = route.protocol === 'http' ? 'http-request' : 'tcp-request content';
  const sums = farther.map((name, i) => `  ${rule} set-var(txn.conns) be_conn(${name})${i === 0 ? '' : ',add(txn.conns)'}`);
  const all = farther.length === 0 ? 'be_conn' : `be_conn(${near}),add(txn.conns)`;
  return [...sums, ...refuse('conn-limit', route.protocol, hasFeed(route), `{ ${all},map_int(${limitMap(near)}) -m found }`, 'gpc0')];
}

/** Files that breakers need; none without a breaker. */
export function renderBreakerFiles(table: RouteTable, options: RenderOptions): readonly (readonly [file: string, content: string])[] {
  if (!hasBreakers(table, options)) return [];
  const settings = table.routes.flatMap((route) => {
    const names = backendNames(route);
    return route.invalid ? [] : route.versions.flatMap((version, i) => (hasBreaker(version, options) ? [`${names[i]} ${renderSettings(version)}\n`] : []));
  });
  return [
    [BREAKER_MAP, settings.join('')],
    [OPEN_LIST, ''],
    [BREAKER_SCRIPT, renderBreakerScript()],
  ];
}

const renderSettings = ({ breaker }: Version): string => `${breaker?.threshold}:${breaker?.windowSeconds}:${breaker?.breakTimeSeconds}`;

/**
 * The breakers of a worker. It runs for errors, at an opening's end, and for the agent's commands; good calls never reach it.
 *
 * One Lua state for all threads, behind HAProxy's lock. Times are of `core.now()`, which does not jump when the system's clock is set, and
 * are handed out as ages only: another worker has another clock, and another thread one that may be some ms behind (seen on 3.0). A closing is a timer of HAProxy; `turn` tells a late one that it is void.
 * A command that is long may be suspended in between: nothing here walks a table that others change.
 */
export const renderBreakerScript = (): string => `-- Circuit breakers: counts errors of versions, opens and closes.
local settings = Map.new("${BREAKER_MAP}", Map._str)
local OPEN = "${OPEN_LIST}"
local breakers, names = {}, {}
-- False: a worker that the agent has not given its last state yet.
local restored = false

local function now_ms()
  local now = core.now()
  return now.sec * 1000 + now.usec // 1000
end

-- threshold, window and break time (ms); nil: the version has no breaker.
local function settings_of(name)
  local text = settings:lookup(name)
  if text == nil then return nil end
  local threshold, window, break_time = text:match("^(%d+):(%d+):(%d+)$")
  if threshold == nil then return nil end
  return tonumber(threshold), tonumber(window) * 1000, tonumber(break_time) * 1000
end

-- errors: a queue of times, oldest at first.
local function breaker_of(name)
  local one = breakers[name]
  if one == nil then
    one = { name = name, mode = "auto", open = false, turn = 0, errors = {}, first = 1, last = 0 }
    breakers[name] = one
    names[#names + 1] = name
  end
  return one
end

local function forget(one)
  one.errors, one.first, one.last = {}, 1, 0
end

-- A version that spills over has backends for farther tiers, NAME:2 and NAME:3 (its breaker is one).
local function each_backend(name, change)
  for _, tier in ipairs({ "", ":2", ":3" }) do change(OPEN, name .. tier) end
end

local function close(one)
  one.turn, one.until_ms = one.turn + 1, nil
  if one.open then
    one.open = false
    each_backend(one.name, core.del_acl)
  end
end

-- ms: how long; nil: until it is told otherwise.
local function open(one, ms)
  forget(one)
  one.turn, one.until_ms = one.turn + 1, nil
  if not one.open then
    one.open = true
    each_backend(one.name, core.add_acl)
  end
  if ms == nil then return end
  one.until_ms = now_ms() + ms
  local turn = one.turn
  core.register_task(function()
    core.msleep(ms)
    if one.turn == turn then close(one) end
  end)
end

local function drop_first(one)
  one.errors[one.first] = nil
  one.first = one.first + 1
end

local function drop_old(one, window, now)
  while one.first <= one.last and now - one.errors[one.first] >= window do drop_first(one) end
end

local function count_error(name, at)
  local threshold, window, break_time = settings_of(name)
  if threshold == nil then return end
  local one = breaker_of(name)
  if one.open then return end
  one.last = one.last + 1
  one.errors[one.last] = at
  drop_old(one, window, at)
  while one.last - one.first + 1 > threshold do drop_first(one) end
  if one.mode == "auto" and one.last - one.first + 1 >= threshold then open(one, break_time) end
end

core.register_fetches("breaker_error", function(txn)
  count_error(txn.f:be_name():match("^[^:]+"), now_ms())
  return true
end)

-- restored or fresh; then a line for each breaker that is not just closed: name, mode, open or closed, ms left (-: none), ages of its errors in ms (-: none).
core.register_cli({ "onehop", "breakers" }, "onehop breakers [restored] : what the breakers do", function(applet, _, _, verb)
  if verb == "restored" then
    restored = true
    return
  end
  applet:send(restored and "restored\\n" or "fresh\\n")
  for i = 1, #names do
    local one = breakers[names[i]]
    local _, window = settings_of(one.name)
    local now = now_ms()
    if window ~= nil then drop_old(one, window, now) end
    if window ~= nil and (one.open or one.mode ~= "auto" or one.first <= one.last) then
      local ages = {}
      for at = one.first, one.last do ages[#ages + 1] = math.max(0, now - one.errors[at]) end
      local left = one.until_ms == nil and "-" or math.max(1, one.until_ms - now)
      applet:send(table.concat({ one.name, one.mode, one.open and "open" or "closed", left, #ages == 0 and "-" or table.concat(ages, ",") }, " ") .. "\\n")
    end
  end
end)

local function set_mode(one, mode)
  one.mode = mode
  forget(one)
  if mode == "open" then open(one) else close(one) end
end

-- Verbs: error COUNT, open, close, auto; opened MS (as if it had opened with so much left), errors AGE,AGE,... (oldest first).
core.register_cli({ "onehop", "breaker" }, "onehop breaker NAME VERB [ARG] : changes a breaker", function(applet, _, _, name, verb, arg)
  if name == nil or settings_of(name) == nil then return applet:send("no such breaker\\n") end
  if verb == "error" then
    -- No threshold is higher.
    for _ = 1, math.min(tonumber(arg) or 1, 10000) do count_error(name, now_ms()) end
    return
  end
  local one = breaker_of(name)
  if verb == "open" or verb == "close" or verb == "auto" then return set_mode(one, verb) end
  if verb == "opened" and tonumber(arg) ~= nil then return open(one, math.tointeger(arg)) end
  if verb ~= "errors" or arg == nil then return applet:send("unknown verb\\n") end
  local now = now_ms()
  for age in arg:gmatch("%d+") do count_error(name, now - math.tointeger(age)) end
end)
`;
