import type { Logger } from '../daemon/io/logger.ts';
import type { Metrics } from '../daemon/metrics.ts';
import { problem, type Problem } from '../model/problem.ts';
import type { VerifyToken } from '../model/token.ts';
import type { Settings } from '../settings/settings.ts';
import { openKeySource, type KeySourceOptions, type OpenKeySource, type ReadKeys } from '../tokens/io/open-key-source.ts';
import { readJwks } from '../tokens/io/read-jwks.ts';
import { TokenVerifier } from '../tokens/token-verifier.ts';

/** Whoever sends bad tokens must not fill the log. */
const LOG_EVERY_MS = 10_000;
/** An API server is asked by every node. */
const CLUSTER = { periodMs: 5 * 60_000, minGapMs: 10_000 };

/** Verification of callers' tokens, as the agent's parts need it. */
export interface AgentTokens {
  readonly verifier: TokenVerifier;
  /** As the verifier's, and what is refused is logged. */
  readonly verify: VerifyToken;
  /** Of the keys as they are now. */
  readonly problems: () => readonly Problem[];
  close(): Promise<void>;
}

/** Reads the keys of the cluster, with the issuer and the audiences of its tokens. */
export type ReadClusterKeys = (signal: AbortSignal) => Promise<ReadKeys>;

/**
 * Opens the keys that the settings name (`--token-jwks`, else the cluster's) and what verifies with them. Without either only codes count.
 * `onTrouble`: `problems` changed.
 */
export function openTokens(settings: Settings, readClusterKeys: ReadClusterKeys | undefined, log: Logger, onTrouble: () => void): AgentTokens {
  const place = keysPlace(settings, readClusterKeys);
  const keys: OpenKeySource | undefined =
    place === undefined
      ? undefined
      : openKeySource({
          ...place,
          ...(settings.tokenIssuer === '' ? {} : { issuer: settings.tokenIssuer }),
          ...(settings.tokenAudience === '' ? {} : { audience: settings.tokenAudience }),
          onEvent: ({ level, text }) => log[level](text),
        });
  const verifier = new TokenVerifier({ now: Date.now, ...(keys === undefined ? {} : { keys }) });
  let trouble: string | undefined;
  keys?.onChange(() => {
    if (trouble === keys.trouble) return;
    trouble = keys.trouble;
    onTrouble();
  });
  const tellRefused = limitedLog(log);
  return {
    verifier,
    verify: async (token) => {
      const verdict = await verifier.verify(token);
      if (!verdict.ok) tellRefused(verdict.why);
      return verdict;
    },
    problems: () => (keys?.trouble === undefined || place === undefined ? [] : [keysProblem(place.name, keys.trouble, keys.keys !== undefined)]),
    close: async () => keys?.close(),
  };
}

function keysPlace({ tokenJwks, tokenIssuer, tokenAudience }: Settings, readClusterKeys: ReadClusterKeys | undefined): Pick<KeySourceOptions, 'name' | 'read' | 'periodMs' | 'minGapMs'> | undefined {
  if (tokenJwks === '') return readClusterKeys === undefined ? undefined : { name: 'the cluster', read: readClusterKeys, ...CLUSTER };
  const given = readJwks(tokenJwks);
  if (readClusterKeys === undefined || (tokenIssuer !== '' && tokenAudience !== '')) return given;
  // Keys from elsewhere, in a cluster: its issuer or audiences stay.
  return { ...given, read: async (signal) => ({ ...(await readClusterKeys(signal)), jwks: (await given.read(signal)).jwks }), ...CLUSTER };
}

const keysProblem = (name: string, why: string, kept: boolean): Problem =>
  problem({
    code: 'token-keys-unread',
    severity: kept ? 'warning' : 'error',
    object: { kind: 'TokenKeys', name },
    message: `${why}; ${kept ? 'the last good keys stay in use' : 'every JWT is refused'}`,
    remedy: 'mend what --token-jwks names, or the right to read the keys of the cluster',
  });

/** One line per {@link LOG_EVERY_MS}, with the number of those that were not written. */
function limitedLog(log: Logger): (why: string) => void {
  let nextMs = Number.NEGATIVE_INFINITY;
  let unwritten = 0;
  return (why) => {
    const now = performance.now();
    if (now < nextMs) {
      unwritten++;
      return;
    }
    log.info(unwritten === 0 ? {} : { refusedSinceTheLastLine: unwritten }, `a caller's token was refused: ${why}`);
    nextMs = now + LOG_EVERY_MS;
    unwritten = 0;
  };
}

/** Registers what is counted of tokens; no label names a caller. */
export function addTokenMetrics(metrics: Metrics, { verifier, problems }: AgentTokens): void {
  metrics.counter({ name: 'onehop_tokens_total', help: "Callers' tokens that this agent judged, by verdict (HAProxy asks once per token)", labels: ['verdict'] }, () => {
    const { accepted, refused, overload } = verifier.counts;
    return [
      { labels: { verdict: 'accepted' }, value: accepted },
      { labels: { verdict: 'refused' }, value: refused - overload },
      { labels: { verdict: 'overload' }, value: overload },
    ];
  });
  metrics.gauge({ name: 'onehop_token_keys', help: "Keys that verify callers' JWTs" }, () => [{ value: verifier.keyCount }]);
  metrics.gauge({ name: 'onehop_token_codes', help: 'Codes of callers' }, () => [{ value: verifier.codeCount }]);
  metrics.gauge({ name: 'onehop_token_keys_unread', help: '1 while the keys cannot be read: the last good ones, if any, stay in use' }, () => [{ value: problems().length }]);
}
