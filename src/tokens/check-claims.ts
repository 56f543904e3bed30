import { isNamespaceName, isSubdomain } from '../model/names.ts';
import type { TokenVerdict } from '../model/token.ts';

/** What a token must say. Exact texts; one of each list is enough. */
export interface TokenRules {
  readonly issuers: readonly string[];
  readonly audiences: readonly string[];
}

/** How far the clock of the issuer may be ahead of this node's. */
export const CLOCK_SKEW_SECONDS = 30;
/** 2100-01-01: a later `exp` counts as this, so that it stays a date for everybody who keeps it. */
const LATEST_SECONDS = 4_102_444_800;

type Claims = Readonly<Record<string, unknown>>;

/**
 * Judges the claims of a token whose signature is good (RFC 7519 section 4.1; Kubernetes: "Managing Service Accounts", schema of bound tokens).
 * `exp` has no allowance: a token that has ended is refused.
 */
export function checkClaims(claims: Claims, rules: TokenRules, nowMs: number): TokenVerdict {
  const nowSeconds = nowMs / 1000;
  const { iss, aud, exp, nbf, iat, sub } = claims;
  if (typeof iss !== 'string' || !rules.issuers.includes(iss)) return refuse('it is of another issuer');
  const audiences = Array.isArray(aud) ? (aud as readonly unknown[]) : [aud];
  if (!rules.audiences.some((ours) => audiences.includes(ours))) return refuse('it is for another audience');
  if (typeof exp !== 'number' || !Number.isFinite(exp)) return refuse('it says no time at which it ends (exp)');
  if (exp <= nowSeconds) return refuse('it has expired');
  for (const [name, value] of [['nbf', nbf], ['iat', iat]] as const) {
    if (value === undefined) continue;
    if (typeof value !== 'number' || !Number.isFinite(value)) return refuse(`its ${name} is no time`);
    if (value > nowSeconds + CLOCK_SKEW_SECONDS) return refuse(`its ${name} lies in the future`);
  }
  const account = readSubject(sub);
  if (account === undefined) return refuse('its subject is no ServiceAccount');
  if (!agrees(claims['kubernetes.io'], account)) return refuse('its claim kubernetes.io contradicts its subject');
  return { ok: true, identity: { ...account, expiresAtMs: Math.floor(Math.min(exp, LATEST_SECONDS) * 1000) } };
}

const refuse = (why: string): TokenVerdict => ({ ok: false, why });

interface Account {
  readonly namespace: string;
  readonly serviceAccount: string;
}

function readSubject(sub: unknown): Account | undefined {
  if (typeof sub !== 'string') return undefined;
  const [system, kind, namespace = '', serviceAccount = '', ...more] = sub.split(':');
  const valid = system === 'system' && kind === 'serviceaccount' && more.length === 0 && isNamespaceName(namespace) && isSubdomain(serviceAccount);
  return valid ? { namespace, serviceAccount } : undefined;
}

/** The claim is absent, or names the same account. */
function agrees(claim: unknown, { namespace, serviceAccount }: Account): boolean {
  if (claim === undefined) return true;
  if (typeof claim !== 'object' || claim === null) return false;
  const { namespace: claimed, serviceaccount: account } = claim as Claims;
  return claimed === namespace && typeof account === 'object' && account !== null && (account as Claims)['name'] === serviceAccount;
}
