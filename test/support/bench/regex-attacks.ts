import type { Route, RouteTable } from '../../../src/model/route-table.ts';
import { aRoute, anEndpoint, aVersion } from '../route-tables.ts';
import { SERVER_PORT, SERVERS } from './bench-servers.ts';
import { benchTable, LISTEN, PLAIN } from './bench-table.ts';

/** Regexes that backtrack without end on a long row of `a` which does not end as they want. */
const CATASTROPHIC = ['(a+)+$', '(a|aa)+$', '(a*)*b', '^(([a-z])+.)+[A-Z]([a-z])+$', '(.*a){20}[^a]$', '(?:a?){64}a{64}[b-c]$'] as const;
/** Looks at the same value and does not match either. */
const INNOCENT = '^b[0-9]{4}$';
/** The most versions that a route may have: HAProxy tries the regexes of all, in order, until one matches. */
const MOST_VERSIONS = 16;

/** What the hostile tenant's route asks, and what an innocent route with as many versions asks instead. */
export interface RegexAttack {
  readonly name: string;
  readonly hostile: readonly string[];
  readonly innocent: readonly string[];
}

const attack = (name: string, hostile: readonly string[]): RegexAttack => ({ name, hostile, innocent: hostile.map(() => INNOCENT) });

/** Each regex alone, then all at once on the most versions that a route may have. */
export const REGEX_ATTACKS: readonly RegexAttack[] = [
  ...CATASTROPHIC.map((pattern) => attack(pattern, [pattern])),
  attack(`${MOST_VERSIONS} versions of them`, Array.from({ length: MOST_VERSIONS }, (_, index) => CATASTROPHIC[index % CATASTROPHIC.length] ?? '')),
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
 * wrk's script of an attacker: a value of 4 KB that is another one in each call, so that no cache of results helps.
 * `perSecond`: as often as that in all, the calls that come late are made up for; absent: as fast as they are answered.
 */
export const renderAttacker = (perSecond?: number): string => `local row = string.rep("a", 4000)
local calls = 0
math.randomseed(os.time())
local mark = tostring(math.random(1000000))
request = function()
  calls = calls + 1
  return wrk.format(nil, nil, { ["${ATTACKED_HEADER}"] = row .. "!" .. mark .. calls })
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
