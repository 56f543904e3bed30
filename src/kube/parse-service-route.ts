import { isNamespaceName, isServiceName } from '../model/names.ts';
import { isReservedPort } from '../model/reserved-ports.ts';
import type { RouteSpec, ServiceRoute, VersionSpec } from '../model/service-route.ts';
import type { CheckedSpec, CheckedVersion } from './checked-spec.ts';
import { fieldText, isRecord, valueAt } from './field-path.ts';
import type { Locate } from './field-path.ts';
import { parseDuration } from './parse-duration.ts';
import type { Parsed, RegexSite } from './parsed-object.ts';
import { ProblemList } from './problem-list.ts';
import { checkRules, NAME_RULE, parseWeight } from './route-rules.ts';
import type { RouteSchema } from './route-schema.ts';

/** What every object is parsed with. */
export interface ParseContext {
  readonly schema: RouteSchema;
  /** Name of the namespace whose names belong to public routes: `--global-namespace`. */
  readonly globalNamespace: string;
}

/**
 * Parses one ServiceRoute. A bad name, or the global namespace as its place, gives Problems only; a good name with a bad
 * spec gives a route without `spec`. Warnings (unknown fields) keep the spec.
 */
export function parseServiceRoute(raw: unknown, { schema, globalNamespace }: ParseContext, locate: Locate): Parsed<'ServiceRoute'> {
  const text = (...path: string[]): string | undefined => {
    const value = valueAt(raw, path);
    return typeof value === 'string' ? value : undefined;
  };
  const name = text('metadata', 'name') ?? '';
  const namespace = text('metadata', 'namespace') ?? 'default';
  const ref = { kind: 'ServiceRoute' as const, namespace, name };
  const problems = new ProblemList(ref, locate);
  const done = (object?: ServiceRoute): Parsed<'ServiceRoute'> => {
    const regexes = findRegexes(object?.spec, locate);
    return { ...ref, ...(object === undefined ? {} : { object }), problems: problems.list(), ...(regexes.length > 0 ? { regexes } : {}) };
  };

  if (!isRecord(raw) || !isServiceName(name)) {
    problems.add({ ...NAME_RULE, path: ['metadata', 'name'] });
    return done();
  }
  const givenNamespace = valueAt(raw, ['metadata', 'namespace']) ?? namespace;
  if (givenNamespace !== namespace || !isNamespaceName(namespace)) {
    problems.add({
      code: 'name-invalid',
      path: ['metadata', 'namespace'],
      message: 'this is not the name of a namespace',
      remedy: "use at most 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit",
    });
    return done();
  }
  if (namespace === globalNamespace) {
    problems.add({
      code: 'namespace-reserved',
      path: ['metadata', 'namespace'],
      message: `namespace ${globalNamespace} holds the names of public routes and no ServiceRoutes`,
      remedy: 'move it to the namespace of its Services and set spec.global: true',
    });
    return done();
  }

  for (const issue of schema.checkRoot(raw)) problems.add(issue);
  const checked = schema.checkSpec(raw['spec']);
  for (const issue of checked.issues) problems.add(issue);
  const broken = checked.spec === undefined ? [] : checkRules(checked.spec);
  for (const issue of broken) problems.add(issue);
  if (raw['status'] !== undefined && raw['status'] !== null) for (const issue of schema.checkStatus(raw['status'])) problems.add(issue);

  const valid = checked.spec !== undefined && broken.length === 0;
  const uid = text('metadata', 'uid');
  const generation = valueAt(raw, ['metadata', 'generation']);
  const createdAtMs = Date.parse(text('metadata', 'creationTimestamp') ?? '');
  const vip = text('status', 'vip');
  const globalVip = text('status', 'globalVip');
  const origin = locate([]);
  const listen = valid ? undefined : readListen(raw);
  return done({
    namespace,
    name,
    ...(uid === undefined ? {} : { uid: uid.slice(0, 128) }),
    ...(typeof generation === 'number' && Number.isSafeInteger(generation) ? { generation } : {}),
    ...(Number.isNaN(createdAtMs) ? {} : { createdAtMs }),
    ...(valid && checked.spec !== undefined ? { spec: buildSpec(checked.spec, namespace) } : {}),
    ...(listen === undefined ? {} : { listen }),
    status: {
      ...(vip === undefined ? {} : { vip: vip.slice(0, 64) }),
      ...(globalVip === undefined ? {} : { globalVip: globalVip.slice(0, 64) }),
    },
    ...(origin === undefined ? {} : { origin }),
  });
}

