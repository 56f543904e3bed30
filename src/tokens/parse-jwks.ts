import { printable } from '../model/problem.ts';

/** The algorithms that may sign a token (RFC 7518 section 3.1). */
export type SigningAlgorithm = 'RS256' | 'RS384' | 'RS512' | 'ES256' | 'ES384' | 'ES512';

/** A public key that may verify, in JWK form (RFC 7517) with the needed members only, and its one algorithm. */
export interface VerificationKey {
  readonly kid?: string;
  readonly alg: SigningAlgorithm;
  /** Frozen: the library keeps what it imported by this object. */
  readonly jwk: { readonly kty: 'RSA'; readonly n: string; readonly e: string } | { readonly kty: 'EC'; readonly crv: string; readonly x: string; readonly y: string };
}

export interface ParsedJwks {
  readonly keys: readonly VerificationKey[];
  /** One printable line for each key that is left out. */
  readonly leftOut: readonly string[];
}

export const MAX_JWKS_BYTES = 256 * 1024;
const MAX_KEYS = 100;
const MAX_KID = 256;
/** RFC 7518 section 3.3: RSA keys of 2048 bits or more. Above the larger one a check takes milliseconds. */
const RSA_BYTES = { least: 256, most: 1024 };
/** The algorithm of a curve (RFC 7518 section 3.4), and the bytes of a coordinate. */
const CURVES: ReadonlyMap<string, { readonly alg: SigningAlgorithm; readonly bytes: number }> = new Map([
  ['P-256', { alg: 'ES256', bytes: 32 }],
  ['P-384', { alg: 'ES384', bytes: 48 }],
  ['P-521', { alg: 'ES512', bytes: 66 }],
]);
const RSA_ALGORITHMS: readonly string[] = ['RS256', 'RS384', 'RS512'];

/**
 * Reads a JWK Set (RFC 7517 section 5). A key that cannot verify tokens (another type, algorithm, use or size) is left out and said.
 * @throws Error with one line when it is no JWK Set, or holds no key that can be used
 */
export function parseJwks(text: string): ParsedJwks {
  if (Buffer.byteLength(text) > MAX_JWKS_BYTES) throw new Error(`it is larger than ${MAX_JWKS_BYTES / 1024} KiB`);
  const listed = readKeys(text);
  if (listed.length > MAX_KEYS) throw new Error(`it holds ${listed.length} keys, more than ${MAX_KEYS}`);
  const keys: VerificationKey[] = [];
  const leftOut: string[] = [];
  for (const [index, raw] of listed.entries()) {
    const key = parseKey(raw);
    if (typeof key === 'string') leftOut.push(`keys[${index}] is left out: ${key}`);
    else keys.push(key);
  }
  if (keys.length === 0) throw new Error(leftOut[0] ?? 'it holds no keys');
  return { keys, leftOut };
}

type Json = Readonly<Record<string, unknown>>;

function readKeys(text: string): readonly unknown[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The message of JSON.parse quotes the text, which may be anything.
    throw new Error('it is not JSON');
  }
  const keys = isObject(value) ? value['keys'] : undefined;
  if (!Array.isArray(keys)) throw new Error("it is no JWK Set: there is no list 'keys'");
  return keys as readonly unknown[];
}

/** The key, or why it cannot be used. */
function parseKey(raw: unknown): VerificationKey | string {
  if (!isObject(raw)) return 'it is no object';
  const { kid, alg, use, key_ops: operations } = raw;
  if (kid !== undefined && (typeof kid !== 'string' || kid.length > MAX_KID)) return `its kid is no text of at most ${MAX_KID} characters`;
  if (use !== undefined && use !== 'sig') return "its use is not 'sig'";
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) return "its key_ops do not include 'verify'";
  const read = raw['kty'] === 'RSA' ? readRsa(raw) : raw['kty'] === 'EC' ? readEc(raw) : `keys of type ${quoted(raw['kty'])} verify no tokens`;
  if (typeof read === 'string') return read;
  const chosen = alg === undefined ? read.algorithms[0] : read.algorithms.find((one) => one === alg);
  if (chosen === undefined) return `its alg ${quoted(alg)} is not ${read.algorithms.join(', ')}`;
  return { ...(kid === undefined ? {} : { kid }), alg: chosen, jwk: Object.freeze(read.jwk) };
}

interface ReadKey {
  /** The first is that of a key which names none. */
  readonly algorithms: readonly SigningAlgorithm[];
  readonly jwk: VerificationKey['jwk'];
}

function readRsa({ n, e }: Json): ReadKey | string {
  const [modulus, exponent] = [bytesOf(n), bytesOf(e)];
  if (modulus === undefined || exponent === undefined) return 'n or e is missing or no base64url';
  const bytes = modulus.length;
  if (bytes < RSA_BYTES.least || bytes > RSA_BYTES.most) return `an RSA key must have ${RSA_BYTES.least * 8} to ${RSA_BYTES.most * 8} bits; it has ${bytes * 8}`;
  if (exponent.length > 4) return 'its exponent has more than 32 bits';
  return { algorithms: RSA_ALGORITHMS as readonly SigningAlgorithm[], jwk: { kty: 'RSA', n: String(n), e: String(e) } };
}

function readEc({ crv, x, y }: Json): ReadKey | string {
  const curve = CURVES.get(String(crv));
  if (curve === undefined) return `its curve ${quoted(crv)} is not ${[...CURVES.keys()].join(', ')}`;
  if ([x, y].some((part) => typeof part !== 'string' || Buffer.from(part, 'base64url').length !== curve.bytes)) return 'x or y is missing or of the wrong size';
  return { algorithms: [curve.alg], jwk: { kty: 'EC', crv: String(crv), x: String(x), y: String(y) } };
}

/** Bytes of a base64url number without leading zeros. */
function bytesOf(value: unknown): Buffer | undefined {
  if (typeof value !== 'string' || !/^[\w-]+$/.test(value)) return undefined;
  const bytes = Buffer.from(value, 'base64url');
  const first = bytes.findIndex((byte) => byte !== 0);
  return first < 0 ? undefined : bytes.subarray(first);
}

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);
const quoted = (value: unknown): string => (typeof value === 'string' ? `'${printable(value, 40)}'` : 'of no text');
