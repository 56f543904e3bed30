import { expect, test } from 'vitest';
import { buildListenError } from '../../../src/dns/io/listen-error.ts';

test.each([
  ['EADDRINUSE', "ss -lunp sport = :53"],
  ['EACCES', 'CAP_NET_BIND_SERVICE'],
  ['EADDRNOTAVAIL', 'ip route replace local'],
  ['EAFNOSUPPORT', 'address family'],
  ['ESTRANGE', 'the cause; choose another'],
])('%s names transport, address and remedy', (code, remedy) => {
  const error = buildListenError('udp', { address: 'fd00::a', port: 53 }, Object.assign(new Error('the cause'), { code }));
  expect(error.code).toBe(code);
  expect(error.message).toMatch(/^DNS cannot listen on udp \[fd00::a\]:53: /);
  expect(error.message).toContain(remedy);
  expect(error.message).not.toContain('\n');
});
