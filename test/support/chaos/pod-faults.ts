import { setTimeout as sleep } from 'node:timers/promises';
import type { ChaosContext, DrawFault } from './chaos-context.ts';
import type { ChaosPod } from './chaos-objects.ts';
import { CALM_HOSTS, FIRM_HOST, WILD_HOSTS } from './make-world.ts';

const HEAL_MS = 30_000;
/** A pod that ends as it should serves on for this long after it stopped being ready. */
const SHUTDOWN_MS = 2_000;

/** A machine's pods die without a word; its pods come back at the same addresses. Sometimes the objects say so meanwhile. */
export const killHost: DrawFault = (context) => {
  const { random, world, fleet, effect, events } = context;
  const host = random.pick(WILD_HOSTS);
  const told = random.chance(0.6);
  const [tellMs, backMs] = [random.whole(0, 500), random.whole(200, 2_000)];
  return {
    locks: ['wild'],
    run: async () => {
      const pods = [...world.pods.values()].filter((pod) => pod.host === host);
      await fleet.killHost(host);
      events.note(`killed ${host}: ${pods.map(({ service, address }) => `${service} ${address}`).join(', ')}`);
      await sleep(tellMs);
      if (told) setState(context, pods, 'not-ready');
      await sleep(backMs);
      await fleet.openHost(host);
      await Promise.all(pods.map(({ address, namespace, service, name }) => fleet.openPod(host, address, `${namespace}/${service}/${name}`)));
      events.note(`${host} is back`);
      if (told) setState(context, pods, 'ready');
      await effect.inEffect();
      await untilHealed(context);
    },
  };
};

/** One pod resets all its connections and is gone; another one, elsewhere, takes its place. */
export const resetPod: DrawFault = (context) => {
  const { random, world, fleet, effect, events } = context;
  const pod = random.pick([...world.pods.values()].filter(({ host }) => isOn(WILD_HOSTS, host)));
  const tellMs = random.whole(0, 700);
  return {
    locks: ['wild'],
    run: async () => {
      events.note(`${pod.service} ${pod.address} is reset and gone`);
      await fleet.closePod(pod.address, 'reset');
      await sleep(tellMs);
      world.pods.delete(pod.address);
      world.write(pod.namespace);
      await addPod(context, pod);
      await effect.inEffect();
      await untilHealed(context);
    },
  };
};

/** A pod is replaced as a Deployment does it: the new one is ready, the old one stops being so, serves on for 2 s, and ends. */
export const rollPod: DrawFault = (context) => {
  const { random, world, fleet, effect, events } = context;
  const calm = random.chance(0.5);
  const pod = random.pick([...world.pods.values()].filter(({ host }) => isOn(calm ? CALM_HOSTS : WILD_HOSTS, host)));
  return {
    locks: [calm ? `calm ${pod.service}` : 'wild'],
    run: async () => {
      const next = await addPod(context, pod);
      events.note(`${pod.service} ${pod.address} is replaced by ${next.address}`);
      await effect.inEffect();
      setState(context, [pod], 'terminating');
      await effect.inEffect();
      await sleep(SHUTDOWN_MS);
      await fleet.closePod(pod.address, 'soft');
      world.pods.delete(pod.address);
      world.write(pod.namespace);
      await effect.inEffect();
      await untilHealed(context);
    },
  };
};

/** A pod that has connections which stay is not ready for a moment: they stay all the same. */
export const restFirmPod: DrawFault = (context) => {
  const { random, world, effect, events } = context;
  const pod = random.pick([...world.pods.values()].filter(({ host }) => host === FIRM_HOST));
  return {
    locks: [`firm ${pod.service}`],
    run: async () => {
      events.note(`${pod.service} ${pod.address} rests`);
      setState(context, [pod], 'not-ready');
      await effect.inEffect();
      await sleep(500);
      setState(context, [pod], 'ready');
      await effect.inEffect();
    },
  };
};

const isOn = (hosts: readonly string[], host: string): boolean => hosts.includes(host);

function setState({ world }: ChaosContext, pods: readonly ChaosPod[], state: ChaosPod['state']): void {
  for (const pod of pods) if (world.pods.has(pod.address)) world.pods.set(pod.address, { ...pod, state });
  world.write(...new Set(pods.map(({ namespace }) => namespace)));
}

/** A pod of the same version on another host of the same sort, which has none of it if there is such a one. */
async function addPod({ random, world, fleet, names }: ChaosContext, like: ChaosPod): Promise<ChaosPod> {
  const hosts = isOn(WILD_HOSTS, like.host) ? WILD_HOSTS : CALM_HOSTS;
  const taken = new Set(world.podsOf(like.namespace, like.service).map(({ host }) => host));
  const free = hosts.filter((host) => !taken.has(host));
  const pod = names.make(like.namespace, like.service, random.pick(free.length > 0 ? free : hosts), like.node);
  await fleet.openPod(pod.host, pod.address, `${pod.namespace}/${pod.service}/${pod.name}`);
  world.pods.set(pod.address, pod);
  world.write(pod.namespace);
  return pod;
}

/** Every HAProxy that serves takes every server for up: the next one may die. */
async function untilHealed({ serving, events }: ChaosContext): Promise<void> {
  for (const end = Date.now() + HEAL_MS; Date.now() < end; await sleep(100)) {
    const answers = await Promise.all(serving.map((one) => one.runtime('show servers state').catch(() => '')));
    // srv_op_state, the sixth field: 2 is up.
    const states = answers.map((answer) => answer.split('\n').filter((line) => /^\d+ /.test(line)).map((line) => line.split(' ')[5]));
    if (states.every((one) => one.length > 0 && one.every((state) => state === '2'))) return;
  }
  events.note('some servers are not up');
}
