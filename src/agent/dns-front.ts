import type { Logger } from '../daemon/io/logger.ts';
import { buildDnsAccess } from '../dns/access.ts';
import type { DnsCounters } from '../dns/dns-counters.ts';
import { ListenError } from '../dns/io/listen-error.ts';
import { openDnsServer, type DnsServer } from '../dns/io/open-dns-server.ts';
import type { Zone } from '../dns/zone.ts';
import { CodedError } from '../model/coded-error.ts';
import { whoListens } from '../node/io/ports.ts';
import { ownAddresses } from '../node/io/read-node.ts';
import { listenerKey } from '../model/proxy.ts';
import type { Settings } from '../settings/settings.ts';

/** Over in milliseconds, unless the machine is starved: then a query is worth the wait. */
const MAX_DRAIN_MS = 5_000;

/** DNS of this node: bound at the first zone, because an agent that knows nothing must not answer NXDOMAIN. */
export interface DnsFront {
  /** Gets ready for the first zone; nothing is bound by it. */
  prepare(zone: Zone): void;
  serve(zone: Zone): Promise<void>;
  /** Undefined until it is bound. */
  counters(): Promise<DnsCounters | undefined>;
  /** After it nothing is bound any more, also by a `serve` that is on its way. */
  close(remainingMs: number): Promise<void>;
}

/** Opens nothing yet; see {@link DnsFront.serve}, which rejects with a CodedError when an address cannot be bound. */
export function openDnsFront(settings: Settings, log: Logger): DnsFront {
  let server: DnsServer | undefined;
  let opening: { readonly server: Promise<DnsServer>; readonly begin: PromiseWithResolvers<Zone> } | undefined;
  let closed = false;
  const open = (zone: Zone): NonNullable<typeof opening> => {
    const begin = Promise.withResolvers<Zone>();
    const opened = openDnsServer({
      listen: settings.dnsListen,
      zone,
      begin: begin.promise,
      access: buildDnsAccess(settings.vipPool, ownAddresses()),
      onFault: (cause) => log.error({ error: cause.message }, 'the DNS thread was lost'),
    });
    // Whoever serves a zone hears of it; before, nobody may be waiting.
    opened.catch(() => undefined);
    return { server: opened, begin };
  };
  return {
    prepare: (zone) => {
      if (!closed && server === undefined) opening ??= open(zone);
    },
    serve: async (zone) => {
      if (closed) return;
      if (server !== undefined) return server.update(zone);
      for (const { address, port } of settings.dnsListen) {
        // Another generation may share the port while it hands over; anybody else would answer half of the queries.
        const others = await whoListens(port, address);
        for (const one of others) log.warn(`${listenerKey(one.address, port)} is also held by ${one.owner === undefined ? `a program of uid ${one.uid}` : `${one.owner.program} (pid ${one.owner.pid})`}: both answer until one ends`);
      }
      const prepared = opening ?? open(zone);
      opening = undefined;
      prepared.begin.resolve(zone);
      const opened = await prepared.server.catch((error: unknown) => {
        if (error instanceof ListenError) throw new CodedError({ code: 'dns-listen', message: error.message, remedy: 'then start again' }, error);
        throw error;
      });
      if (closed) return opened.close({ drainMs: 0 });
      server = opened;
      log.info({ listen: server.addresses().map(({ address, port }) => listenerKey(address, port)) }, 'DNS answers');
    },
    counters: async () => server?.counters(),
    close: async (remainingMs) => {
      closed = true;
      opening?.begin.reject(new Error('the DNS front is closed'));
      await server?.close({ drainMs: Math.min(MAX_DRAIN_MS, remainingMs) });
    },
  };
}
