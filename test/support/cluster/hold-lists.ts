import { openApiAccess } from '../../../src/kube/io/open-api-access.ts';
import { openApiClient } from '../../../src/kube/io/open-api-client.ts';

/** `node hold-lists.ts KUBECONFIG PATH...`: lists these resources once, as JSON.parse gives them, and holds them. Prints `held`. */
const [kubeconfig, ...paths] = process.argv.slice(2);
const client = openApiClient(await openApiAccess({ kubeconfig }), { userAgent: 'onehop-bench' });
const held: unknown[] = [];
for (const path of paths) {
  let next: string | undefined;
  do {
    const page = await client.request<{ readonly items: readonly unknown[]; readonly metadata: { readonly continue?: string } }>('GET', path, { query: { limit: 500, continue: next } });
    held.push(page.items);
    next = page.metadata.continue;
  } while (next !== undefined && next !== '');
}
client.close();
process.stdout.write('held\n');
process.on('SIGTERM', () => process.exit(held.length > 0 ? 0 : 1));
setInterval(() => undefined, 1_000_000);
