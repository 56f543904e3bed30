import { byCodeUnit } from '../model/names.ts';
import { configDigest } from './render-config.ts';
import type { RenderedConfig } from './render-config.ts';
import { IDENTITY_MAP, isLiveMap } from './render-maps.ts';
import { parseRouteComment } from './section-names.ts';

/** What brings a running HAProxy from one state to another, in order. A step is data; `io/` holds its effect. */
export type Step =
  /** Replaces a live map in the running worker at once, then on disk. */
  | { readonly kind: 'replace-map'; readonly file: string; readonly content: string }
  /** Writes these files (haproxy.cfg last), then removes those. */
  | { readonly kind: 'write-files'; readonly write: ReadonlyMap<string, string>; readonly remove: readonly string[] }
  | { readonly kind: 'reload'; readonly reason: string };

/** One step for the log. */
export const describeStep = (step: Step): string =>
  step.kind === 'reload' ? `reload (${step.reason})` : step.kind === 'replace-map' ? `${step.file} replaced` : `${step.write.size} files written`;

export const CONFIG_FILE = 'haproxy.cfg';

/** All files of a state, in the order in which they may appear on disk: what haproxy.cfg names is there before it. */
export const filesOf = ({ config, files }: RenderedConfig): ReadonlyMap<string, string> => new Map([...files, [CONFIG_FILE, config]]);

/**
 * Compares what runs with what is wanted.
 *
 * Live maps that exist on both sides change first and without a reload, everything else is one reload with its reason.
 * The order keeps every moment between two maps at most as open as before or after: who is gone or has another identity is nobody
 * first, then the exceptions change, then new identities come. So a pod is never known before the ACLs that name it, and an address
 * that changes hands never has its old namespace under the new pod's exceptions. New identities wait for the reload when
 * it gives an ACL to a route that serves already.
 */
export function planChange(applied: RenderedConfig, desired: RenderedConfig): readonly Step[] {
  if (applied === desired) return [];
  const replace = (file: string, content: string): Step => ({ kind: 'replace-map', file, content });
  const exceptions = [...desired.files]
    .filter(([file, content]) => file !== IDENTITY_MAP && isLiveMap(file) && applied.files.has(file) && applied.files.get(file) !== content)
    .sort(([a], [b]) => byCodeUnit(a, b))
    .map(([file, content]) => replace(file, content));
  const reason = reloadReason(applied, desired);
  const awaited = reason !== undefined && [...desired.files.keys()].some((file) => isNewAcl(file, applied));
  const [known, wanted] = [applied.files.get(IDENTITY_MAP), desired.files.get(IDENTITY_MAP)];
  const live: Step[] = [...exceptions];
  if (known !== undefined && wanted !== undefined && known !== wanted) {
    const lasting = lastingLines(known, wanted);
    const first = (exceptions.length > 0 || awaited) && lasting !== known;
    if (first) live.unshift(replace(IDENTITY_MAP, lasting));
    if (!awaited && !(first && lasting === wanted)) live.push(replace(IDENTITY_MAP, wanted));
  }
  if (reason === undefined) return live;
  const before = filesOf(applied);
  const after = filesOf(desired);
  const write = new Map([...after].filter(([file, content]) => before.get(file) !== content));
  const remove = [...before.keys()].filter((file) => !after.has(file)).sort(byCodeUnit);
  return [...live, { kind: 'write-files', write, remove }, { kind: 'reload', reason }];
}

/** The lines of a map that stay as they are. */
function lastingLines(before: string, after: string): string {
  const kept = new Set(after.split('\n'));
  return before.split('\n').filter((line) => kept.has(line)).join('\n');
}

/** Whether a live map comes with a reload to a route that has a frontend already: its ACL is new or turned over. */
function isNewAcl(file: string, applied: RenderedConfig): boolean {
  const stem = /^maps\/(.*)\.(?:denied|allowed)\.map$/.exec(file)?.[1];
  return stem !== undefined && !applied.files.has(file) && applied.config.includes(`\nfrontend ${stem} from `);
}

/** Why a worker loaded with `applied` cannot become `desired` by commands; undefined when it can. */
function reloadReason(applied: RenderedConfig, desired: RenderedConfig): string | undefined {
  const structural = ({ files }: RenderedConfig): string[] => [...files.keys()].filter((file) => !isLiveMap(file));
  const names = new Set([...structural(applied), ...structural(desired)]);
  const changedFiles = [...names].filter((file) => applied.files.get(file) !== desired.files.get(file)).sort(byCodeUnit);
  if (applied.config === desired.config && changedFiles.length === 0) return undefined;

  const before = sectionsOf(applied.config);
  const after = sectionsOf(desired.config);
  const added = [...after.keys()].filter((name) => !before.has(name));
  const removed = [...before.keys()].filter((name) => !after.has(name));
  const changed = [...after].filter(([name, text]) => before.has(name) && before.get(name) !== text).map(([name]) => name);
  const parts = [
    ...describe('added', added),
    ...describe('removed', removed),
    ...describe('changed', changed),
    ...(added.length + removed.length + changed.length === 0 ? describe('changed', changedFiles) : []),
  ];
  return parts.length === 0 ? 'description changed' : parts.join(', ');
}

const describe = (verb: string, names: readonly string[]): readonly string[] => {
  if (names.length === 0) return [];
  const shown = names.slice(0, 3).join(' ');
  return [`${verb} ${shown}${names.length > 3 ? ` and ${names.length - 3} more` : ''}`];
};

const GLOBAL_SECTION = 'global settings';

/** The text that belongs to each route, and `global settings` before the first; the digest line left out. */
export function sectionsOf(config: string): ReadonlyMap<string, string> {
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
    if (line !== `  description ${digest}` && line !== '') text.push(line);
  }
  sections.set(name, text.join('\n'));
  return sections;
}
