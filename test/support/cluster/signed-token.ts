import { createPrivateKey, sign } from 'node:crypto';

export type Claims = Readonly<Record<string, unknown>>;

/** Claims of a JWT, unverified. */
export const claimsOf = (token: string): Claims => JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Claims;

/**
 * A token like another one, but with some claims changed, signed RS256 by the key (PEM) that signs the cluster's own: what no API server issues,
 * such as one that has ended.
 */
export function signedLike(token: string, changed: Claims, key: string): string {
  const [header = ''] = token.split('.');
  const signed = `${header}.${Buffer.from(JSON.stringify({ ...claimsOf(token), ...changed })).toString('base64url')}`;
  return `${signed}.${sign('sha256', Buffer.from(signed), createPrivateKey(key)).toString('base64url')}`;
}
