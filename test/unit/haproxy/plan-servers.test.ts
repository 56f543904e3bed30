import { describe, expect, it } from 'vitest';
import { parseServerStates } from '../../../src/haproxy/parse-server-states.ts';
import { inBatches, planServers } from '../../../src/haproxy/plan-servers.ts';
import { CHECK, endpointKey, firstServer, serversOf } from '../../../src/haproxy/servers.ts';
import type { Version } from '../../../src/model/route-table.ts';
import { anEndpoint, aVersion } from '../../support/route-tables.ts';

const NEAR = ['10.0.0.1', '10.0.0.2', '10.0.0.3'] as const;
const FAR = ['10.0.1.1', '10.0.1.2'] as const;
const version = (near: readonly string[], far: readonly string[] = []): Version =>
  aVersion('v', near.map((address) => anEndpoint(address, 80)), { backup: far.map((address) => anEndpoint(address, 80, { tier: 'zone' })) });

/** What is said to HAProxy, short: `+name`, `ready name`, `-name`, `?name` (delete), `pin name`, `unpin`. */
function plan(before: Version | undefined, after: Version): readonly string[] {
  const servers = before === undefined ? [] : serversOf(before, 100);
  const wanted = serversOf(after, 100);
  const running = new Map(servers.map(({ name }) => [name, 'serving'] as const));
  return planServers('b', running, before === undefined ? undefined : firstServer(before, servers), { servers: wanted, first: firstServer(after, wanted), h2: false })
    .map(({ text }) => text)
    .filter((text) => !text.startsWith('enable '))
    .map((text) =>
      text
        .replace(/^add server b\/(\S+).*/, '+$1')
        .replace(/^set server b\/(\S+) state maint/, '-$1')
        .replace(/^del server b\/(\S+)/, '?$1')
        .replace(/^(?:add|set) map maps\/first\.map b (\S+)/, 'pin $1')
        .replace(/^del map maps\/first\.map b/, 'unpin')
        .replaceAll(':80', '')
        .replaceAll('10.0.', ''),
    );
}

describe('the servers of a version', () => {
  it.each<[string, Version, number, readonly string[], string | undefined]>([
    ['several near ones have checks, the next tier stands by', version(NEAR.slice(0, 2), FAR.slice(0, 1)), 100, ['10.0.0.1:80', '10.0.0.2:80', '10.0.1.1:80.backup'], undefined],
    ['a lone one has none', version(['10.0.0.1']), 100, ['10.0.0.1:80.plain'], undefined],
    ['one near one is pinned before the next tier', version(['10.0.0.1'], FAR), 100, ['10.0.0.1:80', '10.0.1.1:80', '10.0.1.2:80'], '10.0.0.1:80'],
    ['above the limit nobody has checks', version(NEAR), 2, ['10.0.0.1:80.plain', '10.0.0.2:80.plain', '10.0.0.3:80.plain'], undefined],
    ['an address is there once, as active if it is both', version(['10.0.0.1'], ['10.0.0.1']), 100, ['10.0.0.1:80.plain'], undefined],
    ['a host name is nobody', version(['10.0.0.1', 'evil.example']), 100, ['10.0.0.1:80.plain'], undefined],
    ['IPv6', version(['fd00::1']), 100, ['fd00::1:80.plain'], undefined],
  ])('%s', (_, one, largestChecked, names, first) => {
    const servers = serversOf(one, largestChecked);
    expect(servers.map(({ name }) => name)).toEqual(names);
    expect(firstServer(one, servers)).toBe(first);
    expect(servers.every(({ name, address }) => endpointKey(name) === address)).toBe(true);
  });
});

