import type { Logger } from '../daemon/io/logger.ts';
import { checkRegexes } from '../embedded/check-regexes.ts';
import { openEmbeddedProxy } from '../embedded/io/open-embedded-proxy.ts';
import type { CheckRegexes, Proxy } from '../model/proxy.ts';
import type { Settings } from '../settings/settings.ts';

/** The node's proxy with what the agent needs besides serving. */
export interface NodeProxy extends Proxy {
  readonly checkRegexes: CheckRegexes;
  /** Names and values for metrics, a fixed small set. */
  counters(): Promise<Readonly<Record<string, number>>>;
}

export async function openProxy(_settings: Settings, log: Logger): Promise<NodeProxy> {
  const embedded = await openEmbeddedProxy({ onFault: (error) => log.error({ error: error.message }, 'the embedded proxy was lost and is started again') });
  return {
    kind: 'embedded',
    apply: (table) => embedded.apply(table),
    listeners: () => embedded.listeners(),
    close: (how) => embedded.close(how),
    checkRegexes,
    counters: async () => ({}),
  };
}
