import { listenerKey } from '../model/proxy.ts';
import { regexReach } from '../model/regex-reach.ts';
import type { RefusalCode } from '../model/refusal.ts';
import type { Route } from '../model/route-table.ts';
import { label, quote, quoteArgument, quoteFormat } from './quote.ts';
import type { RenderOptions } from './render-options.ts';
import { DEFAULT_REQUEST_MS } from './render-global.ts';
import { hasFeed, REASON_VARIABLE, renderLog } from './render-log.ts';
import { renderRateLimit } from './render-rate-limit.ts';
import { drawsOf, exceptionsMap, headerMap, HOST, IDENTITY_MAP, reachMap, sharesMap, TRUSTED, UNKNOWN } from './render-maps.ts';
import { renderSpill, spills, VERSION_VARIABLE } from './render-spill.ts';
import { accountExceptionsMap } from './render-tokens.ts';
import { backendNames, frontendName } from './section-names.ts';

/** The listeners of a route; `global` ones carry the global name, where every known caller is welcome. */
export function bindsOf(route: Route): readonly { readonly address: string; readonly key: string; readonly global: boolean }[] {
  const binds = [
    { address: route.vip, global: false },
    { address: route.vip6, global: false },
    { address: route.globalVip, global: true },
    { address: route.globalVip6, global: true },
  ];
  return binds.flatMap(({ address, global }) => (address === undefined ? [] : [{ address, key: listenerKey(address, route.listen), global }]));
}

/** How many {@link bindsOf} gives: asked for each route at each change. */
export function countBinds({ vip6, globalVip, globalVip6 }: Route): number {
  return 1 + (vip6 === undefined ? 0 : 1) + (globalVip === undefined ? 0 : 1) + (globalVip6 === undefined ? 0 : 1);
}

/** A route's `frontend`: binds, who may call, which version. Refusals stand in the order of the contract. */
export function renderFrontend(route: Route, options: RenderOptions): readonly string[] {
  const http = route.protocol === 'http';
  return [
    `frontend ${frontendName(route)} from ${http ? 'http-route' : 'tcp'}`,
    ...bindsOf(route).map(({ key, global }) => `  bind ${quote(key)}${global ? ' name global' : ''}`),
    ...(route.invalid
      ? [http ? '  default_backend route-invalid' : '  tcp-request connection reject']
      : [
          ...(http && route.timeout.requestMs > DEFAULT_REQUEST_MS ? [`  timeout client ${route.timeout.requestMs}ms`] : []),
          ...renderAccess(route, options),
          ...renderChoice(route),
        ]),
  ];
}

/**
 * A bad token first; then known (an unknown source without a token is held and looked up again), isolation, the ACL, the rate. A good token is
 * the identity of an unknown or host source (`txn.caller`, `txn.account`), and agrees with any other. Its tests stand behind those by
 * source address, so that calls without a token do not come to them.
 */
function renderAccess(route: Route, options: RenderOptions): readonly string[] {
  const { access } = route;
  const http = route.protocol === 'http';
  const refuse = (code: RefusalCode, condition: string): readonly string[] => {
    if (http) return [`  use_backend ${code} if ${condition}`];
    return [...(hasFeed(route) ? [`  tcp-request content set-var(${REASON_VARIABLE}) str(${code}) if ${condition}`] : []), `  tcp-request content reject if ${condition}`];
  };
  const byToken = (condition: string): string => (http ? ` ${condition}` : '');
  const unknown = `{ var(sess.caller) -m str ${UNKNOWN} }`;
  const own = `${label(access.namespace)} ${TRUSTED}`;
  const global = bindsOf(route).some((bind) => bind.global) ? ' !{ so_name global }' : '';
  const isolated = http
    ? `!{ var(sess.caller) -m str ${own} }${global} !{ var(txn.caller) -m str ${own} } !{ var(sess.caller),concat(,txn.caller) -m str ${HOST} }`
    : `!{ var(sess.caller) -m str ${own} ${HOST} }${global}`;
  const exception = `{ src,map_ip(${exceptionsMap(route)}) -m found }`;
  const accountException = `{ var(txn.account),map_str(${accountExceptionsMap(route)}) -m found }`;
  const denied = access.defaultAllow ? `${exception}${byToken(`or ${accountException}`)}` : `!${exception}${byToken(`!${accountException}`)}`;
  const hold = http
    ? [`  http-request lua.hold_unknown if ${unknown} !{ var(txn.caller) -m found } !{ var(txn.bad_token) -m found }`]
    : ['  tcp-request inspect-delay 3s', `  tcp-request content lua.hold_unknown if ${unknown}`];
  const refusals: readonly (readonly [RefusalCode, string])[] = [
    ...(http ? [['bad-token', '{ var(txn.bad_token) -m found }'] as const] : []),
    ['caller-unknown', `${unknown}${byToken('!{ var(txn.caller) -m found }')}`],
    ['namespace-isolated', isolated],
    ...(hasAcl(route) ? [['acl-denied', denied] as const] : []),
  ];
  const rate = renderRateLimit(route, refusals);
  return [
    `  tcp-request connection set-var(sess.caller) src,map_ip(${IDENTITY_MAP},${UNKNOWN})`,
    // Looked up again where an ACL counts: exceptions are read now, and a pod that has gone since it connected is in none any more.
    ...(route.protocol === 'http' && hasAcl(route) ? [`  http-request set-var(sess.caller) src,map_ip(${IDENTITY_MAP},${UNKNOWN})`] : []),
    ...renderLog(route, options),
    ...(options.haproxy.lua ? hold : []),
    ...(http ? (rate?.rules ?? []) : []),
    ...(rate?.refusedBefore ?? refusals.flatMap(([code, condition]) => refuse(code, condition))),
    ...(http ? [] : (rate?.rules ?? [])),
    ...(rate === undefined ? [] : refuse('rate-limited', rate.over)),
  ];
}

