import { MAX_TOKEN_BYTES, type TokenVerdict } from '../model/token.ts';
import type { CallerTable } from '../model/route-table.ts';
import type { RawHeaders } from './headers.ts';
import type { CallerIdentity } from './identify.ts';

/** What a request carries as its token: nothing, one value to be verified, or what is refused unseen. */
export type TokenField = { readonly token: string } | { readonly refused: string } | undefined;

/** Reads the token header. More than one line, an empty one, or one that is too long is never believed. */
export function readTokenField(raw: RawHeaders, tokenHeader: string): TokenField {
  const name = tokenHeader.toLowerCase();
  let found: string | undefined;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    if (raw[i]?.toLowerCase() !== name) continue;
    if (found !== undefined) return { refused: 'there is more than one line with a token' };
    found = (raw[i + 1] ?? '').trim();
  }
  if (found === undefined) return undefined;
  if (found === '') return { refused: 'the line for the token is empty' };
  return found.length > MAX_TOKEN_BYTES ? { refused: `the token is longer than ${MAX_TOKEN_BYTES} bytes` } : { token: found };
}

/**
 * Who a caller is that showed a token: nobody when it does not verify; a pod only when it names the pod's own ServiceAccount; from any other
 * source (unknown, or a process of the node) the ServiceAccount that it names.
 */
export function identifyByToken(bySource: CallerIdentity, verdict: TokenVerdict, trusted: CallerTable['trusted']): CallerIdentity {
  if (!verdict.ok) return { kind: 'bad-token', contradicts: false, why: verdict.why };
  const { namespace, serviceAccount } = verdict.identity;
  if (bySource.kind !== 'pod') {
    return { kind: 'account', namespace, serviceAccount, trusted: trusted.some((one) => one.namespace === namespace && (one.serviceAccount ?? serviceAccount) === serviceAccount) };
  }
  const { caller } = bySource;
  if (caller.namespace === namespace && caller.serviceAccount === serviceAccount) return { ...bySource, proven: true };
  return { kind: 'bad-token', contradicts: true, why: `it names ServiceAccount ${namespace}/${serviceAccount}; the calling pod has ${caller.namespace}/${caller.serviceAccount}` };
}
