import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { attachCluster } from '../../support/cluster/cluster.ts';
import type { Cluster } from '../../support/cluster/cluster.ts';
import type { Onehop } from '../../support/cluster/installed-onehop.ts';
import { installOnehop } from '../../support/cluster/onehop.ts';
import { DocShell } from '../../support/cluster/doc-shell.ts';
import { Shop } from '../../support/cluster/shop.ts';
import { signedLike } from '../../support/cluster/signed-token.ts';
import type { Answer, TestPod } from '../../support/cluster/test-pod.ts';
import { toolsPod } from '../../support/cluster/tools-pod.ts';
import { leadsTo, server, service, serviceAccount, serviceRoute } from '../../support/cluster/workloads.ts';
import { eventually, run } from '../../support/lab/run.ts';

/**
 * Callers known by a token on a real cluster: pods with the host's network and tokens that the kubelet projects, a machine outside the cluster,
 * codes from Secrets. Isolation and ACL then hold as for the account, which a part of the isolation matrix shows.
 */
const TEAMS = ['token-red', 'token-green', 'token-blue'] as const;
type Team = (typeof TEAMS)[number];
const [RED, GREEN] = TEAMS;
const ACCOUNT = 'robot';
const HEADER = 'X-Onehop-Token';
const TOKENS = '/var/run/tokens';
/** Whom the ACLs of a team's public routes name. */
const FRIEND: Readonly<Record<Team, Team>> = { 'token-red': 'token-green', 'token-green': 'token-blue', 'token-blue': 'token-red' };

let cluster: Cluster;
let onehop: Onehop;
let shop: Shop;
/** `namespace/route` and `namespace/route global` -> URL. */
const urls = new Map<string, string>();
/** By team: a pod of the pod network, and one of the host's. Both of the account, both on n1. */
const pods = new Map<Team, TestPod>();
const hosts = new Map<Team, TestPod>();

/** Tokens as docs/install.md has them: one for the default audience, one for another. */
const projected = {
  volumes: [
    {
      name: 'tokens',
      projected: {
        sources: [
          { serviceAccountToken: { path: 'default', expirationSeconds: 600 } },
          { serviceAccountToken: { path: 'vault', expirationSeconds: 600, audience: 'vault' } },
        ],
      },
    },
  ],
};
function calling(namespace: string, name: string, hostNetwork: boolean): object {
  const container = { command: ['sleep', 'infinity'], readinessProbe: null, ports: null, volumeMounts: [{ name: 'tokens', mountPath: TOKENS }] };
  return toolsPod({ namespace, name, node: 'n1', serviceAccount: ACCOUNT, container, spec: { ...projected, terminationGracePeriodSeconds: 0, ...(hostNetwork ? { hostNetwork, dnsPolicy: 'ClusterFirstWithHostNet' } : {}) } });
}

const only = (namespace: string): object => ({ acl: { defaultAllow: false, entries: [{ kind: 'ServiceAccount', name: ACCOUNT, namespace }] } });
const allBut = (namespace: string): object => ({ acl: { defaultAllow: true, entries: [{ kind: 'ServiceAccount', name: ACCOUNT, namespace }] } });
/** Routes of each team: what their ACLs say besides, and whether they have a public name. */
const ROUTES = ['private', 'listed', 'shared', 'open'] as const;
const routesOf = (team: Team): readonly object[] => [
  serviceRoute(team, 'private', leadsTo('v1')),
  serviceRoute(team, 'listed', { ...leadsTo('v1'), ...only(team) }),
  serviceRoute(team, 'shared', { ...leadsTo('v1'), global: true, ...only(FRIEND[team]) }),
  serviceRoute(team, 'open', { ...leadsTo('v1'), global: true, ...allBut(FRIEND[team]) }),
];
/** Public names belong to one namespace each, so each team's have its own. */
const published = (team: Team, name: string): string => `${team.replace('token-', '')}-${name}`;

beforeAll(async () => {
  cluster = await attachCluster();
  onehop = await installOnehop(cluster);
  shop = await Shop.open(cluster, ...TEAMS);
  const named = (team: Team): readonly object[] => routesOf(team).map((route) => renamed(route, team));
  await shop.run(...TEAMS.flatMap((team) => [serviceAccount(team, ACCOUNT), server({ namespace: team, name: 'v1', node: 'n2' }), service(team, 'v1'), ...named(team), calling(team, 'pod', false), calling(team, 'host', true)]));
  for (const team of TEAMS) {
    pods.set(team, await shop.pod(team, 'pod'));
    hosts.set(team, await shop.pod(team, 'host'));
    for (const name of ROUTES) {
      const { status } = await onehop.untilProgrammed(team, published(team, name));
      urls.set(`${team}/${name}`, `http://${status?.vip}/`);
      if (status?.globalVip !== undefined) urls.set(`${team}/${name} global`, `http://${status.globalVip}/`);
    }
  }
});
afterAll(() => shop.close());

