import { parseAllDocuments } from 'yaml';

/** What a pod does with its callers. `refused`: nothing listens there. */
export type Behaviour = 'http' | 'h2c' | 'tcp' | 'silent' | 'reset' | 'refused';
export const BEHAVIOURS: readonly Behaviour[] = ['http', 'h2c', 'tcp', 'silent', 'reset', 'refused'];

export interface PodPlan {
  readonly address?: string;
  readonly node?: string;
  readonly serviceAccount?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly phase?: string;
  readonly hostNetwork?: boolean;
  readonly serve?: Behaviour;
}

export interface PortPlan {
  readonly name?: string;
  readonly port: number;
  readonly targetPort?: string | number;
  readonly protocol?: string;
  readonly appProtocol?: string;
  /** Port of the pods, where `targetPort` is a name or absent. */
  readonly podPort?: number;
}

export interface EndpointPlan {
  readonly pod: string;
  readonly ready?: boolean | null;
  readonly serving?: boolean | null;
  readonly terminating?: boolean | null;
}

export interface ServicePlan {
  readonly ports?: readonly PortPlan[];
  /** How many pods, made with the Service; or names, or names with conditions. */
  readonly pods?: number | readonly (string | EndpointPlan)[];
  readonly selector?: Readonly<Record<string, string>>;
}

/** The objects of a scene; a later step names what it changes, `null` takes away. */
export interface WorldPlan {
  readonly pods?: Readonly<Record<string, PodPlan | null>>;
  readonly services?: Readonly<Record<string, ServicePlan | null>>;
  /** Kubernetes YAML, as a tenant writes it. */
  readonly routes?: readonly unknown[];
  /** `namespace/name` of routes taken away. */
  readonly withoutRoutes?: readonly string[];
  /** Any other Kubernetes YAML. */
  readonly objects?: readonly unknown[];
  /** Files beside that of the scene, word for word; `null` takes one away. */
  readonly files?: Readonly<Record<string, string | null>>;
}

export interface Expectation {
  readonly status?: number;
  readonly reason?: string;
  /** Who answered: one pod, one of several, or each with its share. */
  readonly by?: string | readonly string[] | Readonly<Record<string, number>>;
  /** Port on which the pod was called. */
  readonly port?: number;
  /** Headers as the server received them: all lines of that name; null: none. */
  readonly seen?: Readonly<Record<string, string | readonly string[] | null>>;
  readonly headers?: Readonly<Record<string, string | null>>;
  readonly trailers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Requests (tcp: connections) that reached each pod by all calls of this line. */
  readonly reached?: Readonly<Record<string, number>>;
  /** The same pod answers all calls of this line. */
  readonly sticky?: boolean;
  /** The connection was closed without an answer, or in mid-answer. */
  readonly closed?: boolean;
  readonly atLeastMs?: number;
  readonly atMostMs?: number;
}

export interface CallPlan {
  readonly from: string;
  readonly to: string;
  readonly via: 'http' | 'h2c' | 'ws' | 'tcp';
  readonly method: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body?: string;
  readonly times: number;
  readonly expect: Expectation;
}

export interface ProblemPlan {
  readonly code: string;
  readonly object: string;
  readonly severity: 'error' | 'warning';
  /** Text that the message or the remedy holds. */
  readonly says?: string;
}

/** One state of the world and the calls that are made in it. */
export interface Step {
  readonly change: WorldPlan;
  /** The foreign programs end before the change. */
  readonly foreignEnds: boolean;
  /** Pods whose server ends before the calls. */
  readonly stop: readonly string[];
  /** Calls that go on while the change takes effect; every one of them must meet its expectation. */
  readonly during: readonly CallPlan[];
  /** Calls that begin before the change is written and end after it. */
  readonly held: readonly CallPlan[];
  readonly calls: readonly CallPlan[];
  /** Make the calls of this step at the same time. */
  readonly together: boolean;
  /** All problems that exist then, no more and no less. */
  readonly problems: readonly ProblemPlan[];
  /** Name without the zone -> a route (its own or global VIP), NXDOMAIN or NODATA. */
  readonly dns: Readonly<Record<string, string>>;
}

export interface Scene {
  readonly name: string;
  /** The proxies that it is played on. */
  readonly proxies: readonly string[];
  /** `address:port` where a foreign program listens from before the scene until its end. */
  readonly foreign: readonly string[];
  readonly steps: readonly Step[];
}

type Fields = Readonly<Record<string, unknown>>;

const WORLD_KEYS = ['pods', 'services', 'routes', 'withoutRoutes', 'objects', 'files'];
const STEP_KEYS = ['foreignEnds', 'stop', 'during', 'held', 'calls', 'together', 'problems', 'dns'];
const CALL_KEYS = ['from', 'to', 'via', 'method', 'headers', 'body', 'times', 'expect'];
const EXPECT_KEYS = ['status', 'reason', 'by', 'port', 'seen', 'headers', 'trailers', 'body', 'reached', 'sticky', 'closed', 'atLeastMs', 'atMostMs'];

