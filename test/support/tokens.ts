import { createHmac, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';

/** A key pair that signs tokens as an API server does, by node:crypto alone: not by the library that verifies them. */
export interface TestKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** As it stands in a JWKS. */
  readonly jwk: Readonly<Record<string, unknown>>;
}

const CURVES: Readonly<Record<string, string>> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' };

export function makeKey(alg: string, kid: string, bits = 2048): TestKey {
  const curve = CURVES[alg];
  const { privateKey, publicKey } = curve === undefined ? generateKeyPairSync('rsa', { modulusLength: bits }) : generateKeyPairSync('ec', { namedCurve: curve });
  return { kid, alg, privateKey, publicKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' } };
}

export const jwksOf = (...keys: readonly TestKey[]): string => JSON.stringify({ keys: keys.map(({ jwk }) => jwk) });

export const ISSUER = 'https://kubernetes.default.svc';
export const AUDIENCE = 'onehop';

/** Claims of a bound token (Kubernetes: "Managing Service Accounts") that ends in an hour; `over` changes some, undefined takes one away. */
export function serviceAccountClaims(namespace: string, serviceAccount: string, over: Readonly<Record<string, unknown>> = {}, nowMs = Date.now()): Record<string, unknown> {
  const now = Math.floor(nowMs / 1000);
  return {
    aud: [AUDIENCE],
    exp: now + 3600,
    iat: now,
    iss: ISSUER,
    jti: '5f3c8e0a-1111-4222-8333-444455556666',
    'kubernetes.io': { namespace, pod: { name: 'pod-1', uid: 'pod-uid' }, serviceaccount: { name: serviceAccount, uid: 'account-uid' } },
    nbf: now,
    sub: `system:serviceaccount:${namespace}:${serviceAccount}`,
    ...over,
  };
}

const part = (value: unknown): string => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** Signs claims (any text or JSON). `header` stands above `{alg, kid}` of the key, so that it can lie. */
export function signToken(key: TestKey, claims: unknown, header: Readonly<Record<string, unknown>> = {}): string {
  const signed = `${part({ alg: key.alg, kid: key.kid, ...header })}.${part(claims)}`;
  const signature = sign(`sha${key.alg.slice(2)}`, Buffer.from(signed), { key: key.privateKey, dsaEncoding: 'ieee-p1363' });
  return `${signed}.${signature.toString('base64url')}`;
}

/** The classic forgery: a public key, which everybody knows, used as the secret of an HMAC. */
export function forgeWithPublicKey(key: TestKey, claims: unknown): string {
  const signed = `${part({ alg: 'HS256', kid: key.kid })}.${part(claims)}`;
  const secret = key.publicKey.export({ type: 'spki', format: 'pem' });
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

/** A token that is not signed at all (RFC 7519 section 6). */
export const unsignedToken = (claims: unknown, alg: unknown = 'none', signature = ''): string => `${part({ alg, typ: 'JWT' })}.${part(claims)}.${signature}`;
