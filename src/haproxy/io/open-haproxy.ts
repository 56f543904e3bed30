import { access, constants, mkdir, readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { CodedError } from '../../model/coded-error.ts';
import type { OnTokensChanged, VerifyToken } from '../../model/token.ts';
import { isSupported } from '../features.ts';
import { RELOAD_PACE, type ReloadPace } from '../reload-pace.ts';
import type { RenderOptions } from '../render-options.ts';
import { checkAttached, checkSpawned } from './client-ip-trial.ts';
import { HaproxyProxy } from './haproxy-proxy.ts';
import type { HaproxyEvents } from './haproxy-status.ts';
import { Master } from './master.ts';
import { probeHaproxy } from './probe-haproxy.ts';
import { lockRunDir } from './run-lock.ts';
import { TokenDesk } from './token-desk.ts';

export interface HaproxyOptions {
  /** Path, or a name looked up in PATH. */
  readonly binary: string;
  /** Absolute; made when missing. Holds haproxy.cfg, maps, sockets, pid file and HAProxy's log. */
  readonly runDir: string;
  /** Never spawn or end HAProxy: another supervisor does: `onehop-haproxy RUNDIR`. */
  readonly attach: boolean;
  readonly drainTimeoutSeconds: number;
  /** Default: the machine's processors, at most 16. */
  readonly threads?: number;
  readonly tokenHeader?: string;
  /** Servers see the caller pod's address. */
  readonly preserveClientIp?: boolean;
  /** Absent: every token is refused. */
  readonly verifyToken?: VerifyToken;
  readonly onTokensChanged?: OnTokensChanged;
  /** True while another proxy serves in its place. */
  readonly holdsRestarts?: () => boolean;
  readonly events?: Partial<HaproxyEvents>;
  readonly pace?: ReloadPace;
}

/** HAProxy binds a socket under a longer, temporary name first; the kernel's limit is 107 bytes. */
const MAX_RUN_DIR = 80;

/**
 * Opens the HAProxy of a run dir. One that runs there is adopted with its configuration; otherwise the first `apply` starts one.
 * @throws CodedError `haproxy-missing`, `haproxy-old`, `client-ip-denied`, `run-dir-unusable`, `run-dir-busy`.
 */
export async function openHaproxy(options: HaproxyOptions): Promise<HaproxyProxy> {
  const haproxy = await probeHaproxy(options.binary);
  if (haproxy === undefined) {
    throw new CodedError({ code: 'haproxy-missing', message: `${options.binary} is no HAProxy that can be run`, remedy: 'install haproxy 2.6 or newer, or name it with --haproxy-bin' });
  }
  if (!isSupported(haproxy)) {
    throw new CodedError({ code: 'haproxy-old', message: `HAProxy ${haproxy.version} is older than 2.6`, remedy: 'install haproxy 2.6 or newer' });
  }
  await prepareRunDir(options.runDir);
  const lock = await lockRunDir(options.runDir);
  try {
    const render: RenderOptions = {
      runDir: options.runDir,
      drainTimeoutSeconds: options.drainTimeoutSeconds,
      fileDescriptors: await openFilesLimit(),
      threads: options.threads ?? Math.min(16, availableParallelism()),
      haproxy,
      ...(options.tokenHeader === undefined ? {} : { tokenHeader: options.tokenHeader }),
      ...(options.preserveClientIp === true ? { preserveClientIp: true } : {}),
    };
    const master = new Master(options.binary, options.runDir);
    if (options.preserveClientIp === true) await (options.attach ? checkAttached(options.runDir, async () => (await master.processes()) !== undefined) : checkSpawned(options.binary, options.runDir));
    const events = { onFault: () => undefined, onChange: () => undefined, onTrouble: () => undefined, onCall: () => undefined, ...options.events };
    const tokens = await TokenDesk.open({
      runDir: options.runDir,
      statsSocket: master.statsSocket,
      onFault: (line) => events.onFault(line),
      verifyToken: options.verifyToken,
      onTokensChanged: options.onTokensChanged,
      inOldWorkers: async (command) => {
        for (const pid of (await master.processes())?.old ?? []) await master.inWorker(pid, command);
      },
    });
    const proxy = new HaproxyProxy({ master, binary: options.binary, attach: options.attach, render, lock, tokens, events, pace: options.pace ?? RELOAD_PACE, ...(options.holdsRestarts === undefined ? {} : { holdsRestarts: options.holdsRestarts }) });
    await proxy.adopt();
    return proxy;
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function prepareRunDir(runDir: string): Promise<void> {
  const remedy = 'choose another --run-dir';
  if (!/^\/[A-Za-z0-9_./@+-]*$/.test(runDir) || runDir.length > MAX_RUN_DIR) {
    throw new CodedError({
      code: 'run-dir-unusable',
      message: `the run dir must be an absolute path of at most ${MAX_RUN_DIR} letters, digits and ./_-+@`,
      remedy,
    });
  }
  try {
    await mkdir(runDir, { recursive: true, mode: 0o755 });
    await access(runDir, constants.W_OK);
  } catch (error) {
    throw new CodedError({ code: 'run-dir-unusable', message: `the run dir ${runDir} cannot be written`, remedy }, error);
  }
}

/** The hard limit, which HAProxy raises itself to (proc(5), limits). Unlimited or unreadable: a figure that is enough. */
async function openFilesLimit(): Promise<number> {
  const limits = await readFile('/proc/self/limits', 'utf8').catch(() => '');
  const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(limits)?.[1];
  return hard === undefined ? 100_000 : Number(hard);
}
