import { byCodeUnit } from '../model/names.ts';
import { FIRST_MAP, type WantedServers } from './plan-servers.ts';
import { configDigest, isSetAtRunTime } from './render-config.ts';
import type { RenderedConfig } from './render-config.ts';
import { isMapList } from './render-map-list.ts';
import { IDENTITY_MAP, isLiveMap, isRuleMap } from './render-maps.ts';
import { parseRouteComment } from './section-names.ts';

/** What brings a running HAProxy from one state to another, in order. A step is data; `io/` holds its effect. */
export type Step =
  /** Replaces a live map in the running worker at once, then on disk. */
  | { readonly kind: 'replace-map'; readonly file: string; readonly content: string }
  /** Writes these files (haproxy.cfg last), then removes those. */
  | { readonly kind: 'write-files'; readonly write: ReadonlyMap<string, string>; readonly remove: readonly string[] }
  /** Brings the servers of this backend in the running worker; haproxy.cfg follows. */
  | { readonly kind: 'servers'; readonly backend: string; readonly wanted: WantedServers }
  | { readonly kind: 'reload'; readonly reason: string; readonly cause: ReloadCause };

/**
 * Why a reload, of a fixed set: routes come or go, a route changes in what its rules are, something that all share does, a command was
 * refused by the worker, or it runs something that is not known.
 */
export const RELOAD_CAUSES = ['routes', 'settings', 'shared', 'command', 'unknown'] as const;
export type ReloadCause = (typeof RELOAD_CAUSES)[number];

/** One step for the log. */
export function describeStep(step: Step): string {
  switch (step.kind) {
    case 'replace-map':
      return `${step.file} replaced`;
    case 'write-files':
      return `${step.write.size} files written`;
    case 'servers':
      return `servers of ${step.backend} changed`;
    case 'reload':
      return `reload (${step.reason})`;
  }
}

export const CONFIG_FILE = 'haproxy.cfg';

/** All files of a state, in the order in which they may appear on disk: what haproxy.cfg names is there before it. */
export const filesOf = ({ config, files }: RenderedConfig): ReadonlyMap<string, string> => new Map([...files, [CONFIG_FILE, config]]);

/**
 * Compares what runs with what is wanted.
 *
 * Live maps that exist on both sides change first and without a reload (see planMaps), everything else is one reload with its reason.
 */
export function planChange(applied: RenderedConfig, desired: RenderedConfig): readonly Step[] {
  if (applied === desired) return [];
  const live = planMaps(applied, desired);
  if (applied.digest === desired.digest) return [...live, ...serverSteps(applied, desired)];
  const before = filesOf(applied);
  const after = filesOf(desired);
  const write = new Map([...after].filter(([file, content]) => before.get(file) !== content));
  const remove = [...before.keys()].filter((file) => !after.has(file)).sort(byCodeUnit);
  return [...live, { kind: 'write-files', write, remove }, { kind: 'reload', ...reloadReason(applied, desired) }];
}

/** The maps that can change in the worker that runs. */
export type MapStep = Extract<Step, { kind: 'replace-map' }>;

/**
 * The live maps that differ, in the order in which they change, whatever else needs a reload.
 *
 * The order keeps every moment between two maps at most as open as before or after: who is gone or has another identity is nobody
 * first, then the exceptions change, then new identities come. So a pod is never known before the ACLs that name it, and an address
 * that changes hands never has its old namespace under the new pod's exceptions. While a reload is to give a serving route a list of
 * who is denied, new pods on that list are nobody until then: the rules that are loaded would let them in. A list of who is allowed keeps
 * nobody back: whoever is on it may call afterwards too, and others that are new get what the loaded rules give every pod that was there.
 * No other pod waits, for a reload may be long in coming. Choices and rates wait for it when it changes anything else of their
 * route: they may name a backend that comes with it, be meant for another header, or count in another unit.
 */
export function planMaps(applied: RenderedConfig, desired: RenderedConfig): readonly MapStep[] {
  if (applied.files === desired.files) return [];
  const reloads = applied.digest !== desired.digest;
  const changed = [...desired.files]
    .filter(([file, content]) => isLiveMap(file) && file !== IDENTITY_MAP && file !== FIRST_MAP && applied.files.has(file) && applied.files.get(file) !== content)
    .sort(([a], [b]) => byCodeUnit(a, b));
  const exceptions = changed.filter(([file]) => !isRuleMap(file)).map(([file, content]) => replaceMap(file, content));
  const ofRules = changed.filter(([file]) => isRuleMap(file) && (!reloads || isSameRoute(file, applied, desired))).map(([file, content]) => replaceMap(file, content));
  const [known, wanted] = [applied.files.get(IDENTITY_MAP), desired.files.get(IDENTITY_MAP)];
  const live: MapStep[] = [...exceptions];
  if (known !== undefined && wanted !== undefined && known !== wanted) {
    const lasting = lastingLines(known, wanted);
    const welcome = reloads ? withoutDenied(wanted, known, applied, desired) : wanted;
    const first = exceptions.length > 0 && lasting !== known;
    if (first) live.unshift(replaceMap(IDENTITY_MAP, lasting));
    if (welcome !== (first ? lasting : known)) live.push(replaceMap(IDENTITY_MAP, welcome));
  }
  return [...live, ...ofRules];
}

