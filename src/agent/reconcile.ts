import { isDeepStrictEqual } from 'node:util';
import { buildDesired, type DesiredMemory, type DesiredOptions } from '../desired/build-desired.ts';
import type { Zone } from '../dns/zone.ts';
import { CodedError, messageOf } from '../model/coded-error.ts';
import { problem, type Problem } from '../model/problem.ts';
import { listenerKey, type Proxy } from '../model/proxy.ts';
import type { Route, RouteTable } from '../model/route-table.ts';
import type { Snapshot } from '../model/snapshot.ts';
import type { TokenCode } from '../model/token.ts';
import type { VipLedger } from '../model/vip-ledger.ts';
import { routeListeners, withholdRoutes, type RefusedListener } from './withhold-routes.ts';

/** What a pass acts on. */
export interface World {
  readonly now: () => number;
  readonly options: () => DesiredOptions;
  readonly proxy: Pick<Proxy, 'apply' | 'listeners'>;
  /** Writes the ledger; durable once resolved. */
  readonly saveLedger: (ledger: VipLedger) => Promise<void>;
  /** From now on these codes of callers count, and no others. */
  readonly useTokenCodes: (codes: readonly TokenCode[]) => void;
  /** What is wrong besides objects and their application. */
  readonly problems: () => readonly Problem[];
  /** Makes the node ready for these addresses (pool route, claim table, IPv6 VIPs). */
  readonly prepareNode: (table: RouteTable) => Promise<void>;
  /** Listeners among these that cannot be opened. */
  readonly checkListeners: (wanted: readonly { readonly address: string; readonly port: number }[]) => Promise<ReadonlyMap<string, RefusedListener>>;
  /** Lets DNS get ready for the zone while the proxy is brought to its routes; nothing of it is answered yet. */
  readonly prepareZone: (zone: Zone) => void;
  /** Brings DNS to the zone; binds it at the first call. */
  readonly serveZone: (zone: Zone) => Promise<void>;
}

/** What is in effect after a pass. */
export interface InEffect {
  /** Counts the passes that changed what is in effect: a pass that finds all as it was leaves it. */
  readonly generation: number;
  readonly table: RouteTable;
  /** Found while applying: taken ports, routes the proxy refused. */
  readonly problems: readonly Problem[];
  readonly ledger: VipLedger;
  readonly memory?: DesiredMemory;
  /** All listeners of these routes were among these open ones. */
  readonly settled?: { readonly open: ReadonlySet<string>; readonly routes: readonly Route[] };
}

/**
 * Brings the world to a snapshot. The proxy comes before DNS: a name is only answered once its address is served.
 * Rejects when something else than an object is at fault; what is in effect stays, and the caller tries again. Also, with its reason, when
 * `overtaken` is aborted while the proxy waits: then endpoints and the like are in effect, and the next pass does the rest.
 */
export async function reconcile(world: World, snapshot: Snapshot, before: Pick<InEffect, 'generation' | 'ledger'> & Partial<InEffect>, overtaken?: AbortSignal): Promise<InEffect> {
  const { table, zone, ledger, memory } = buildDesired(snapshot, world.options(), before.ledger, world.now(), before.memory);
  const unsaved = await saveLedger(world, ledger, table.node);
  const unprepared = await prepareNode(world, table, before.table === undefined);
  world.useTokenCodes(table.tokenCodes);

  const open = world.proxy.listeners();
  const seen = new Set(before.settled?.open === open ? before.settled.routes : []);
  const fresh = table.routes.filter((route) => !seen.has(route)).flatMap(routeListeners).filter(({ address, port }) => !open.has(listenerKey(address, port)));
  const refused = fresh.length === 0 ? new Map<string, RefusedListener>() : await world.checkListeners(fresh);
  const served = withholdRoutes(table, refused);
  world.prepareZone(zone);
  const applied = await world.proxy.apply(served.table, overtaken);

  await world.serveZone(zone);
  const problems = [...unsaved, ...unprepared, ...served.problems, ...applied, ...world.problems()];
  const generation = before.generation + (isSame(before, table, problems) ? 0 : 1);
  return { generation, table, problems, ledger, memory, ...(fresh.length === 0 ? { settled: { open, routes: table.routes } } : {}) };
}

/** A full disk must not keep routes from changing; only after a restart might a new route get another address. */
async function saveLedger(world: World, ledger: VipLedger, node: string): Promise<readonly Problem[]> {
  try {
    await world.saveLedger(ledger);
    return [];
  } catch (error) {
    const remedy = error instanceof CodedError ? error.remedy : 'make room in the state folder';
    return [problem({ code: 'state-unsaved', object: { kind: 'Node', name: node }, message: `the addresses given to routes could not be saved: ${messageOf(error)}`, remedy })];
  }
}

/** At the start the node must be as it should. Later, a program that could not be started must not keep endpoints from changing: most need none. */
async function prepareNode(world: World, table: RouteTable, first: boolean): Promise<readonly Problem[]> {
  try {
    await world.prepareNode(table);
    return [];
  } catch (error) {
    if (first) throw error;
    const remedy = error instanceof CodedError ? error.remedy : 'as the message says; it is tried again every 5 s';
    return [problem({ code: 'node-unprepared', object: { kind: 'Node', name: table.node }, message: `pool route, claim table or addresses of the node could not be looked at: ${messageOf(error)}`, remedy })];
  }
}

/** Whether a pass left everything as it was: unchanged routes and callers keep their identity. */
const isSame = (before: Partial<InEffect>, { routes, callers, tokenCodes, problems }: RouteTable, applied: readonly Problem[]): boolean =>
  before.table?.callers === callers &&
  before.table.tokenCodes === tokenCodes &&
  before.table.routes.length === routes.length &&
  before.table.routes.every((route, i) => route === routes[i]) &&
  isDeepStrictEqual([before.table.problems, before.problems], [problems, applied]);
