import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CodedError } from '../../model/coded-error.ts';
import { CAPABILITIES_FILE, mayUseForeignAddresses, parseTrial, renderTrialConfig, TRIAL_PATH, TRIAL_SOCKET } from '../client-ip.ts';
import { HEALTH_SOCKET } from '../render-global.ts';

const ASK_MS = 2_000;
const START_MS = 10_000;
const POLL_MS = 50;
/** The supervisor starts HAProxy's launcher about when it starts the agent. */
const LAUNCHER_MS = 10_000;

/** Whether the HAProxy behind this socket may connect from foreign addresses; undefined: nobody answers, or it does not have the trial. */
function askTrial(socketPath: string): Promise<boolean | undefined> {
  return new Promise((resolve) => {
    const asked = request({ socketPath, path: TRIAL_PATH, timeout: ASK_MS }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (body.length < 1_000 ? (body += chunk) : asked.destroy()));
      response.on('close', () => resolve(parseTrial(body)));
    });
    asked.on('timeout', () => asked.destroy());
    asked.on('error', () => resolve(undefined));
    asked.end();
  });
}

/** What the HAProxy of a run dir may do; undefined: it does not say (it does not run, or without the trial). */
export const askRunning = (runDir: string): Promise<boolean | undefined> => askTrial(join(runDir, HEALTH_SOCKET));

/**
 * Starts a HAProxy of its own for a moment, with what a HAProxy of this agent would have, and tries.
 * @throws CodedError `client-ip-denied`
 */
export async function checkSpawned(binary: string, runDir: string): Promise<void> {
  const socket = join(runDir, TRIAL_SOCKET);
  const file = `${socket}.cfg`;
  await rm(socket, { force: true });
  await writeFile(file, renderTrialConfig(socket), { mode: 0o600 });
  const child = spawn(binary, ['-db', '-f', file], { stdio: 'ignore' });
  const ended = once(child, 'close').catch(() => undefined);
  try {
    const limit = performance.now() + START_MS;
    let allowed = await askTrial(socket);
    while (allowed === undefined && child.exitCode === null && performance.now() < limit) {
      await sleep(POLL_MS);
      allowed = await askTrial(socket);
    }
    if (allowed !== true) throw denied(allowed === undefined ? 'a HAProxy that tries it does not answer' : 'a HAProxy started by this agent may not do it', 'give the agent, and so HAProxy, CAP_NET_RAW');
  } finally {
    child.kill('SIGKILL');
    await ended;
    await rm(socket, { force: true });
    await rm(file, { force: true });
  }
}

/**
 * Before anything is written for a HAProxy under another supervisor: asks the one that runs, else reads what its launcher has said about
 * itself. A supervisor without that launcher says nothing; then the first trial after the start will tell.
 * @throws CodedError `client-ip-denied`
 */
export async function checkAttached(runDir: string, isRunning: () => Promise<boolean>): Promise<void> {
  const limit = performance.now() + LAUNCHER_MS;
  for (;;) {
    const allowed = (await askRunning(runDir)) ?? mayUseForeignAddresses(await readFile(join(runDir, CAPABILITIES_FILE), 'utf8').catch(() => ''));
    if (allowed === false) throw denied('the HAProxy beside this agent may not do it', 'give its container or unit CAP_NET_RAW');
    if (allowed === true || performance.now() > limit || (await isRunning())) return;
    await sleep(POLL_MS);
  }
}

export const denied = (who: string, remedy: string): CodedError =>
  new CodedError({
    code: 'client-ip-denied',
    message: `--client-ip preserve needs the right to connect from foreign addresses: ${who}`,
    remedy: `${remedy} (docs/install.md), or leave out --client-ip`,
  });
