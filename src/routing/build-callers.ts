import { byCodeUnit, objectKey } from '../model/names.ts';
import { problem, type Problem } from '../model/problem.ts';
import type { Access, Caller, CallerTable } from '../model/route-table.ts';
import type { Acl } from '../model/service-route.ts';
import type { Pod, Service } from '../model/snapshot.ts';
import { ipv4ToNumber, LOOPBACK_POD_PREFIX, poolContains, type VipPool } from '../model/vip-pool.ts';

/** One of `--trusted-callers`: all pods of a namespace, or those of one ServiceAccount. */
export interface TrustedCaller {
  readonly namespace: string;
  readonly serviceAccount?: string;
}

/** The live pods of this node by address. Two with one address: that address is unknown, and each pod gets a Problem. */
export function buildCallers(
  pods: readonly Pod[],
  services: readonly Service[],
  nodeName: string,
  pool: VipPool,
  ownAddresses: readonly string[],
  trusted: readonly TrustedCaller[],
): { readonly table: CallerTable; readonly problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const selectors = indexSelectors(services);
  const byAddress = new Map<string, Pod[]>();
  for (const pod of pods) {
    if (pod.nodeName !== nodeName || pod.hostNetwork || pod.phase === 'Succeeded' || pod.phase === 'Failed') continue;
    for (const address of pod.podIPs) {
      if (isHostAddress(address, pool, ownAddresses)) {
        problems.push(addressProblem(pod, address, 'is an address of the node itself'));
        continue;
      }
      const sharing = byAddress.get(address);
      if (sharing === undefined) byAddress.set(address, [pod]);
      else sharing.push(pod);
    }
  }
  const callers: Caller[] = [];
  for (const [address, [pod, ...others]] of byAddress) {
    if (pod === undefined) continue;
    if (others.length > 0) {
      for (const one of [pod, ...others]) problems.push(addressProblem(one, address, `is claimed by ${others.length + 1} live pods`));
      continue;
    }
    callers.push({
      address,
      namespace: pod.namespace,
      pod: pod.name,
      serviceAccount: pod.serviceAccount,
      services: selectingServices(pod, selectors),
      trusted: trusted.some((one) => one.namespace === pod.namespace && (one.serviceAccount ?? pod.serviceAccount) === pod.serviceAccount),
    });
  }
  return {
    table: {
      pods: callers.sort((a, b) => byCodeUnit(a.address, b.address)),
      unknownPrefixes: pool.loopback ? [LOOPBACK_POD_PREFIX] : [],
      hostPrefixes: [...new Set([pool.cidr, ...(pool.cidr6 === undefined ? [] : [pool.cidr6]), '127.0.0.0/8', '::1/128', ...ownAddresses.map(singleAddress)])].sort(byCodeUnit),
      trusted,
    },
    problems,
  };
}

const singleAddress = (address: string): string => `${address}/${address.includes(':') ? 128 : 32}`;

/** A pod cannot have these: whoever calls from them is a process of the node. */
function isHostAddress(address: string, pool: VipPool, ownAddresses: readonly string[]): boolean {
  if (poolContains(pool, address) || ownAddresses.includes(address) || address === '::1') return true;
  if (address.includes(':')) return false;
  const value = ipv4ToNumber(address);
  const inLoopback = value >>> 24 === 127;
  const inPods = value >>> 16 === ((127 << 8) | 88);
  return inLoopback && !(pool.loopback && inPods);
}

function addressProblem(pod: Pod, address: string, why: string): Problem {
  return problem({
    code: 'pod-address-conflict',
    object: { kind: 'Pod', ...pod },
    field: 'status.podIP',
    message: `${address} ${why}; calls from it have no identity`,
    remedy: 'give each pod an address of its own',
    origin: pod.origin,
  });
}

type SelectorIndex = ReadonlyMap<string, readonly { readonly name: string; readonly labels: readonly (readonly [string, string])[] }[]>;

const selectorKey = (namespace: string, key: string, value: string): string => `${namespace}/${key}=${value}`;

/** Services by (namespace, first selector pair): a pod then looks at few instead of all. */
function indexSelectors(services: readonly Service[]): SelectorIndex {
  const index = new Map<string, { name: string; labels: (readonly [string, string])[] }[]>();
  for (const service of services) {
    const labels = Object.entries(service.selector ?? {});
    const [first] = labels;
    if (first === undefined) continue;
    const key = selectorKey(service.namespace, first[0], first[1]);
    const entry = { name: service.name, labels };
    const sharing = index.get(key);
    if (sharing === undefined) index.set(key, [entry]);
    else sharing.push(entry);
  }
  return index;
}

function selectingServices(pod: Pod, index: SelectorIndex): readonly string[] {
  const names: string[] = [];
  for (const [key, value] of Object.entries(pod.labels)) {
    for (const service of index.get(selectorKey(pod.namespace, key, value)) ?? []) {
      if (service.labels.every(([label, wanted]) => pod.labels[label] === wanted)) names.push(service.name);
    }
  }
  return names.sort(byCodeUnit);
}

/** Pods of this node by what an ACL entry can name: `sa:namespace/name` and `svc:namespace/name`. */
export type CallersByEntry = ReadonlyMap<string, readonly string[]>;

export function indexCallers(table: CallerTable): CallersByEntry {
  const index = new Map<string, string[]>();
  const add = (key: string, address: string): void => {
    const addresses = index.get(key);
    if (addresses === undefined) index.set(key, [address]);
    else addresses.push(address);
  };
  for (const caller of table.pods) {
    add(`sa:${caller.namespace}/${caller.serviceAccount}`, caller.address);
    for (const service of caller.services) add(`svc:${caller.namespace}/${service}`, caller.address);
  }
  return index;
}

/** An ACL in addresses of this node's pods. */
export function buildAccess(namespace: string, acl: Acl, callers: CallersByEntry): Access {
  const exceptions = new Set<string>();
  const accounts = new Set<string>();
  for (const entry of acl.entries) {
    const key = objectKey(entry);
    if (entry.kind !== 'Service') {
      accounts.add(key);
      for (const address of callers.get(`sa:${key}`) ?? []) exceptions.add(address);
    }
    if (entry.kind !== 'ServiceAccount') for (const address of callers.get(`svc:${key}`) ?? []) exceptions.add(address);
  }
  return {
    namespace,
    defaultAllow: acl.defaultAllow,
    exceptions: [...exceptions].sort(byCodeUnit),
    accounts: [...accounts].sort(byCodeUnit),
    hasEntries: acl.entries.length > 0,
  };
}