/** Whether the route needs an ACL rule and its map of exceptions. */
export const hasAcl = (route: Route): boolean => !route.invalid && (route.access.hasEntries || !route.access.defaultAllow);

/** `use_backend` by share or header; a name that the map does not give falls through to the default. */
function renderChoice(route: Route): readonly string[] {
  const { choice } = route;
  const names = backendNames(route);
  const otherwise = (index: number | undefined): readonly string[] => {
    const name = index === undefined ? undefined : names[index];
    if (name !== undefined) return [`  default_backend ${name}`];
    return route.protocol === 'http' ? ['  default_backend no-version'] : [];
  };
  if (spills(route)) return [...renderVersionVariable(route), ...renderSpill(route), ...(choice.kind === 'fixed' ? [] : [`  use_backend %[var(${VERSION_VARIABLE})]`]), ...otherwise(otherwiseOf(route))];
  switch (choice.kind) {
    case 'fixed':
      return otherwise(choice.version);
    case 'weighted':
      return [`  use_backend %[rand(${drawsOf(route)}),map_int(${sharesMap(route)})]`, ...otherwise(choice.otherwise)];
    case 'header': {
      const { value, condition } = headerChoice(route, choice.header);
      return [`  use_backend ${quoteFormat(`%[${value}]`)}${condition}`, ...otherwise(choice.otherwise)];
    }
    case 'none':
      return otherwise(undefined);
  }
}

/** The backend by the header's value, and up to which length that is looked up. */
function headerChoice(route: Route, name: string): { readonly value: string; readonly condition: string } {
  const header = `req.fhdr(${quoteArgument(name)})`;
  const condition = regexReach(route.versions) === undefined ? '' : ` if { ${quoteFormat(`${header},length,map_int(${reachMap(route)})`)} -m found }`;
  return { value: `${header},map_reg(${headerMap(route)})`, condition };
}

/** The same choice kept in a variable, for rules that ask how busy the chosen version is. */
function renderVersionVariable(route: Route): readonly string[] {
  const { choice } = route;
  const set = `  ${route.protocol === 'http' ? 'http-request' : 'tcp-request content'} set-var(${VERSION_VARIABLE})`;
  const preferred = backendNames(route)[otherwiseOf(route) ?? -1];
  const otherwise = preferred === undefined ? [] : [`${set} str(${preferred}) if !{ var(${VERSION_VARIABLE}) -m found }`];
  if (choice.kind === 'weighted') return [`${set} rand(${drawsOf(route)}),map_int(${sharesMap(route)})`, ...otherwise];
  if (choice.kind !== 'header') return [];
  const { value, condition } = headerChoice(route, choice.header);
  return [`${set} ${quoteFormat(value)}${condition}`, ...otherwise];
}

/** Index of the version that takes what nothing else was chosen for. */
const otherwiseOf = ({ choice }: Route): number | undefined => (choice.kind === 'fixed' ? choice.version : choice.kind === 'none' ? undefined : choice.otherwise);
