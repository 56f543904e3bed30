import { printable } from '../model/problem.ts';
import { isReservedPort } from '../model/reserved-ports.ts';
import { FLAGS } from './flags.ts';
import { parseTable } from './parse-table.ts';
import { renderHelp } from './render-help.ts';
import type { Facts, ListenAddress, Settings } from './settings.ts';

export type ParsedSettings =
  | { readonly settings: Settings }
  /** Every error, each one printable line. The process ends with exit code 2. */
  | { readonly errors: readonly string[] }
  | { readonly help: string };

/**
 * Reads the agent's arguments (after the subcommand) and environment. A flag stands above its variable `ONEHOP_...`,
 * that above the default; an empty variable counts as absent. All errors are reported together.
 */
export function parseSettings(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  facts: Facts,
): ParsedSettings {
  const parsed = parseTable(FLAGS, argv, env, facts);
  if ('help' in parsed) return { help: renderHelp('agent', FLAGS) };
  const { found, errors } = parsed;
  if (errors.length > 0) return { errors: errors.map((line) => printable(line)) };

  const settings = found as Settings;
  const contradictions = findContradictions(settings);
  return contradictions.length > 0 ? { errors: contradictions } : { settings: Object.freeze(settings) };
}

/** Rules between settings that are each valid alone. */
function findContradictions(settings: Settings): string[] {
  const errors: string[] = [];
  if (settings.haproxyAttach && settings.proxy === 'embedded') {
    errors.push('--haproxy-attach and --proxy embedded exclude each other; leave one out');
  }
  if (isReservedPort(settings.httpPort)) {
    errors.push(`--http-port ${settings.httpPort} is reserved (DNS, admin, kubelet or node ports): every route without spec.port.listen would be invalid`);
  }
  const { adminListen, dnsListen, httpPort } = settings;
  if (dnsListen.some((dns) => dns.port === adminListen.port && (isWildcard(dns) || isWildcard(adminListen) || dns.address === adminListen.address))) {
    errors.push(`--dns-listen and --admin-listen share port ${adminListen.port}; DNS also listens on TCP: choose another port for one of them`);
  }
  for (const [flag, listen] of [['admin-listen', [adminListen]], ['dns-listen', dnsListen]] as const) {
    if (listen.some((each) => isWildcard(each) && each.port === httpPort)) {
      errors.push(`--${flag} takes port ${httpPort} of all addresses, which is --http-port: name an address, or choose another port for one of them`);
    }
  }
  errors.push(...findClientIpContradictions(settings), ...findTokenContradictions(settings));
  return errors;
}

/** Only HAProxy can connect from another's address, and only addresses that are routed can be answered. */
function findClientIpContradictions({ clientIp, vipPool, proxy }: Settings): string[] {
  if (clientIp === 'forwarded') return [];
  return [
    ...(vipPool.loopback ? [`--client-ip preserve cannot work on the pool ${vipPool.cidr}: in 127/8 callers and servers are one network; choose another --vip-pool, or leave it at forwarded`] : []),
    ...(proxy === 'embedded' ? ['--client-ip preserve needs HAProxy: the embedded proxy connects from the node\'s own address; choose --proxy haproxy, or leave it at forwarded'] : []),
  ];
}

/** A folder knows no issuer and no audience: keys alone would let tokens of anybody whom the same keys serve, and for anything. */
function findTokenContradictions({ source, tokenJwks, tokenIssuer, tokenAudience }: Settings): string[] {
  if (source.kind === 'kubernetes') return [];
  const named = [['--token-issuer', tokenIssuer], ['--token-audience', tokenAudience]] as const;
  if (tokenJwks === '') return named.filter(([, value]) => value !== '').map(([flag]) => `${flag} says nothing without keys where the source is a folder; add --token-jwks, or leave it out`);
  return named.filter(([, value]) => value === '').map(([flag]) => `--token-jwks needs ${flag} where the source is a folder; add the one that tokens must have`);
}

const isWildcard = ({ address }: ListenAddress): boolean => address === '0.0.0.0' || address === '::';
