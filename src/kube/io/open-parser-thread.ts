import { extname } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { Manifest } from '../parse-manifest.ts';
import type { ParsedObject } from '../parsed-object.ts';
import type { ManifestParser } from './manifest-parser.ts';
import type { ParseAnswer, ParseRequest } from './parse-thread.ts';

/** 4 MiB of YAML take 2 to 4 s on a busy machine. */
const PARSE_TIMEOUT_MS = 60_000;
const THREAD_HEAP_MB = 512;
/** A thread without work keeps 30 MB for libraries and what it parsed last; a new one is there in a fifth of a second. */
const IDLE_MS = 30_000;

type End = Extract<ParseAnswer, { end: true }>;

/** The file that the thread is parsing. */
interface Current {
  readonly worker: Worker;
  readonly batches: (readonly string[])[];
  readonly resolve: (end: End) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Parsing in a thread of its own: YAML takes about half a second per MB, and DNS must not wait for it. Invariants:
 * - one file at a time, so that each has its whole time; the others wait here;
 * - objects cross as JSON texts in batches: what is known by the same text is neither parsed nor replaced, and the event
 *   loop runs between two batches;
 * - a thread that dies or hangs fails its file and is started anew for the next one, as is one that ended for want of work.
 */
export function openParserThread(globalNamespace: string): ManifestParser {
  const known = new Map<string, ReadonlyMap<string, ParsedObject>>();
  let worker: Worker | undefined;
  let current: Current | undefined;
  let queue: Promise<unknown> = Promise.resolve();
  let closed = false;
  let idle: NodeJS.Timeout | undefined;

  const fail = (dead: Worker, error: Error): void => {
    if (worker === dead) worker = undefined;
    if (current?.worker === dead) current.reject(error);
    void dead.terminate();
  };

  const start = (): Worker => {
    // The compiled agent has .js files; in a checkout Node runs this file's neighbour as it is.
    const started = new Worker(new URL(`./parse-thread${extname(import.meta.url)}`, import.meta.url), {
      workerData: { globalNamespace },
      resourceLimits: { maxOldGenerationSizeMb: THREAD_HEAP_MB, maxYoungGenerationSizeMb: 16 },
    });
    started.on('message', (answer: ParseAnswer) => {
      if (current?.worker !== started) return;
      if (answer.end) current.resolve(answer);
      else current.batches.push(answer.objects);
    });
    started.on('error', (error: Error) => fail(started, error));
    started.on('exit', () => fail(started, new Error('the parser thread ended')));
    return started;
  };

  const parse = async (text: string, file: string): Promise<Manifest> => {
    if (closed) throw new Error('the parser is closed');
    clearTimeout(idle);
    const used = (worker ??= start());
    const batches: (readonly string[])[] = [];
    const timer = setTimeout(() => fail(used, new Error(`parsing took more than ${PARSE_TIMEOUT_MS / 1000} s`)), PARSE_TIMEOUT_MS);
    try {
      const end = await new Promise<End>((resolve, reject) => {
        current = { worker: used, batches, resolve, reject };
        send(used, { file, text });
      });
      if (!end.readable) return { problems: end.problems };
      return { objects: await takeObjects(batches, file), problems: end.problems };
    } finally {
      clearTimeout(timer);
      current = undefined;
      idle = setTimeout(() => fail(used, new Error('the parser thread had no work')), IDLE_MS).unref();
    }
  };

  const takeObjects = async (batches: readonly (readonly string[])[], file: string): Promise<readonly ParsedObject[]> => {
    const before = known.get(file) ?? new Map<string, ParsedObject>();
    const now = new Map<string, ParsedObject>();
    const objects: ParsedObject[] = [];
    for (const batch of batches) {
      for (const json of batch) {
        // Written by the other thread from this same type.
        const object = before.get(json) ?? now.get(json) ?? (JSON.parse(json) as ParsedObject);
        now.set(json, object);
        objects.push(object);
      }
      await setImmediate();
    }
    known.set(file, now);
    return objects;
  };

  return {
    parse(text, file) {
      const result = queue.then(() => parse(text, file));
      queue = result.catch(() => undefined);
      return result;
    },
    forget(file) {
      known.delete(file);
      if (worker !== undefined) send(worker, { forget: file });
    },
    async close() {
      closed = true;
      clearTimeout(idle);
      const last = worker;
      if (last === undefined) return;
      fail(last, new Error('the parser is closed'));
      await last.terminate();
    },
  };
}

// The rule is about windows of a browser; a thread has no origin.
// oxlint-disable-next-line unicorn/require-post-message-target-origin
const send = (worker: Worker, request: ParseRequest): void => worker.postMessage(request);
