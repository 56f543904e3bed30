import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { attachCluster } from '../../support/cluster/cluster.ts';
import type { Cluster } from '../../support/cluster/cluster.ts';
import { SYSTEM_NAMESPACE } from '../../support/cluster/installed-onehop.ts';
import type { Onehop, PodObject, RouteObject } from '../../support/cluster/installed-onehop.ts';
import { installOnehop, untilRolledOut } from '../../support/cluster/onehop.ts';
import { Shop } from '../../support/cluster/shop.ts';
import { leadsTo, service, serviceRoute } from '../../support/cluster/workloads.ts';
import { eventually } from '../../support/lab/run.ts';

/**
 * The shipped Deployment of two controllers loses its leader while new routes come all the time. What single controllers do when they die,
 * freeze or are cut off: ../api/controller-faults.test.ts.
 */
const NAMESPACE = 'controllers';
const DEPLOYMENT = 'deployment/onehop-controller';
/** A Lease that nobody renews is taken after 15 s, looked at every 2 to 2.4 s (docs/controller.md); then two writes. */
const LEASE_MS = 15_000;
/** What a machine that does much else takes on top. */
const SLACK_MS = 15_000;
const EVERY_MS = 1_000;
let cluster: Cluster;
let onehop: Onehop;
let shop: Shop;

beforeAll(async () => {
  cluster = await attachCluster();
  onehop = await installOnehop(cluster);
  shop = await Shop.open(cluster, NAMESPACE);
  await cluster.apply(service(NAMESPACE, 'web'), ...['first', 'second', 'third'].map((name) => serviceRoute(NAMESPACE, name, leadsTo('web'))));
  await Promise.all(['first', 'second', 'third'].map((name) => onehop.untilProgrammed(NAMESPACE, name)));
});
afterAll(() => shop.close());

/** Name of the pod that leads; empty: none. */
async function leader(): Promise<string> {
  const { spec } = await cluster.get<{ spec: { holderIdentity?: string } }>('-n', SYSTEM_NAMESPACE, 'lease', 'onehop-controller');
  // The identity is POD_RANDOM.
  return spec.holderIdentity?.split('_')[0] ?? '';
}

interface ServiceObject {
  readonly metadata: { readonly name: string; readonly uid: string; readonly resourceVersion: string };
}

/** `name uid resourceVersion` of each access point: a change in it is a write. */
async function accessPoints(): Promise<readonly string[]> {
  const { items } = await cluster.get<{ items: readonly ServiceObject[] }>('-n', NAMESPACE, 'services', '-l', 'app.kubernetes.io/managed-by=onehop-controller');
  return items.map(({ metadata }) => `${metadata.name} ${metadata.uid} ${metadata.resourceVersion}`);
}

const routes = async (): Promise<readonly RouteObject[]> => (await cluster.get<{ items: readonly RouteObject[] }>('-n', NAMESPACE, 'serviceroutes')).items;

/** A new route every second. `stop` says when each was made. */
function startChurn(prefix: string): { stop(): Promise<ReadonlyMap<string, number>> } {
  const madeAt = new Map<string, number>();
  const stopping = new AbortController();
  const running = (async () => {
    for (let i = 0; !stopping.signal.aborted; i++) {
      const name = `${prefix}-${i}`;
      await cluster.apply(serviceRoute(NAMESPACE, name, leadsTo('web')));
      madeAt.set(name, performance.now());
      await delay(EVERY_MS, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      await running;
      return madeAt;
    },
  };
}

/** Goes on while `change` happens and until the last route has its address; the longest time that one waited for it. */
async function longestWait(prefix: string, change: () => Promise<void>): Promise<number> {
  const churn = startChurn(prefix);
  const servedAt = new Map<string, number>();
  const look = async (): Promise<void> => {
    for (const { metadata, status } of await routes()) if (status?.vip !== undefined && !servedAt.has(metadata.name)) servedAt.set(metadata.name, performance.now());
  };
  const looking = setInterval(() => void look().catch(() => undefined), 500);
  try {
    await delay(3 * EVERY_MS);
    await change();
    await delay(3 * EVERY_MS);
    const madeAt = await churn.stop();
    await eventually('every route has its address', async () => (await look(), [...madeAt.keys()].every((name) => servedAt.has(name))), 60_000);
    return Math.max(...[...madeAt].map(([name, at]) => (servedAt.get(name) ?? Infinity) - at));
  } finally {
    await churn.stop();
    clearInterval(looking);
  }
}

const vipOf = ({ metadata, status }: RouteObject): string => `${metadata.name} ${status?.vip}`;

interface Given {
  readonly leader: string;
  readonly points: readonly string[];
  readonly vips: readonly string[];
}

/** Once one leads. */
async function readGiven(): Promise<Given> {
  const holder = await eventually('one leads', async () => (await leader()) || undefined, 60_000);
  return { leader: holder, points: await accessPoints(), vips: (await routes()).map(vipOf) };
}

/** No address moved, none is there twice; each route has its access point, and those of before were not written. */
async function expectNothingMoved(given: Given): Promise<void> {
  const now = await routes();
  expect(now.map(vipOf)).toEqual(expect.arrayContaining([...given.vips]));
  expect(new Set(now.map(({ status }) => status?.vip)).size).toBe(now.length);
  await eventually('each route has its access point', async () => (await accessPoints()).length === now.length, 30_000);
  expect(await accessPoints()).toEqual(expect.arrayContaining([...given.points]));
}

/** Waits until another pod leads than the given one. */
const untilLost = (before: string): Promise<true> => eventually('another one leads', async () => ![before, ''].includes(await leader()) && (true as const), LEASE_MS + SLACK_MS);

test('the leader is killed and its pod deleted without grace, in the middle of its writes: new routes wait no longer than the Lease lasts', async () => {
  const given = await readGiven();
  const waitedMs = await longestWait('killed', async () => {
    // Even without grace the kubelet sends SIGTERM first, and the Lease would be given back.
    const { metadata, spec } = await cluster.get<PodObject>('-n', SYSTEM_NAMESPACE, 'pod', given.leader);
    await cluster.node(spec.nodeName ?? '').killContainer(metadata.uid, 'controller');
    await cluster.kubectl(['-n', SYSTEM_NAMESPACE, 'delete', 'pod', given.leader, '--force', '--grace-period=0']);
    await untilLost(given.leader);
  });
  expect(waitedMs).toBeLessThan(LEASE_MS + SLACK_MS);
  await expectNothingMoved(given);
  await untilRolledOut(cluster, DEPLOYMENT);
});

test('the Deployment is restarted: the Lease is handed over, and no new route waits for it to run out', async () => {
  const given = await readGiven();
  const waitedMs = await longestWait('restarted', async () => {
    await cluster.kubectl(['-n', SYSTEM_NAMESPACE, 'rollout', 'restart', DEPLOYMENT]);
    await untilRolledOut(cluster, DEPLOYMENT);
    await untilLost(given.leader);
  });
  expect(waitedMs).toBeLessThan(LEASE_MS);
  await expectNothingMoved(given);
});
