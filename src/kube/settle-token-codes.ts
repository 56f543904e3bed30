import { problem, type Problem } from '../model/problem.ts';
import type { TokenCode } from '../model/token.ts';
import { soleCodes } from './parse-token-secret.ts';
import type { CallerCode } from './parsed-object.ts';

/**
 * The codes that count, sorted by digest. One code for two ServiceAccounts counts for neither, and each of the Secrets gets a Problem; it
 * does not say where the other one stands, which may be another tenant's namespace.
 */
export function settleTokenCodes(secrets: readonly CallerCode[]): { readonly codes: readonly TokenCode[]; readonly problems: readonly Problem[] } {
  const codes = soleCodes(secrets.map(({ code }) => code));
  const counting = new Set(codes.map(({ digest }) => digest));
  return { codes, problems: secrets.filter(({ code }) => !counting.has(code.digest)).map(sharedCode) };
}

const sharedCode = ({ namespace, name, origin }: CallerCode): Problem =>
  problem({
    code: 'token-shared',
    object: { kind: 'Secret', namespace, name },
    field: 'data.token',
    message: 'the same code stands for another ServiceAccount too; it counts for neither',
    remedy: 'write a new random code into each of the two Secrets',
    origin,
  });
