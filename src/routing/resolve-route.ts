import { objectKey } from '../model/names.ts';
import { problem, type Problem } from '../model/problem.ts';
import { isReservedPort } from '../model/reserved-ports.ts';
import type { Choice, Route, Version } from '../model/route-table.ts';
import type { Protocol, RouteSpec, ServiceRoute, VersionSpec } from '../model/service-route.ts';
import type { EndpointSlice, Service, ServicePort } from '../model/snapshot.ts';
import { buildAccess, type CallersByEntry } from './build-callers.ts';
import { buildChoice } from './build-choice.ts';
import type { EndpointGuard } from './endpoint-guard.ts';
import { looksLikeTls, portProtocol, resolvePort } from './resolve-port.ts';
import { listEndpoints, selectServers, type NodeView } from './select-endpoints.ts';

/** Everything that resolving one route needs, indexed once per build. */
export interface ResolveContext {
  /** Default port of http routes on their VIP. */
  readonly httpPort: number;
  readonly services: ReadonlyMap<string, Service>;
  /** Slices by `namespace/service`. */
  readonly slices: ReadonlyMap<string, readonly EndpointSlice[]>;
  readonly view: NodeView;
  readonly guard: EndpointGuard;
  readonly callers: CallersByEntry;
}

/** A route without what allocation adds: its names and addresses. */
export type ResolvedRoute = Omit<Route, 'namespace' | 'name' | 'vip' | 'vip6' | 'globalVip' | 'globalVip6' | 'problems'>;

/** What is served for a spec that cannot be: only the refusal `route-invalid`. */
function invalidRoute(source: ServiceRoute, httpPort: number): ResolvedRoute {
  return {
    listen: source.spec?.port.listen ?? source.listen ?? httpPort,
    protocol: 'http',
    invalid: true,
    rule: { type: '' },
    choice: { kind: 'none' } satisfies Choice,
    versions: [],
    access: { namespace: source.namespace, defaultAllow: true, exceptions: [], accounts: [], hasEntries: false },
    locality: 'PreferLocal',
    timeout: { connectMs: 250, requestMs: 60_000 },
    retries: { attempts: 0, on: [], nonIdempotent: false },
  };
}

/** Resolves one ServiceRoute: protocol, port, versions with their servers, access. What cannot be resolved is a Problem. */
export function resolveRoute(source: ServiceRoute, context: ResolveContext): { readonly route: ResolvedRoute; readonly problems: readonly Problem[] } {
  const { spec } = source;
  if (spec === undefined) return { route: invalidRoute(source, context.httpPort), problems: [] };
  const problems: Problem[] = [];
  const report = (code: string, field: string, message: string, remedy: string, severity: Problem['severity'] = 'error'): void => {
    problems.push(problem({ code, severity, object: { kind: 'ServiceRoute', ...source }, field, message, remedy, origin: source.origin }));
  };
  const ports = spec.to.map((to, index) => findPort(source, to, index, spec, context, report));
  const protocol = agreeOnProtocol(spec, ports, report);
  const listen = protocol === undefined ? undefined : chooseListen(spec, protocol, ports, context.httpPort, report);
  if (protocol === undefined || listen === undefined) return { route: invalidRoute(source, context.httpPort), problems };

  if (spec.spillAt !== undefined && spec.locality !== 'PreferLocal') {
    const why = spec.locality === 'Local' ? 'calls never leave the node' : 'there are no tiers';
    report('spill-unused', 'spec.spillAt', `with locality ${spec.locality} ${why}, so nothing spills over`, 'set spec.locality: PreferLocal, or leave spillAt out', 'warning');
  }
  const versions = spec.to.map((to, index) => buildVersion(source, to, ports[index], spec, context, problems));
  return {
    route: {
      listen,
      protocol,
      invalid: false,
      rule: spec.rule,
      choice: buildChoice(spec.rule, versions),
      versions,
      access: buildAccess(source.namespace, spec.acl, context.callers),
      locality: spec.locality,
      timeout: spec.timeout,
      retries: spec.retries,
      ...(spec.rateLimit === undefined ? {} : { rateLimit: spec.rateLimit }),
      ...(spec.log.mode === 'Off' ? {} : { log: { mode: spec.log.mode, percent: spec.log.percent } }),
      ...(spec.port.targetPort === undefined ? {} : { targetPort: spec.port.targetPort }),
    },
    problems,
  };
}

type Report = (code: string, field: string, message: string, remedy: string, severity?: Problem['severity']) => void;

