import { codesOf, soleCodes, type TokenSecret } from '../kube/parse-token-secret.ts';
import { renderCodes, type PublishedCodes } from '../kube/published-codes.ts';
import { byCodeUnit } from '../model/names.ts';
import type { TokenCode } from '../model/token.ts';
import type { Note } from './observed.ts';

/**
 * What is known of one namespace's token Secrets: `unknown` until its first list is there, `refused` while it gives no right to read them.
 */
export type SeenNamespace = 'unknown' | 'refused' | readonly TokenSecret[];

/** By name; a namespace that is not in it is gone. */
export type SeenNamespaces = ReadonlyMap<string, SeenNamespace>;

/** Why a Secret's code does not count, for an Event beside it. */
export interface TokenRefusal {
  readonly secret: TokenSecret;
  readonly note: Note;
}

export interface TokenCodesPlan {
  /** What is to be published, by namespace; none is empty. */
  readonly codes: PublishedCodes;
  /** It is not what is published. */
  readonly isChanged: boolean;
  readonly refusals: readonly TokenRefusal[];
}

/** One namespace has so many ServiceAccounts that are called for by code at most. */
export const MOST_PER_NAMESPACE = 100;
/** The API server takes 1 MiB of a Secret's data; about 11,000 codes. */
const MOST_BYTES = 900 * 1024;

/**
 * What to publish. A namespace of which nothing is known yet (the controller has just begun to lead) keeps what is published of it: no code
 * is taken back, and none given, before somebody has looked. Should it all not fit, the namespaces with most are left out: nobody
 * takes the place of others by making many.
 */
export function planTokenCodes(published: PublishedCodes, seen: SeenNamespaces): TokenCodesPlan {
  const refusals: TokenRefusal[] = [];
  const refuse = (secret: TokenSecret, reason: string, note: string): void => void refusals.push({ secret, note: { type: 'Warning', reason, note } });
  const read = new Map<string, readonly TokenSecret[]>();
  const given: TokenCode[] = [];
  for (const [namespace, one] of seen) {
    if (one === 'unknown') given.push(...(published.get(namespace) ?? []));
    if (typeof one === 'string') continue;
    const good = one.filter((secret) => {
      if ('why' in secret.code) refuse(secret, 'TokenCodeInvalid', `this Secret gives no code: ${secret.code.why}`);
      return 'digest' in secret.code;
    });
    const counted = good.toSorted((a, b) => byCodeUnit(a.name, b.name)).slice(0, MOST_PER_NAMESPACE);
    for (const secret of good) if (!counted.includes(secret)) refuse(secret, 'TokenCodeLimit', `a namespace may have ${MOST_PER_NAMESPACE} codes; those of the first Secrets by name count`);
    read.set(namespace, counted);
    given.push(...codesOf(counted));
  }
  const sole = Map.groupBy(soleCodes(given), ({ namespace }) => namespace);
  const codes = fit(sole);
  for (const [namespace, secrets] of read) {
    const counting = new Set(sole.get(namespace)?.map(({ digest }) => digest));
    for (const secret of secrets) {
      // Whose the other Secret is would be news for whoever tries codes.
      if ('digest' in secret.code && !counting.has(secret.code.digest)) refuse(secret, 'TokenCodeShared', 'its code stands for another ServiceAccount, too, so it counts for neither; make a new one');
      else if (!codes.has(namespace)) refuse(secret, 'TokenCodesFull', 'the codes of all namespaces take more than one Secret can hold; this namespace has most and was left out');
    }
  }
  return { codes, isChanged: !isSame(published, codes), refusals };
}

/** Those that fit, the smallest namespaces first. */
function fit(all: ReadonlyMap<string, readonly TokenCode[]>): PublishedCodes {
  const sized = [...all].map(([namespace, codes]) => ({ namespace, codes, bytes: namespace.length + renderCodes(codes).length }));
  const fitting = new Map<string, readonly TokenCode[]>();
  let bytes = 0;
  for (const one of sized.toSorted((a, b) => a.bytes - b.bytes || byCodeUnit(a.namespace, b.namespace))) {
    bytes += one.bytes;
    if (bytes > MOST_BYTES) break;
    fitting.set(one.namespace, one.codes);
  }
  return fitting;
}

function isSame(published: PublishedCodes, wanted: PublishedCodes): boolean {
  // A key without a code says nothing: see renderTokenCodes.
  const before = [...published].filter(([, codes]) => codes.length > 0);
  return before.length === wanted.size && before.every(([namespace, codes]) => renderCodes(codes) === renderCodes(wanted.get(namespace) ?? []));
}
