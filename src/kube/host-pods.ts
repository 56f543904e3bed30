import type { ServiceRoute } from '../model/service-route.ts';
import type { EndpointSlice, Node } from '../model/snapshot.ts';

/** A pod that a slice names behind a node's address. */
export interface PodReference {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** The node's address that it must have. */
  readonly address: string;
}

/** A namespace cannot make every node ask for more pods than this; its further endpoints on node addresses are refused. */
export const MAX_PER_NAMESPACE = 256;

/**
 * Finds the pods of other nodes that must be looked at: an endpoint with a node's address counts only when a pod with host network is behind
 * it (design section 3), one with a gateway's address when any pod is, and agents know the pods of their own node alone. Only slices of
 * Services that a route names are looked at, and each again only when it changed.
 */
export class HostPods {
  readonly #slices = new Map<string, EndpointSlice>();
  readonly #found = new Map<string, readonly PodReference[]>();
  #nodes: readonly Node[] = [];
  #routes: readonly ServiceRoute[] = [];
  #addresses: ReadonlySet<string> = new Set();
  #services: ReadonlySet<string> = new Set();

  /** Takes slices that changed, by key; undefined: it is gone. */
  updateSlices(changes: ReadonlyMap<string, EndpointSlice | undefined>): void {
    for (const [key, slice] of changes) {
      if (slice === undefined) this.#slices.delete(key);
      else this.#slices.set(key, slice);
      this.#look(key);
    }
  }

  /** Takes all nodes and routes; the same lists mean the same content. */
  updateContext(nodes: readonly Node[], routes: readonly ServiceRoute[]): void {
    if (nodes === this.#nodes && routes === this.#routes) return;
    this.#nodes = nodes;
    this.#routes = routes;
    const addresses = new Set(nodes.flatMap((node) => [...node.addresses, ...node.podGateways]));
    const services = new Set(routes.flatMap(({ namespace, spec }) => (spec?.to ?? []).map(({ name }) => `${namespace}/${name}`)));
    if (isSame(addresses, this.#addresses) && isSame(services, this.#services)) return;
    this.#addresses = addresses;
    this.#services = services;
    for (const key of this.#slices.keys()) this.#look(key);
  }

  /** What to look at, by `namespace/name`. */
  wanted(): ReadonlyMap<string, PodReference> {
    const wanted = new Map<string, PodReference>();
    const counts = new Map<string, number>();
    for (const references of this.#found.values()) {
      for (const one of references) {
        const key = `${one.namespace}/${one.name}`;
        const count = counts.get(one.namespace) ?? 0;
        if (wanted.has(key) || count >= MAX_PER_NAMESPACE) continue;
        counts.set(one.namespace, count + 1);
        wanted.set(key, one);
      }
    }
    return wanted;
  }

  #look(key: string): void {
    const slice = this.#slices.get(key);
    const found =
      slice === undefined || !this.#services.has(`${slice.namespace}/${slice.serviceName}`)
        ? []
        : slice.endpoints.flatMap(({ addresses, targetRef }): PodReference[] => {
            const [address = ''] = addresses;
            if (!this.#addresses.has(address) || targetRef?.kind !== 'Pod' || targetRef.namespace !== slice.namespace || targetRef.uid === undefined) return [];
            return [{ namespace: targetRef.namespace, name: targetRef.name, uid: targetRef.uid, address }];
          });
    if (found.length === 0) this.#found.delete(key);
    else this.#found.set(key, found);
  }
}

const isSame = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean => a.size === b.size && [...a].every((one) => b.has(one));