/** The port on the VIP of a spec that is bad elsewhere: its calls are refused there. */
function readListen(raw: unknown): number | undefined {
  const listen = valueAt(raw, ['spec', 'port', 'listen']);
  const usable = typeof listen === 'number' && Number.isInteger(listen) && listen >= 1 && listen <= 65_535 && !isReservedPort(listen);
  return usable ? listen : undefined;
}

/** Translates a spec that satisfies schema and rules. Empty texts and zeroes that mean "unset" become absent. */
function buildSpec(spec: CheckedSpec, namespace: string): RouteSpec {
  const { rule, acl, port, timeout, rateLimit } = spec;
  return {
    rule: {
      type: rule.type,
      ...(nonEmpty(rule.header) ? { header: rule.header } : {}),
      ...(nonEmpty(rule.prefer) ? { prefer: rule.prefer } : {}),
    },
    global: spec.global,
    acl: {
      defaultAllow: acl.defaultAllow,
      entries: acl.entries.map((entry) => ({
        ...(nonEmpty(entry.kind) ? { kind: entry.kind } : {}),
        name: entry.name,
        namespace: nonEmpty(entry.namespace) ? entry.namespace : namespace,
      })),
    },
    to: spec.to.map((version) => buildVersion(version, spec)),
    ...(spec.protocol === undefined ? {} : { protocol: spec.protocol }),
    port: {
      ...(port.targetPort === undefined || port.targetPort === '' ? {} : { targetPort: port.targetPort }),
      ...(port.listen === undefined ? {} : { listen: port.listen }),
    },
    locality: spec.locality,
    ...(spec.spillAt === undefined || spec.spillAt === 0 ? {} : { spillAt: spec.spillAt }),
    timeout: { connectMs: parseDuration(timeout.connect) ?? 0, requestMs: parseDuration(timeout.request) ?? 0 },
    retries: spec.retries,
    ...(rateLimit === undefined ? {} : { rateLimit: { ...rateLimit, burst: rateLimit.burst ?? rateLimit.requestsPerSecond } }),
    log: spec.log,
  };
}

function buildVersion({ name, balance, breaker }: CheckedVersion, { rule }: CheckedSpec): VersionSpec {
  // A Header rule may be written as a bare number: YAML's 2 is the regular expression "2".
  const match = rule.type === 'Header' ? String(balance?.rule ?? '') : '';
  return {
    name,
    ...(rule.type === 'Percentage' ? { weight: parseWeight(balance?.rule) ?? 0 } : {}),
    ...(match === '' ? {} : { match }),
    ...(balance?.algorithm === undefined ? {} : { algorithm: balance.algorithm }),
    ...(nonEmpty(balance?.hashHeader) ? { hashHeader: balance.hashHeader } : {}),
    ...(breaker === undefined
      ? {}
      : {
          breaker: {
            threshold: breaker.threshold ?? 0,
            windowSeconds: breaker.window,
            breakTimeSeconds: breaker.breakTime,
            connLimit: breaker.connLimit ?? 0,
          },
        }),
  };
}

function findRegexes(spec: RouteSpec | undefined, locate: Locate): RegexSite[] {
  return (spec?.to ?? []).flatMap(({ match }, i) => {
    if (match === undefined) return [];
    const path = ['spec', 'to', i, 'balance', 'rule'];
    const origin = locate(path);
    return [{ pattern: match, field: fieldText(path) ?? '', ...(origin === undefined ? {} : { origin }) }];
  });
}

const nonEmpty = <T extends string>(text: T | undefined): text is Exclude<T, ''> => text !== undefined && text !== '';