describe('planServers', () => {
  it.each<[string, Version | undefined, Version, readonly string[]]>([
    ['nothing', version(NEAR, FAR), version(NEAR, FAR), []],
    ['one more', version(NEAR.slice(0, 2)), version(NEAR), ['+0.3']],
    ['one less', version(NEAR), version(NEAR.slice(0, 2)), ['-0.3', '?0.3']],
    ['another one: it comes before the old one leaves', version(['10.0.0.1']), version(['10.0.0.2']), ['+0.2.plain', '-0.1.plain', '?0.1.plain']],
    ['a second one: both have checks from now on', version(['10.0.0.1']), version(['10.0.0.1', '10.0.0.2']), ['+0.1', '+0.2', '-0.1.plain', '?0.1.plain']],
    ['the first backup: pinned before there is anybody else', version(['10.0.0.1']), version(['10.0.0.1'], FAR.slice(0, 1)), ['+0.1', 'pin 0.1', '+1.1', '-0.1.plain', '?0.1.plain']],
    ['one near one is left: pinned before the next tier is active', version(NEAR.slice(0, 2), FAR.slice(0, 1)), version(['10.0.0.1'], FAR.slice(0, 1)), ['pin 0.1', '+1.1', '-0.2', '?0.2', '-1.1.backup', '?1.1.backup']],
    ['a second near one: unpinned when the next tier stands by again', version(['10.0.0.1'], FAR.slice(0, 1)), version(NEAR.slice(0, 2), FAR.slice(0, 1)), ['+0.2', '+1.1.backup', '-1.1', '?1.1', 'unpin']],
    ['others near, and the pinned one leaves: it leaves after the farther ones', version(['10.0.0.1'], FAR.slice(0, 1)), version(NEAR.slice(1), FAR.slice(0, 1)), ['+0.2', '+0.3', '+1.1.backup', '-1.1', '?1.1', 'unpin', '-0.1', '?0.1']],
    ['a pinned one is replaced', version(['10.0.0.1'], FAR.slice(0, 1)), version(['10.0.0.2'], FAR.slice(0, 1)), ['+0.2', 'pin 0.2', '-0.1', '?0.1']],
    ['nobody is left', version(['10.0.0.1']), version([]), ['-0.1.plain', '?0.1.plain']],
    ['from nothing', undefined, version(['10.0.0.1'], FAR.slice(0, 1)), ['+0.1', 'pin 0.1', '+1.1']],
  ])('%s', (_, before, after, expected) => {
    expect(plan(before, after)).toEqual(expected);
  });

  it('counts calls at the servers of a version that spills over', () => {
    const [server] = serversOf(version(NEAR.slice(0, 1)), 100);
    const add = planServers('shop.cart.v:2', new Map(), undefined, { servers: server === undefined ? [] : [server], first: undefined, h2: false, counted: true });
    expect(add[0]?.text).toBe('add server shop.cart.v:2/10.0.0.1:80.plain 10.0.0.1:80 maxconn 100000');
  });

  it('adds with checks and switches on what it added; takes back what was leaving; asks again for what stays', () => {
    const running = new Map([['10.0.0.1:80', 'leaving'], ['10.0.0.9:80', 'leaving']] as const);
    const servers = serversOf(version(NEAR.slice(0, 2)), 100);
    expect(planServers('shop.cart.v', running, undefined, { servers, first: undefined, h2: true })).toEqual([
      { text: 'set server shop.cart.v/10.0.0.1:80 addr 10.0.0.1 port 80', answer: ['IP changed', 'port changed', 'no need to change the addr', 'nothing changed'] },
      { text: 'set server shop.cart.v/10.0.0.1:80 weight 100%', answer: '' },
      // Its adding may have been cut off before this.
      { text: 'enable health shop.cart.v/10.0.0.1:80', answer: '' },
      { text: 'set server shop.cart.v/10.0.0.1:80 state ready', answer: '' },
      { text: `add server shop.cart.v/10.0.0.2:80 10.0.0.2:80 proto h2 ${CHECK}`, answer: 'New server registered.' },
      { text: 'enable health shop.cart.v/10.0.0.2:80', answer: '' },
      { text: 'enable server shop.cart.v/10.0.0.2:80', answer: '' },
      { text: 'del server shop.cart.v/10.0.0.9:80', answer: 'Server deleted.', patient: true },
    ]);
  });
});

