import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { CRD_URL } from '../../../src/kube/io/read-crd.ts';
import { isRecord, valueAt } from '../../../src/kube/field-path.ts';
import type { FieldPath } from '../../../src/kube/field-path.ts';
import type { Kind } from '../../../src/kube/parsed-object.ts';

/**
 * A world of two tenants: `victim`, whose part must never change, and `evil`, who may write anything into any field of any object.
 * Every object of `evil` has every text that is read of its kind.
 */

export type RawObject = Readonly<Record<string, unknown>> & { readonly kind: string; readonly apiVersion: string };

/** What a tenant could try: the special characters of YAML, HAProxy's file, its expressions, its command line, HTTP, terminals, DNS. */
export const HOSTILE_TEXTS: readonly string[] = [
  '"',
  "'",
  `'"\\'"`,
  '\n',
  '\r',
  '\r\n',
  'a\nfrontend evil\n  bind :1\n',
  'a\n  server evil 1.2.3.4:80',
  "x' if TRUE\n  use_backend victim.shop.v1",
  '\n\n',
  '<<\n\n',
  '; shutdown frontend victim.shop',
  '@1 maps/callers.map <<\n127.88.0.1 @trusted\n\n',
  '# ServiceRoute victim/shop',
  '\n# ServiceRoute victim/shop\n',
  '%[env(PATH)]',
  '%[src],map(/etc/passwd)',
  '${HOME}',
  '$HOME',
  '"${X}"',
  '{ acl }',
  '}{',
  '\\',
  '\\\n',
  '\\x0a',
  '\t',
  ' ',
  '#',
  '\u0000',
  'a\u0000b',
  'ünïcödé',
  '\u202eevil',
  '\u2028',
  '\u001b[2J\u001b]0;owned\u0007',
  '\u009b31m',
  '\ud800',
  'a\udfffb',
  '\u{1f600}',
  '../../../etc/passwd',
  '/',
  'victim/shop',
  '@trusted',
  '@host',
  '__proto__',
  'constructor',
  'toString',
  '(*LIMIT_MATCH=999999999)a',
  '(?#',
  '%',
  '*',
  '-1',
  '0.0.0.0/0',
  '127.88.0.1@',
  '::ffff:127.88.0.1%eth0',
  'null',
  'x'.repeat(300),
  'x'.repeat(64 * 1024),
  '\n'.repeat(64 * 1024),
  '"\'#%[${'.repeat(8 * 1024),
];

const metadata = (name: string, namespace: string, more: object = {}): object => ({
  name,
  namespace,
  uid: '8d8f7c9e-0000-4000-8000-000000000001',
  resourceVersion: '12',
  creationTimestamp: '2026-01-01T00:00:00Z',
  labels: { app: 'v1', ...more },
  annotations: { note: 'text' },
});

/** What everything below needs and nobody attacks. */
export const VICTIM: readonly RawObject[] = [
  { apiVersion: 'v1', kind: 'Service', metadata: metadata('v1', 'victim'), spec: { ports: [{ port: 80, targetPort: 8080 }], selector: { app: 'v1' } } },
  {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: metadata('v1-x', 'victim', { 'kubernetes.io/service-name': 'v1' }),
    addressType: 'IPv4',
    ports: [{ port: 8080 }],
    endpoints: [{ addresses: ['127.88.90.10'], nodeName: 'n1', targetRef: { kind: 'Pod', namespace: 'victim', name: 'v1-1' } }],
  },
  { apiVersion: 'v1', kind: 'Pod', metadata: metadata('caller', 'victim'), spec: { nodeName: 'n1', serviceAccountName: 'web' }, status: { phase: 'Running', podIP: '127.88.90.11' } },
  {
    apiVersion: 'paas.io/v1',
    kind: 'ServiceRoute',
    metadata: metadata('shop', 'victim'),
    spec: {
      rule: { type: 'Header', header: 'X-Version', prefer: 'v1' },
      global: true,
      acl: { defaultAllow: false, entries: [{ kind: 'ServiceAccount', name: 'web' }, { kind: 'Service', name: 'v1' }] },
      // What routes with breakers share is there with the first of them: this one.
      to: [{ kind: 'Service', name: 'v1', balance: { rule: '^1$' }, breaker: { threshold: 5, connLimit: 10 } }],
    },
  },
];

