import type { CheckedSpec, CheckedVersion } from './checked-spec.ts';
import type { FieldPath } from './field-path.ts';
import type { Issue } from './problem-list.ts';
import { parseDuration } from './parse-duration.ts';
import { isReservedPort } from '../model/reserved-ports.ts';

/**
 * The twin of one CEL rule of `daemonset/crd.yaml`. The rule there has the message `${message}; ${remedy}` at `path`;
 * a test keeps the two in step.
 */
export interface RouteRule {
  readonly code: string;
  /** Where the rule stands in the schema: `spec.to[].balance`. */
  readonly path: string;
  readonly message: string;
  readonly remedy: string;
  /** The fields that break it, in a spec that satisfies the schema. */
  readonly broken: (spec: CheckedSpec) => readonly FieldPath[];
}

/** What the name of a ServiceRoute must satisfy: checked before its spec, because a route without a name has no VIP. */
export const NAME_RULE = {
  code: 'name-invalid',
  path: '',
  message: 'the name must be an RFC 1035 label, because a Service of that name is its access point',
  remedy: "use at most 63 of a-z, 0-9 and '-', beginning with a letter and ending with a letter or digit",
} as const;

export const MAX_REGEX_BYTES = 512;

/** Weight of a Percentage version (absent: 0), or undefined when the text is none. */
export function parseWeight(rule: string | number | undefined): number | undefined {
  if (rule === undefined) return 0;
  if (typeof rule === 'number') return rule >= 0 ? rule : undefined;
  return /^[0-9]{1,9}%?$/.test(rule) ? Number(rule.replace('%', '')) : undefined;
}

const versionsWhere = (spec: CheckedSpec, broken: (version: CheckedVersion, index: number) => boolean, field: FieldPath): FieldPath[] =>
  spec.to.flatMap((version, i) => (broken(version, i) ? [['spec', 'to', i, ...field]] : []));

const regexesWhere = (spec: CheckedSpec, broken: (regex: string) => boolean): FieldPath[] =>
  spec.rule.type === 'Header'
    ? versionsWhere(spec, ({ balance }) => typeof balance?.rule === 'string' && broken(balance.rule), ['balance', 'rule'])
    : [];

const durationOutside = (text: string, field: string, maxMs: number): FieldPath[] => {
  const ms = parseDuration(text) ?? 0;
  return ms >= 1 && ms <= maxMs ? [] : [['spec', 'timeout', field]];
};

