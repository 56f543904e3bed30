import { FULL, PLAIN, type RouteParts } from './bench-table.ts';

/** A configuration whose cost is compared. `edit`: the rendered file with something taken out or changed, line by line. */
export interface PartVariant {
  readonly name: string;
  readonly parts: RouteParts;
  readonly edit?: (line: string) => string | undefined;
}

const without = (...patterns: readonly RegExp[]) => (line: string): string | undefined => (patterns.some((pattern) => pattern.test(line)) ? undefined : line);
const instead = (pattern: RegExp, text: string) => (line: string): string => line.replace(pattern, text);
/** Another way to say who called, and nothing once per connection. */
const forwardedBy = (text: string) => (line: string): string | undefined => without(/tcp-request .*sess\.from/)(line)?.replace(/http-request set-header x-forwarded-for.*/i, text);

/** The least that the renderer gives, then each part alone on top of it, then the full route, then the full route less something. */
export const PART_VARIANTS: readonly PartVariant[] = [
  { name: 'plain route: identity, isolation, headers', parts: PLAIN },
  { name: 'plain less identity and isolation', parts: PLAIN, edit: without(/sess\.caller/) },
  { name: 'plain less header rules', parts: PLAIN, edit: without(/del-header x-onehop-|del-header X-Onehop|set-header x-forwarded-for|sess\.from/i) },
  { name: 'plain + retries', parts: { ...PLAIN, retries: true } },
  { name: 'plain + split', parts: { ...PLAIN, split: true } },
  { name: 'plain + ACL', parts: { ...PLAIN, acl: true } },
  { name: 'plain + breaker', parts: { ...PLAIN, breaker: true } },
  { name: 'plain + connLimit', parts: { ...PLAIN, connLimit: true } },
  { name: 'plain + breaker + connLimit', parts: { ...PLAIN, breaker: true, connLimit: true } },
  { name: 'plain + rate limit', parts: { ...PLAIN, rateLimit: true } },
  { name: 'plain + log, errors', parts: { ...PLAIN, log: 'Errors' } },
  { name: 'plain + log, 1 %', parts: { ...PLAIN, log: 'Sampled' } },
  { name: 'full route', parts: FULL },
  { name: 'full, retries after a failed connect only', parts: FULL, edit: instead(/retry-on .*/, 'retry-on conn-failure') },
  { name: 'full less x-forwarded-for', parts: FULL, edit: without(/set-header x-forwarded-for|sess\.from/i) },
  { name: 'full, option forwardfor', parts: FULL, edit: forwardedBy('option forwardfor\n  http-request del-header x-forwarded-for') },
  { name: 'full, address as text once per request', parts: FULL, edit: forwardedBy('http-request set-header x-forwarded-for %[src]') },
  { name: 'full, caller looked up once per connection', parts: FULL, edit: without(/http-request set-var\(sess\.caller\)/) },
  { name: 'full less calls ring', parts: FULL, edit: without(/log ring@calls|log-format "http|dontlog-normal|set-var\(txn\.reason\)/) },
  { name: 'full less token rules', parts: FULL, edit: without(/lua\.check_token|use_backend bad-token/) },
  { name: 'full less hold rule', parts: FULL, edit: without(/lua\.hold_unknown/) },
  { name: 'full less del-header of requests', parts: FULL, edit: without(/http-request del-header/) },
  { name: 'full less del-header of responses', parts: FULL, edit: without(/http-response del-header/) },
  { name: 'full less checks', parts: FULL, edit: without(/default-server check/) },
  { name: 'full, roundrobin', parts: FULL, edit: instead(/balance leastconn/, 'balance roundrobin') },
  { name: 'full less option http-no-delay', parts: FULL, edit: without(/option http-no-delay/) },
  { name: 'full less option idle-close-on-response', parts: FULL, edit: without(/option idle-close-on-response/) },
  { name: 'full, http-reuse safe', parts: FULL, edit: instead(/http-reuse always/, 'http-reuse safe') },
];

export const applyEdit = (config: string, { edit }: PartVariant): string =>
  edit === undefined ? config : config.split('\n').flatMap((line) => edit(line) ?? []).join('\n');
