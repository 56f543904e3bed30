/** Why the proxy itself answered a call: sent as `x-onehop-reason`, counted in metrics. */
export type RefusalCode =
  | 'bad-token'
  | 'caller-unknown'
  | 'namespace-isolated'
  | 'acl-denied'
  | 'rate-limited'
  | 'no-version'
  | 'breaker-open'
  | 'conn-limit'
  | 'no-endpoints'
  | 'route-invalid'
  | 'connect-failed'
  | 'upstream-reset'
  | 'upstream-timeout';

/** Header that carries a refusal's code; requests and responses of others never keep an `x-onehop-*` header. */
export const REASON_HEADER = 'x-onehop-reason';

/** HTTP status and one-line body of each refusal; of `bad-token` there is a second status, {@link CONTRADICTED_STATUS}. */
export const REFUSALS: Readonly<Record<RefusalCode, { readonly status: number; readonly text: string }>> = {
  'bad-token': { status: 401, text: 'the token of the caller is not accepted' },
  'caller-unknown': { status: 403, text: 'the caller is not a known pod of this node' },
  'namespace-isolated': { status: 403, text: "the route is private to its namespace; public routes are called by their global name" },
  'acl-denied': { status: 403, text: "the route's acl does not allow this caller" },
  'rate-limited': { status: 429, text: 'the rate limit of the route is reached' },
  'no-version': { status: 503, text: 'no version of the route matches this request and none is preferred' },
  'breaker-open': { status: 503, text: 'the circuit breaker of the chosen version is open' },
  'conn-limit': { status: 503, text: 'the connection limit of the chosen version is reached' },
  'no-endpoints': { status: 503, text: 'the chosen version has no usable endpoint' },
  'route-invalid': { status: 503, text: 'the ServiceRoute is invalid; see its conditions or onehop routes' },
  'connect-failed': { status: 502, text: 'no connection to a server of the chosen version' },
  'upstream-reset': { status: 502, text: 'the server closed the connection before a complete answer' },
  'upstream-timeout': { status: 504, text: 'the server did not answer in time' },
};

/** Status of `bad-token` when the token verifies but names another ServiceAccount than the calling pod has. */
export const CONTRADICTED_STATUS = 403;
