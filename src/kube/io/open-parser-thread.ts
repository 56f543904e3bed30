import { extname } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { ParsedObject } from '../parsed-object.ts';
import type { ManifestParser } from './manifest-parser.ts';
import type { ParseAnswer, ParseRequest } from './parse-thread.ts';

/** 4 MiB of YAML take 2 to 4 s on a busy machine. */
const PARSE_TIMEOUT_MS = 60_000;
const THREAD_HEAP_MB = 512;

interface Waiting {
  readonly file: string;
  readonly batches: (readonly string[])[];
  readonly resolve: (answer: Extract<ParseAnswer, { end: true }>) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

/**
 * Parsing in a thread of its own: YAML takes about half a second per MB, and DNS must not wait for it.
 * Objects cross as JSON texts in batches: what is already known by the same text is neither parsed nor replaced, and the
 * event loop runs between two batches. A thread that dies or hangs fails its files and is started anew for the next one.
 */
export function openParserThread(globalNamespace: string): ManifestParser {
  const waiting = new Map<number, Waiting>();
  const known = new Map<string, ReadonlyMap<string, ParsedObject>>();
  let worker: Worker | undefined;
  let nextId = 0;

  const fail = (dead: Worker, error: Error): void => {
    if (worker !== dead) return;
    worker = undefined;
    void dead.terminate();
    for (const [id, { reject, timer }] of waiting) {
      clearTimeout(timer);
      waiting.delete(id);
      reject(error);
    }
  };

  const start = (): Worker => {
    // The compiled agent has .js files; in a checkout Node runs this file's neighbour as it is.
    const started = new Worker(new URL(`./parse-thread${extname(import.meta.url)}`, import.meta.url), {
      workerData: { globalNamespace },
      resourceLimits: { maxOldGenerationSizeMb: THREAD_HEAP_MB, maxYoungGenerationSizeMb: 16 },
    });
    started.on('message', (answer: ParseAnswer) => receive(answer));
    started.on('error', (error: Error) => fail(started, error));
    started.on('exit', () => fail(started, new Error('the parser thread ended')));
    return started;
  };

  const receive = (answer: ParseAnswer): void => {
    const request = waiting.get(answer.id);
    if (request === undefined) return;
    if (!answer.end) {
      request.batches.push(answer.objects);
      return;
    }
    clearTimeout(request.timer);
    waiting.delete(answer.id);
    request.resolve(answer);
  };

  return {
    async parse(text, file) {
      worker ??= start();
      const current = worker;
      const id = nextId++;
      const batches: (readonly string[])[] = [];
      const end = await new Promise<Extract<ParseAnswer, { end: true }>>((resolve, reject) => {
        const timer = setTimeout(() => fail(current, new Error(`parsing took more than ${PARSE_TIMEOUT_MS / 1000} s`)), PARSE_TIMEOUT_MS);
        waiting.set(id, { file, batches, resolve, reject, timer });
        send(current, { id, file, text });
      });
      if (!end.readable) return { problems: end.problems };
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
      return { objects, problems: end.problems };
    },
    forget(file) {
      known.delete(file);
      if (worker !== undefined) send(worker, { forget: file });
    },
    async close() {
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
