import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** A way to a server that can be cut: what happens to connections on a real network. */
export interface TcpProxy {
  readonly port: number;
  /** Connections that were made so far. */
  readonly connections: () => number;
  /** Resets every connection of now. */
  reset(): void;
  /** True: nothing passes any more, in either direction, and nobody is told. */
  silence(on: boolean): void;
  close(): Promise<void>;
}

/** Listens on loopback and passes everything on to `port` there. */
export async function openTcpProxy(port: number): Promise<TcpProxy> {
  const pairs = new Set<readonly [Socket, Socket]>();
  let silent = false;
  let count = 0;
  const server = createServer((client) => {
    count++;
    const target = connect(port, '127.0.0.1');
    const pair = [client, target] as const;
    pairs.add(pair);
    const pass = (from: Socket, to: Socket): void => {
      from.on('data', (bytes) => {
        if (!silent) to.write(bytes);
      });
      from.on('error', () => undefined);
      from.on('close', () => {
        pairs.delete(pair);
        to.destroy();
      });
    };
    pass(client, target);
    pass(target, client);
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const reset = (): void => {
    for (const [client, target] of pairs) {
      client.resetAndDestroy();
      target.destroy();
    }
  };
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => count,
    reset,
    silence: (on) => void (silent = on),
    close: async () => {
      reset();
      await new Promise((resolve) => void server.close(resolve));
    },
  };
}
