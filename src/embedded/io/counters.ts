import { LEAVE_REASONS, leaveReason, type LeaveReason } from '../../model/leave-reason.ts';
import { REFUSALS } from '../../model/refusal.ts';
import type { RefusalCode } from '../../model/refusal.ts';
import type { Endpoint, Route, Tier, Version } from '../../model/route-table.ts';

const TIERS: readonly Tier[] = ['node', 'zone', 'any'];
const CODES = Object.keys(REFUSALS) as RefusalCode[];
const GAUGES = ['connections'] as const;
const SLOTS: readonly string[] = [...CODES, ...TIERS, ...LEAVE_REASONS, ...GAUGES];

/** What the embedded proxy has counted since it was opened; a bounded set of names. */
export interface EmbeddedStatus {
  readonly refused: Readonly<Record<RefusalCode, number>>;
  /** Calls that reached a server, by its tier. */
  readonly forwarded: Readonly<Record<Tier, number>>;
  /** Of these, the ones that left this node. */
  readonly left: Readonly<Record<LeaveReason, number>>;
  /** Client connections open now. */
  readonly connections: number;
  /** How often the worker had to be started again. */
  readonly restarts: number;
}

/** Numbers in memory that the worker writes and the agent reads, so that a scrape never waits for the worker. */
export class Counters {
  readonly memory: SharedArrayBuffer;
  readonly #slots: Float64Array;

  constructor(memory = new SharedArrayBuffer(SLOTS.length * Float64Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#slots = new Float64Array(memory);
  }

  add(name: RefusalCode | Tier | LeaveReason | (typeof GAUGES)[number], by = 1): void {
    const slot = SLOTS.indexOf(name);
    this.#slots[slot] = (this.#slots[slot] ?? 0) + by;
  }

  /** A call reached `server` of `version`. */
  addForwarded(route: Route, version: Version, server: Endpoint, spilled: boolean): void {
    this.add(server.tier);
    const reason = leaveReason(route, version, server, spilled);
    if (reason !== undefined) this.add(reason);
  }

  /** A new worker begins without connections. */
  resetGauges(): void {
    for (const name of GAUGES) this.#slots[SLOTS.indexOf(name)] = 0;
  }

  read(restarts: number): EmbeddedStatus {
    const value = (name: string): number => this.#slots[SLOTS.indexOf(name)] ?? 0;
    const record = <K extends string>(names: readonly K[]): Record<K, number> => Object.fromEntries(names.map((name) => [name, value(name)])) as Record<K, number>;
    return { refused: record(CODES), forwarded: record(TIERS), left: record(LEAVE_REASONS), connections: value('connections'), restarts };
  }
}
