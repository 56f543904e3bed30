import { once } from 'node:events';
import { rename, rm, stat } from 'node:fs/promises';
import net from 'node:net';
import { join } from 'node:path';

/** What happens to a command on its way; `pass`: HAProxy gets it. */
export type Verdict = 'pass' | 'cut' | { readonly answer: string };

/** Stands between the agent and the runtime socket of a HAProxy, line by line. A reload of HAProxy takes its place: it binds the socket anew. */
export async function openCliRelay(runDir: string, judge: (command: string) => Verdict): Promise<{ close(): Promise<void> }> {
  const [path, real] = [join(runDir, 'haproxy.sock'), join(runDir, 'haproxy-real.sock')];
  await rename(path, real);
  const sockets = new Set<net.Socket>();
  const server = net.createServer((client) => {
    const haproxy = net.connect(real);
    sockets.add(client).add(haproxy);
    client.on('error', () => undefined);
    // HAProxy has ended: so does who listens in its place.
    haproxy.on('error', () => server.close());
    let rest = '';
    client.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const verdict = judge(line);
        if (verdict === 'pass') haproxy.write(`${line}\n`);
        else if (verdict === 'cut') client.destroy();
        else client.write(`${verdict.answer}\n\n> `);
      }
    });
    haproxy.pipe(client);
    client.on('close', () => haproxy.destroy());
    haproxy.on('close', () => client.destroy());
  });
  await once(server.listen(path), 'listening');
  const { ino } = await stat(path);
  return {
    close: async () => {
      for (const socket of sockets) socket.destroy();
      if (!server.listening) return;
      const replaced = (await stat(path)).ino !== ino;
      // Closing a server removes the name that it listened on, whoever has it now.
      await rename(path, `${path}.kept`);
      server.close();
      await once(server, 'close');
      await rename(replaced ? `${path}.kept` : real, path);
      await rm(replaced ? real : `${path}.kept`, { force: true });
    },
  };
}
