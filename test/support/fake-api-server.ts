import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ApiAccess } from '../../src/kube/io/open-api-access.ts';

/** A server that does what a real API server cannot be made to do: the handler writes each answer, byte by byte if it likes. */
export interface FakeApiServer {
  readonly access: ApiAccess & { readonly expired: () => number };
  /** Every request: `GET /path?query`. */
  readonly requests: readonly string[];
  close(): Promise<void>;
}

export type Handler = (request: URL, response: ServerResponse, raw: IncomingMessage) => void;

/** Opens it on loopback, without TLS. `token` is asked for each request. */
export async function openFakeApiServer(handler: Handler, token: () => string | undefined = () => undefined): Promise<FakeApiServer> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    handler(new URL(request.url ?? '', 'http://fake'), response, request);
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  let expired = 0;
  return {
    requests,
    access: {
      server: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
      origin: 'fake',
      tls: async () => ({ rejectUnauthorized: true }),
      token: async () => token(),
      expire: () => void expired++,
      expired: () => expired,
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => void server.close(resolve));
    },
  };
}

/** A ConfigMap as lists and events carry it. */
export const fakeObject = (name: string, resourceVersion: number, value = '', uid = `uid-${name}`): object => ({
  metadata: { namespace: 'shop', name, uid, resourceVersion: String(resourceVersion), managedFields: [{ manager: 'x'.repeat(50) }] },
  value,
});

export const fakeEvent = (type: string, object: object): string => `${JSON.stringify({ type, object })}\n`;

/** Answers with JSON. */
export function answer(response: ServerResponse, body: unknown, status = 200, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(body));
}

export const fakeList = (items: readonly object[], resourceVersion: number, more?: string): object => ({
  metadata: { resourceVersion: String(resourceVersion), ...(more === undefined ? {} : { continue: more }) },
  items,
});
