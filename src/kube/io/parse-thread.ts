import { parentPort, workerData } from 'node:worker_threads';
import type { Problem } from '../../model/problem.ts';
import { openInlineParser } from './manifest-parser.ts';

/** The main program of the parser thread: texts in, parsed objects as JSON out (see `openParserThread`). */

export type ParseRequest = { readonly file: string; readonly text: string } | { readonly forget: string };

export type ParseAnswer =
  | { readonly end: false; readonly objects: readonly string[] }
  | { readonly end: true; readonly readable: boolean; readonly problems: readonly Problem[] };

/** Small enough that taking one batch costs the main thread well under a millisecond. */
const BATCH_CHARACTERS = 64 * 1024;

const { globalNamespace } = workerData as { readonly globalNamespace: string };
const parser = await openInlineParser(globalNamespace);
// The rule is about windows of a browser; a thread has no origin.
// oxlint-disable-next-line unicorn/require-post-message-target-origin
const answer = (message: ParseAnswer): void => parentPort?.postMessage(message);

async function handle(request: ParseRequest): Promise<void> {
  if ('forget' in request) {
    parser.forget(request.forget);
    return;
  }
  const { file, text } = request;
  const { objects, problems } = await parser.parse(text, file);
  let batch: string[] = [];
  let size = 0;
  for (const object of objects ?? []) {
    const json = JSON.stringify(object);
    batch.push(json);
    size += json.length;
    if (size < BATCH_CHARACTERS) continue;
    answer({ end: false, objects: batch });
    batch = [];
    size = 0;
  }
  if (batch.length > 0) answer({ end: false, objects: batch });
  answer({ end: true, readable: objects !== undefined, problems });
}

// What throws here is a fault of the program: the thread ends by it, and its owner starts another.
parentPort?.on('message', (request: ParseRequest) => void handle(request));
