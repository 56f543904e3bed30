import { describe, expect, it } from 'vitest';
import { luaString } from '../../../src/haproxy/quote.ts';
import { CLEANING_RULES } from '../../../src/haproxy/render-cleaning.ts';
import { renderConfig } from '../../../src/haproxy/render-config.ts';
import type { RenderOptions } from '../../../src/haproxy/render-options.ts';
import { renderTokenScript } from '../../../src/haproxy/render-tokens.ts';
import type { RouteTable } from '../../../src/model/route-table.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../../support/route-tables.ts';

const options: RenderOptions = { runDir: '/run/onehop', drainTimeoutSeconds: 3600, fileDescriptors: 20_000, threads: 2, haproxy: { version: '2.6.12', lua: true } };
const version = aVersion('cart', [anEndpoint('10.1.1.1', 80)]);
const access = { namespace: 'shop', defaultAllow: true, exceptions: [], accounts: ['shop/web', 'shop/a b', "shop/x'\ny", 'shop'], hasEntries: true };
const table = aTable([aRoute('cart', { vip: '169.254.193.1', listen: 80, versions: [version], access })], [
  aCaller('10.1.1.7', { serviceAccount: 'web' }),
  aCaller('10.1.1.8', { serviceAccount: 'no name' }),
  aCaller('nowhere', { serviceAccount: 'web' }),
]);
const withTrusted = (trusted: RouteTable['callers']['trusted']): RouteTable['callers'] => ({ ...table.callers, trusted });

/** Lines of a section that run for each request. */
const rules = (config: string, section: string): readonly string[] =>
  (config.split('\n\n').find((part) => part.includes(section)) ?? '').split('\n').filter((line) => /^ {2}(?:http-request|use_backend|default_backend)/.test(line));

describe('rules about tokens', () => {
  it('a call without a token pays a look for the header and one for the verdict; all else stands behind tests by source address', () => {
    const { config } = renderConfig(table, options);
    expect(rules(config, 'defaults http-route')).toEqual([
      '  http-request lua.check_token if { req.fhdr(X-Onehop-Token) -m found }',
      '  http-request del-header x-onehop- -m beg',
      ...CLEANING_RULES,
      '  http-request set-header x-forwarded-for %[var(sess.from)]',
    ]);
    expect(rules(config, 'frontend shop.cart')).toEqual([
      '  http-request set-var(sess.caller) src,map_ip(maps/callers.map,@unknown)',
      '  http-request lua.hold_unknown if { var(sess.caller) -m str @unknown } !{ var(txn.caller) -m found } !{ var(txn.bad_token) -m found }',
      '  use_backend bad-token if { var(txn.bad_token) -m found }',
      '  use_backend caller-unknown if { var(sess.caller) -m str @unknown } !{ var(txn.caller) -m found }',
      '  use_backend namespace-isolated if !{ var(sess.caller) -m str shop @trusted } !{ var(txn.caller) -m str shop @trusted } !{ var(sess.caller),concat(,txn.caller) -m str @host }',
      '  use_backend acl-denied if { src,map_ip(maps/shop.cart.denied.map) -m found } or { var(txn.account),map_str(maps/shop.cart.denied-accounts.map) -m found }',
      '  default_backend shop.cart.cart',
    ]);
  });

  it('another header is not deleted by a rule of its own; without Lua each token is refused', () => {
    expect(rules(renderConfig(table, { ...options, tokenHeader: 'Authorization' }).config, 'defaults http-route')).toHaveLength(3 + CLEANING_RULES.length);
    expect(renderConfig(table, { ...options, tokenHeader: "X'#$" }).config).toContain(`  http-request lua.check_token if { 'req.fhdr("X'\\''#$")' -m found }`);
    const { config, files } = renderConfig(table, { ...options, haproxy: { version: '2.6.12', lua: false } });
    expect(rules(config, 'defaults http-route')[0]).toBe('  http-request set-var(txn.bad_token) str(unverified) if { req.fhdr(X-Onehop-Token) -m found }');
    expect([...files.keys()].filter((file) => file.endsWith('.lua'))).toEqual([]);
  });

  it('maps hold names of ServiceAccounts only', () => {
    const { files } = renderConfig(table, options);
    expect(files.get('maps/accounts.map')).toBe('10.1.1.7 shop/web\n');
    expect(files.get('maps/shop.cart.denied-accounts.map')).toBe('shop/web exception\n');
  });

  it('the script names trusted callers, and nothing that could be code', () => {
    const script = renderTokenScript(withTrusted([{ namespace: 'ops' }, { namespace: 'mon', serviceAccount: 'prom.a' }, { namespace: '"] = 1 --' }, { namespace: 'mon', serviceAccount: 'x"\n' }]), options);
    expect(script).toContain('local TRUSTED = {\n  ["ops"] = true,\n  ["mon/prom.a"] = true,\n}\n');
    expect(renderTokenScript(withTrusted([]), options)).not.toBe(script);
  });

  it.each([
    ['X-Onehop-Token', '"X-Onehop-Token"'],
    ['a"\\\n', String.raw`"a\034\092\010"`],
    ['é1', String.raw`"\195\1691"`],
  ])('%j as a Lua string', (text, literal) => expect(luaString(text)).toBe(literal));
});