export const ROUTE_RULES: readonly RouteRule[] = [
  {
    code: 'header-missing',
    path: 'spec.rule',
    message: 'a Header rule needs the name of a header',
    remedy: 'set rule.header, for example X-Version',
    broken: ({ rule }) => (rule.type === 'Header' && (rule.header ?? '') === '' ? [['spec', 'rule', 'header']] : []),
  },
  {
    code: 'prefer-unknown',
    path: 'spec',
    message: 'rule.prefer names no version of this route',
    remedy: 'set it to one of to[].name',
    broken: ({ rule, to }) =>
      (rule.prefer ?? '') !== '' && !to.some(({ name }) => name === rule.prefer) ? [['spec', 'rule', 'prefer']] : [],
  },
  {
    code: 'version-duplicate',
    path: 'spec',
    message: 'two versions have the same name',
    remedy: 'name each Service once in to',
    broken: (spec) => versionsWhere(spec, ({ name }, i) => spec.to.findIndex((other) => other.name === name) < i, ['name']),
  },
  {
    code: 'weight-invalid',
    path: 'spec',
    message: 'the weight of a Percentage version is neither a whole number nor a percentage',
    remedy: 'write 50 or "50%"',
    broken: (spec) =>
      spec.rule.type === 'Percentage' ? versionsWhere(spec, ({ balance }) => parseWeight(balance?.rule) === undefined, ['balance', 'rule']) : [],
  },
  {
    code: 'weights-above-100',
    path: 'spec',
    message: 'the weights add up to more than 100',
    remedy: 'lower them to 100 or less, what is missing goes to rule.prefer',
    broken({ rule, to }) {
      const weights = to.map(({ balance }) => parseWeight(balance?.rule));
      const readable = weights.every((weight) => weight !== undefined);
      return rule.type === 'Percentage' && readable && weights.reduce((sum, weight) => sum + weight, 0) > 100 ? [['spec', 'to']] : [];
    },
  },
  {
    code: 'regex-invalid',
    path: 'spec',
    message: 'the regular expression holds a literal blank or control character',
    remedy: 'write \\x20 for a blank and \\t for a tab',
    broken: (spec) => regexesWhere(spec, (regex) => /[\x00-\x20\x7f]/.test(regex)),
  },
  {
    code: 'regex-invalid',
    path: 'spec',
    message: `the regular expression is longer than ${MAX_REGEX_BYTES} bytes`,
    remedy: 'shorten it, or split it over several versions',
    broken: (spec) => regexesWhere(spec, (regex) => new TextEncoder().encode(regex).length > MAX_REGEX_BYTES),
  },
  {
    code: 'header-on-tcp',
    path: 'spec',
    message: 'a tcp route has no headers to choose by',
    remedy: 'use rule.type Percentage, or protocol http',
    broken: ({ protocol, rule }) => (protocol === 'tcp' && rule.type === 'Header' ? [['spec', 'rule', 'type']] : []),
  },
  {
    code: 'header-on-tcp',
    path: 'spec',
    message: 'a tcp route has no header to hash',
    remedy: 'use algorithm SourceHash, or protocol http',
    broken: (spec) =>
      spec.protocol === 'tcp' ? versionsWhere(spec, ({ balance }) => balance?.algorithm === 'HeaderHash', ['balance', 'algorithm']) : [],
  },
  {
    code: 'header-missing',
    path: 'spec.to[].balance',
    message: 'HeaderHash needs the name of a header',
    remedy: 'set balance.hashHeader, for example X-User',
    broken: (spec) =>
      versionsWhere(spec, ({ balance }) => balance?.algorithm === 'HeaderHash' && (balance.hashHeader ?? '') === '', ['balance', 'hashHeader']),
  },
  {
    code: 'breaker-invalid',
    path: 'spec.to[].breaker',
    message: 'a breaker with a threshold needs a window and a breakTime above 0',
    remedy: 'set both in seconds, or leave them out (10 and 30)',
    broken: (spec) =>
      versionsWhere(spec, ({ breaker }) => (breaker?.threshold ?? 0) > 0 && (breaker?.window === 0 || breaker?.breakTime === 0), ['breaker']),
  },
  {
    code: 'port-reserved',
    path: 'spec.port.listen',
    message: 'the port is used on every node (53, 9053, 9810, 10250 and 30000-32767 are)',
    remedy: 'set port.listen to another one',
    broken: ({ port }) => (port.listen !== undefined && isReservedPort(port.listen) ? [['spec', 'port', 'listen']] : []),
  },
  {
    code: 'timeout-invalid',
    path: 'spec.timeout.connect',
    message: 'timeout.connect is out of range',
    remedy: 'set it between 1ms and 1m',
    broken: ({ timeout }) => durationOutside(timeout.connect, 'connect', 60_000),
  },
  {
    code: 'timeout-invalid',
    path: 'spec.timeout.request',
    message: 'timeout.request is out of range',
    remedy: 'set it between 1ms and 24h',
    broken: ({ timeout }) => durationOutside(timeout.request, 'request', 24 * 3_600_000),
  },
];

/** Applies every rule; the issues come in the order of the rules. */
export const checkRules = (spec: CheckedSpec): Issue[] =>
  ROUTE_RULES.flatMap(({ code, message, remedy, broken }) => broken(spec).map((path) => ({ code, path, message, remedy })));
