import { AUDIENCE, forgeWithPublicKey, ISSUER, jwksOf, makeKey, serviceAccountClaims, signToken } from '../tokens.ts';
import type { Caller, Token } from './oracle.ts';

/** Callers of the isolation matrix that show a token, and what an agent needs to verify them. */
export interface TokenCallers {
  readonly callers: readonly Caller[];
  readonly objects: readonly unknown[];
  readonly jwks: string;
  readonly flags: readonly string[];
}

const CODE = 'c0de-of-a-robot-in-namespace-b-7d1f0a';

export function buildTokenCallers(pods: string, known: readonly Caller[]): TokenCallers {
  const [key, stranger] = [makeKey('ES256', 'one'), makeKey('ES256', 'one')];
  const good = (namespace: string, account: string): Token => ({ text: signToken(key, serviceAccountClaims(namespace, account)), names: { namespace, account } });
  const code: Token = { text: CODE, names: { namespace: 'b', account: 's2' } };
  const bad = {
    'a token of another issuer': { text: signToken(stranger, serviceAccountClaims('a', 's1')) },
    'a token for another audience': { text: signToken(key, serviceAccountClaims('a', 's1', { aud: ['https://kubernetes.default.svc'] })) },
    'a token of yesterday': { text: signToken(key, serviceAccountClaims('a', 's1', {}, Date.now() - 86_400_000)) },
    'a forged token': { text: forgeWithPublicKey(key, serviceAccountClaims('a', 's1')) },
  } as const satisfies Readonly<Record<string, Token>>;
  const from = (name: string): Caller => {
    const found = known.find((caller) => caller.name === name);
    if (found === undefined) throw new Error(`there is no caller ${name}`);
    return found;
  };
  const shows = (caller: Caller, what: string, token: Token): Caller => ({ ...caller, name: `${caller.name} with ${what}`, token });
  const host = from('a process of the node');
  const nobody = (last: number): Caller => ({ name: 'nobody', address: `${pods}.${last}`, source: { kind: 'unknown' } });
  return {
    callers: [
      shows(from('a/pod-s1'), 'its own token', good('a', 's1')),
      shows(from('b/pod-s2'), 'its own code', code),
      shows(from('a/pod-s1'), "another account's token", good('a', 's2')),
      shows(from('c/pod-s1'), "the same account's token of another namespace", good('a', 's1')),
      shows(from('mon/grafana'), "a trusted caller's token", good('mon', 'prometheus')),
      shows(from('a/pod-s1'), 'a token for another audience', bad['a token for another audience']),
      shows(host, "a's token", good('a', 's1')),
      shows(host, "b's code", code),
      shows(host, 'a forged token', bad['a forged token']),
      ...(['a/s1', 'b/s1', 'c/s3', 'a/front', 'mon/prometheus', 'mon/grafana', 'ops/default'] as const).map((account, i) => {
        const [namespace = '', name = ''] = account.split('/');
        return shows(nobody(200 + i), `the token of ${account}`, good(namespace, name));
      }),
      shows(nobody(210), "b's code", code),
      ...Object.entries(bad).map(([what, token], i) => shows(nobody(220 + i), what, token)),
    ],
    objects: [{ apiVersion: 'v1', kind: 'Secret', metadata: { namespace: 'b', name: 'robot', labels: { 'onehop.paas.io/token': 's2' } }, stringData: { token: CODE } }],
    jwks: jwksOf(key),
    flags: ['--token-issuer', ISSUER, '--token-audience', AUDIENCE],
  };
}