function findPort(source: ServiceRoute, to: VersionSpec, index: number, spec: RouteSpec, context: ResolveContext, report: Report): ServicePort | undefined {
  const service = context.services.get(`${source.namespace}/${to.name}`);
  if (service === undefined) {
    report('service-not-found', `spec.to[${index}].name`, `there is no Service ${to.name} in namespace ${source.namespace}`, 'create the Service or mend the name; this version has no endpoints until then');
    return undefined;
  }
  const resolution = resolvePort(service, spec.port.targetPort);
  if (resolution.kind === 'refused') {
    report('port-unresolved', 'spec.port.targetPort', resolution.message, resolution.remedy);
    return undefined;
  }
  if (spec.protocol === undefined && looksLikeTls(resolution.port)) {
    report('port-looks-like-tls', 'spec.protocol', `port ${resolution.port.name ?? resolution.port.port} of Service ${to.name} looks like TLS but is served as clear-text http`, 'set spec.protocol: tcp, or appProtocol on the Service port', 'warning');
  }
  return resolution.port;
}

/** The protocol of the route; undefined when it cannot have one (reported). */
function agreeOnProtocol(spec: RouteSpec, ports: readonly (ServicePort | undefined)[], report: Report): Protocol | undefined {
  const spoken = new Set(ports.flatMap((port) => (port === undefined ? [] : [portProtocol(port).protocol])));
  const [first = 'http'] = spoken;
  if (spec.protocol === undefined && spoken.size > 1) {
    report('protocol-mismatch', 'spec.to', 'some versions speak http and others tcp by the appProtocol of their Service ports', 'set spec.protocol, or the same appProtocol on all of them');
    return undefined;
  }
  const protocol = spec.protocol ?? first;
  if (protocol === 'tcp' && spec.rule.type === 'Header') {
    report('header-on-tcp', 'spec.rule.type', 'a tcp route has no headers to choose by', 'use type Percentage or "", or spec.protocol: http');
    return undefined;
  }
  return protocol;
}

/** The port on the VIP; undefined when the route cannot have one (reported). */
function chooseListen(spec: RouteSpec, protocol: Protocol, ports: readonly (ServicePort | undefined)[], httpPort: number, report: Report): number | undefined {
  const listen = spec.port.listen ?? (protocol === 'http' ? httpPort : ports.find((port) => port !== undefined)?.port);
  if (listen === undefined) {
    report('listen-unknown', 'spec.port.listen', 'a tcp route listens on the port of its Services, and none of them was found', 'create the Service, or set spec.port.listen');
    return undefined;
  }
  if (isReservedPort(listen)) {
    report('port-reserved', 'spec.port.listen', `port ${listen} belongs to the node (DNS, Onehop, kubelet or node ports)`, 'set spec.port.listen to another port');
    return undefined;
  }
  return listen;
}

/** Slices of one version whose refused endpoints are told one by one: a tenant may write thousands. */
const MAX_REFUSED = 5;

function buildVersion(source: ServiceRoute, to: VersionSpec, port: ServicePort | undefined, spec: RouteSpec, context: ResolveContext, problems: Problem[]): Version {
  const slices = context.slices.get(`${source.namespace}/${to.name}`) ?? [];
  const { endpoints, refused } = port === undefined ? { endpoints: [], refused: [] } : listEndpoints(slices, port, context.view, context.guard);
  for (const { slice, address, why, count } of refused.slice(0, MAX_REFUSED)) {
    problems.push(
      problem({
        code: 'endpoint-refused',
        object: { kind: 'EndpointSlice', ...slice },
        field: 'endpoints[].addresses',
        message: `${address} is ${why}${count > 1 ? ` (and ${count - 1} more endpoints of this slice are refused)` : ''}; it gets no traffic from route ${objectKey(source)}`,
        remedy: 'let endpoints be addresses of pods',
        origin: slice.origin,
      }),
    );
  }
  if (refused.length > MAX_REFUSED) {
    problems.push(
      problem({
        code: 'endpoint-refused',
        object: { kind: 'Service', namespace: source.namespace, name: to.name },
        message: `${refused.length - MAX_REFUSED} more of its EndpointSlices have endpoints that get no traffic from route ${objectKey(source)}`,
        remedy: 'let endpoints be addresses of pods',
      }),
    );
  }
  const { active, backup, farther } = selectServers(endpoints, spec.locality, context.view.name);
  return {
    name: to.name,
    ...(to.weight === undefined ? {} : { weight: to.weight }),
    ...(to.match === undefined ? {} : { match: to.match }),
    serverProtocol: port === undefined ? 'h1' : portProtocol(port).serverProtocol,
    endpoints,
    active,
    backup,
    algorithm: to.algorithm ?? 'LeastConn',
    ...(to.hashHeader === undefined ? {} : { hashHeader: to.hashHeader }),
    ...(to.breaker === undefined ? {} : { breaker: to.breaker }),
    ...(spec.spillAt === undefined || spec.locality !== 'PreferLocal' ? {} : { spill: { at: spec.spillAt, tiers: farther } }),
  };
}
