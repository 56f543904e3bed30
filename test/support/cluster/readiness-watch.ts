import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { eventually } from '../lab/run.ts';
import type { Cluster } from './cluster.ts';

interface SliceEvent {
  readonly type: string;
  readonly object: { readonly endpoints?: readonly { readonly targetRef?: { readonly name: string }; readonly conditions?: { readonly ready?: boolean } }[] };
}

/**
 * Watches the one EndpointSlice of a Service from now on. `stop` gives, by pod, when it was seen to be no longer ready, or gone, for good
 * after it had been ready: ms since 1970, at the end of the watch's way through the API server, which is the agents' way too.
 */
export async function watchReadiness(cluster: Cluster, namespace: string, service: string): Promise<{ stop(): ReadonlyMap<string, number> }> {
  const path = `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices?watch=1&labelSelector=kubernetes.io/service-name%3D${service}`;
  const [program = '', ...args] = cluster.kubectlArgv(['get', '--raw', path]);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child, 'spawn');
  const ready = new Set<string>();
  const endedAtMs = new Map<string, number>();
  createInterface(child.stdout).on('line', (line) => {
    const now = Date.now();
    const { endpoints = [] } = (JSON.parse(line) as SliceEvent).object;
    const isReady = new Set(endpoints.flatMap(({ targetRef, conditions }) => (conditions?.ready === true && targetRef !== undefined ? [targetRef.name] : [])));
    for (const pod of isReady) {
      ready.add(pod);
      // A probe that failed once.
      endedAtMs.delete(pod);
    }
    for (const pod of ready) if (!isReady.has(pod) && !endedAtMs.has(pod)) endedAtMs.set(pod, now);
  });
  await eventually(`the first state of ${service}`, () => Promise.resolve(ready.size > 0));
  const stop = (): ReadonlyMap<string, number> => {
    child.kill();
    return endedAtMs;
  };
  return { stop };
}
