import { expect, test } from 'vitest';
import { parseAddress } from '../../../src/kube/parse-address.ts';
import { parsePod } from '../../../src/kube/parse-pod.ts';

test.each([
  ['10.0.0.1', '10.0.0.1'],
  ['FD00:0:0::1', 'fd00::1'],
  ['::ffff:10.0.0.1', '10.0.0.1'],
  ['::FFFF:a00:1', '10.0.0.1'],
  ['010.0.0.1', undefined],
  ['10.1', undefined],
  ['fe80::1%eth0', undefined],
  ['', undefined],
])('%s is %s', (text, address) => {
  expect(parseAddress(text)).toBe(address);
});

test('two spellings of one address are one address of a pod', () => {
  const podIPs = (ip: string) => parsePod({ metadata: { name: 'x', namespace: 'shop' }, status: { podIP: ip } }, () => undefined).object?.podIPs;
  expect(podIPs('FD00::0:1')).toEqual(podIPs('fd00::1'));
});
