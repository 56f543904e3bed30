import { Resolver } from 'node:dns/promises';
import { listenerKey } from '../../model/proxy.ts';

/** What the running DNS server answers for A, as one phrase; errors are part of the answer. */
export async function askDns(servers: readonly { readonly address: string; readonly port: number }[], name: string): Promise<string> {
  const resolver = new Resolver({ timeout: 500, tries: 2 });
  const [first] = servers;
  if (first === undefined) return 'nothing: it listens nowhere';
  const address = { '0.0.0.0': '127.0.0.1', '::': '::1' }[first.address] ?? first.address;
  resolver.setServers([listenerKey(address, first.port)]);
  try {
    return (await resolver.resolve4(name)).join(', ');
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}
