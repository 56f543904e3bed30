import { createHash } from 'node:crypto';
import { byCodeUnit, isNamespaceName, isServiceName } from '../model/names.ts';
import type { Route } from '../model/route-table.ts';
import { poolContains, type VipPool } from '../model/vip-pool.ts';
import { describeRoute } from './describe-route.ts';
import { reverseApexes, reverseName } from './reverse-names.ts';
import { NEGATIVE_TTL_SECONDS, type NameRecords, type SoaData, type Zone } from './zone.ts';

export interface ZoneInput {
  /** Name of the route zone, lower-case, without the final dot. */
  readonly zoneName: string;
  /** First label of public routes' second name: `--global-namespace`. */
  readonly globalNamespace: string;
  readonly pool: VipPool;
  readonly routes: readonly Route[];
  readonly nodeName: string;
  readonly version: string;
}

/** As text: 255 octets in a message (RFC 1035 section 2.3.4). */
const MAX_NAME = 253;

/**
 * Builds all records from the routes: pure and deterministic, independent of endpoints, so that churn never changes it.
 * Routes in the global namespace get no name there: that namespace belongs to the holders of global names. A name that would be too
 * long is left out, whatever the zone and a tenant's port name make of it.
 */
export function buildZone(input: ZoneInput): Zone {
  const { zoneName, pool } = input;
  const records = new Map<string, NameRecords>();
  const nameServer = `ns.${zoneName}`;
  records.set(nameServer, { A: [pool.dnsAddress] });
  records.set(reverseName(pool.dnsAddress), { PTR: [nameServer] });
  for (const route of input.routes) {
    if (!isServiceName(route.name) || !isNamespaceName(route.namespace)) continue;
    if (route.namespace !== input.globalNamespace) {
      addRoute(records, pool, `${route.name}.${route.namespace}.${zoneName}`, route, route.vip, route.vip6);
    }
    if (route.globalVip !== undefined) {
      addRoute(records, pool, `${route.name}.${input.globalNamespace}.${zoneName}`, route, route.globalVip, route.globalVip6);
    }
  }
  const apexes = [zoneName, ...reverseApexes(pool)];
  addEmptyNonTerminals(records, new Set(apexes));

  const names = [...records].sort(([a], [b]) => byCodeUnit(a, b));
  const content = hash([zoneName, ...apexes], ...names);
  const serial = Number.parseInt(content.slice(0, 8), 16);
  const soa: SoaData = {
    mname: nameServer,
    rname: `hostmaster.${zoneName}`,
    serial,
    refresh: 60,
    retry: 30,
    expire: 86_400,
    minimum: NEGATIVE_TTL_SECONDS,
  };
  const identity = { nodeName: input.nodeName, version: input.version };
  return {
    name: zoneName,
    names: new Map<string, NameRecords>([...names, ...apexes.map((apex): [string, NameRecords] => [apex, { NS: [nameServer], SOA: soa }])]),
    serial,
    fingerprint: hash(content, identity),
    identity,
  };
}

function addRoute(records: Map<string, NameRecords>, pool: VipPool, name: string, route: Route, vip: string, vip6: string | undefined): void {
  records.set(name, { A: [vip], ...(vip6 === undefined ? {} : { AAAA: [vip6] }), TXT: [describeRoute(route)] });
  for (const address of [vip, vip6]) {
    if (address !== undefined && poolContains(pool, address)) records.set(reverseName(address), { PTR: [name] });
  }
  const services = new Set([String(route.listen)]);
  if (route.protocol === 'http') services.add('http');
  if (typeof route.targetPort === 'string' && isNamespaceName(route.targetPort)) services.add(route.targetPort);
  for (const service of services) {
    const serviceName = `_${service}._tcp.${name}`;
    // A service name of 63 characters leaves no room for the underscore in its label.
    if (service.length > 62 || serviceName.length > MAX_NAME) continue;
    records.set(serviceName, { SRV: [{ priority: 0, weight: 0, port: route.listen, target: name }] });
  }
}

/** Every name between a record and its apex exists too, without records: NODATA, not NXDOMAIN (RFC 8020). */
function addEmptyNonTerminals(records: Map<string, NameRecords>, apexes: ReadonlySet<string>): void {
  for (const name of records.keys()) {
    for (let parent = parentOf(name); parent !== '' && !apexes.has(parent) && !records.has(parent); parent = parentOf(parent)) {
      records.set(parent, {});
    }
  }
}

const parentOf = (name: string): string => {
  const dot = name.indexOf('.');
  return dot < 0 ? '' : name.slice(dot + 1);
};

function hash(...parts: readonly unknown[]): string {
  const digest = createHash('sha256');
  for (const part of parts) digest.update(JSON.stringify(part));
  return digest.digest('hex');
}
