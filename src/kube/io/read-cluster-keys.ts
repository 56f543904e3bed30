import { printable } from '../../model/problem.ts';
import type { ApiError } from '../api-error.ts';
import { defaultAudiences, parseIssuer } from '../parse-discovery.ts';
import type { ApiAccess } from './open-api-access.ts';
import type { ApiClient } from './open-api-client.ts';

/** What a cluster says of its ServiceAccount tokens. */
export interface ClusterKeys {
  /** Text of a JWKS (RFC 7517). */
  readonly jwks: string;
  readonly issuers: readonly string[];
  readonly audiences: readonly string[];
}

const CONFIGURATION = '/.well-known/openid-configuration';
/** The API server's own answer. The `jwks_uri` of its configuration may lead anywhere, and is for others than us. */
const KEYS = '/openid/v1/jwks';
/** The only type that the API server has for keys (RFC 7517 section 8.5.2); it answers 406 to whoever asks for plain JSON alone. */
const KEYS_TYPE = 'application/jwk-set+json';
const MAX_BYTES = 256 * 1024;

/**
 * How to read keys, issuer and default audiences of ServiceAccount tokens from the API server, each time anew.
 * The read rejects with one line that says what to do.
 */
export function readClusterKeys(client: Pick<ApiClient, 'request' | 'server'>, access: Pick<ApiAccess, 'token'>): (signal: AbortSignal) => Promise<ClusterKeys> {
  const ask = (path: string, signal: AbortSignal): Promise<unknown> =>
    client.request('GET', path, { signal, maxBytes: MAX_BYTES, accept: `application/json, ${KEYS_TYPE}` }).catch((error: ApiError) => {
      const remedy = error.status === 403 ? `; allow get of ${CONFIGURATION} and ${KEYS} in its ClusterRole` : '';
      // Bounded, so that the remedy is not what a limit of the whole line cuts off.
      throw new Error(`${client.server} does not give ${path}: ${printable(error.message, 100)}${remedy}`, { cause: error });
    });
  return async (signal) => {
    const [configuration, keys] = await Promise.all([ask(CONFIGURATION, signal), ask(KEYS, signal)]);
    const issuer = parseIssuer(configuration);
    if (issuer === undefined) throw new Error(`${client.server} names no issuer of its ServiceAccount tokens`);
    const own = await access.token().catch(() => undefined);
    return { jwks: JSON.stringify(keys), issuers: [issuer], audiences: defaultAudiences(own, issuer) };
  };
}
