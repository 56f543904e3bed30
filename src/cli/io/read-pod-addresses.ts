import { valueAt } from '../../kube/field-path.ts';
import { getFromAgent } from './admin-client.ts';

/** Addresses of the pods of this node that the running agent knows; undefined: no agent answers. */
export async function readPodAddresses(runDir: string): Promise<readonly string[] | undefined> {
  const pods = valueAt(await getFromAgent(runDir, '/table').catch(() => undefined), ['table', 'callers', 'pods']);
  return Array.isArray(pods) ? pods.map((_, i) => valueAt(pods, [i, 'address'])).filter((address) => typeof address === 'string') : undefined;
}
