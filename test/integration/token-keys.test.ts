import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { openKeySource, type KeyEvent, type OpenKeySource } from '../../src/tokens/io/open-key-source.ts';
import { readJwks } from '../../src/tokens/io/read-jwks.ts';
import { AUDIENCE, ISSUER, jwksOf, makeKey } from '../support/tokens.ts';

const one = makeKey('ES256', 'one');
const two = makeKey('RS256', 'two');
const WAIT = { timeout: 20_000, interval: 20 };
const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

function open(place: string, over: Partial<Parameters<typeof openKeySource>[0]> = {}): { readonly source: OpenKeySource; readonly events: KeyEvent[]; readonly kids: () => readonly (string | undefined)[] } {
  const events: KeyEvent[] = [];
  const source = openKeySource({ ...readJwks(place), periodMs: 50, minGapMs: 10, issuer: ISSUER, audience: AUDIENCE, onEvent: (event) => events.push(event), ...over });
  closers.push(() => source.close());
  return { source, events, kids: () => source.keys?.keys.map(({ kid }) => kid) ?? [] };
}

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'onehop-keys-'));
  closers.push(() => rm(path, { recursive: true }));
  return path;
}

async function serve(handler: Parameters<typeof createServer>[1]): Promise<{ readonly url: string; readonly server: Server }> {
  const server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, '127.88.70.1', resolve));
  closers.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { url: `http://127.88.70.1:${(server.address() as AddressInfo).port}/jwks`, server };
}

describe('keys in a file', () => {
  it('rotate without a restart; a broken file leaves the last good keys, and says so once', async () => {
    const path = join(await folder(), 'jwks.json');
    const { source, events, kids } = open(path);
    let changes = 0;
    source.onChange(() => changes++);
    await vi.waitFor(() => expect(source.trouble).toBe('the file is not there'), WAIT);
    expect(source.keys).toBeUndefined();

    await writeFile(`${path}.new`, jwksOf(one));
    await rename(`${path}.new`, path);
    await vi.waitFor(() => expect(kids()).toEqual(['one']), WAIT);
    expect(source.trouble).toBeUndefined();
    expect(source.keys).toMatchObject({ issuers: [ISSUER], audiences: [AUDIENCE] });

    const before = source.keys;
    await writeFile(path, '{"keys": [');
    await vi.waitFor(() => expect(source.trouble).toBe('it is not JSON'), WAIT);
    await source.refresh();
    expect(source.keys).toBe(before);
    await writeFile(path, jwksOf(one));
    await vi.waitFor(() => expect(source.trouble).toBeUndefined(), WAIT);
    expect(source.keys).toBe(before);

    await writeFile(path, jwksOf(two));
    await vi.waitFor(() => expect(kids()).toEqual(['two']), WAIT);
    expect(changes).toBeGreaterThanOrEqual(5);
    expect(events.filter(({ level }) => level === 'error').map(({ text }) => text.replace(path, 'FILE'))).toEqual([
      'keys of FILE: the file is not there; no JWT can be verified',
      'keys of FILE: it is not JSON; the last good keys stay in use',
    ]);
  });

  it('a file that is too large is not read to its end', async () => {
    const path = join(await folder(), 'jwks.json');
    await writeFile(path, ' '.repeat(8 << 20));
    const { source } = open(path);
    await vi.waitFor(() => expect(source.trouble).toBe('it is larger than 256 KiB'), WAIT);
  });
});

describe('keys at a URL', () => {
  it('are read again for whoever asks, but not more often than allowed', async () => {
    let asked = 0;
    let keys = [one];
    const { url } = await serve((_, response) => {
      asked++;
      response.end(jwksOf(...keys));
    });
    const { source, kids } = open(url, { periodMs: 3_600_000, minGapMs: 300 });
    await vi.waitFor(() => expect(kids()).toEqual(['one']), WAIT);
    keys = [one, two];
    await Promise.all(Array.from({ length: 50 }, () => source.refresh()));
    expect(asked).toBe(1);
    await vi.waitFor(async () => {
      await Promise.all(Array.from({ length: 50 }, () => source.refresh()));
      expect(kids()).toEqual(['one', 'two']);
    }, WAIT);
    expect(asked).toBe(2);
  });

  it.each([
    ['an error', (response: import('node:http').ServerResponse) => response.writeHead(500).end('secret page'), 'the server answers 500'],
    ['a redirect', (response: import('node:http').ServerResponse) => response.writeHead(302, { location: '/elsewhere' }).end(), 'it could not be fetched'],
    ['too much', (response: import('node:http').ServerResponse) => response.end(' '.repeat(1 << 20)), 'it is larger than 256 KiB'],
    ['a page', (response: import('node:http').ServerResponse) => response.end('<html>'), 'it is not JSON'],
    ['a broken answer', (response: import('node:http').ServerResponse) => response.writeHead(200, { 'content-length': '100' }).write('{', () => response.destroy()), ''],
  ])('%s is trouble, and not more', async (_, answer, says) => {
    const { url } = await serve((_request, response) => void answer(response));
    const { source } = open(url);
    await vi.waitFor(() => expect(source.trouble).toContain(says), WAIT);
    expect(source.trouble).not.toContain('secret');
  });

  it('a server that never answers ends with the source', async () => {
    const { url } = await serve(() => {});
    const { source } = open(url);
    await source.close();
    expect(source.trouble).toBeUndefined();
  });
});