it('a server that somebody else altered is put right where it is', () => {
  const servers = serversOf(version(['fd00::1']), 100);
  expect(planServers('b', new Map([['fd00::1:80.plain', 'altered']]), undefined, { servers, first: undefined, h2: false }).map(({ text }) => text)).toEqual([
    'set server b/fd00::1:80.plain addr fd00::1 port 80',
    'set server b/fd00::1:80.plain weight 100%',
    'set server b/fd00::1:80.plain state ready',
  ]);
});

it('only a server that has checks gets them switched on when it is put right', () => {
  const texts = (name: string, preserveClientIp: boolean): readonly string[] => {
    const servers = serversOf(version(NEAR.slice(0, 2), FAR.slice(0, 1)), 100, preserveClientIp).filter((server) => server.name === name);
    return planServers('b', new Map([[name, 'leaving']]), undefined, { servers, first: undefined, h2: false, preserveClientIp }).map(({ text }) => text);
  };
  expect(texts('10.0.0.1:80', false)).toContain('enable health b/10.0.0.1:80');
  expect(texts('10.0.1.1:80.backup', false)).toContain('enable health b/10.0.1.1:80.backup');
  expect(texts('10.0.0.1:80', true)).toContain('enable health b/10.0.0.1:80');
  // HAProxy refuses it there: no checks are configured.
  expect(texts('10.0.1.1:80.backup', true).filter((text) => text.startsWith('enable'))).toEqual([]);
});

it('what is said about one server goes in one batch', () => {
  const near = Array.from({ length: 100 }, (_, i) => `10.0.0.${i + 1}`);
  const servers = serversOf(version(near), 100);
  for (const left of [0, 1, 2, 3]) {
    const running = new Map(near.slice(0, left).map((address) => [`${address}:80`, 'leaving'] as const));
    const commands = planServers('b', running, undefined, { servers, first: undefined, h2: false });
    const batches = [...inBatches(commands)];
    expect(batches.flat()).toEqual(commands);
    expect(Math.max(...batches.map((batch) => batch.length))).toBeLessThanOrEqual(32);
    const seen = batches.flatMap((batch) => [...new Set(batch.map(({ text }) => text.split(' ')[2]))]);
    expect(seen).toHaveLength(new Set(seen).size);
  }
});

it('show servers state', () => {
  const answer = `1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_check_state srv_port
3 shop.cart.v 1 10.0.0.1:80 10.0.0.1 2 0 1 1 6 80
3 shop.cart.v 2 10.0.0.2:80 10.0.0.2 0 1 1 1 6 80
3 shop.cart.v 3 10.0.0.3:80 10.0.0.3 2 0 7 1 6 80
3 shop.cart.v 4 10.0.0.4:80 10.0.0.9 2 0 1 1 6 80
3 shop.cart.v 5 10.0.0.5:80 10.0.0.5 2 0 1 1 6 81
3 shop.cart.v 6 10.0.0.6:80 10.0.0.6 0 8 1 1 6 80
3 shop.cart.v 7 10.0.0.7:80 10.0.0.7 2 0 1 1 2 80
3 shop.cart.v 8 10.0.0.8:80 10.0.0.8 2 0 1 1 14 80
4 shop.pay.v 1 fd00:0::1:80.plain fd00::1 2 0 1 1 0 80

`;
  expect(parseServerStates(answer)).toEqual(
    new Map([
      ['shop.cart.v', new Map([['10.0.0.1:80', 'serving'], ['10.0.0.2:80', 'leaving'], ['10.0.0.3:80', 'altered'], ['10.0.0.4:80', 'altered'], ['10.0.0.5:80', 'altered'], ['10.0.0.6:80', 'altered'], ['10.0.0.7:80', 'altered'], ['10.0.0.8:80', 'serving']])],
      ['shop.pay.v', new Map([['fd00:0::1:80.plain', 'serving']])],
    ]),
  );
  expect(parseServerStates('')).toEqual(new Map());
});
