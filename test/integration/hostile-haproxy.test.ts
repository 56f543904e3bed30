import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openConfigCheck } from '../../src/haproxy/io/check-config.ts';
import { replaceMap } from '../../src/haproxy/io/cli-socket.ts';
import { openRegexCheck } from '../../src/haproxy/io/regex-check.ts';
import { filesOf, planChange } from '../../src/haproxy/plan-change.ts';
import { planServers } from '../../src/haproxy/plan-servers.ts';
import { EVIL, HOSTILE_TEXTS, textFields, VICTIM, withText } from '../support/hostile/hostile-objects.ts';
import type { RawObject, TextField } from '../support/hostile/hostile-objects.ts';
import { playObjects } from '../support/hostile/play-objects.ts';
import type { Played } from '../support/hostile/play-objects.ts';

const OBJECTS = Object.values(EVIL).map(([first]) => first).concat(EVIL.ServiceRoute.slice(1)).filter((object) => object !== undefined);
const asJson = (objects: readonly unknown[]): string => JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects });

function attack(object: RawObject, field: TextField, text: string, before: Played): Played {
  return playObjects([['a.json', asJson([...VICTIM, ...OBJECTS.filter((other) => other !== object)])], ['b.json', JSON.stringify(withText(object, field, text))]], before.ledger);
}

/** What the agent would have HAProxy read or do for hostile texts that got as far as its files. */
describe('a real HAProxy and hostile texts', () => {
  let dir: string;
  let before: Played;
  const different = new Map<string, { readonly what: string; readonly played: Played }>();

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'onehop-hostile-'));
    before = playObjects([['a.json', asJson([...VICTIM, ...OBJECTS])]]);
    for (const object of OBJECTS) {
      for (const [n, field] of textFields(object).entries()) {
        // By turns: the pure part is tested with all of them in test/property.
        for (const text of HOSTILE_TEXTS.filter(({ length }, i) => length < 1_000 && (i + n) % 3 === 0)) {
          const played = attack(object, field, text, before);
          const digest = createHash('sha256').update(JSON.stringify([...filesOf(played.rendered)])).digest('hex');
          if (!different.has(digest)) different.set(digest, { what: `${JSON.stringify(text)} in ${object.kind} ${field.path.join('.')}`, played });
        }
      }
    }
  }, 120_000);
  afterAll(async () => rm(dir, { recursive: true, force: true }));

  it('reads every file that they lead to', async () => {
    expect(different.size).toBeGreaterThan(20);
    const check = openConfigCheck('haproxy', dir);
    const checkRegexes = openRegexCheck('haproxy');
    const rejected: string[] = [];
    for (const { what, played } of different.values()) {
      const patterns = played.table.routes.flatMap(({ versions }) => versions.flatMap(({ match }) => match ?? []));
      // What PCRE refuses never gets as far: the source asks before.
      if ((await checkRegexes(patterns)).size > 0) continue;
      const messages = await check(played.rendered);
      if (messages !== undefined) rejected.push(`${what}: ${messages.slice(0, 500)}`);
    }
    expect(rejected).toEqual([]);
  }, 120_000);

  it('gets whole commands, each one of ours', async () => {
    const commands: string[] = [];
    const serverCommands = new Set<string>();
    const socket = join(dir, 'cli.sock');
    const cli = createServer((client) => {
      let text = '';
      client.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        const whole = text.includes('<<\n') ? text.endsWith('\n\n') : text.endsWith('\n');
        if (!whole) return;
        commands.push(text);
        client.end(text.startsWith('prepare') ? 'New version created: 7\n\n' : '\n');
      });
      client.on('error', () => {});
    });
    await once(cli.listen(socket), 'listening');
    try {
      for (const { played } of different.values()) {
        for (const [from, to] of [[before, played], [played, before]] as const) {
          for (const step of planChange(from.rendered, to.rendered)) if (step.kind === 'replace-map') await replaceMap(socket, step.file, step.content);
          for (const [backend, wanted] of to.rendered.servers) {
            const running = new Map((from.rendered.servers.get(backend)?.servers ?? []).map(({ name }) => [name, 'serving'] as const));
            for (const { text } of planServers(backend, running, from.rendered.servers.get(backend)?.first, wanted)) serverCommands.add(text);
          }
        }
      }
    } finally {
      cli.close();
    }
    expect(commands.length).toBeGreaterThan(20);
    const file = String.raw`maps/[A-Za-z0-9_.-]+\.map`;
    // A line of a tenant's regex is all his but for its begin and its end; blanks and control characters would end the key, or the line.
    const regexes = String.raw`maps/[A-Za-z0-9_.-]+\.header\.map <<\n(?:\(\*LIMIT_MATCH=\d+\)[^\u0000-\u0020\u007f]+ [A-Za-z0-9_.-]+\n)+\n`;
    const ours = new RegExp(`^(?:prepare map ${file}\\n|commit map @7 ${file}\\n|add map @7 ${regexes}|add map @7 ${file} <<\\n(?:[A-Za-z0-9_:./-]+ [A-Za-z0-9_:@./-]+\\n)+\\n)$`);
    expect(commands.filter((command) => !ours.test(command) || command.length > 16_000)).toEqual([]);
    const server = String.raw`[A-Za-z0-9_.-]+(?::[23])?/[0-9a-fA-F.:]+(?:\.plain|\.backup)?`;
    const ofServers = new RegExp(`^(?:add server ${server} [0-9a-fA-F.:[\\]]+(?: [a-z0-9 -]+)?|enable (?:server|health) ${server}|del server ${server}|set server ${server} state maint|(?:add|set) map maps/first\\.map [A-Za-z0-9_.-]+(?::[23])? [0-9.:]+|del map maps/first\\.map [A-Za-z0-9_.-]+(?::[23])?)$`);
    expect(serverCommands.size).toBeGreaterThan(5);
    expect([...serverCommands].filter((command) => !ofServers.test(command) || command.length > 1_000)).toEqual([]);
  }, 120_000);
});
