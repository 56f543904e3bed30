import { setTimeout as sleep } from 'node:timers/promises';
import { EVIL, HOSTILE_TEXTS, textFields, withText } from '../hostile/hostile-objects.ts';
import { ALONE, newest, type DrawFault } from './chaos-context.ts';
import { MOVING } from './make-world.ts';

/** `kill -9` of an agent; after a while another one adopts its HAProxy. */
export const killAgent: DrawFault = (context) => {
  const { random, events, serving } = context;
  const generation = random.pick(serving);
  const awayMs = random.whole(0, 3_000);
  return {
    locks: ['agent', 'source', 'folder'],
    run: async () => {
      await generation.killAgent();
      events.note('the agent is killed');
      await sleep(awayMs);
      generation.startAgent();
      await generation.untilReady();
      events.note('another agent is ready');
      await context.effect.inEffect();
    },
  };
};

/** haproxy.cfg follows changed servers within a second. */
const FILE_IS_BEHIND_MS = 1_500;
/** So long an agent may take to see another worker. */
const SEEN_MS = 3_000;

/**
 * Somebody else reloads HAProxy, while nothing else changes: what has just changed in the worker alone is not in the file that the next one
 * reads, and comes once the agent has seen it.
 */
export const reloadHaproxy: DrawFault = (context) => ({
  locks: [ALONE],
  run: async () => {
    const { world, effect, events } = context;
    await effect.inEffect();
    await sleep(FILE_IS_BEHIND_MS);
    const generation = newest(context);
    events.note(`somebody reloads HAProxy (${(await generation.reloads()) ?? '?'} before)`);
    effect.excuse();
    await generation.master('reload').catch(() => '');
    await sleep(SEEN_MS);
    world.write('callers');
    await effect.inEffect();
  },
});

/** The folder cannot be read: without rights, or not there. What is in effect stays. */
export const hideFolder: DrawFault = ({ random, world, effect, events }) => {
  const how = random.pick(['no rights', 'not there'] as const);
  const forMs = random.whole(300, 4_000);
  return {
    locks: ['folder'],
    run: async () => {
      events.note(`the folder: ${how}`);
      world.hide(how);
      await sleep(forMs);
      world.show(how);
      events.note('the folder is back');
      await effect.inEffect();
    },
  };
};

/** A file of another tenant, with texts that try something, is there for a while. */
export const writeHostile: DrawFault = ({ random, world, events }) => {
  const kinds = ['ServiceRoute', 'Service', 'EndpointSlice', 'Pod'] as const;
  const objects = kinds.flatMap((kind) => EVIL[kind]);
  const spoilt = objects.map((object) => (random.chance(0.5) ? withText(object, random.pick(textFields(object)), random.pick(HOSTILE_TEXTS)) : object));
  const forMs = random.whole(300, 3_000);
  const name = `hostile-${random.whole(1, 3)}`;
  return {
    locks: [name],
    run: async () => {
      events.note(`${name}.yaml is there`);
      world.putExtra(name, spoilt.map((object) => `${JSON.stringify(object)}\n`).join('---\n'));
      await sleep(forMs);
      world.putExtra(name, undefined);
      events.note(`${name}.yaml is gone`);
    },
  };
};

/** An address changes hands: its pod goes, and a pod of another namespace gets it. The new one calls before anybody has heard of it. */
export const moveAddress: DrawFault = ({ random, world, load, effect, events }) => {
  const [namespace, serviceAccount] = random.pick([['shop', 'web'], ['shop', 'batch'], ['pay', 'web'], ['blog', 'default'], ['front', 'web']] as const);
  return {
    locks: ['moving'],
    run: async () => {
      await load.silenceMoving();
      world.callers.delete(MOVING.address);
      world.write('callers');
      await effect.inEffect();
      events.note(`${MOVING.address} becomes ${namespace}/${serviceAccount}`);
      world.callers.set(MOVING.address, { ...MOVING, namespace, serviceAccount, name: `moved-${random.whole(1, 1_000_000)}` });
      load.resumeMoving();
      await sleep(random.whole(0, 200));
      world.write('callers');
      await effect.inEffect();
    },
  };
};