/** A public name is that of its route. */
const renamed = (route: object, team: Team): object => {
  const { metadata, ...rest } = route as { metadata: { name: string; namespace: string } };
  return { ...rest, metadata: { ...metadata, name: published(team, metadata.name) } };
};

function known<K, V>(map: ReadonlyMap<K, V>, key: K): V {
  const value = map.get(key);
  if (value === undefined) throw new Error(`nothing for ${String(key)}`);
  return value;
}
const urlOf = (team: Team, name: (typeof ROUTES)[number], isGlobal = false): string => known(urls, `${team}/${name}${isGlobal ? ' global' : ''}`);
const tokenOf = async (pod: TestPod, file = 'default'): Promise<string> => (await pod.exec('cat', `${TOKENS}/${file}`)).stdout.trim();
const withToken = (token: string): { readonly headers: Record<string, string> } => ({ headers: { [HEADER]: token } });
const verdict = ({ status, reason, failure }: Answer): string => `${status} ${reason || failure}`.trim();
const callFrom = async (pod: TestPod, url: string, token?: string): Promise<string> => verdict(await pod.call(url, token === undefined ? {} : withToken(token)));

describe('a token that the kubelet projects', () => {
  test("gives a process of the host's network the name of its account, and is not forwarded", async () => {
    const host = known(hosts, RED);
    const token = await tokenOf(host);
    const { status, headers } = await host.call(`${urlOf(RED, 'private')}?headers=x-onehop-token,x-onehop-caller`, withToken(token));
    expect([status, headers]).toEqual([200, { 'x-onehop-token': null, 'x-onehop-caller': null }]);
    expect(await callFrom(host, urlOf(RED, 'listed'), token)).toBe('200');
    // Without one it is the host: of no name that an ACL could list, and of every namespace.
    expect(await callFrom(host, urlOf(RED, 'listed'))).toBe('403 acl-denied');
    expect([await callFrom(host, urlOf(GREEN, 'private')), await callFrom(host, urlOf(GREEN, 'private'), token)]).toEqual(['200', '403 namespace-isolated']);
  });

  test('for another audience is refused', async () => {
    const host = known(hosts, RED);
    expect(await callFrom(host, urlOf(RED, 'private'), await tokenOf(host, 'vault'))).toBe('401 bad-token');
  });

  test("is refused from another account's pod, and agrees with that of its own", async () => {
    const [own, foreign] = [await tokenOf(known(hosts, RED)), await tokenOf(known(hosts, GREEN))];
    const pod = known(pods, RED);
    expect(await callFrom(pod, urlOf(RED, 'private'), foreign)).toBe('403 bad-token');
    expect(await callFrom(pod, urlOf(GREEN, 'private'), foreign)).toBe('403 bad-token');
    expect(await callFrom(pod, urlOf(RED, 'private'), own)).toBe('200');
  });

  test('is refused when it has ended: the same key signs one that is good', async () => {
    const host = known(hosts, RED);
    const [token, key, now] = [await tokenOf(host), await readFile(cluster.serviceAccountKeys, 'utf8'), Math.floor(Date.now() / 1000)];
    expect(await callFrom(host, urlOf(RED, 'listed'), signedLike(token, { exp: now + 300 }, key))).toBe('200');
    expect(await callFrom(host, urlOf(RED, 'listed'), signedLike(token, { exp: now - 1 }, key))).toBe('401 bad-token');
    // And one that ends while it is in use.
    const short = signedLike(token, { exp: now + 20 }, key);
    expect(await callFrom(host, urlOf(RED, 'listed'), short)).toBe('200');
    await eventually('it has ended', async () => (await callFrom(host, urlOf(RED, 'listed'), short)) === '401 bad-token', 60_000);
    expect(Date.now() / 1000).toBeGreaterThanOrEqual(now + 20);
  });

  test('is refused when anything of it is changed', async () => {
    const host = known(hosts, RED);
    const token = await tokenOf(host);
    const [header = '', payload = '', signature = ''] = token.split('.');
    const none = Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url');
    for (const forged of [`${header}.${payload}.${signature.slice(0, -6)}AAAAAA`, `${none}.${payload}.${signature}`, `${none}.${payload}.`, 'made-up-made-up-made-up']) {
      expect(await callFrom(host, urlOf(RED, 'private'), forged)).toBe('401 bad-token');
    }
  });
});

