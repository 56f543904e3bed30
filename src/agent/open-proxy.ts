import type { Logger } from '../daemon/io/logger.ts';
import { checkRegexes as checkForEmbedded } from '../embedded/check-regexes.ts';
import { openEmbeddedProxy } from '../embedded/io/open-embedded-proxy.ts';
import { isTried, NEWEST, OLDEST } from '../haproxy/features.ts';
import { openHaproxy } from '../haproxy/io/open-haproxy.ts';
import { probeHaproxy } from '../haproxy/io/probe-haproxy.ts';
import { openRegexCheck } from '../haproxy/io/regex-check.ts';
import type { Settings } from '../settings/settings.ts';
import type { EmbeddedNodeProxy, HaproxyNodeProxy, NodeProxy, ProxyParts } from './node-proxy.ts';
import { openStandIn } from './open-stand-in.ts';

/**
 * Opens HAProxy or the embedded proxy. `auto` takes HAProxy when its binary can be run, and the embedded one while HAProxy is gone.
 * @throws CodedError when the wanted one cannot be had
 */
export async function openProxy(settings: Settings, parts: ProxyParts, log: Logger): Promise<NodeProxy> {
  const { proxy: wanted, haproxyBin } = settings;
  if (wanted === 'embedded') return openEmbedded(settings, parts, log);
  // Whoever wants callers' addresses is not served by a proxy that cannot keep them: then it is HAProxy or nothing.
  if (wanted === 'auto' && settings.clientIp === 'forwarded' && !settings.haproxyAttach && (await probeHaproxy(haproxyBin)) === undefined) {
    log.warn(`${haproxyBin} cannot be run: the embedded proxy serves; install HAProxy 2.6 or newer for full speed`);
    return openEmbedded(settings, parts, log);
  }
  if (wanted === 'haproxy') return openNative(settings, parts, log);
  return openStandIn({
    settings,
    parts,
    log,
    openHaproxy: (holdsRestarts) => openNative(settings, parts, log, holdsRestarts),
    openSubstitute: (onTokensChanged) => openEmbedded(settings, { ...parts, onTokensChanged }, log, true),
  });
}

async function openNative(settings: Settings, parts: ProxyParts, log: Logger, holdsRestarts?: () => boolean): Promise<HaproxyNodeProxy> {
  const proxy = await openHaproxy({
    binary: settings.haproxyBin,
    runDir: settings.runDir,
    attach: settings.haproxyAttach,
    drainTimeoutSeconds: settings.drainTimeoutSeconds,
    tokenHeader: settings.tokenHeader,
    preserveClientIp: settings.clientIp === 'preserve',
    verifyToken: parts.verifyToken,
    onTokensChanged: parts.onTokensChanged,
    ...(holdsRestarts === undefined ? {} : { holdsRestarts }),
    events: {
      onCall: ({ record, logged }) => {
        if (logged) parts.onCall(record);
      },
      onChange: (what) => log.info(what),
      onFault: (what) => log.error(what),
      onTrouble: (why) => {
        if (why === undefined) log.info('HAProxy answers again');
        else log.error(why);
        parts.onTrouble(why);
      },
    },
  });
  const { version } = proxy.status();
  if (!isTried({ version })) log.warn(`HAProxy ${version} is newer than what Onehop was tested with (${OLDEST.join('.')} to ${NEWEST.join('.')})`);
  return {
    proxy,
    look: () => proxy.look(),
    adopt: async () => [],
    prepareClose: () => {},
    checkRegexes: openRegexCheck(settings.haproxyBin),
    counters: () => {
      const { restarts, reloads, reloadsByCause, oldWorkers, configRejected, repaired } = proxy.status();
      const byCause = Object.entries(reloadsByCause).map(([cause, count]) => [`reloads_${cause}`, count] as const);
      return { restarts, reloads, ...Object.fromEntries(byCause), old_workers: oldWorkers, config_rejected: configRejected, repaired, in_trouble: proxy.trouble === undefined ? 0 : 1 };
    },
    calls: () => proxy.calls(),
    lostCalls: () => proxy.lostLines(),
  };
}

async function openEmbedded({ tokenHeader }: Settings, parts: ProxyParts, log: Logger, givesWay = false): Promise<EmbeddedNodeProxy> {
  let lost = 0;
  const proxy = await openEmbeddedProxy({
    tokenHeader,
    givesWay,
    verifyToken: parts.verifyToken,
    onTokensChanged: parts.onTokensChanged,
    onCalls: (records, more) => {
      for (const record of records) parts.onCall(record);
      lost += more;
    },
    onFault: (error) => log.error({ error: error.message }, 'the embedded proxy was lost and is started again'),
  });
  return {
    proxy,
    adopt: async () => [],
    prepareClose: () => {},
    checkRegexes: checkForEmbedded,
    counters: () => {
      const { connections, restarts } = proxy.status();
      return { connections, restarts };
    },
    calls: async () => {
      const { refused, forwarded, left } = proxy.status();
      return { routes: [], refused, answered: forwarded, left };
    },
    lostCalls: () => lost,
  };
}
