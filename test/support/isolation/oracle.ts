/**
 * Who may call what, as the design says it (section 3), written down once more and on purpose apart from the code that decides:
 * nothing of src is imported here, and nothing here is made for speed.
 */

/** A pod of this node that is alive, a process of the node, or anybody else; and the token it shows. */
export interface Caller {
  readonly name: string;
  /** Source address; absent: the system's choice, as for a process of the node. */
  readonly address: string | undefined;
  readonly source: { readonly kind: 'pod'; readonly namespace: string; readonly account: string; readonly services: readonly string[] } | { readonly kind: 'host' | 'unknown' };
  readonly token?: Token;
}

/** `names`: the account of a token that verifies; absent: it does not (forged, expired, for another audience). */
export interface Token {
  readonly text: string;
  readonly names?: { readonly namespace: string; readonly account: string };
}

export interface Entry {
  readonly kind?: 'ServiceAccount' | 'Service';
  readonly name: string;
  readonly namespace?: string;
}

/** A route under test: what its tenant wrote. */
export interface Target {
  readonly namespace: string;
  readonly name: string;
  readonly public: boolean;
  readonly protocol: 'http' | 'tcp';
  readonly defaultAllow: boolean;
  readonly entries: readonly Entry[];
  readonly invalid?: true;
}

/** `200`, or status and reason. */
export type Verdict = '200' | `${number} ${string}`;

const TRUSTED: readonly { readonly namespace: string; readonly account?: string }[] = [{ namespace: 'ops' }, { namespace: 'mon', account: 'prometheus' }];
export const TRUSTED_FLAG = '--trusted-callers=ops,mon/prometheus';

interface Identity {
  readonly namespace: string;
  readonly account: string;
  /** Of pods alone: a token names no Service. */
  readonly services: readonly string[];
}

export function expectedVerdict({ source, token }: Caller, target: Target, via: 'own' | 'global'): Verdict {
  if (target.invalid === true) return '503 route-invalid';
  let identity: Identity | 'host' | 'unknown' = source.kind === 'pod' ? source : source.kind;
  // Plain TCP has no headers to show a token in.
  if (token !== undefined && target.protocol === 'http') {
    if (token.names === undefined) return '401 bad-token';
    if (source.kind === 'pod' && (source.namespace !== token.names.namespace || source.account !== token.names.account)) return '403 bad-token';
    if (source.kind !== 'pod') identity = { ...token.names, services: [] };
  }
  if (identity === 'unknown') return '403 caller-unknown';
  if (via === 'own' && identity !== 'host') {
    const { namespace, account } = identity;
    const trusted = TRUSTED.some((one) => one.namespace === namespace && (one.account === undefined || one.account === account));
    if (namespace !== target.namespace && !trusted) return '403 namespace-isolated';
  }
  const named = identity !== 'host' && isNamed(identity, target);
  return named === target.defaultAllow ? '403 acl-denied' : '200';
}

function isNamed({ namespace, account, services }: Identity, target: Target): boolean {
  for (const entry of target.entries) {
    if ((entry.namespace ?? target.namespace) !== namespace) continue;
    if (entry.kind !== 'Service' && entry.name === account) return true;
    if (entry.kind !== 'ServiceAccount' && services.includes(entry.name)) return true;
  }
  return false;
}
