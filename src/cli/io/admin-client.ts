import { request } from 'node:http';
import { join } from 'node:path';
import { CodedError, systemCode } from '../../model/coded-error.ts';
import { printable } from '../../model/problem.ts';
import { findRunDir } from './find-run-dir.ts';

const TIMEOUT_MS = 5_000;
const MAX_BODY_BYTES = 64 * 1024 * 1024;

/** POSTs JSON to the running agent; what it answers is JSON. @throws CodedError as {@link getFromAgent} does */
export const postToAgent = (runDir: string, path: string, body: object): Promise<unknown> => ask(runDir, path, JSON.stringify(body));

/**
 * GETs a JSON document from the running agent over `admin.sock` in its run folder, or in that of the generation that serves.
 * @throws CodedError `agent-unreachable`, or `agent-refused` with what the agent said
 */
export const getFromAgent = (runDir: string, path: string): Promise<unknown> => ask(runDir, path);

async function ask(runDir: string, path: string, sent?: string): Promise<unknown> {
  const socketPath = join(await findRunDir(runDir), 'admin.sock');
  const { status, body } = await exchange(socketPath, path, sent).catch((error: unknown) => {
    const why = { ENOENT: 'no agent runs there', ECONNREFUSED: 'the agent that ran there is gone', EACCES: 'this user may not talk to it' }[systemCode(error) ?? ''];
    throw new CodedError(
      {
        code: 'agent-unreachable',
        message: `no answer from ${socketPath}: ${why ?? (error instanceof Error ? error.message : String(error))}`,
        remedy: 'start the agent, run as its user, or give its folder with --run-dir',
      },
      error,
    );
  });
  if (status !== 200) throw new CodedError({ code: 'agent-refused', message: `the agent answered ${status}: ${printable(body.trim())}`, remedy: 'see its log' });
  return JSON.parse(body);
}

function exchange(socketPath: string, path: string, sent: string | undefined): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, method: sent === undefined ? 'GET' : 'POST', timeout: TIMEOUT_MS }, (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > MAX_BODY_BYTES) response.destroy(new Error('the answer is too large'));
        else chunks.push(chunk);
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }));
      response.on('error', reject);
    });
    asked.on('timeout', () => asked.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
    asked.on('error', reject);
    asked.end(sent);
  });
}
