import type { Caller, Entry, Target } from './oracle.ts';

/** The callers and routes of the isolation matrix, and the Kubernetes objects that make them so. */

const target = (key: string, more: Partial<Target> = {}): Target => {
  const [namespace = '', name = ''] = key.split('/');
  return { namespace, name, public: true, protocol: 'http', defaultAllow: true, entries: [], ...more };
};
const account = (name: string, namespace?: string): Entry => ({ kind: 'ServiceAccount', name, ...(namespace === undefined ? {} : { namespace }) });
const service = (name: string, namespace?: string): Entry => ({ kind: 'Service', name, ...(namespace === undefined ? {} : { namespace }) });

export const TARGETS: readonly Target[] = [
  target('a/private', { public: false }),
  target('a/public'),
  target('a/white-accounts', { defaultAllow: false, entries: [account('s1'), account('s2', 'b'), account('prometheus', 'mon')] }),
  target('a/black-accounts', { entries: [account('s1'), account('s2', 'b'), account('prometheus', 'mon')] }),
  target('a/white-services', { defaultAllow: false, entries: [service('front'), service('front', 'b')] }),
  target('a/black-services', { entries: [service('front'), service('front', 'b')] }),
  target('a/white-either', { defaultAllow: false, entries: [{ name: 'front' }, { name: 's3', namespace: 'c' }] }),
  target('a/black-either', { entries: [{ name: 'front' }, { name: 's3', namespace: 'c' }] }),
  target('a/white-nobody', { defaultAllow: false }),
  target('a/white-strangers', { defaultAllow: false, entries: [account('s1', 'b'), service('front', 'c'), account('ghost', 'b'), service('ghost')] }),
  target('a/white-private', { public: false, defaultAllow: false, entries: [account('s1'), account('s1', 'b')] }),
  target('a/broken', { invalid: true }),
  target('b/private', { public: false }),
  target('b/black-own', { entries: [account('s1'), account('s1', 'a')] }),
  target('b/tcp-white', { protocol: 'tcp', defaultAllow: false, entries: [account('s2'), account('s3', 'c')] }),
];

export interface World {
  readonly callers: readonly Caller[];
  readonly objects: readonly unknown[];
  /** Where the server behind all routes listens. */
  readonly http: string;
  readonly tcp: string;
}

/** `pods`: the first three octets of their addresses. */
export function buildWorld(pods: string): World {
  const callers: Caller[] = [];
  const objects: unknown[] = [];
  let next = 10;
  const add = (namespace: string, name: string, serviceAccount: string, more: { readonly labels?: object; readonly services?: readonly string[]; readonly phase?: string; readonly node?: string; readonly address?: string; readonly unknown?: true } = {}): string => {
    const address = more.address ?? `${pods}.${next++}`;
    objects.push(podObject({ namespace, name, serviceAccount, address, labels: more.labels ?? {}, phase: more.phase ?? 'Running', node: more.node ?? 'n1' }));
    const source = more.unknown === true ? { kind: 'unknown' as const } : { kind: 'pod' as const, namespace, account: serviceAccount, services: more.services ?? [] };
    callers.push({ name: `${namespace}/${name}`, address, source });
    return address;
  };
  for (const namespace of ['a', 'b', 'c']) for (const one of ['s1', 's2', 's3']) add(namespace, `pod-${one}`, one);
  add('a', 'front-1', 's2', { labels: { app: 'front' }, services: ['front'] });
  add('b', 'front-1', 's1', { labels: { app: 'front', tier: 'x' }, services: ['front', 'narrow'] });
  const listed = add('c', 'front-1', 's1', { labels: { app: 'back' } });
  add('a', 'named-front', 'front');
  add('b', 'named-front', 'front');
  add('ops', 'ingress', 'default');
  add('mon', 'prometheus', 'prometheus');
  add('mon', 'grafana', 'grafana');
  add('a', 'finished', 's1', { phase: 'Succeeded', unknown: true });
  add('a', 'elsewhere', 's1', { node: 'n2', unknown: true });
  const shared = add('a', 'twin-1', 's1', { unknown: true });
  objects.push(podObject({ namespace: 'b', name: 'twin-2', serviceAccount: 's1', address: shared, labels: {}, phase: 'Running', node: 'n1' }));
  callers.push({ name: 'nobody', address: `${pods}.250`, source: { kind: 'unknown' } });
  callers.push({ name: 'a process of the node', address: undefined, source: { kind: 'host' } });
  callers.push({ name: 'a process at 127.0.0.1', address: '127.0.0.1', source: { kind: 'host' } });

  const [http, tcp] = [`${pods}.100`, `${pods}.101`];
  for (const namespace of ['a', 'b', 'c']) objects.push(serviceObject(namespace, 'front', { app: 'front' }));
  objects.push(serviceObject('b', 'narrow', { app: 'front', tier: 'x' }));
  // An ACL means the pods that a Service selects: its slices may name anybody.
  objects.push(sliceObject('c', 'front', listed));
  for (const namespace of ['a', 'b']) objects.push(serviceObject(namespace, 'server', undefined), sliceObject(namespace, 'server', http));
  objects.push(serviceObject('b', 'tcp-server', undefined), sliceObject('b', 'tcp-server', tcp));
  for (const one of TARGETS) objects.push(routeObject(one));
  return { callers, objects, http, tcp };
}

export function podObject(pod: { readonly namespace: string; readonly name: string; readonly serviceAccount: string; readonly address: string; readonly labels?: object; readonly phase?: string; readonly node?: string }): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: pod.namespace, name: pod.name, labels: pod.labels ?? {} },
    spec: { nodeName: pod.node ?? 'n1', serviceAccountName: pod.serviceAccount },
    status: { phase: pod.phase ?? 'Running', podIP: pod.address },
  };
}

export const serviceObject = (namespace: string, name: string, selector: object | undefined): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { namespace, name },
  spec: { ports: [{ port: 80, targetPort: 8080 }], ...(selector === undefined ? {} : { selector }) },
});

export const sliceObject = (namespace: string, name: string, address: string): object => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { namespace, name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
  addressType: 'IPv4',
  ports: [{ port: 8080 }],
  endpoints: [{ addresses: [address], nodeName: 'n1' }],
});

export const routeObject = ({ namespace, name, protocol, defaultAllow, entries, invalid, ...route }: Target): object => ({
  apiVersion: 'paas.io/v1',
  kind: 'ServiceRoute',
  metadata: { namespace, name },
  spec: {
    rule: { type: invalid === true ? 'Nonsense' : '' },
    global: route.public,
    protocol,
    ...(protocol === 'tcp' ? { port: { listen: 8081 } } : {}),
    acl: { defaultAllow, entries },
    to: [{ kind: 'Service', name: protocol === 'tcp' ? 'tcp-server' : 'server' }],
  },
});
