import { AUDIENCE, forgeWithPublicKey, ISSUER, makeKey, serviceAccountClaims, signToken, unsignedToken, type TestKey } from './tokens.ts';

/** The keys of a cluster: what stands in its JWKS. */
export const makeKeys = (): { readonly rsa: TestKey; readonly ec: TestKey } => ({ rsa: makeKey('RS256', 'rsa-1'), ec: makeKey('ES256', 'ec-1') });
export type Keys = ReturnType<typeof makeKeys>;

/** Tokens that nobody may accept, by what is wrong with them. All would be `shop/web`, who may call. */
export function forgedTokens({ rsa, ec }: Keys, nowMs: number): Readonly<Record<string, string>> {
  const claims = (over: Readonly<Record<string, unknown>> = {}): Record<string, unknown> => serviceAccountClaims('shop', 'web', over, nowMs);
  const seconds = Math.floor(nowMs / 1000);
  const attacker = makeKey('RS256', 'rsa-1');
  const good = signToken(rsa, claims());
  const [head = '', payload = '', signature = ''] = good.split('.');
  const other = signToken(rsa, serviceAccountClaims('shop', 'batch', {}, nowMs)).split('.');
  const kids = ['../../../../dev/null', '/dev/null', 'file:///etc/passwd', 'http://127.0.0.1:9/jwks.json', "rsa-1' OR '1'='1", 'rsa-1"; --', 'rsa-1\u0000', '', 'x'.repeat(2_000), 'unknown', '__proto__'];
  return {
    'alg none': unsignedToken(claims()),
    'alg None': unsignedToken(claims(), 'None'),
    'alg nOnE with a signature': unsignedToken(claims(), 'nOnE', signature),
    'no alg': unsignedToken(claims(), undefined, signature),
    'alg as a list': unsignedToken(claims(), ['RS256', 'none'], signature),
    'alg none over a signed payload': `${unsignedToken({}).split('.')[0]}.${payload}.`,
    'HS256 with the RSA public key': forgeWithPublicKey(rsa, claims()),
    'HS256 with the EC public key': forgeWithPublicKey(ec, claims()),
    'HS256 in the head of a good signature': signToken(rsa, claims(), { alg: 'HS256' }),
    'RS512 in the head of an RS256 key': signToken(rsa, claims(), { alg: 'RS512' }),
    'PS256 in the head of an RS256 key': signToken(rsa, claims(), { alg: 'PS256' }),
    'the EC key named for RS256': signToken(rsa, claims(), { kid: 'ec-1' }),
    'the RSA key named for ES256': signToken(ec, claims(), { kid: 'rsa-1' }),
    ...Object.fromEntries(kids.map((kid) => [`kid ${JSON.stringify(kid).slice(0, 40)} of a foreign key`, signToken(attacker, claims(), { kid })])),
    'kid as a number': signToken(attacker, claims(), { kid: 1 }),
    'kid as a list': signToken(attacker, claims(), { kid: ['rsa-1'] }),
    'a foreign key under our kid': signToken(attacker, claims()),
    'a foreign key without a kid': signToken(attacker, claims(), { kid: undefined }),
    'a foreign key in jwk': signToken(attacker, claims(), { jwk: attacker.jwk }),
    'a foreign key by jku': signToken(attacker, claims(), { jku: 'http://127.0.0.1:9/jwks.json' }),
    'a foreign key by x5u': signToken(attacker, claims(), { x5u: 'file:///etc/ssl/cert.pem', x5c: ['MIIB'] }),
    'a critical extension': signToken(rsa, claims(), { crit: ['exp'], exp: seconds + 60 }),
    'another audience': signToken(rsa, claims({ aud: ['https://kubernetes.default.svc'] })),
    'the audience as a part': signToken(rsa, claims({ aud: [`${AUDIENCE}-2`] })),
    'no audience': signToken(rsa, claims({ aud: undefined })),
    'another issuer': signToken(rsa, claims({ iss: 'https://evil.example' })),
    'the issuer as a part': signToken(rsa, claims({ iss: `${ISSUER}.evil.example` })),
    'no issuer': signToken(rsa, claims({ iss: undefined })),
    'no end': signToken(rsa, claims({ exp: undefined })),
    'an end as text': signToken(rsa, claims({ exp: String(seconds + 3600) })),
    'ended a second ago': signToken(rsa, claims({ exp: seconds - 1 })),
    'ended an hour ago': signToken(rsa, claims({ exp: seconds - 3600, nbf: seconds - 7200, iat: seconds - 7200 })),
    'begins in two minutes': signToken(rsa, claims({ nbf: seconds + 120 })),
    'made in two minutes': signToken(rsa, claims({ iat: seconds + 120 })),
    'a node': signToken(rsa, claims({ sub: 'system:node:n1', 'kubernetes.io': undefined })),
    'an account of two names': signToken(rsa, claims({ sub: 'system:serviceaccount:shop:web:x', 'kubernetes.io': undefined })),
    'an account with a slash': signToken(rsa, claims({ sub: 'system:serviceaccount:shop/web:x', 'kubernetes.io': undefined })),
    'an account with a line feed': signToken(rsa, claims({ sub: 'system:serviceaccount:shop:web\nadd map', 'kubernetes.io': undefined })),
    'two accounts in one': signToken(rsa, claims({ sub: 'system:serviceaccount:shop:batch' })),
    'another payload under the signature': `${head}.${other[1]}.${signature}`,
    'another signature': `${head}.${payload}.${other[2]}`,
    'no signature': `${head}.${payload}.`,
    'half a signature': `${head}.${payload}.${signature.slice(0, signature.length / 2)}`,
    'a fourth part': `${good}.${signature}`,
    'two parts': `${head}.${payload}`,
    'padding': `${good}==`,
    'with its scheme': `Bearer ${good}`,
    'a payload that is no JSON': signToken(rsa, 'not json'),
    'a payload that is a list': signToken(rsa, '[]'),
    'a signed token of more than 8 KB': signToken(rsa, claims({ pad: 'x'.repeat(8_192) })),
    '8 KB of one letter': 'a'.repeat(8_192),
    '8 KB of dots': '.'.repeat(8_192),
    '12 KB': 'a'.repeat(12_288),
  };
}
