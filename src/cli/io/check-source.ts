import { CodedError } from '../../model/coded-error.ts';
import { ApiError } from '../../kube/api-error.ts';
import { describeTrouble } from '../../kube/describe-trouble.ts';
import { openApiAccess } from '../../kube/io/open-api-access.ts';
import { openApiClient } from '../../kube/io/open-api-client.ts';
import { readRouteSchema } from '../../kube/io/read-crd.ts';
import { DEFAULT_SYSTEM_NAMESPACE, publishedCodesResource, watchedResources } from '../../kube/watched-resources.ts';
import type { Settings } from '../../settings/settings.ts';
import type { Finding } from '../finding.ts';

const TIMEOUT_MS = 5_000;

/** Whether the API server can be reached, and lets these credentials read what the agent reads. */
export async function checkSource({ source, kubeconfig, nodeName, globalNamespace, systemNamespace }: Settings): Promise<readonly Finding[]> {
  if (source.kind !== 'kubernetes') return [{ state: 'skipped', text: 'objects do not come from an API server' }];
  try {
    const access = await openApiAccess({ kubeconfig: kubeconfig === '' ? undefined : kubeconfig });
    const client = openApiClient(access, { userAgent: 'onehop-doctor', timeoutMs: TIMEOUT_MS });
    try {
      const codes = publishedCodesResource(systemNamespace || access.namespace || DEFAULT_SYSTEM_NAMESPACE);
      const resources = [...watchedResources(nodeName, { schema: await readRouteSchema(), globalNamespace }), codes];
      const findings = await Promise.all(
        resources.map((resource) =>
          client.request('GET', resource.path, { query: { limit: 1, fieldSelector: resource.fieldSelector } }).then(
            (): Finding[] => [],
            (error: unknown): Finding[] => {
              if (!(error instanceof ApiError)) throw error;
              const { message, remedy } = describeTrouble(resource, 'list', client.server, error);
              return [{ state: 'problem', text: message, remedy }];
            },
          ),
        ),
      );
      const problems = new Map(findings.flat().map((finding) => [finding.text, finding]));
      if (problems.size > 0) return [...problems.values()];
      return [{ state: 'ok', text: `${client.server} lists ${resources.map(({ name }) => name).join(', ')} (${access.origin})` }];
    } finally {
      client.close();
    }
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    // Outside a cluster, without a word about a source, there may be nothing to find.
    return [{ state: kubeconfig === '' && error.code === 'api-credentials' ? 'note' : 'problem', text: error.message, remedy: error.remedy }];
  }
}
