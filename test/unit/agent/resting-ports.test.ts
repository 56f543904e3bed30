import { expect, it } from 'vitest';
import { RestingPorts } from '../../../src/agent/resting-ports.ts';

const sshd = { code: 'port-taken', detail: 'port 22 on 169.254.193.1 is taken by sshd', remedy: 'stop it', everywhere: true };
const wanted = [{ key: '169.254.193.1:22', port: 22 }, { key: '169.254.193.2:80', port: 80 }];
const taken = new Map([['169.254.193.1:22', sshd]]);

it('a port that a program of the node had on all addresses is not given to a route while that program restarts', () => {
  const ports = new RestingPorts(1000);
  expect([...ports.refuse(wanted, taken, 0).keys()]).toEqual(['169.254.193.1:22']);
  const refused = ports.refuse([...wanted, { key: '169.254.193.9:22', port: 22 }], new Map(), 999);
  expect([...refused.keys()]).toEqual(['169.254.193.1:22', '169.254.193.9:22']);
  expect(refused.get('169.254.193.9:22')).toMatchObject({ code: 'port-taken', detail: expect.stringContaining('left free for 1 s') });
  expect(ports.refuse(wanted, new Map(), 1000).size).toBe(0);
});

it('each sight of the program begins the rest anew', () => {
  const ports = new RestingPorts(1000);
  for (const now of [0, 900, 1800]) ports.refuse(wanted, taken, now);
  expect(ports.refuse(wanted, new Map(), 2700).size).toBe(1);
});

it('a listener in the way that is one of its own, on one address, makes nothing rest', () => {
  const ports = new RestingPorts(1000);
  ports.refuse(wanted, new Map([['169.254.193.1:22', { ...sshd, everywhere: false }]]), 0);
  expect(ports.refuse(wanted, new Map(), 1).size).toBe(0);
});

it('on loopback, where no program of a node is, nothing rests', () => {
  const ports = new RestingPorts(0);
  ports.refuse(wanted, taken, 0);
  expect(ports.refuse(wanted, new Map(), 0).size).toBe(0);
});
