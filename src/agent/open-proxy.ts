import type { Logger } from '../daemon/io/logger.ts';
import { checkRegexes as checkForEmbedded } from '../embedded/check-regexes.ts';
import { openEmbeddedProxy } from '../embedded/io/open-embedded-proxy.ts';
import { isTried, NEWEST, OLDEST } from '../haproxy/features.ts';
import { openHaproxy } from '../haproxy/io/open-haproxy.ts';
import { probeHaproxy } from '../haproxy/io/probe-haproxy.ts';
import { openRegexCheck } from '../haproxy/io/regex-check.ts';
import type { CallCounts } from '../model/call-counts.ts';
import type { CallRecord } from '../model/call-record.ts';
import type { CheckRegexes, Proxy } from '../model/proxy.ts';
import type { OnTokensChanged, VerifyToken } from '../model/token.ts';
import type { Settings } from '../settings/settings.ts';

/** Who verifies callers' tokens, and says when all verdicts are void. */
export interface ProxyTokens {
  readonly verifyToken: VerifyToken;
  readonly onTokensChanged: OnTokensChanged;
}

/** What the proxy asks of the agent, and tells it. */
export interface ProxyParts extends ProxyTokens {
  /** A call that its route wants logged. */
  readonly onCall: (record: CallRecord) => void;
}

/** The node's proxy, with what the agent needs of it besides serving. */
export interface NodeProxy {
  readonly proxy: Proxy;
  /** Judges a tenant's regular expressions as this proxy will run them. */
  readonly checkRegexes: CheckRegexes;
  /** Names and values for metrics, a fixed small set. */
  readonly counters: () => Readonly<Record<string, number>>;
  /** What it has counted of calls. */
  readonly calls: () => Promise<CallCounts>;
  /** Records of calls that got lost on their way here. */
  readonly lostCalls: () => number;
}

/**
 * Opens HAProxy or the embedded proxy. `auto` takes HAProxy when its binary can be run.
 * `onTrouble` hears what is wrong with an attached HAProxy, and undefined when it is well again.
 * @throws CodedError when the wanted one cannot be had
 */
export async function openProxy(settings: Settings, parts: ProxyParts, log: Logger, onTrouble: (why: string | undefined) => void): Promise<NodeProxy> {
  const { proxy: wanted, haproxyBin } = settings;
  if (wanted === 'embedded') return openEmbedded(settings, parts, log);
  if (wanted === 'auto' && !settings.haproxyAttach && (await probeHaproxy(haproxyBin)) === undefined) {
    log.warn(`${haproxyBin} cannot be run: the embedded proxy serves; install HAProxy 2.6 or newer for full speed`);
    return openEmbedded(settings, parts, log);
  }
  return openNative(settings, parts, log, onTrouble);
}

async function openNative(settings: Settings, parts: ProxyParts, log: Logger, onTrouble: (why: string | undefined) => void): Promise<NodeProxy> {
  const proxy = await openHaproxy({
    binary: settings.haproxyBin,
    runDir: settings.runDir,
    attach: settings.haproxyAttach,
    drainTimeoutSeconds: settings.drainTimeoutSeconds,
    tokenHeader: settings.tokenHeader,
    verifyToken: parts.verifyToken,
    onTokensChanged: parts.onTokensChanged,
    events: {
      onCall: ({ record, logged }) => {
        if (logged) parts.onCall(record);
      },
      onChange: (what) => log.info(what),
      onFault: (what) => log.error(what),
      onTrouble: (why) => {
        if (why === undefined) log.info('HAProxy answers again');
        else log.error(why);
        onTrouble(why);
      },
    },
  });
  const { version } = proxy.status();
  if (!isTried({ version })) log.warn(`HAProxy ${version} is newer than what Onehop was tested with (${OLDEST.join('.')} to ${NEWEST.join('.')})`);
  return {
    proxy,
    checkRegexes: openRegexCheck(settings.haproxyBin),
    counters: () => {
      const { restarts, reloads, oldWorkers, configRejected, repaired } = proxy.status();
      return { restarts, reloads, old_workers: oldWorkers, config_rejected: configRejected, repaired, in_trouble: proxy.trouble === undefined ? 0 : 1 };
    },
    calls: () => proxy.calls(),
    lostCalls: () => proxy.lostLines(),
  };
}

async function openEmbedded({ tokenHeader }: Settings, parts: ProxyParts, log: Logger): Promise<NodeProxy> {
  let lost = 0;
  const proxy = await openEmbeddedProxy({
    tokenHeader,
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
    checkRegexes: checkForEmbedded,
    counters: () => {
      const { connections, restarts } = proxy.status();
      return { connections, restarts };
    },
    calls: async () => {
      const { refused, forwarded } = proxy.status();
      return { routes: [], refused, answered: forwarded };
    },
    lostCalls: () => lost,
  };
}