describe('a machine outside the cluster', () => {
  test('that has a route to the pool by a node is nobody, but for its token', async () => {
    const url = urlOf(RED, 'listed');
    const vip = new URL(url).hostname;
    const call = async (...more: readonly string[]): Promise<string> => {
      const { stdout } = await run(cluster.inside(['curl', '-s', '-o', '/dev/null', '-m', '20', '-w', '%{http_code} %header{x-onehop-reason}', ...more, url]));
      return stdout.trim();
    };
    const way = ['ip', 'route', 'replace', `${vip}/32`, 'via', cluster.node('n1').address];
    expect((await run(cluster.inside(way))).code).toBe(0);
    try {
      expect(await call()).toBe('403 caller-unknown');
      expect(await call('-H', `${HEADER}: ${await tokenOf(known(hosts, RED))}`)).toBe('200');
      expect(await call('-H', `${HEADER}: ${await tokenOf(known(hosts, GREEN))}`)).toBe('403 namespace-isolated');
      expect(await call('-H', `${HEADER}: ${await tokenOf(known(hosts, RED), 'vault')}`)).toBe('401 bad-token');
    } finally {
      await run(cluster.inside(['ip', 'route', 'del', `${vip}/32`]));
    }
  });
});

describe('a code from a Secret', () => {
  const secret = (namespace: string, name: string, code: string): Promise<string> =>
    cluster.apply({ apiVersion: 'v1', kind: 'Secret', metadata: { namespace, name, labels: { 'onehop.paas.io/token': ACCOUNT } }, stringData: { token: code } });
  const until = (what: string, team: Team, code: string, wanted: string): Promise<unknown> => eventually(what, async () => (await callFrom(known(hosts, team), urlOf(team, 'listed'), code)) === wanted, 90_000);

  test('names its account once its namespace grants it, as docs/install.md says, until it is taken back', async () => {
    const shell = await DocShell.open(cluster);
    try {
      const { code: exit, stderr } = await shell.block('k8s-token-codes', { env: { NAMESPACE: RED, ACCOUNT } });
      expect({ exit, stderr }).toMatchObject({ exit: 0 });
    } finally {
      await shell.close();
    }
    const made = Buffer.from(await cluster.kubectl(['-n', RED, 'get', 'secret', `${ACCOUNT}-code`, '-o', 'jsonpath={.data.token}']), 'base64').toString();
    await secret(GREEN, 'code', 'code-of-green-without-a-grant');
    await until('it counts', RED, made, '200');
    expect(await callFrom(known(hosts, GREEN), urlOf(GREEN, 'listed'), 'code-of-green-without-a-grant')).toBe('401 bad-token');
    // Whoever shows it is that account: also elsewhere, and not beside a pod that is another one.
    expect(await callFrom(known(hosts, GREEN), urlOf(GREEN, 'private'), made)).toBe('403 namespace-isolated');
    expect(await callFrom(known(pods, GREEN), urlOf(GREEN, 'private'), made)).toBe('403 bad-token');

    await secret(RED, `${ACCOUNT}-code`, 'another-code-of-red-by-hand');
    await until('the new one counts', RED, 'another-code-of-red-by-hand', '200');
    await until('the old one does not', RED, made, '401 bad-token');
    await cluster.kubectl(['-n', RED, 'delete', 'rolebinding', 'onehop-token-codes']);
    const since = performance.now();
    await until('none does without the grant', RED, 'another-code-of-red-by-hand', '401 bad-token');
    expect(performance.now() - since).toBeLessThan(60_000);
  });
});

describe('the isolation matrix', () => {
  interface Caller {
    readonly name: string;
    /** Undefined: the host, which has no name in an ACL and is of every namespace. */
    readonly team: Team | undefined;
    readonly pod: TestPod;
    readonly token?: string;
  }

  /** What the design says, in other words than the code. */
  function expected({ team }: Caller, owner: Team, name: (typeof ROUTES)[number], isGlobal: boolean): string {
    if (team !== undefined && !isGlobal && team !== owner) return '403 namespace-isolated';
    const isListed = (of: Team): boolean => team === of;
    const isAllowed = { private: true, listed: isListed(owner), shared: isListed(FRIEND[owner]), open: !isListed(FRIEND[owner]) }[name];
    return isAllowed ? '200' : '403 acl-denied';
  }

  test('is the same for pods and for tokens, in every cell', async () => {
    const callers: Caller[] = [];
    for (const team of TEAMS) {
      const [pod, host] = [known(pods, team), known(hosts, team)];
      const token = await tokenOf(host);
      callers.push({ name: `pod of ${team}`, team, pod }, { name: `pod of ${team} with its token`, team, pod, token }, { name: `token of ${team}`, team, pod: host, token });
    }
    callers.push({ name: 'the host', team: undefined, pod: known(hosts, RED) });
    const wanted: Record<string, string> = {};
    const got: Record<string, string> = {};
    await Promise.all(
      callers.map(async (caller) => {
        for (const [key, url] of urls) {
          const [path = '', isGlobal] = key.split(' ');
          const [owner, name] = path.split('/') as [Team, (typeof ROUTES)[number]];
          const cell = `${caller.name} -> ${key}`;
          wanted[cell] = expected(caller, owner, name, isGlobal !== undefined);
          got[cell] = await callFrom(caller.pod, url, caller.token);
        }
      }),
    );
    expect(got).toEqual(wanted);
    expect(Object.keys(got)).toHaveLength(180);
  });
});
