import { describe, expect, it } from 'vitest';
import { buildCallerIndex, identify } from '../../../src/embedded/identify.ts';
import { caller } from '../../support/embedded-world.ts';

const index = buildCallerIndex({
  pods: [caller('10.244.1.7', 'a'), caller('127.88.0.9', 'b'), caller('fd00:0:0::7', 'six')],
  unknownPrefixes: ['127.88.0.0/16'],
  hostPrefixes: ['169.254.192.0/19', '192.168.1.5/32', '127.0.0.0/8', 'fd77::/64', 'not a prefix'],
  trusted: [],
});

describe('identify', () => {
  it.each([
    ['10.244.1.7', 'a'],
    ['::ffff:10.244.1.7', 'a'],
    ['127.88.0.9', 'b'],
    ['fd00::7', 'six'],
    ['fd00:0:0:0:0:0:0:7', 'six'],
    ['127.88.0.10', 'unknown'],
    ['127.0.0.1', 'host'],
    ['::ffff:127.0.0.1', 'host'],
    ['127.89.0.1', 'host'],
    ['169.254.193.1', 'host'],
    ['169.254.224.1', 'unknown'],
    ['192.168.1.5', 'host'],
    ['192.168.1.6', 'unknown'],
    ['10.244.1.8', 'unknown'],
    ['fd77::1%lo', 'host'],
    ['fd78::1', 'unknown'],
    ['::1', 'unknown'],
    ['', 'unknown'],
    ['no address', 'unknown'],
  ])('%s is %s', (address, expected) => {
    const identity = identify(index, address);
    expect(identity.kind === 'pod' ? identity.caller.namespace : identity.kind).toBe(expected);
  });
});
