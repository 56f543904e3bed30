import { createSocket } from 'node:dgram';
import { expect, it } from 'vitest';
import { openDnsFront } from '../../src/agent/dns-front.ts';
import { openLogger } from '../../src/daemon/io/logger.ts';
import { buildZone } from '../../src/dns/build-zone.ts';
import { parseVipPool } from '../../src/model/vip-pool.ts';
import { parseSettings } from '../../src/settings/parse-settings.ts';

const ADDRESS = '127.68.1.10';
const pool = parseVipPool('127.68.0.0/16');
const zone = buildZone({ zoneName: 'route.internal', globalNamespace: 'global', pool, routes: [], nodeName: 'n1', version: '0' });

function openFront() {
  const parsed = parseSettings(['--source=dir:/', '--vip-pool=127.68.0.0/16', `--dns-listen=${ADDRESS}:5368`], {}, { hostname: 'n1', workingDirectory: '/', terminal: false });
  if (!('settings' in parsed)) throw new Error('settings');
  return openDnsFront(parsed.settings, openLogger({ level: 'silent', format: 'json' }));
}

const isFree = (): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = createSocket('udp4');
    socket.once('error', () => resolve(false));
    socket.bind(5368, ADDRESS, () => socket.close(() => resolve(true)));
  });

it('a stop during the first table leaves no DNS behind', async () => {
  const front = openFront();
  const served = front.serve(zone);
  await front.close(0);
  await served;
  await front.serve(zone);
  expect(await isFree()).toBe(true);
});

it('answers between serve and close', async () => {
  const front = openFront();
  await front.serve(zone);
  expect(await isFree()).toBe(false);
  await front.close(0);
  expect(await isFree()).toBe(true);
});
