import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import type { Cluster } from './cluster.ts';

export interface ServiceAccountOf {
  readonly namespace: string;
  readonly name: string;
  /** The pod that the token is bound to: it then names the pod's node, as a token in a pod does. */
  readonly pod?: string;
}

/** Path of a kubeconfig with a token that the API server issued for a ServiceAccount: the identity of a pod, without the pod. */
export async function tokenKubeconfig(cluster: Cluster, { namespace, name, pod }: ServiceAccountOf): Promise<string> {
  const bound = pod === undefined ? [] : ['--bound-object-kind=Pod', `--bound-object-name=${pod}`];
  const token = (await cluster.kubectl(['create', 'token', name, '-n', namespace, ...bound])).trim();
  const config = parse(await readFile(cluster.kubeconfig, 'utf8')) as { users: { user: unknown }[] };
  const path = join(cluster.folder, `token-${namespace}-${name}-${pod ?? 'unbound'}.kubeconfig`);
  await writeFile(path, stringify({ ...config, users: config.users.map((one) => ({ ...one, user: { token } })) }), { mode: 0o600 });
  return path;
}
