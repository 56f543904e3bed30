import { connect } from 'node:net';

/** True when a process listens on a Unix socket, also one that hangs. What cannot be told counts as listening: another uid's, a full backlog. */
export function isListenedOn(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(!['ENOENT', 'ECONNREFUSED', 'ENOTDIR'].includes(error.code ?? '')));
  });
}