/**
 * Parses a file of scenes: one YAML document each. `$(NAME)` is replaced first. A key that is not known is an error: a misspelt
 * expectation would hold for ever.
 */
export function parseScenes(text: string, variables: Readonly<Record<string, string>>): readonly Scene[] {
  const filled = text.replaceAll(/\$\((\w+)\)/g, (_, name: string) => {
    const value = variables[name];
    if (value === undefined) throw new Error(`scenes know no $(${name})`);
    return value;
  });
  return parseAllDocuments(filled)
    .map((document) => {
      if (document.errors[0] !== undefined) throw document.errors[0];
      return document.toJS() as unknown;
    })
    .filter((document) => document !== null)
    .map(parseScene);
}

function parseScene(raw: unknown): Scene {
  const fields = fieldsOf(raw, ['scene', 'proxies', 'foreign', 'then', ...WORLD_KEYS, ...STEP_KEYS], 'a scene');
  const { scene: name, proxies = ['embedded', 'haproxy'], foreign = [], then = [], ...first } = fields;
  if (typeof name !== 'string') throw new Error(`a scene has no name: ${JSON.stringify(raw).slice(0, 200)}`);
  return { name, proxies: proxies as string[], foreign: foreign as string[], steps: [first, ...(then as unknown[])].map((step) => parseStep(step, name)) };
}

function parseStep(raw: unknown, scene: string): Step {
  const fields = fieldsOf(raw, [...WORLD_KEYS, ...STEP_KEYS], scene);
  for (const pod of Object.values((fields['pods'] ?? {}) as Record<string, PodPlan | null>)) {
    fieldsOf(pod ?? {}, ['address', 'node', 'serviceAccount', 'labels', 'phase', 'hostNetwork', 'serve'], scene);
    if (pod?.serve !== undefined && !BEHAVIOURS.includes(pod.serve)) throw new Error(`${scene}: a pod cannot serve ${pod.serve}`);
  }
  for (const service of Object.values((fields['services'] ?? {}) as Record<string, ServicePlan | null>)) fieldsOf(service ?? {}, ['ports', 'pods', 'selector'], scene);
  const calls = (key: string): readonly CallPlan[] => ((fields[key] ?? []) as unknown[]).map((call) => parseCall(call, scene));
  return {
    change: Object.fromEntries(WORLD_KEYS.flatMap((key) => (fields[key] === undefined ? [] : [[key, fields[key]]]))),
    foreignEnds: fields['foreignEnds'] === true,
    stop: (fields['stop'] ?? []) as string[],
    during: calls('during'),
    held: calls('held'),
    calls: calls('calls'),
    together: fields['together'] === true,
    problems: ((fields['problems'] ?? []) as unknown[]).map((one) => parseProblem(one, scene)),
    dns: (fields['dns'] ?? {}) as Record<string, string>,
  };
}

function parseCall(raw: unknown, scene: string): CallPlan {
  const { from, to, via = 'http', method = 'GET', headers = [], body, times = 1, expect } = fieldsOf(raw, CALL_KEYS, scene);
  if (typeof from !== 'string' || typeof to !== 'string') throw new Error(`${scene}: a call needs from and to`);
  if (body !== undefined && typeof body !== 'string') throw new Error(`${scene}: a body is a text: quote it`);
  return {
    from,
    to,
    via: via as CallPlan['via'],
    method: String(method),
    headers: (headers as string[]).map(parseHeaderLine),
    ...(typeof body === 'string' ? { body } : {}),
    times: Number(times),
    expect: parseExpectation(expect, scene),
  };
}

function parseHeaderLine(line: string): readonly [string, string] {
  const colon = line.indexOf(':');
  if (colon < 1) throw new Error(`'${line}' is not Name: value`);
  return [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, '')];
}

/** `svc-1`: answered by that pod; `403 acl-denied`; `closed`; or all of {@link Expectation}. */
function parseExpectation(raw: unknown, scene: string): Expectation {
  if (raw === 'closed') return { closed: true };
  if (typeof raw === 'string') {
    const [, status, reason] = /^(\d{3}) ([a-z-]+)$/.exec(raw) ?? [];
    return status === undefined || reason === undefined ? { status: 200, by: raw } : { status: Number(status), reason };
  }
  const fields = fieldsOf(raw, EXPECT_KEYS, scene);
  return fields['by'] === undefined ? fields : { status: 200, ...fields };
}

function parseProblem(raw: unknown, scene: string): ProblemPlan {
  const { code, object, severity = 'error', says } = fieldsOf(raw, ['code', 'object', 'severity', 'says'], scene);
  return { code: String(code), object: String(object), severity: severity as ProblemPlan['severity'], ...(typeof says === 'string' ? { says } : {}) };
}

function fieldsOf(raw: unknown, known: readonly string[], scene: string): Fields {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) throw new Error(`${scene}: ${JSON.stringify(raw)} is not a map of ${known.join(', ')}`);
  const strange = Object.keys(raw).find((key) => !known.includes(key));
  if (strange !== undefined) throw new Error(`${scene}: '${strange}' is none of ${known.join(', ')}`);
  return raw as Fields;
}
