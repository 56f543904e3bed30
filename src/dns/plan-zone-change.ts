import type { NameRecords, Zone } from './zone.ts';

/** One name and its records from now on; `undefined`: the name goes. */
export type ZoneStep = readonly [name: string, records: NameRecords | undefined];

/**
 * Plans what turns `applied` (undefined: nothing yet) into `wanted`: new and changed names, then removed ones, and apexes
 * last, so that the serial says "new" only once everything else is.
 */
export function planZoneChange(applied: Zone | undefined, wanted: Zone): ZoneStep[] {
  if (applied?.fingerprint === wanted.fingerprint) return [];
  const steps: ZoneStep[] = [];
  const apexes: ZoneStep[] = [];
  for (const [name, records] of wanted.names) {
    const before = applied?.names.get(name);
    if (before !== undefined && JSON.stringify(before) === JSON.stringify(records)) continue;
    (records.SOA === undefined ? steps : apexes).push([name, records]);
  }
  for (const name of applied?.names.keys() ?? []) {
    if (!wanted.names.has(name)) steps.push([name, undefined]);
  }
  return [...steps, ...apexes];
}