const STATUS = {
  vip: '127.77.9.9',
  vip6: 'fd00::9',
  globalVip: '127.77.9.10',
  globalVip6: 'fd00::a',
  versions: 'v1 100%',
  changeVersion: '12',
  programmed: '1/1',
  conditions: [{ type: 'Accepted', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z', reason: 'Valid', message: 'fine' }],
};
const COMMON = {
  acl: { defaultAllow: true, entries: [{ kind: 'ServiceAccount', name: 'robot', namespace: 'evil' }, { kind: 'Service', name: 'v1', namespace: 'evil' }, { name: 'web', namespace: 'victim' }] },
  port: { targetPort: 'http', listen: 8080 },
  locality: 'PreferLocal',
  timeout: { connect: '100ms', request: '1h' },
  retries: { attempts: 1, on: ['connect-failure'] },
  rateLimit: { requestsPerSecond: 10, burst: 20, per: 'Caller' },
  log: { mode: 'Sampled', percent: 50 },
};

/** The attacker's objects, by kind: a kind that is read and not here does not compile. Two routes, because some fields count on one sort only. */
export const EVIL: Readonly<Record<Exclude<Kind, 'ServiceRoute'> | 'ServiceRoute', readonly RawObject[]>> = {
  ServiceRoute: [
    {
      apiVersion: 'paas.io/v1',
      kind: 'ServiceRoute',
      metadata: metadata('header', 'evil'),
      spec: {
        rule: { type: 'Header', header: 'X-Evil', prefer: 'v1' },
        global: true,
        to: [{ kind: 'Service', name: 'v1', balance: { rule: 'a|b', algorithm: 'HeaderHash', hashHeader: 'X-User' }, breaker: { threshold: 3, connLimit: 5 } }],
        ...COMMON,
      },
      status: STATUS,
    },
    {
      apiVersion: 'paas.io/v1',
      kind: 'ServiceRoute',
      metadata: metadata('percent', 'evil'),
      spec: { rule: { type: 'Percentage', prefer: 'v1' }, to: [{ kind: 'Service', name: 'v1', balance: { rule: '50%', algorithm: 'SourceHash' } }], ...COMMON, protocol: 'http' },
    },
  ],
  Service: [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: metadata('v1', 'evil'),
      spec: {
        type: 'ClusterIP',
        clusterIP: '10.96.0.9',
        clusterIPs: ['10.96.0.9'],
        selector: { app: 'v1' },
        externalName: 'example.org',
        ports: [{ name: 'http', port: 80, targetPort: 'web', protocol: 'TCP', appProtocol: 'http' }],
      },
    },
    { apiVersion: 'v1', kind: 'Service', metadata: metadata('v1', 'evil'), spec: { clusterIP: '10.96.0.9', ports: [{ name: 'http', port: 80 }] } },
  ],
  EndpointSlice: [
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: metadata('v1-x', 'evil', { 'kubernetes.io/service-name': 'v1' }),
      addressType: 'IPv4',
      ports: [{ name: 'http', port: 8080, protocol: 'TCP', appProtocol: 'http' }],
      endpoints: [
        {
          addresses: ['127.88.90.20'],
          conditions: { ready: true, serving: true, terminating: false },
          nodeName: 'n1',
          zone: 'z1',
          hostname: 'v1-1',
          targetRef: { kind: 'Pod', namespace: 'evil', name: 'v1-1', uid: 'u1' },
        },
      ],
    },
  ],
  Pod: [
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: metadata('caller', 'evil'),
      spec: { nodeName: 'n1', serviceAccountName: 'robot', hostNetwork: false },
      status: { phase: 'Running', podIP: '127.88.90.21', podIPs: [{ ip: '127.88.90.21' }] },
    },
    { apiVersion: 'v1', kind: 'Pod', metadata: metadata('caller', 'evil'), spec: { nodeName: 'n1' }, status: { phase: 'Running', podIP: '127.88.90.21' } },
  ],
  Node: [
    {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: metadata('n1', 'passed-over', { 'topology.kubernetes.io/zone': 'z1' }),
      spec: { podCIDR: '127.88.0.0/16', podCIDRs: ['127.88.0.0/16'] },
      status: { addresses: [{ type: 'InternalIP', address: '192.168.0.1' }] },
    },
  ],
  ServiceAccount: [{ apiVersion: 'v1', kind: 'ServiceAccount', metadata: metadata('robot', 'evil') }],
  Secret: [
    { apiVersion: 'v1', kind: 'Secret', metadata: metadata('code', 'evil', { 'onehop.paas.io/token': 'robot' }), stringData: { token: 'a-code-of-the-attacker-himself' } },
    { apiVersion: 'v1', kind: 'Secret', metadata: metadata('code', 'evil', { 'onehop.paas.io/token': 'robot' }), data: { token: 'YS1jb2RlLW9mLXRoZS1hdHRhY2tlcg==' } },
  ],
};

