/**
 * Specs of a ServiceRoute and what is wrong with them: one table for the parser here and for a real API server.
 * `codes` are those of errors, sorted; none means that the spec is valid.
 */
export interface RouteCase {
  readonly name: string;
  readonly spec: unknown;
  readonly codes: readonly string[];
  /** Part of the first error's text. */
  readonly says?: string;
}

const a = { kind: 'Service', name: 'a' };
const b = { kind: 'Service', name: 'b' };
const weight = (name: string, rule: unknown): unknown => ({ kind: 'Service', name, balance: { rule } });
const percentage = (...rules: readonly unknown[]): unknown => ({
  rule: { type: 'Percentage' },
  to: rules.map((rule, i) => weight(`v${i}`, rule)),
});
const header = (...rules: readonly unknown[]): unknown => ({
  rule: { type: 'Header', header: 'X-Version' },
  to: rules.map((rule, i) => weight(`v${i}`, rule)),
});
const plain = (more: object): unknown => ({ rule: { type: '' }, to: [a], ...more });
const version = (more: object): unknown => ({ rule: { type: '' }, to: [{ ...a, ...more }] });

export const ROUTE_CASES: readonly RouteCase[] = [
  // The fixed fields, as they have always been written.
  { name: 'the smallest spec', spec: plain({}), codes: [] },
  { name: 'kind of a version may be left out', spec: { rule: { type: '' }, to: [{ name: 'a' }] }, codes: [] },
  { name: 'header on a Percentage rule', spec: { rule: { type: 'Percentage', header: 'X-V' }, to: [a] }, codes: [] },
  { name: 'empty header and prefer', spec: { rule: { type: 'Percentage', header: '', prefer: '' }, to: [a] }, codes: [] },
  { name: 'prefer names a version', spec: { rule: { type: '', prefer: 'b' }, to: [a, b] }, codes: [] },
  { name: 'prefer names none', spec: { rule: { type: '', prefer: 'c' }, to: [a, b] }, codes: ['prefer-unknown'], says: 'one of to[].name' },
  { name: 'rule missing', spec: { to: [a] }, codes: ['field-invalid'], says: 'spec.rule: it is missing' },
  { name: 'type missing', spec: { rule: {}, to: [a] }, codes: ['field-invalid'], says: 'spec.rule.type: it is missing' },
  { name: 'type unknown', spec: { rule: { type: 'Weight' }, to: [a] }, codes: ['field-invalid'], says: 'use "", "Percentage", "Header"' },
  { name: 'no spec', spec: undefined, codes: ['field-invalid'], says: 'add spec' },
  { name: 'spec is a list', spec: [], codes: ['field-invalid'], says: 'it is a list, not an object' },
  { name: 'no versions', spec: { rule: { type: '' }, to: [] }, codes: ['field-invalid'], says: 'the list is empty' },
  { name: '16 versions', spec: percentage(...Array.from({ length: 16 }, () => 6)), codes: [] },
  { name: '17 versions', spec: percentage(...Array.from({ length: 17 }, () => 1)), codes: ['field-invalid'], says: 'more than 16 items' },
  { name: 'a version of another kind', spec: { rule: { type: '' }, to: [{ kind: 'Pod', name: 'a' }] }, codes: ['field-invalid'], says: "'Pod' is not a value" },
  { name: 'a version without name', spec: { rule: { type: '' }, to: [{ kind: 'Service' }] }, codes: ['field-invalid'], says: 'spec.to[0].name: it is missing' },
  { name: 'a version with a bad name', spec: { rule: { type: '' }, to: [{ name: '9a' }] }, codes: ['field-invalid'], says: 'beginning with a letter' },
  { name: 'the same version twice', spec: { rule: { type: '' }, to: [a, a] }, codes: ['version-duplicate'], says: 'spec.to[1].name' },
  { name: 'global is no boolean', spec: plain({ global: 'yes' }), codes: ['field-invalid'], says: 'write true or false' },

  // Percentage
  { name: 'weights as numbers', spec: percentage(50, 50), codes: [] },
  { name: 'weights as texts', spec: percentage('50%', '49'), codes: [] },
  { name: 'weights below 100', spec: percentage(1, '2%'), codes: [] },
  { name: 'weights 0 and 100', spec: percentage(0, 100), codes: [] },
  { name: 'weights above 100', spec: percentage(50, '51%'), codes: ['weights-above-100'], says: 'what is missing goes to rule.prefer' },
  { name: 'one weight above 100', spec: percentage(101), codes: ['weights-above-100'] },
  { name: 'a negative weight', spec: percentage(-1), codes: ['weight-invalid'], says: 'write 50 or "50%"' },
  { name: 'a fraction as weight', spec: percentage(0.5), codes: ['field-invalid'], says: 'it is a number' },
  { name: 'a fraction of a percent', spec: percentage('0.5%'), codes: ['weight-invalid'] },
  { name: 'a word as weight', spec: percentage('half'), codes: ['weight-invalid'] },
  { name: 'an empty weight', spec: percentage(''), codes: ['weight-invalid'] },
  { name: 'a weight with a blank', spec: percentage('50 %'), codes: ['weight-invalid'] },
  { name: 'a list as weight', spec: percentage([50]), codes: ['field-invalid'], says: 'not a whole number or a string' },
  { name: 'balance without rule', spec: { rule: { type: 'Percentage' }, to: [{ name: 'a', balance: {} }] }, codes: [] },
  { name: 'weights are not looked at for type ""', spec: { rule: { type: '' }, to: [weight('a', 'half'), weight('b', 200)] }, codes: [] },

  // Header
  { name: 'regular expressions', spec: header('^1', '(?i)canary', '\\x20'), codes: [] },
  { name: 'Header without header', spec: { rule: { type: 'Header' }, to: [a] }, codes: ['header-missing'], says: 'set rule.header' },
  { name: 'Header with an empty header', spec: { rule: { type: 'Header', header: '' }, to: [a] }, codes: ['header-missing'] },
  { name: 'a header name with a blank', spec: { rule: { type: 'Header', header: 'X Y' }, to: [a] }, codes: ['field-invalid'], says: 'X-Version' },
  { name: 'a header name with a line break', spec: { rule: { type: 'Header', header: 'X\r\nY' }, to: [a] }, codes: ['field-invalid'] },
  { name: 'a header name that is too long', spec: { rule: { type: 'Header', header: 'x'.repeat(129) }, to: [a] }, codes: ['field-invalid'], says: 'longer than 128' },
  { name: 'a missing and an empty regex', spec: header(undefined, ''), codes: [] },
  { name: 'a number as regex', spec: header(2), codes: [] },
  { name: 'a blank in a regex', spec: header('a b'), codes: ['regex-invalid'], says: 'write \\x20 for a blank' },
  { name: 'a tab in a regex', spec: header('a\tb'), codes: ['regex-invalid'] },
  { name: 'a line break in a regex', spec: header('a\nb'), codes: ['regex-invalid'] },
  { name: 'a NUL in a regex', spec: header('a\u0000b'), codes: ['regex-invalid'] },
  { name: '512 bytes of regex', spec: header('x'.repeat(512)), codes: [] },
  { name: '513 characters of regex', spec: header('x'.repeat(513)), codes: ['field-invalid'], says: 'longer than 512' },
  { name: '514 bytes in 257 characters', spec: header('\u00e9'.repeat(257)), codes: ['regex-invalid'], says: 'longer than 512 bytes' },
  { name: 'a blank matters only for Header', spec: { rule: { type: '' }, to: [weight('a', 'a b')] }, codes: [] },

  // Callers
  { name: 'acl entries', spec: plain({ acl: { defaultAllow: false, entries: [{ name: 'x' }, { kind: '', name: 'y.z', namespace: '' }] } }), codes: [] },
  { name: 'acl null', spec: plain({ acl: { defaultAllow: null, entries: null } }), codes: [] },
  { name: 'an entry of another kind', spec: plain({ acl: { entries: [{ kind: 'User', name: 'x' }] } }), codes: ['field-invalid'] },
  { name: 'an entry without name', spec: plain({ acl: { entries: [{ namespace: 'x' }] } }), codes: ['field-invalid'], says: 'spec.acl.entries[0].name' },
  { name: 'an entry with a bad namespace', spec: plain({ acl: { entries: [{ name: 'x', namespace: 'a.b' }] } }), codes: ['field-invalid'] },
  { name: '257 entries', spec: plain({ acl: { entries: Array.from({ length: 257 }, () => ({ name: 'x' })) } }), codes: ['field-invalid'] },

  // Ports and protocol
  { name: 'ports by name, number and both', spec: plain({ port: { targetPort: '80-tcp', listen: 8080 } }), codes: [] },
  { name: 'a number as targetPort', spec: plain({ port: { targetPort: 8080 } }), codes: [] },
  { name: 'an empty targetPort', spec: plain({ port: { targetPort: '' } }), codes: [] },
  { name: 'targetPort 0', spec: plain({ port: { targetPort: 0 } }), codes: ['field-invalid'], says: 'from 1 to 65535' },
  { name: 'a targetPort that is no name', spec: plain({ port: { targetPort: 'a b' } }), codes: ['field-invalid'], says: '80-tcp' },
  { name: 'listen too high', spec: plain({ port: { listen: 65_536 } }), codes: ['field-invalid'] },
  ...[53, 9053, 9810, 10_250, 30_000, 32_767].map((listen) => ({
    name: `listen on ${listen}`,
    spec: plain({ port: { listen } }),
    codes: ['port-reserved'],
    says: 'spec.port.listen',
  })),
  ...[52, 80, 29_999, 32_768].map((listen) => ({ name: `listen on ${listen}`, spec: plain({ port: { listen } }), codes: [] })),
  { name: 'protocol tcp', spec: plain({ protocol: 'tcp' }), codes: [] },
  { name: 'protocol unknown', spec: plain({ protocol: 'udp' }), codes: ['field-invalid'] },
  { name: 'Header on tcp', spec: { rule: { type: 'Header', header: 'X' }, to: [a], protocol: 'tcp' }, codes: ['header-on-tcp'] },
  { name: 'HeaderHash on tcp', spec: { rule: { type: '' }, to: [{ name: 'a', balance: { algorithm: 'HeaderHash', hashHeader: 'X' } }], protocol: 'tcp' }, codes: ['header-on-tcp'] },

  // Servers
  { name: 'an algorithm', spec: version({ balance: { algorithm: 'LeastConn' } }), codes: [] },
  { name: 'an unknown algorithm', spec: version({ balance: { algorithm: 'Best' } }), codes: ['field-invalid'] },
  { name: 'HeaderHash', spec: version({ balance: { algorithm: 'HeaderHash', hashHeader: 'X-User' } }), codes: [] },
  { name: 'HeaderHash without header', spec: version({ balance: { algorithm: 'HeaderHash' } }), codes: ['header-missing'], says: 'set balance.hashHeader' },
  { name: 'a breaker', spec: version({ breaker: { threshold: 5 } }), codes: [] },
  { name: 'a breaker that is off, all zeroes', spec: version({ breaker: { threshold: 0, window: 0, breakTime: 0, connLimit: 0 } }), codes: [] },
  { name: 'a breaker without window', spec: version({ breaker: { threshold: 1, window: 0 } }), codes: ['breaker-invalid'] },
  { name: 'a breaker without breakTime', spec: version({ breaker: { threshold: 1, breakTime: 0 } }), codes: ['breaker-invalid'] },
  { name: 'a negative threshold', spec: version({ breaker: { threshold: -1 } }), codes: ['field-invalid'] },
  { name: 'a window above an hour', spec: version({ breaker: { window: 3601 } }), codes: ['field-invalid'] },
  { name: 'a threshold that is a text', spec: version({ breaker: { threshold: '5' } }), codes: ['field-invalid'], says: 'write a whole number' },
  { name: 'locality', spec: plain({ locality: 'Local', spillAt: 10 }), codes: [] },
  { name: 'locality unknown', spec: plain({ locality: 'local' }), codes: ['field-invalid'] },
  { name: 'spillAt 0', spec: plain({ spillAt: 0 }), codes: [] },

  // Time and retries
  { name: 'timeouts', spec: plain({ timeout: { connect: '1s', request: '1m30s' } }), codes: [] },
  { name: 'the longest timeouts', spec: plain({ timeout: { connect: '60s', request: '24h' } }), codes: [] },
  { name: 'connect of 0', spec: plain({ timeout: { connect: '0s' } }), codes: ['timeout-invalid'], says: 'between 1ms and 1m' },
  { name: 'connect too long', spec: plain({ timeout: { connect: '61s' } }), codes: ['timeout-invalid'] },
  { name: 'request too long', spec: plain({ timeout: { request: '24h1ms' } }), codes: ['timeout-invalid'] },
  { name: 'request beyond all numbers', spec: plain({ timeout: { request: '999999999h' } }), codes: ['timeout-invalid'] },
  { name: 'a bare number as timeout', spec: plain({ timeout: { request: '60' } }), codes: ['field-invalid'], says: '250ms, 60s or 1m30s' },
  { name: 'a number as timeout', spec: plain({ timeout: { request: 60 } }), codes: ['field-invalid'], says: 'not a string' },
  { name: 'a fraction as timeout', spec: plain({ timeout: { request: '1.5s' } }), codes: ['field-invalid'] },
  { name: 'retries', spec: plain({ retries: { attempts: 1, on: ['connect-failure'], nonIdempotent: true } }), codes: [] },
  { name: 'no retries', spec: plain({ retries: { attempts: 0, on: [] } }), codes: [] },
  { name: 'an unknown retry condition', spec: plain({ retries: { on: ['5xx'] } }), codes: ['field-invalid'] },
  { name: 'a retry condition twice', spec: plain({ retries: { on: ['empty-response', 'empty-response'] } }), codes: ['field-invalid'], says: 'name each item once' },
  { name: '11 attempts', spec: plain({ retries: { attempts: 11 } }), codes: ['field-invalid'] },

  // Limits and log
  { name: 'a rate limit', spec: plain({ rateLimit: { requestsPerSecond: 10, burst: 20, per: 'Route' } }), codes: [] },
  { name: 'a rate limit without rate', spec: plain({ rateLimit: { burst: 20 } }), codes: ['field-invalid'] },
  { name: 'a rate of 0', spec: plain({ rateLimit: { requestsPerSecond: 0 } }), codes: ['field-invalid'] },
  { name: 'a log', spec: plain({ log: { mode: 'Sampled', percent: 5 } }), codes: [] },
  { name: 'a log of 101 percent', spec: plain({ log: { mode: 'Sampled', percent: 101 } }), codes: ['field-invalid'] },
  { name: 'an unknown field', spec: plain({ retry: {}, weight: 5 }), codes: [] },
];
