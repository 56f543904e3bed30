import { isSubdomain } from '../model/names.ts';
import { tokenDigest, type TokenCode } from '../model/token.ts';
import { valueAt } from './field-path.ts';

/** Label of a Secret whose key `token` is an opaque code; its value names the ServiceAccount of that namespace for which the code stands. */
export const TOKEN_LABEL = 'onehop.paas.io/token';

/** A Secret with {@link TOKEN_LABEL}. What it holds is not kept, only the digest. */
export interface TokenSecret {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  /** Empty when the label names no account. */
  readonly serviceAccount: string;
  /** SHA-256 of the code in lower-case hex, or why there is none: one line without anything of the code. */
  readonly code: { readonly digest: string } | { readonly why: string };
}

/** Guessing 16 random characters is hopeless; of shorter codes a digest could be turned back by trying. */
const LEAST_LENGTH = 16;
const MOST_LENGTH = 1024;
const PRINTABLE = /^[\x21-\x7e]*$/;

/** Parses a core/v1 Secret; undefined when it does not bear the label, or is no object of a namespace. `stringData` counts as in the API server. */
export function parseTokenSecret(raw: unknown): TokenSecret | undefined {
  const text = (...path: string[]): string => {
    const value = valueAt(raw, path);
    return typeof value === 'string' ? value : '';
  };
  const label = valueAt(raw, ['metadata', 'labels', TOKEN_LABEL]);
  const name = text('metadata', 'name');
  if (typeof label !== 'string' || name === '') return undefined;
  const serviceAccount = isSubdomain(label) ? label : '';
  return {
    namespace: text('metadata', 'namespace') || 'default',
    name,
    uid: text('metadata', 'uid'),
    resourceVersion: text('metadata', 'resourceVersion'),
    serviceAccount,
    code: serviceAccount === '' ? { why: `its label ${TOKEN_LABEL} names no ServiceAccount` } : readCode(raw),
  };
}

function readCode(raw: unknown): TokenSecret['code'] {
  const [plain, encoded] = [valueAt(raw, ['stringData', 'token']), valueAt(raw, ['data', 'token'])];
  const given = typeof plain === 'string' ? plain : typeof encoded === 'string' ? Buffer.from(encoded, 'base64').toString('latin1') : '';
  // A file that was made by an editor or `echo` ends with a newline that nobody means.
  const code = given.trimEnd();
  if (code === '') return { why: 'it has no key token, or an empty one' };
  if (code.length < LEAST_LENGTH || code.length > MOST_LENGTH) return { why: `its code must have ${LEAST_LENGTH} to ${MOST_LENGTH} characters` };
  if (!PRINTABLE.test(code)) return { why: 'its code must be printable ASCII without blanks' };
  // A JWT (a Secret of type service-account-token has one) would go on counting as a code after its end.
  if (code.split('.').length === 3) return { why: 'its code has two dots, as a JWT has' };
  return { digest: tokenDigest(code) };
}

/** The codes of which each stands for one account, sorted by digest: one that is given for two accounts counts for neither. */
export function soleCodes(codes: Iterable<TokenCode>): readonly TokenCode[] {
  const byDigest = new Map<string, TokenCode | undefined>();
  for (const code of codes) {
    const other = byDigest.get(code.digest);
    const isSame = other?.namespace === code.namespace && other.serviceAccount === code.serviceAccount;
    byDigest.set(code.digest, !byDigest.has(code.digest) || isSame ? code : undefined);
  }
  return [...byDigest.values()].filter((code) => code !== undefined).sort((a, b) => (a.digest < b.digest ? -1 : 1));
}

/** The codes of Secrets that have a good one. */
export const codesOf = (secrets: Iterable<TokenSecret>): readonly TokenCode[] =>
  [...secrets].flatMap(({ namespace, serviceAccount, code }) => ('digest' in code ? [{ digest: code.digest, namespace, serviceAccount }] : []));
