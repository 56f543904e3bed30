import http from 'node:http';

const LIMIT_MS = 1_000;

/** True when the daemon whose admin API listens on this Unix socket says on `/readyz` that it is ready; false when nobody answers within a second. */
export function isReady(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const request = http.get({ socketPath, path: '/readyz', agent: false, timeout: LIMIT_MS }, (answer) => {
      answer.resume();
      resolve(answer.statusCode === 200);
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(false));
  });
}
