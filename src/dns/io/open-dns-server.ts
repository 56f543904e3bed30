import { setTimeout as delay } from 'node:timers/promises';
import type { DnsAccess } from '../access.ts';
import { planZoneChange } from '../plan-zone-change.ts';
import type { Zone } from '../zone.ts';
import { buildCounters, type DnsCounters } from '../dns-counters.ts';
import { WorkerGoneError, WorkerLink } from './worker-link.ts';
import type { ListenAddress } from './worker-protocol.ts';

export interface DnsServerOptions {
  /** Each gets a UDP and a TCP socket; IPv4 or IPv6 text. */
  readonly listen: readonly ListenAddress[];
  /** The complete zone: nothing is bound before the worker has all of it. */
  readonly zone: Zone;
  /** Nothing is bound before this gives the zone to begin with; `zone` fills the worker meanwhile. Rejected: it is not opened. */
  readonly begin?: Promise<Zone>;
  readonly access: DnsAccess;
  /** Default 2000 (at least 1000). */
  readonly maxTcpClients?: number;
  /** Called when the worker thread died or cannot be brought back; it is restarted by itself. */
  readonly onFault: (cause: Error) => void;
}

export interface DnsServer {
  /** Brings the answers to `zone`; resolves once every name is in effect. Costs nothing when nothing changed. */
  update(zone: Zone): Promise<void>;
  /** What is bound, in the order of `listen`, with the real ports. */
  addresses(): readonly ListenAddress[];
  /** Counts since the worker started. */
  counters(): Promise<DnsCounters>;
  /** Hands the port over (no queued query is lost), lets TCP clients finish, for at most `drainMs` (default 1000; TCP at most 1000), ends the thread. */
  close(how?: { readonly drainMs: number }): Promise<void>;
}

/** Names per message to the worker: applying one takes well under a millisecond, and queries are answered between two. */
const SLICE_NAMES = 128;
const RESTART_MIN_MS = 50;
const RESTART_MAX_MS = 5_000;

/**
 * Opens the DNS front in a thread of its own.
 *
 * Invariants: one thread at a time; `applied` is what the present thread has (undefined while it is being filled); one
 * synchronisation at a time, always towards the newest `wanted`, one unanswered slice at a time, so that the thread
 * answers queries between slices. A thread that dies is replaced after a back-off, filled, and bound to the same ports.
 * @throws ListenError naming transport, address, cause and remedy
 */
export async function openDnsServer(options: DnsServerOptions): Promise<DnsServer> {
  const { access, maxTcpClients = 2000, onFault } = options;
  let begin = options.begin;
  // It may be rejected before the worker is filled.
  begin?.catch(() => undefined);
  let wanted = options.zone;
  let applied: Zone | undefined;
  let listen = options.listen;
  let closing = false;
  let syncing: Promise<void> | undefined;
  let link: Promise<WorkerLink>;

  async function bring(worker: WorkerLink, zone: Zone): Promise<void> {
    const steps = planZoneChange(applied, zone);
    for (let at = 0; at < steps.length; at += SLICE_NAMES) {
      await worker.request({ kind: 'zone', steps: steps.slice(at, at + SLICE_NAMES), identity: zone.identity });
    }
    applied = zone;
  }

  async function start(): Promise<WorkerLink> {
    const worker = new WorkerLink();
    applied = undefined;
    try {
      await bring(worker, wanted);
      wanted = (await begin) ?? wanted;
      await bring(worker, wanted);
      listen = await worker.request({ kind: 'listen', listen, access, maxTcpClients });
    } catch (error) {
      await worker.terminate();
      throw error;
    }
    worker.onGone = (cause) => {
      if (closing) return;
      onFault(new Error(`the DNS thread died and is restarted: ${cause.message}`));
      link = restart();
      // Whoever waits for it sees the rejection (closed meanwhile); nobody may be waiting.
      link.catch(() => undefined);
    };
    return worker;
  }

  async function restart(): Promise<WorkerLink> {
    for (let waitMs = RESTART_MIN_MS; ; waitMs = Math.min(waitMs * 2, RESTART_MAX_MS)) {
      await delay(waitMs);
      if (closing) throw new WorkerGoneError('the DNS front is closed');
      try {
        return await start();
      } catch (error) {
        onFault(new Error(`the DNS thread cannot be restarted: ${(error as Error).message}`));
      }
    }
  }

  async function synchronize(): Promise<void> {
    const done = (): boolean => closing || applied?.fingerprint === wanted.fingerprint;
    while (!done()) {
      try {
        await bring(await link, wanted);
      } catch (error) {
        // The next turn waits for the new thread, which starts with the newest zone.
        if (!(error instanceof WorkerGoneError)) throw error;
      }
    }
  }

  link = start();
  await link;
  begin = undefined;
  return {
    update(zone) {
      wanted = zone;
      syncing ??= synchronize().finally(() => {
        syncing = undefined;
      });
      return syncing;
    },
    addresses: () => listen,
    async counters() {
      return buildCounters(await (await link).request({ kind: 'counters' }));
    },
    async close(how = { drainMs: 1000 }) {
      if (closing) return;
      closing = true;
      const worker = await link.catch(() => undefined);
      await worker?.request({ kind: 'close', drainMs: how.drainMs }).catch(() => undefined);
      await worker?.terminate();
    },
  };
}
