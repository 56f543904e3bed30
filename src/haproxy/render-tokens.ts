import ipaddr from 'ipaddr.js';
import { isNamespaceName, isSubdomain } from '../model/names.ts';
import type { CallerTable, Route } from '../model/route-table.ts';
import { MAX_TOKEN_BYTES } from '../model/token.ts';
import { luaString, quoteArgument, quoteFormat } from './quote.ts';
import { ACCOUNTS_MAP, HOST, TRUSTED, UNKNOWN } from './render-maps.ts';
import type { RenderOptions } from './render-options.ts';
import { frontendName } from './section-names.ts';

export const DEFAULT_TOKEN_HEADER = 'X-Onehop-Token';
export const TOKEN_SCRIPT = 'tokens.lua';
/** Verified tokens by digest. It belongs to the token desk and is no part of what is rendered: without it each token is asked about. */
export const TOKEN_MAP = 'tokens.map';
/** Where the agent says whom a token names. */
export const TOKEN_SOCKET = 'tokens.sock';

/** Value of `txn.bad_token` when the token is good and the calling pod is another; any other value: it is not accepted. */
export const CONTRADICTED = 'contradicted';

/** `maps/shop.cart.denied-accounts.map`: the ACL's exceptions for callers known by a token alone. */
export const accountExceptionsMap = (route: Route): string =>
  `maps/${frontendName(route)}.${route.access.defaultAllow ? 'denied' : 'allowed'}-accounts.map`;

/** `namespace/name` of a ServiceAccount; undefined when either cannot be a name: it then stands in no map, and no token names it. */
export const accountKey = (namespace: string, name: string): string | undefined =>
  isNamespaceName(namespace) && isSubdomain(name) ? `${namespace}/${name}` : undefined;

const isAccountKey = (text: string): boolean => {
  const [namespace = '', name = '', ...more] = text.split('/');
  return more.length === 0 && accountKey(namespace, name) !== undefined;
};

/** The map {@link ACCOUNTS_MAP}. */
export function renderAccounts(callers: CallerTable): string {
  return callers.pods
    .map(({ address, namespace, serviceAccount }) => ({ address, account: accountKey(namespace, serviceAccount) }))
    .filter(({ address, account }) => account !== undefined && ipaddr.isValid(address))
    .map(({ address, account }) => `${address} ${account}\n`)
    .join('');
}

/** The map {@link accountExceptionsMap}. */
export const renderAccountExceptions = (route: Route): string =>
  route.access.accounts.filter(isAccountKey).map((account) => `${account} exception\n`).join('');

/**
 * What every http route does about tokens, once for all: a call without the header costs one look for it. It stands before the rules of
 * the routes and before `x-onehop-*` headers are removed.
 */
export function renderTokenRules({ haproxy, tokenHeader = DEFAULT_TOKEN_HEADER }: RenderOptions): readonly string[] {
  const present = `{ ${quoteFormat(`req.fhdr(${quoteArgument(tokenHeader)})`)} -m found }`;
  return [haproxy.lua ? `  http-request lua.check_token if ${present}` : `  http-request set-var(txn.bad_token) str(unverified) if ${present}`];
}

const trustedTable = ({ trusted }: CallerTable): string =>
  trusted
    .map(({ namespace, serviceAccount }) => (serviceAccount === undefined ? namespace : `${namespace}/${serviceAccount}`))
    .filter((key) => isNamespaceName(key) || isAccountKey(key))
    .map((key) => `  [${luaString(key)}] = true,\n`)
    .join('');

/**
 * Finds out whom the token of a call names: from the map of verified tokens, else from the agent. Sets either `txn.bad_token`, or
 * `txn.caller` (namespace, or trusted) and `txn.account`. A call without the header never comes here.
 *
 * Questions are bounded by their number in a second and in 2 s each, not by a count of those that run: the coroutine of a client that
 * leaves is dropped without a word, and such a count would only grow.
 */
export function renderTokenScript(callers: CallerTable, { runDir, tokenHeader = DEFAULT_TOKEN_HEADER }: RenderOptions): string {
  return `-- Whom the token of a call names. Refused first, and let pass only at the end: an error on the way leaves it refused.
local HEADER = ${luaString(tokenHeader)}
local DESK = ${luaString(`unix@${runDir}/${TOKEN_SOCKET}`)}
local PATIENCE_SECONDS = 2
local QUESTIONS_PER_SECOND, OF_ONE_SOURCE = 500, 100
local TRUSTED = {
${trustedTable(callers)}}
local accounts = Map.new(${luaString(ACCOUNTS_MAP)}, Map._ip)
-- A file that is missing or broken costs a question for each call, never the start of HAProxy.
local loaded, verified = pcall(Map.new, ${luaString(TOKEN_MAP)}, Map._str)
local second, asked, by_source = 0, 0, {}

local function may_ask(source, now)
  if now ~= second then second, asked, by_source = now, 0, {} end
  local mine = (by_source[source] or 0) + 1
  if asked >= QUESTIONS_PER_SECOND or mine > OF_ONE_SOURCE then return false end
  asked, by_source[source] = asked + 1, mine
  return true
end

-- "namespace/account@ms since the epoch", 0: until it is taken back.
local function read(txn, entry)
  if entry == nil then return nil end
  local namespace, name, expires = entry:match("^([a-z0-9-]+)/([a-z0-9.-]+)@(%d+)$")
  if namespace == nil then return nil end
  local at = tonumber(expires)
  -- The wall clock: core.now() is a monotonic one that drifts from it.
  if at ~= 0 and txn.f:date(0, "ms") >= at then return nil end
  return namespace, name
end

local function ask(token)
  local desk = core.tcp()
  desk:settimeout(PATIENCE_SECONDS)
  local answer
  if desk:connect(DESK) and desk:send(token .. "\\n") then answer = desk:receive("*l") end
  desk:close()
  return answer
end

core.register_action("check_token", { "http-req" }, function(txn)
  local pod = txn:get_var("sess.caller")
  -- A route that serves nobody.
  if pod == nil then return end
  txn:set_var("txn.bad_token", "unverified")
  local lines, token = txn.f:req_fhdr_cnt(HEADER), txn.f:req_fhdr(HEADER)
  txn.http:req_del_header(HEADER)
  if lines ~= 1 or #token > ${MAX_TOKEN_BYTES} or not token:find("^[\\x21-\\x7e]+$") then return end

  local namespace, name
  if loaded then namespace, name = read(txn, verified:lookup(string.lower(txn.c:hex(txn.c:sha2(token, 256))))) end
  local source = tostring(txn.f:src())
  if namespace == nil and may_ask(source, core.now().sec) then namespace, name = read(txn, ask(token)) end
  if namespace == nil then return end

  local account = namespace .. "/" .. name
  local of_pod = accounts:lookup(source)
  if of_pod ~= account and (of_pod ~= nil or (pod ~= "${UNKNOWN}" and pod ~= "${HOST}")) then
    txn:set_var("txn.bad_token", "${CONTRADICTED}")
    return
  end
  txn:set_var("txn.account", account)
  txn:set_var("txn.caller", (TRUSTED[namespace] or TRUSTED[account]) and "${TRUSTED}" or namespace)
  txn:unset_var("txn.bad_token")
end)
`;
}
