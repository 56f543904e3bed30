import { afterAll, beforeAll, expect, test } from 'vitest';
import { attachCluster } from '../support/cluster/cluster.ts';
import { installOnehop } from '../support/cluster/onehop.ts';
import { Shop } from '../support/cluster/shop.ts';
import type { TestPod } from '../support/cluster/test-pod.ts';
import { toolsDeployment } from '../support/cluster/tools-pod.ts';
import { caller, leadsTo, percentage, server, service, serviceRoute } from '../support/cluster/workloads.ts';

/**
 * test/integration/scenes-composite.test.ts with real pods on three nodes: in namespace b, svc2 calls svc11, whose one version is d;
 * svc21 has versions a and b at 50/50; svc11 and svc21 are public.
 */
const [A, B] = ['composite-a', 'composite-b'];
const CALLS = 2_000;
/** svc2: answers with its own name before what svc11 says to it. */
const CALLING_SERVER = `
  const { createServer, get } = require('node:http');
  createServer((request, response) => {
    if (request.url === '/ready') return response.end();
    get('http://svc11/', (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (part) => (text += part)).on('end', () => response.end('svc2 ' + answer.statusCode + ' ' + JSON.parse(text).version));
    }).on('error', (error) => response.writeHead(500).end(error.message));
  }).listen(8080);
  process.on('SIGTERM', () => process.exit(0));`;

let shop: Shop;
let client: TestPod;
let web: TestPod;

beforeAll(async () => {
  const cluster = await attachCluster();
  const onehop = await installOnehop(cluster);
  shop = await Shop.open(cluster, A, B);
  await shop.run(
    toolsDeployment({ namespace: B, name: 'svc2-only', node: 'n2', container: { command: ['node', '-e', CALLING_SERVER] } }, 1),
    ...[['svc11-d', 'n3'], ['svc21-a', 'n1'], ['svc21-b', 'n2']].map(([name = '', node = '']) => server({ namespace: B, name, node })),
    ...['svc2-only', 'svc11-d', 'svc21-a', 'svc21-b'].map((name) => service(B, name)),
    serviceRoute(B, 'svc2', leadsTo('svc2-only')),
    serviceRoute(B, 'svc11', { ...leadsTo('svc11-d'), global: true }),
    serviceRoute(B, 'svc21-comp', { ...percentage(['svc21-a', 50], ['svc21-b', 50]), global: true }),
    caller({ namespace: B, name: 'client', node: 'n1' }),
    caller({ namespace: A, name: 'web', node: 'n3' }),
  );
  [client, web] = await Promise.all([shop.pod(B, 'client'), shop.pod(A, 'web')]);
  await Promise.all(['svc2', 'svc11', 'svc21-comp'].map((name) => onehop.untilProgrammed(B, name)));
  await Promise.all([shop.untilCallable(client, 'http://svc2/'), shop.untilCallable(client, 'http://svc11/'), shop.untilCallable(web, 'http://svc21-comp.global/')]);
});
afterAll(() => shop.close());

test('(1) a pod of b calls svc2, which calls svc11 in its own namespace', async () => {
  expect(await client.call('http://svc2/')).toMatchObject({ status: 200, body: 'svc2 200 svc11-d' });
});

test('(2) a pod of b calls svc11 by its own name', async () => {
  expect(await client.call('http://svc11/')).toMatchObject({ status: 200, version: 'svc11-d', node: 'n3' });
});

test('(3) a pod of a calls svc11 through the global name', async () => {
  expect(await web.call('http://svc11.global/')).toMatchObject({ status: 200, version: 'svc11-d', node: 'n3' });
});

test('(4) a pod of a calls svc21 through the global name: 1:1 within 4 sigma over 2,000 calls', async () => {
  const answers = await web.calls('http://svc21-comp.global/', CALLS);
  const count = (version: string): number => answers.filter((answer) => answer.status === 200 && answer.version === version).length;
  expect(count('svc21-a') + count('svc21-b')).toBe(CALLS);
  expect(Math.abs(count('svc21-a') - CALLS / 2)).toBeLessThanOrEqual(4 * Math.sqrt(CALLS / 4));
});

test("a pod of a that calls svc11's own name gets 403 namespace-isolated", async () => {
  expect(await web.call(`http://svc11.${B}/`)).toMatchObject({ status: 403, reason: 'namespace-isolated' });
});
