import type { ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import { ApiError } from '../../src/kube/api-error.ts';
import { openApiClient, type ApiClient } from '../../src/kube/io/open-api-client.ts';
import { openReflector, type Reflector, type Trouble } from '../../src/kube/io/open-reflector.ts';
import type { RetryLimits } from '../../src/kube/plan-retry.ts';
import { answer, fakeEvent, fakeList, fakeObject, openFakeApiServer, type FakeApiServer, type Handler } from '../support/fake-api-server.ts';
import { eventually } from '../support/lab/run.ts';

const RETRY: RetryLimits = { baseMs: 20, maxMs: 100, awayMs: 100, returnMs: 10, relistMs: 20 };
const TIMING = { retry: RETRY, coalesceMs: 5 };
const PATH = '/api/v1/things';

let server: FakeApiServer;
let client: ApiClient;
let reflector: Reflector<string> | undefined;

afterEach(async () => {
  await reflector?.close();
  reflector = undefined;
  client.close();
  await server.close();
});

/** A watch on which nothing happens. */
const hold = (response: ServerResponse): void => {
  response.writeHead(200).flushHeaders();
};

const isWatch = (request: URL): boolean => request.searchParams.get('watch') === 'true';

async function open(handler: Handler, timing: object = {}) {
  server = await openFakeApiServer(handler);
  client = openApiClient(server.access, { userAgent: 'test', timeoutMs: 2_000 });
  const told: string[][] = [];
  /** How long the first of what was told had waited, ms. */
  const waited: number[] = [];
  const troubles: Trouble[] = [];
  reflector = openReflector<string>({
    client,
    path: PATH,
    slim: (raw) => String(raw['value']),
    onChange: (dirty, sinceMs) => {
      told.push([...dirty].sort());
      waited.push(performance.now() - sinceMs);
    },
    onTrouble: (trouble) => void troubles.push(trouble),
    timing: { ...TIMING, ...timing },
  });
  const one = reflector;
  const value = (name: string) => one.items().get(`shop/${name}`);
  return { told, waited, troubles, value, lists: () => server.requests.filter((line) => !line.includes('watch=true')).length, one };
}

/** Lists `a` at 10; each watch gets its number, from 1. */
function watching(watch: (nr: number, request: URL, write: (text: string) => void, end: () => void, response: ServerResponse) => void): Handler {
  let nr = 0;
  return (request, response) => {
    if (!isWatch(request)) answer(response, fakeList([fakeObject('a', 5, 'listed')], 10));
    else {
      response.writeHead(200);
      response.flushHeaders();
      watch(++nr, request, (text) => void response.write(text), () => void response.end(), response);
    }
  };
}

test('changes that are told together come with the time of the first of them', async () => {
  const { told, waited } = await open(
    watching((_, __, write) => {
      write(fakeEvent('ADDED', fakeObject('b', 11, '1')));
      setTimeout(() => write(fakeEvent('ADDED', fakeObject('c', 12, '1'))), 250);
    }),
    { coalesceMs: 500 },
  );
  await eventually('both told', async () => told.length === 2);
  expect(told).toEqual([['shop/a'], ['shop/b', 'shop/c']]);
  // The list was told less than 500 ms before b came, and c came 250 ms after it.
  expect(waited[1]).toBeGreaterThan(240);
  expect(waited[0]).toBeLessThan(240);
});

describe('lists', () => {
  test('pages follow each other; an empty page is a page', async () => {
    const { told, value, one } = await open((request, response) => {
      if (isWatch(request)) hold(response);
      else if (request.searchParams.get('continue') === null) answer(response, fakeList([fakeObject('a', 1, '1')], 10, 'next'));
      else if (request.searchParams.get('continue') === 'next') answer(response, { metadata: { resourceVersion: '10', continue: 'last' }, items: null });
      else answer(response, fakeList([fakeObject('b', 2, '2')], 10));
    });
    await eventually('synced', async () => one.synced);
    expect([value('a'), value('b'), one.resourceVersion, told]).toEqual(['1', '2', '10', [['shop/a', 'shop/b']]]);
    expect(server.requests[0]).toBe(`GET ${PATH}?limit=500`);
  });

  test('an empty list is told, too', async () => {
    const { told, one } = await open((request, response) => (isWatch(request) ? hold(response) : answer(response, fakeList([], 10))));
    await eventually('synced', async () => one.synced);
    expect(told).toEqual([[]]);
  });

  test('a page that is too large is asked for in smaller ones', async () => {
    const filler = 'x'.repeat(2_000_000);
    const all = Array.from({ length: 6 }, (_, i) => ({ ...fakeObject(`o${i}`, 1, String(i)), filler }));
    const { one, lists } = await open((request, response) => {
      if (isWatch(request)) return hold(response);
      const [from, limit] = [Number(request.searchParams.get('continue') ?? 0), Number(request.searchParams.get('limit'))];
      const next = from + Math.ceil(limit / 100);
      // The real thing gives as many as asked for; here a hundredth, so that the test stays small.
      answer(response, fakeList(all.slice(from, next), 10, next < all.length ? String(next) : undefined));
    });
    await eventually('synced', async () => one.synced);
    expect(one.items().size).toBe(6);
    expect(lists()).toBe(3);
  });

  test('packed answers are unpacked, and bounded by what they become', async () => {
    const { one } = await open((request, response, raw) => {
      expect(isWatch(request) || raw.headers['accept-encoding'] === 'gzip').toBe(true);
      if (isWatch(request)) return hold(response);
      response.writeHead(200, { 'Content-Encoding': 'gzip' }).end(gzipSync(JSON.stringify(fakeList([fakeObject('a', 1, 'packed')], 10))));
    });
    await eventually('synced', async () => one.synced);
    await expect(client.request('GET', PATH, { maxBytes: 10 })).rejects.toMatchObject({ reason: 'TooLarge' });
  });

  test('a token of pages that ran out begins the list again', async () => {
    let expired = 0;
    const { one, value } = await open((request, response) => {
      if (isWatch(request)) return hold(response);
      if (request.searchParams.get('continue') === null) return answer(response, fakeList([fakeObject('a', 1, '1')], 10 + expired, 'next'));
      if (expired++ === 0) return answer(response, { reason: 'Expired', message: 'the continue parameter is too old' }, 410);
      answer(response, fakeList([fakeObject('b', 2, '2')], 11));
    });
    await eventually('synced', async () => one.synced);
    expect([value('a'), value('b'), one.resourceVersion]).toEqual(['1', '2', '11']);
  });

  test.each([
    [500, {}, 0],
    [429, { 'Retry-After': '1' }, 990],
    [403, {}, 0],
  ])('%i is told and tried again when it is time', async (status, headers, leastMs) => {
    const at: number[] = [];
    const { one, troubles } = await open((request, response) => {
      if (isWatch(request)) return hold(response);
      at.push(performance.now());
      if (at.length === 1) answer(response, { message: 'not now' }, status, headers);
      else answer(response, fakeList([], 10));
    });
    await eventually('synced', async () => one.synced);
    expect(troubles).toMatchObject([{ during: 'list', error: { status, message: 'not now' } }]);
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThan(leastMs);
  });

  test('something else than a list is a failure', async () => {
    const { troubles } = await open((_, response) => void response.writeHead(200).end('<html>'));
    await eventually('told', async () => troubles.length > 1);
    expect(troubles[0]?.error.reason).toBe('Unreadable');
  });
});

describe('watches', () => {
  test('begin where the list ended, go on where the last event was, and list nothing again', async () => {
    const from: string[] = [];
    const { told, value, one, lists } = await open(
      watching((nr, request, write, end) => {
        from.push(`${request.searchParams.get('resourceVersion')} ${request.searchParams.get('allowWatchBookmarks')}`);
        const seconds = Number(request.searchParams.get('timeoutSeconds'));
        expect(seconds >= 240 && seconds <= 480).toBe(true);
        if (nr === 1) write(fakeEvent('MODIFIED', fakeObject('a', 11, 'new')) + fakeEvent('ADDED', fakeObject('b', 12)));
        if (nr === 1) end();
        if (nr === 2) write(fakeEvent('BOOKMARK', { metadata: { resourceVersion: '40' } }));
        if (nr === 2) end();
        if (nr === 3) write(fakeEvent('DELETED', fakeObject('b', 41)));
      }),
    );
    await eventually('deleted', async () => one.resourceVersion === '41');
    expect([value('a'), value('b'), from, lists()]).toEqual(['new', undefined, ['10 true', '12 true', '40 true'], 1]);
    expect(new Set(told.flat())).toEqual(new Set(['shop/a', 'shop/b']));
    expect(one.metrics()).toMatchObject({ synced: true, objects: 1, relists: 0, reconnects: 2 });
  });

  test('a line over several packets, two in one, characters cut in half', async () => {
    const { value } = await open(
      watching((nr, _, __, ___, response) => {
        if (nr > 1) return;
        const bytes = Buffer.from(fakeEvent('MODIFIED', fakeObject('a', 11, 'größer')) + fakeEvent('ADDED', fakeObject('b', 12, 'zwei')));
        const half = bytes.indexOf('ö') + 1;
        response.write(bytes.subarray(0, half));
        setTimeout(() => response.write(bytes.subarray(half)), 50);
      }),
    );
    await eventually('both', async () => value('b') !== undefined);
    expect([value('a'), value('b')]).toEqual(['größer', 'zwei']);
  });

  test.each<[string, string, number]>([
    ['410 as an event', fakeEvent('ERROR', { code: 410, reason: 'Expired', message: 'too old resource version' }), 2],
    ['another error as an event', fakeEvent('ERROR', { code: 500, reason: 'InternalError', message: 'etcd' }), 1],
    ['garbage', 'HTTP/1.1 200 OK\n', 1],
    ['a huge line', `{"type":"ADDED","object":{"x":"${'y'.repeat(17 * 1024 * 1024)}"}}\n`, 2],
  ])('%s: goes on', async (_, text, wantedLists) => {
    const { value, lists } = await open(
      watching((nr, __, write) => {
        if (nr === 1) write(text);
        else write(fakeEvent('MODIFIED', fakeObject('a', 20, 'after')));
      }),
    );
    await eventually('the event after it', async () => value('a') === 'after');
    expect(lists()).toBe(wantedLists);
  });

  test('three bad events in a row lead to a list', async () => {
    const { lists } = await open(watching((_, __, write) => write('garbage\n')));
    await eventually('listed again', async () => lists() === 2);
    const watches = server.requests.map((line) => line.includes('watch=true'));
    expect(watches.slice(0, 5)).toEqual([false, true, true, true, false]);
  });

  test('reset and refused connections list nothing again', async () => {
    const { value, lists, troubles } = await open(
      watching((nr, _, write, __, response) => {
        if (nr <= 5) response.socket?.resetAndDestroy();
        else write(fakeEvent('MODIFIED', fakeObject('a', 20, 'after')));
      }),
    );
    await eventually('the event after it', async () => value('a') === 'after');
    expect(lists()).toBe(1);
    expect(troubles.length).toBeGreaterThanOrEqual(4);
  });

  test('the pause of a server that was away ends soon after it answers anybody', async () => {
    let away = true;
    const { value, troubles } = await open(
      (request, response) => {
        if (request.pathname === '/readyz') return answer(response, {});
        if (!isWatch(request)) return answer(response, fakeList([fakeObject('a', 5, 'listed')], 10));
        if (away) return void response.socket?.resetAndDestroy();
        response.writeHead(200);
        response.write(fakeEvent('MODIFIED', fakeObject('a', 20, 'after')));
      },
      { retry: { ...RETRY, baseMs: 3_600_000, awayMs: 3_600_000 } },
    );
    // An hour at most: some pauses may be short by chance.
    await eventually('a pause of minutes', async () => (troubles.at(-1)?.retryInMs ?? 0) > 60_000);
    away = false;
    await client.request('GET', '/readyz');
    await eventually('the event after it', async () => value('a') === 'after', 2_000);
    expect(troubles.at(-1)?.error.reason).toBe('Unreachable');
  });

  test('a silent connection is given up', async () => {
    const { value, lists } = await open(
      watching((nr, _, write) => {
        if (nr === 2) write(fakeEvent('MODIFIED', fakeObject('a', 20, 'after')));
      }),
      { silenceMs: 300 },
    );
    await eventually('the event after it', async () => value('a') === 'after');
    expect(lists()).toBe(1);
  });

  test('an object that was deleted and made again while nobody looked is a change', async () => {
    let listed = 0;
    const { told, one } = await open((request, response) => {
      if (!isWatch(request)) return answer(response, fakeList([fakeObject('a', 5, 'same', `uid-${listed++}`)], 10 * listed));
      response.writeHead(200);
      if (request.searchParams.get('resourceVersion') === '10') response.end(fakeEvent('ERROR', { code: 410, reason: 'Gone' }));
      else response.flushHeaders();
    });
    await eventually('listed again', async () => one.resourceVersion === '20');
    expect(told).toEqual([['shop/a'], ['shop/a']]);
  });

  test('a listener that throws ends nothing', async () => {
    server = await openFakeApiServer(watching((nr, _, write) => void (nr === 1 && write(fakeEvent('ADDED', fakeObject('b', 11))))));
    client = openApiClient(server.access, { userAgent: 'test' });
    let calls = 0;
    reflector = openReflector<string>({ client, path: PATH, slim: () => 'x', timing: TIMING, onChange: () => { calls++; throw new Error('mine'); } });
    await eventually('told twice', async () => calls === 2);
    expect(reflector.items().size).toBe(2);
  });
});

describe('credentials', () => {
  test('401 reads the token anew and asks once more', async () => {
    let current = 'old';
    server = await openFakeApiServer((_, response, raw) => (raw.headers.authorization === 'Bearer new' ? answer(response, { ok: true }) : answer(response, { reason: 'Unauthorized' }, 401)), () => current);
    const access = { ...server.access, expire: () => void (current = 'new') };
    client = openApiClient(access, { userAgent: 'test' });
    await expect(client.request('GET', '/')).resolves.toEqual({ ok: true });
    expect(server.requests).toHaveLength(2);
  });

  test('401 without an end is an ApiError after two requests', async () => {
    server = await openFakeApiServer((_, response) => answer(response, {}, 401));
    client = openApiClient(server.access, { userAgent: 'test' });
    await expect(client.request('GET', '/')).rejects.toMatchObject({ status: 401, reason: 'Unauthorized' });
    expect([server.requests.length, server.access.expired()]).toEqual([2, 1]);
  });

  test('credentials that cannot be read are an ApiError', async () => {
    server = await openFakeApiServer(() => undefined, () => {
      throw new Error('no file');
    });
    client = openApiClient(server.access, { userAgent: 'test' });
    await expect(client.request('GET', '/')).rejects.toEqual(expect.objectContaining({ reason: 'Credentials', message: 'the credentials cannot be read: no file' }));
    await expect(client.request('GET', '/')).rejects.toBeInstanceOf(ApiError);
  });

  test('a request that is not answered ends by its limit, or by its signal', async () => {
    server = await openFakeApiServer(() => undefined);
    client = openApiClient(server.access, { userAgent: 'test' });
    await expect(client.request('GET', '/', { timeoutMs: 50 })).rejects.toMatchObject({ reason: 'Timeout' });
    await expect(client.request('GET', '/', { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({ reason: 'Aborted' });
  });
});
