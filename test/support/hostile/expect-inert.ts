import { sectionsOf } from '../../../src/haproxy/plan-change.ts';
import { isMapList } from '../../../src/haproxy/render-map-list.ts';
import type { Problem } from '../../../src/model/problem.ts';
import type { Played } from './play-objects.ts';

const PRINTABLE = /^[\x20-\x7e]*$/;
/** Sections and words of ours; settings of a breaker. */
const MAP_VALUE = /^(?:[A-Za-z0-9_@./-]+|\d+:\d+:\d+)$/;
const ADDRESS = /^[0-9a-fA-F.:]+(?:\/\d{1,3})?$/;

/** These run some hundred thousand times: vitest's `expect` would take most of the time. */
function must(holds: boolean, what: string, text: unknown): void {
  if (!holds) throw new Error(`${what}: ${JSON.stringify(text)?.slice(0, 600)}`);
}

/** One line of printable ASCII, bounded, with what is wrong, where, and what to do. */
function expectUseful({ code, object, field = '', message, remedy, origin }: Problem, line: string): void {
  for (const text of [object.kind, object.namespace ?? '', object.name, field, message, remedy, line]) must(PRINTABLE.test(text), 'a Problem that is not printable', text);
  must(line.length <= 1_400, 'a Problem without bound', line);
  must(/^[a-z0-9-]+$/.test(code) && object.kind !== '' && message !== '' && remedy !== '', 'a Problem that lacks something', line);
  // An object without a usable name is found by its place.
  must(object.name !== '' || origin !== undefined, 'a Problem of nobody', line);
}

const DIRECTIVE = /^(?:|# ServiceRoute [\x20-\x7e]+|(?:frontend|backend) [A-Za-z0-9_.-]+ from [a-z-]+| {2}[a-z][a-z0-9_-]*(?: .*)?)$/;
/** What may begin a route's line. */
const DIRECTIVES = new Set(
  'bind timeout tcp-request http-request http-response http-after-response use_backend default_backend balance retries retry-on default-server server use-server acl option stick-table log log-format log-format-sd description hash-type tcp-response filter'.split(' '),
);

/** What got out of its place; undefined: nothing did, and the other tenant's part is as it was, byte for byte. */
export function findHarm(played: Played, before: Played): string | undefined {
  try {
    expectInert(played, before);
    return undefined;
  } catch (error) {
    return String(error);
  }
}

function expectInert(played: Played, before: Played): void {
  played.problems.forEach((one, i) => expectUseful(one, played.problemLines[i] ?? ''));
  expectSameVictim(played, before);
  expectListOfMaps(played);
  expectRoutesOwnLines(played);
  for (const [file, content] of played.rendered.files) {
    must(/^(?:[a-z-]+\.lua|maps\/[A-Za-z0-9_.-]+\.map)$/.test(file), 'the name of a file', file);
    if (file.endsWith('.map')) expectMapLines(file, content);
    else must(content === before.rendered.files.get(file), 'a script that changed', content);
  }
  for (const text of [played.zone, played.routesText]) for (const line of text.split('\n')) must(PRINTABLE.test(line), 'a line that is not printable', line);
  for (const line of played.explained) must(PRINTABLE.test(line) && line.length < 1_500, 'an explanation', line);
  must(played.routesJson.length < before.routesJson.length + 30_000, 'the size of /routes', played.routesJson.length);
}

/** The file of a node of another size may allow other numbers of connections. */
const withoutSizes = (text: string | undefined): string => (text ?? '').replaceAll(/^ {2}maxconn \d+$/gm, '');

function expectSameVictim(played: Played, before: Played): void {
  const parts = (one: Played): ReadonlyMap<string, string> => sectionsOf(one.rendered.config, (line) => !isMapList(line));
  const [now, then] = [parts(played), parts(before)];
  for (const name of ['victim/shop', 'global settings']) must(withoutSizes(now.get(name)) === withoutSizes(then.get(name)), `the part of ${name} changed`, now.get(name));
  must(now.size === 1 + played.table.routes.length, 'parts of routes that do not exist', [...now.keys()]);
  for (const [file, content] of before.rendered.files) if (file.startsWith('maps/victim.')) must(played.rendered.files.get(file) === content, `${file} changed`, played.rendered.files.get(file));
  const callers = (one: Played): string => (one.rendered.files.get('maps/callers.map') ?? '').split('\n').filter((line) => line.endsWith(' victim') || line.startsWith('127.88.90.11 ')).join();
  must(callers(played) === callers(before), 'the callers of the other tenant', callers(played));
  const names = (one: Played): string => one.zone.split('\n').filter((line) => /^\S*\bshop\.victim\./.test(line)).join();
  must(names(played) === names(before) && names(played) !== '', 'the names of the other tenant', names(played));
}

/** The list of maps has those of the files, and nothing else. */
function expectListOfMaps({ rendered }: Played): void {
  for (const line of rendered.config.split('\n').filter(isMapList)) {
    const [, file = ''] = /^ {2}http-request set-var\(txn\.listed\) (?:src|rand\(1\)),map_[a-z_]+\((maps\/[A-Za-z0-9_.-]+)\)$/.exec(line) ?? [];
    must(rendered.files.has(file), 'a map that is not there', line);
  }
}

/** Each line of a route's part is one that routes have, and each section carries the route's name. */
function expectRoutesOwnLines({ rendered, table }: Played): void {
  const listeners = new Set(table.routes.flatMap(({ vip, vip6, globalVip, globalVip6, listen }) => [vip, vip6, globalVip, globalVip6].flatMap((one) => (one === undefined ? [] : [`${one}:${listen}`]))));
  for (const [route, text] of sectionsOf(rendered.config)) {
    if (route === 'global settings') continue;
    for (const line of text.split('\n')) {
      must(DIRECTIVE.test(line) && PRINTABLE.test(line) && line.length < 2_000, 'a line that no route has', line);
      const [, word = ''] = /^ {2}(\S+)/.exec(line) ?? [];
      must(word === '' || DIRECTIVES.has(word), 'a directive that no route has', line);
      if (/^(?:frontend|backend) /.test(line)) must(line.split(' ')[1]?.startsWith(route.replace('/', '.')) === true, `a section of somebody else in ${route}`, line);
      if (word === 'bind') must(listeners.has(line.split(' ')[3] ?? ''), `a listener that is not of ${route}`, line);
    }
  }
}

/** One entry per line, and values that are names of sections or words of ours. */
function expectMapLines(file: string, content: string): void {
  must(content === '' || content.endsWith('\n'), `${file} ends in mid-line`, content);
  const lines = content.split('\n').slice(0, -1);
  for (const line of lines) {
    const [key = '', value = '', ...more] = line.split(' ');
    // oxlint-disable-next-line no-control-regex -- control characters are what must not be there
    must(more.length === 0 && key !== '' && MAP_VALUE.test(value) && !/[\u0000-\u001f\u007f]/.test(line), `no single entry in ${file}`, line);
    if (/\.(?:denied|allowed)\.map$|callers\.map$/.test(file)) must(ADDRESS.test(key), `no address in ${file}`, line);
  }
  if (file.endsWith('.header.map')) must(lines.length <= 1, `${file} has more entries than versions`, content);
}
