import fc from 'fast-check';
import { expect, it } from 'vitest';
import { planChange } from '../../src/haproxy/plan-change.ts';
import { renderConfig } from '../../src/haproxy/render-config.ts';
import type { RenderedConfig } from '../../src/haproxy/render-config.ts';
import { isMapList } from '../../src/haproxy/render-map-list.ts';
import { anEndpoint, aRoute, aTable, aVersion } from '../support/route-tables.ts';

const options = { runDir: '/run/onehop', drainTimeoutSeconds: 60, fileDescriptors: 20_000, threads: 2, haproxy: { version: '2.6.12', lua: true } };

const SPECIAL = ['\n', '\r', '\t', ' ', '#', "'", '"', '\\', '$', '{', '}', '%', '[', ']', '(', ')', '@', ',', '!', '`', 'a', '.', '|'];

/** Text that a tenant could try, with HAProxy's own special characters made likely. */
const hostile = fc.oneof(fc.string({ unit: 'binary', maxLength: 40 }), fc.string({ unit: fc.constantFrom(...SPECIAL), maxLength: 20 }), fc.constantFrom('x\nfrontend evil\n  bind :1', 'x),map_str(maps/none.map)'));

function render(texts: readonly string[]): RenderedConfig {
  const [header = '', hash = '', match = '', pod = '', name = '', service = ''] = texts;
  const version = aVersion(`v${service}`, [anEndpoint('10.1.1.1', 80, { pod }), anEndpoint(`host${pod}`, 80)], { match, algorithm: 'HeaderHash', hashHeader: hash });
  return renderConfig(
    aTable([aRoute(`r${name}`, { vip: '169.254.193.1', listen: 80, versions: [version], choice: { kind: 'header', header, otherwise: 0 } })]),
    options,
  );
}

it('no text of an object adds a line, a section or a file path to what is rendered', () => {
  // The list of maps is judged by itself: it has what the files are.
  const shape = ({ config }: RenderedConfig): string[] => config.split('\n').filter((line) => !isMapList(line)).map((line) => /^\s*\S*/.exec(line)?.[0] ?? '');
  const plain = shape(render(['h', 'h', 'm', 'p', 'n', 's']));
  fc.assert(
    fc.property(fc.tuple(hostile, hostile, hostile, hostile, hostile, hostile), (texts) => {
      const rendered = render(texts);
      expect(shape(rendered)).toEqual(plain);
      for (const file of rendered.files.keys()) expect(file).toMatch(/^(?:(?:hold|tokens)\.lua|maps\/[A-Za-z0-9_.-]+\.map)$/);
      const listed = rendered.config.split('\n').filter(isMapList);
      const fileOf = (line: string): string => /^ {2}http-request set-var\(txn\.listed\) (?:src|rand\(1\)),map_\w+\((maps\/[\w.-]+)\)$/.exec(line)?.[1] ?? '';
      expect(listed.filter((line) => !rendered.files.has(fileOf(line)))).toEqual([]);
      const regexes = [...rendered.files].filter(([file]) => file.endsWith('.header.map')).map(([, content]) => content.split('\n').length);
      expect(Math.max(...regexes)).toBeLessThanOrEqual(2);
      expect(planChange(rendered, rendered)).toEqual([]);
    }),
    { numRuns: 2000 },
  );
});