/** Every text inside a value: its way, `key: true` for the names in maps that a tenant fills (labels, selectors). */
export interface TextField {
  readonly path: FieldPath;
  readonly key?: true;
}

const FREE_MAPS = new Set(['labels', 'annotations', 'selector', 'data', 'stringData']);

export function textFields(value: unknown, path: FieldPath = []): readonly TextField[] {
  if (typeof value === 'string') return [{ path }];
  if (Array.isArray(value)) return value.flatMap((item: unknown, i) => textFields(item, [...path, i]));
  if (!isRecord(value)) return [];
  const free = FREE_MAPS.has(String(path.at(-1)));
  return Object.entries(value).flatMap(([key, inner]) => [...textFields(inner, [...path, key]), ...(free ? [{ path: [...path, key], key: true as const }] : [])]);
}

/** The object with that text in that field. `apiVersion` and `kind` are attacked as any other. */
export function withText(object: RawObject, { path, key }: TextField, text: string): unknown {
  const copy = structuredClone(object) as unknown;
  const parent = valueAt(copy, path.slice(0, -1)) as Record<string, unknown>;
  const last = String(path.at(-1));
  // Own properties only: `__proto__` as a key must stay one, as JSON.parse makes it.
  const define = (name: string, value: unknown): void => void Object.defineProperty(parent, name, { value, enumerable: true, configurable: true, writable: true });
  if (key === true) {
    define(text, parent[last]);
    if (text !== last) delete parent[last];
  } else define(last, text);
  return copy;
}

export const fieldName = (path: FieldPath): string => path.reduce<string>((text, step) => (typeof step === 'number' ? `${text}[]` : text === '' ? step : `${text}.${step}`), '');

interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly 'x-kubernetes-int-or-string'?: boolean;
}

/** Every field of the CRD's schema that takes a text, as `spec.to[].name`. */
export function schemaTextFields(): readonly string[] {
  const crd: unknown = parse(readFileSync(CRD_URL, 'utf8'));
  const walk = (schema: Schema, path: string): string[] => [
    ...(schema.type === 'string' || schema['x-kubernetes-int-or-string'] === true ? [path] : []),
    ...Object.entries(schema.properties ?? {}).flatMap(([name, inner]) => walk(inner, path === '' ? name : `${path}.${name}`)),
    ...(schema.items === undefined ? [] : walk(schema.items, `${path}[]`)),
  ];
  return walk(valueAt(crd, ['spec', 'versions', 0, 'schema', 'openAPIV3Schema']) as Schema, '');
}

/** The value, and what is asked of it: the ways of all fields that a reader looked for, there or not. */
export function recordReads(value: unknown): { readonly value: unknown; readonly asked: ReadonlySet<string> } {
  const asked = new Set<string>();
  const wrap = (inner: unknown, path: FieldPath): unknown => {
    if (typeof inner !== 'object' || inner === null) return inner;
    const note = (key: string | symbol): FieldPath => {
      const step = Array.isArray(inner) && typeof key === 'string' && /^\d+$/.test(key) ? Number(key) : String(key);
      const way = [...path, step];
      if (typeof key === 'string' && !(Array.isArray(inner) && typeof step === 'string')) asked.add(fieldName(way));
      return way;
    };
    return new Proxy(inner, {
      get: (target, key) => {
        const own = Object.hasOwn(target, key);
        const found: unknown = Reflect.get(target, key);
        return own ? wrap(found, note(key)) : found;
      },
      getOwnPropertyDescriptor: (target, key) => {
        note(key);
        return Reflect.getOwnPropertyDescriptor(target, key);
      },
    });
  };
  return { value: wrap(value, []), asked };
}
