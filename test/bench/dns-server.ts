import { buildDnsAccess } from '../../src/dns/access.ts';
import { openDnsServer } from '../../src/dns/io/open-dns-server.ts';
import { dnsZone, LOOPBACK_POOL, manyDnsRoutes } from '../support/dns-zone.ts';

/**
 * The DNS front alone, for `dns.ts`: `node dns-server.ts ADDRESS PORT ROUTES [busy]`. With `busy` the main thread builds and
 * compares 10,000-endpoint tables again and again, as the reconciler does, and updates the zone each time.
 */
const [address = '', port = '', routes = '', mode = ''] = process.argv.slice(2);

const server = await openDnsServer({
  listen: [{ address, port: Number(port) }],
  zone: dnsZone(manyDnsRoutes(Number(routes))),
  access: buildDnsAccess(LOOPBACK_POOL),
  onFault: (cause) => process.stderr.write(`${cause.message}\n`),
});
process.stdout.write('ready\n');
process.once('SIGTERM', () => void server.close().then(() => process.exit(0)));

for (let round = 0, rounds = mode === 'busy' ? Infinity : 0; round < rounds; round++) {
  const endpoints = Array.from({ length: 10_000 }, (_, i) => ({ address: `10.${round % 250}.${i >> 8}.${i & 255}`, port: 8080, tier: 'any', pod: `ns/pod-${i}` }));
  JSON.parse(JSON.stringify(endpoints.sort((a, b) => (a.address < b.address ? -1 : 1))));
  await server.update(dnsZone(manyDnsRoutes(Number(routes) - (round % 2))));
  await new Promise((resolve) => setImmediate(resolve));
}
