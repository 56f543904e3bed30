import { regexReach } from '../../../src/model/regex-reach.ts';
import type { Route, RouteTable } from '../../../src/model/route-table.ts';
import { aRoute, anEndpoint, aVersion } from '../route-tables.ts';
import { SERVER_PORT, SERVERS } from './bench-servers.ts';
import { benchTable, LISTEN, PLAIN } from './bench-table.ts';

/** Regexes that backtrack without end, or nearly so, on a row of `a` which does not end as they want; each in another way. */
const CATASTROPHIC = ['(a+)+$', '^(([a-z])+.)+[A-Z]([a-z])+$', '(.*a){20}[^a]$', '(?:a?){64}a{64}[b-c]$', '(?:a|a){11}[b-c]', 'a{0,60}a{0,60}[bc]', '[ab]*a[bc]'] as const;
/** Looks at the same value and does not match either. */
const INNOCENT = '^b[0-9]{4}$';
/** The most versions that a route may have: HAProxy tries the regexes of all, in order, until one matches. */
const MOST_VERSIONS = 16;

const LONG_BYTES = 4000;

/** What the hostile tenant's route asks, what an innocent route with as many versions asks instead, and how long the values are. */
export interface RegexAttack {
  readonly name: string;
  readonly hostile: readonly string[];
  readonly innocent: readonly string[];
  readonly bytes: number;
}

const attack = (name: string, hostile: readonly string[], bytes: number): RegexAttack => ({ name: `${name}, ${bytes} bytes`, hostile, innocent: hostile.map(() => INNOCENT), bytes });

const everywhere = Array.from({ length: MOST_VERSIONS }, (_, index) => CATASTROPHIC[index % CATASTROPHIC.length] ?? '');

/** The longest values that the regexes are matched against at all. */
const reachOf = (patterns: readonly string[]): number => Math.min(LONG_BYTES, regexReach(patterns.map((match) => aVersion('v', [], { match }))) ?? LONG_BYTES);

/** Values of 4 KB, then each regex with the longest values that reach it, then all at once on the most versions that a route may have. */
export const REGEX_ATTACKS: readonly RegexAttack[] = [
  attack(CATASTROPHIC[0], [CATASTROPHIC[0]], LONG_BYTES),
  ...CATASTROPHIC.map((pattern) => attack(pattern, [pattern], reachOf([pattern]))),
  attack(`${MOST_VERSIONS} versions of them`, everywhere, LONG_BYTES),
  attack(`${MOST_VERSIONS} versions of them`, everywhere, reachOf(everywhere)),
];

export const ATTACKED_HEADER = 'X-User';
export const VICTIM_VIP = '127.72.79.1';
const HOSTILE_VIP = '127.72.79.2';
const INNOCENT_VIP = '127.72.79.3';
export const callUrl = (vip: string): string => `http://${vip}:${LISTEN}/`;
export const HOSTILE_URL = callUrl(HOSTILE_VIP);
export const INNOCENT_URL = callUrl(INNOCENT_VIP);

/** The victim's route without any regex, the hostile one and the innocent one; calls that match nothing go to the preferred version. */
export function attackTable({ hostile, innocent }: RegexAttack): RouteTable {
  const table = benchTable(0, () => '', PLAIN);
  const servers = SERVERS.map((address) => anEndpoint(address, SERVER_PORT));
  const victim = aRoute('victim', { vip: VICTIM_VIP, listen: LISTEN, versions: [aVersion('victim', servers)] });
  return { ...table, routes: [headerRoute('hostile', HOSTILE_VIP, hostile), headerRoute('innocent', INNOCENT_VIP, innocent), victim] };

  function headerRoute(name: string, vip: string, patterns: readonly string[]): Route {
    return aRoute(name, {
      vip,
      listen: LISTEN,
      rule: { type: 'Header', header: ATTACKED_HEADER },
      choice: { kind: 'header', header: ATTACKED_HEADER, otherwise: 0 },
      versions: patterns.map((match, index) => aVersion(`${name}-${index}`, servers, { match })),
    });
  }
}

/**
 * wrk's script of an attacker: a value of that length that is another one in each call, so that no cache of results helps.
 * `perSecond`: as often as that in all, the calls that come late are made up for; absent: as fast as they are answered.
 */
export const renderAttacker = (bytes: number, perSecond?: number): string => `local calls = 0
math.randomseed(os.time())
local begin_at = math.random(1000000)
local row = string.rep("a", ${bytes})
request = function()
  calls = calls + 1
  local mark = "!" .. begin_at + calls
  return wrk.format(nil, nil, { ["${ATTACKED_HEADER}"] = row:sub(#mark + 1) .. mark })
end
${perSecond === undefined ? '' : renderPace(perSecond)}`;

/** wrk asks before each call how many ms to wait. LuaJIT has no clock of its own: clock_gettime(2), CLOCK_MONOTONIC. */
const renderPace = (perSecond: number): string => `local ffi = require("ffi")
ffi.cdef "typedef struct { long s; long ns; } moment; int clock_gettime(int, moment *);"
local moment = ffi.new("moment")
local function now_ms()
  ffi.C.clock_gettime(1, moment)
  return tonumber(moment.s) * 1000 + tonumber(moment.ns) / 1e6
end
local begin, asked = nil, 0
delay = function()
  begin = begin or now_ms()
  asked = asked + 1
  local wait = begin + asked * ${(1000 / perSecond).toFixed(6)} - now_ms()
  return wait > 0 and math.floor(wait + math.random()) or 0
end
`;
