import { isRecord, valueAt } from './field-path.ts';

/** Names may be long URLs; a token with a longer one does not fit a header anyway. */
const MAX_NAME = 1_024;

/**
 * Issuer of a cluster's ServiceAccount tokens, from its `/.well-known/openid-configuration` (Kubernetes: "Managing Service Accounts", service
 * account issuer discovery); undefined when the answer names none.
 */
export function parseIssuer(raw: unknown): string | undefined {
  const issuer = valueAt(raw, ['issuer']);
  return isName(issuer) ? issuer : undefined;
}

/**
 * The audiences for which this cluster's tokens count unless others are set. Nothing in Kubernetes tells the API server's `--api-audiences`, but
 * the token that it gives every pod is for exactly these: so they are read from the agent's own. A token of another issuer, or none (a client
 * certificate), says nothing about that; then it is the issuer, which is Kubernetes' own default.
 */
export function defaultAudiences(ownToken: string | undefined, issuer: string): readonly string[] {
  const claims = readClaims(ownToken ?? '');
  if (claims?.['iss'] !== issuer) return [issuer];
  const { aud } = claims;
  const audiences = (Array.isArray(aud) ? (aud as readonly unknown[]) : [aud]).filter(isName);
  return audiences.length === 0 ? [issuer] : audiences;
}

const isName = (value: unknown): value is string => typeof value === 'string' && value !== '' && value.length <= MAX_NAME;

/** Payload of a JWT (RFC 7519 section 3), unverified: whoever asks trusts where it comes from. */
function readClaims(token: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
    return isRecord(claims) ? claims : undefined;
  } catch {
    return undefined;
  }
}
