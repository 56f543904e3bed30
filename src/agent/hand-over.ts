import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ADMIN_SOCKET, openGenerations } from '../daemon/io/generations.ts';
import { isListenedOn } from '../daemon/io/is-listened-on.ts';
import { isReady } from '../daemon/io/is-ready.ts';
import type { Readiness } from '../daemon/readiness.ts';
import type { Logger } from '../daemon/io/logger.ts';
import { HEALTH_SOCKET } from '../haproxy/render-global.ts';
import { readHaproxyUid, readHeldListeners } from '../haproxy/io/held-listeners.ts';
import { messageOf } from '../model/coded-error.ts';
import type { CheckListenersOptions } from '../node/io/ports.ts';
import type { Settings } from '../settings/settings.ts';

/** What an agent does about the other generations of its pod on this node; nothing when the run folder is not named by a pod's UID. */
export interface HandOver {
  /** Which taken ports are no obstacle: `own` is what our HAProxy says that it holds. */
  portsHeld(own: ReadonlySet<string>): Promise<CheckListenersOptions>;
  /** Whether the HAProxy of another generation takes calls now. */
  siblingServes(): Promise<boolean>;
  /**
   * Resolves when another generation is ready, after half of the grace period at most: this one was told to stop. Kubernetes deletes a pod
   * that is not ready before its successor has started, also with maxSurge. HAProxy's launcher waits likewise.
   */
  untilSuccessor(): Promise<void>;
  /** A pass is through. Ready, this generation is the one that the CLI talks to; what dead ones left is removed. */
  passed(): Promise<void>;
}

const TIDY_MS = 4_000;
const LOOK_MS = 200;
/** Both containers get the signal within this time. */
const TOLD_MS = 1_000;
/** The launcher (daemonset/onehop-haproxy) leaves it in its run folder when it is told to stop. */
const STOPPING_FILE = 'stopping';
const isStopping = (dir: string): Promise<boolean> => access(join(dir, STOPPING_FILE)).then(() => true, () => false);

/**
 * Two generations serve the same addresses side by side (SO_REUSEPORT, one uid) until the older one is stopped.
 *
 * The HAProxy of an attached agent may answer late, or not at all: its own ports must not look taken then, or the routes would be
 * left out. So what its haproxy.cfg binds counts as ours wherever the kernel shows the port under HAProxy's uid.
 */
export function openHandOver(settings: Pick<Settings, 'haproxyAttach' | 'runDir' | 'graceSeconds'>, readiness: Readiness, uid: number | undefined, log: Logger): HandOver {
  const { haproxyAttach, runDir, graceSeconds } = settings;
  const generations = openGenerations(runDir);
  const siblingServes = async (): Promise<boolean> => {
    for (const dir of (await generations?.siblings()) ?? []) if (await isListenedOn(join(dir, HEALTH_SOCKET))) return true;
    return false;
  };
  const siblingIsReady = async (): Promise<boolean> => {
    for (const dir of (await generations?.siblings()) ?? []) if (!(await isStopping(dir)) && (await isReady(join(dir, ADMIN_SOCKET)))) return true;
    return false;
  };
  /** The launcher hears of the end of the pod at the same moment; when the agent's container alone is started again it does not. */
  const haproxyStops = async (): Promise<boolean> => {
    for (const untilMs = performance.now() + TOLD_MS; performance.now() < untilMs; await delay(LOOK_MS / 4)) if (await isStopping(runDir)) return true;
    return false;
  };
  let wasReady = false;
  let tidiedAtMs = -Infinity;
  return {
    portsHeld: async (own) => {
      if (!haproxyAttach) return { ownListeners: own };
      const siblings = await readHeldListeners(runDir, (await generations?.siblings()) ?? []);
      const haproxyUid = (await readHaproxyUid(runDir)) ?? uid;
      return { ownListeners: own, siblings, ...(haproxyUid === undefined ? {} : { haproxyUid }) };
    },
    siblingServes,
    untilSuccessor: async () => {
      if (!haproxyAttach || generations === undefined || !(await haproxyStops())) return;
      const untilMs = performance.now() + graceSeconds * 500;
      for (let told = false; performance.now() < untilMs && !(await siblingIsReady()); await delay(LOOK_MS)) {
        if (!told) log.info('no other generation is ready yet: going on until one is');
        told = true;
      }
    },
    passed: async () => {
      const became = readiness.ready && !wasReady;
      wasReady = readiness.ready;
      if (generations === undefined || !readiness.ready) return;
      // Folders of others are no business of each endpoint that comes or goes.
      if (!became && performance.now() - tidiedAtMs < TIDY_MS) return;
      tidiedAtMs = performance.now();
      try {
        if (became) await generations.takeCurrent();
        for (const dir of await generations.tidy(Date.now())) log.info({ dir }, 'removed what a dead generation left');
      } catch (error) {
        log.warn({ error: messageOf(error) }, 'the run folders of other generations could not be tidied');
      }
    },
  };
}
