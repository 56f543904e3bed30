import type { TokenVerdict } from '../model/token.ts';
import { checkClaims, type TokenRules } from './check-claims.ts';
import type { VerificationKey } from './parse-jwks.ts';

/** Keys in use, and what their tokens must say. Another object means that something changed. */
export interface KeySet extends TokenRules {
  readonly keys: readonly VerificationKey[];
}

/** `unknown-key`: no key of the set has the token's kid; one that is read later may. */
export type JwtResult = TokenVerdict | 'unknown-key';

/** Signatures tried for one token: keys that share its kid, or all of its algorithm when it names none. */
const MAX_TRIES = 4;
/** Three parts of base64url (RFC 7515 section 7.1), none empty: an unsecured token (`alg: none`) has no third one. */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

export const looksLikeJwt = (token: string): boolean => COMPACT.test(token);

/**
 * Verifies a JWT offline. The algorithm is that of the key: what the token says only has to agree. `kid` picks among the keys of the set and
 * is compared as text, nothing else. Never rejects.
 */
export async function verifyJwt(token: string, set: KeySet, nowMs: number): Promise<JwtResult> {
  const header = readHeader(token);
  if (header === undefined) return refuse('it is no JWT');
  const { kid, alg } = header;
  const named = set.keys.filter((key) => kid === undefined || key.kid === kid);
  if (named.length === 0) return 'unknown-key';
  const keys = named.filter((key) => key.alg === alg).slice(0, MAX_TRIES);
  if (keys.length === 0) return refuse('its algorithm is not that of the key');
  for (const key of keys) {
    const claims = await readSigned(token, key);
    if (claims !== undefined) return checkClaims(claims, set, nowMs);
  }
  return refuse('its signature is not good');
}

const refuse = (why: string): TokenVerdict => ({ ok: false, why });

/** The header's two members that choose a key; undefined: it is not the header of a JWT. */
function readHeader(token: string): { readonly kid: string | undefined; readonly alg: unknown } | undefined {
  try {
    const header: unknown = JSON.parse(Buffer.from(token.slice(0, token.indexOf('.')), 'base64url').toString('utf8'));
    if (typeof header !== 'object' || header === null) return undefined;
    const { kid, alg } = header as { readonly kid?: unknown; readonly alg?: unknown };
    return kid === undefined || typeof kid === 'string' ? { kid, alg } : undefined;
  } catch {
    return undefined;
  }
}

/** The claims when the signature is that of this key; undefined when it is not, or when what it signs is no JSON object. */
async function readSigned(token: string, key: VerificationKey): Promise<Readonly<Record<string, unknown>> | undefined> {
  // Not at the top: a node that never sees a JWT does not pay for the library.
  const { compactVerify } = await import('jose/jws/compact/verify');
  try {
    const { payload } = await compactVerify(token, key.jwk, { algorithms: [key.alg] });
    const claims: unknown = JSON.parse(Buffer.from(payload).toString('utf8'));
    return typeof claims === 'object' && claims !== null && !Array.isArray(claims) ? (claims as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    return undefined;
  }
}
