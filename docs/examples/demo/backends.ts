import { createServer, request, type Server } from 'node:http';

/** A pod of the demo: it answers with its own name. `calls`: a route that it calls first, whose answer it returns after its name. */
export interface Backend {
  readonly pod: string;
  readonly address: string;
  readonly calls?: () => { readonly host: string; readonly port: number };
}

const PORT = 8080;

/** Opens the backends; a pod calls others from its own address, as pods do. */
export async function openBackends(backends: readonly Backend[]): Promise<readonly Server[]> {
  return Promise.all(backends.map(openBackend));
}

function openBackend(backend: Backend): Promise<Server> {
  const server = createServer((incoming, outgoing) => {
    incoming.resume();
    const answer = (text: string): void => void outgoing.end(`${text}\n`);
    if (backend.calls === undefined) answer(backend.pod);
    else callNext(backend, backend.calls()).then((text) => answer(`${backend.pod} -> ${text}`), (error: unknown) => answer(`${backend.pod} -> ${String(error)}`));
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(PORT, backend.address, () => resolve(server));
  });
}

function callNext(backend: Backend, { host, port }: { readonly host: string; readonly port: number }): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ host, port, localAddress: backend.address, timeout: 5_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => resolve(`${response.statusCode === 200 ? '' : `${String(response.statusCode)} `}${text.trim()}`));
      response.on('error', reject);
    });
    asked.on('timeout', () => asked.destroy(new Error('no answer in 5 s')));
    asked.on('error', reject);
    asked.end();
  });
}