const replaceMap = (file: string, content: string): MapStep => ({ kind: 'replace-map', file, content });

/** Whether all that a reload would change of a map's route is as it was. */
function isSameRoute(file: string, applied: RenderedConfig, desired: RenderedConfig): boolean {
  const stem = /^maps\/(.*)\.\w+\.map$/.exec(file)?.[1] ?? '';
  const structure = desired.structures.get(stem);
  return structure !== undefined && applied.structures.get(stem) === structure;
}

/** The lines of a map that stay as they are. */
function lastingLines(before: string, after: string): string {
  const kept = new Set(after.split('\n'));
  return before.split('\n').filter((line) => kept.has(line)).join('\n');
}

/** The identities without those that are new and denied by an ACL that a reload brings. */
function withoutDenied(wanted: string, known: string, applied: RenderedConfig, desired: RenderedConfig): string {
  const denied = new Set([...desired.files].filter(([file]) => isNewDenial(file, applied)).flatMap(([, content]) => content.split('\n').map(keyOf)));
  if (denied.size === 0) return wanted;
  const kept = new Set(known.split('\n'));
  return wanted.split('\n').filter((line) => line === '' || kept.has(line) || !denied.has(keyOf(line))).join('\n');
}

const keyOf = (line: string): string => line.slice(0, line.indexOf(' '));

/** Whether a list of who is denied comes with a reload to a route that has a frontend already: its ACL is new or turned over. */
function isNewDenial(file: string, applied: RenderedConfig): boolean {
  const stem = /^maps\/(.*)\.denied\.map$/.exec(file)?.[1];
  return stem !== undefined && !applied.files.has(file) && applied.config.includes(`\nfrontend ${stem} from `);
}

/** The backends whose servers differ. A route that did not change has the very same ones. */
function serverSteps(applied: RenderedConfig, desired: RenderedConfig): readonly Step[] {
  const steps: Step[] = [];
  for (const [backend, wanted] of desired.servers) {
    const before = applied.servers.get(backend);
    if (before === undefined || !isSameServers(before, wanted)) steps.push({ kind: 'servers', backend, wanted });
  }
  return steps;
}

const isSameServers = (a: WantedServers, b: WantedServers): boolean =>
  a === b || (a.first === b.first && a.servers.length === b.servers.length && a.servers.every(({ name }, i) => name === b.servers[i]?.name));

/** Lines that a running worker is not loaded for. */
const isStructure = (line: string): boolean => !line.startsWith('  server ') && !isSetAtRunTime(line) && !isMapList(line);

/** Why a worker loaded with `applied` cannot become `desired` by commands. */
function reloadReason(applied: RenderedConfig, desired: RenderedConfig): { readonly reason: string; readonly cause: ReloadCause } {
  if (applied.digest === '') return { reason: 'what it runs is not known', cause: 'unknown' };
  const structural = ({ files }: RenderedConfig): string[] => [...files.keys()].filter((file) => !isLiveMap(file));
  const names = new Set([...structural(applied), ...structural(desired)]);
  const changedFiles = [...names].filter((file) => applied.files.get(file) !== desired.files.get(file)).sort(byCodeUnit);

  const before = sectionsOf(applied.config, isStructure);
  const after = sectionsOf(desired.config, isStructure);
  const added = [...after.keys()].filter((name) => !before.has(name));
  const removed = [...before.keys()].filter((name) => !after.has(name));
  const changed = [...after].filter(([name, text]) => before.has(name) && before.get(name) !== text).map(([name]) => name);
  const parts = [
    ...describe('added', added),
    ...describe('removed', removed),
    ...describe('changed', changed),
    ...(added.length + removed.length + changed.length === 0 ? describe('changed', changedFiles) : []),
  ];
  const ofRoutes = [added, removed, changed].map((names) => names.some((name) => name !== GLOBAL_SECTION));
  const cause = ofRoutes[0] === true || ofRoutes[1] === true ? 'routes' : ofRoutes[2] === true ? 'settings' : 'shared';
  return { reason: parts.length === 0 ? 'description changed' : parts.join(', '), cause };
}

const describe = (verb: string, names: readonly string[]): readonly string[] => {
  if (names.length === 0) return [];
  const shown = names.slice(0, 3).join(' ');
  return [`${verb} ${shown}${names.length > 3 ? ` and ${names.length - 3} more` : ''}`];
};

const GLOBAL_SECTION = 'global settings';

/** The text that belongs to each route, and `global settings` before the first; the digest line left out, and lines not to be `kept`. */
export function sectionsOf(config: string, kept: (line: string) => boolean = () => true): ReadonlyMap<string, string> {
  const digest = configDigest(config);
  const sections = new Map<string, string>();
  let name = GLOBAL_SECTION;
  let text: string[] = [];
  for (const line of config.split('\n')) {
    const route = parseRouteComment(line);
    if (route !== undefined) {
      sections.set(name, text.join('\n'));
      name = route;
      text = [];
    }
    if (line !== `  description ${digest}` && line !== '' && kept(line)) text.push(line);
  }
  sections.set(name, text.join('\n'));
  return sections;
}
