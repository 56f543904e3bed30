import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AUDIENCE, ISSUER, jwksOf, makeKey, serviceAccountClaims, signToken } from '../tokens.ts';

const WORD = /\$token\(([^)]*)\)/g;

/**
 * Signs the tokens that scenes ask for: `$token(b/client)` in a header stands for a JWT of that ServiceAccount, made at its first use in the
 * scene. Words behind the account change it: `exp=-10` (seconds from now; also nbf, iat), `aud=`, `iss=`, `key=ec`, `key=foreign`, `alg=`.
 */
export class TokenMint {
  readonly #keys = { rsa: makeKey('RS256', 'scenes-rsa'), ec: makeKey('ES256', 'scenes-ec'), foreign: makeKey('RS256', 'scenes-rsa') };

  /** Writes the JWKS; gives the flags of an agent that believes it. */
  async flags(folder: string): Promise<readonly string[]> {
    const path = join(folder, 'jwks.json');
    await writeFile(path, jwksOf(this.#keys.rsa, this.#keys.ec));
    return [`--token-jwks=${path}`, `--token-issuer=${ISSUER}`, `--token-audience=${AUDIENCE}`];
  }

  /** A text with its tokens. `made`: those that the scene has already. */
  fill(text: string, made: Map<string, string>): string {
    return text.replaceAll(WORD, (_, wanted: string) => {
      const token = made.get(wanted) ?? this.#make(wanted);
      made.set(wanted, token);
      return token;
    });
  }

  #make(wanted: string): string {
    const [account = '', ...changes] = wanted.split(' ');
    const [namespace = '', name = ''] = account.split('/');
    const { key = 'rsa', alg, ...claims } = Object.fromEntries(changes.map((change) => change.split('=', 2) as [string, string]));
    const signer = Object.entries(this.#keys).find(([one]) => one === key)?.[1];
    const strange = Object.keys(claims).find((claim) => !['exp', 'nbf', 'iat', 'aud', 'iss'].includes(claim));
    if (signer === undefined || strange !== undefined || name === '') throw new Error(`no token can be made of '${wanted}'`);
    const now = Math.floor(Date.now() / 1000);
    const over = Object.fromEntries(Object.entries(claims).map(([claim, value]) => [claim, ['exp', 'nbf', 'iat'].includes(claim) ? now + Number(value) : value]));
    return signToken(signer, serviceAccountClaims(namespace, name, over), alg === undefined ? {} : { alg });
  }
}
