/** One SRV record. `target` has A or AAAA records in the same zone. */
export interface SrvData {
  readonly priority: number;
  readonly weight: number;
  readonly port: number;
  readonly target: string;
}

/** Start of authority; times in seconds. `minimum` is the TTL of negative answers (RFC 2308 section 4). */
export interface SoaData {
  readonly mname: string;
  readonly rname: string;
  readonly serial: number;
  readonly refresh: number;
  readonly retry: number;
  readonly expire: number;
  readonly minimum: number;
}

/**
 * All records of one name; without any it is an empty non-terminal (RFC 8020): it exists, and every answer is NODATA.
 * `TXT` holds one list of character-strings per record, each at most 255 bytes of printable ASCII.
 */
export interface NameRecords {
  readonly A?: readonly string[];
  readonly NS?: readonly string[];
  readonly SOA?: SoaData;
  readonly PTR?: readonly string[];
  readonly TXT?: readonly (readonly string[])[];
  readonly AAAA?: readonly string[];
  readonly SRV?: readonly SrvData[];
}

/** What the server says of itself under `id.server` and `version.server` (class CH, RFC 4892). */
export interface ServerIdentity {
  readonly nodeName: string;
  readonly version: string;
}

/**
 * Everything the DNS front answers: plain data that crosses to the worker thread. Names are absolute, lower case, without
 * the final dot; a name with a SOA is an apex. Besides the route zone there are the reverse zones of the pool.
 */
export interface Zone {
  readonly name: string;
  /** Sorted by name, the apexes last: the same order everywhere. */
  readonly names: ReadonlyMap<string, NameRecords>;
  /** Derived from the records alone: the same on every node that serves the same routes. */
  readonly serial: number;
  /** Hash of all of it: equal fingerprints mean that nothing has to be sent. */
  readonly fingerprint: string;
  readonly identity: ServerIdentity;
}

/** TTL of every record, in seconds. A VIP is kept in quarantine for hours, so this only bounds how fast a new name appears. */
export const TTL_SECONDS = 30;

/** TTL of "no such name" and "no such record": a route just created must not stay unknown for long. */
export const NEGATIVE_TTL_SECONDS = 5;
