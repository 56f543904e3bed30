import { HEADER_BYTES } from './wire.ts';

/**
 * The question's name as text, in lower case without the final dot, and the offset behind it. For the rare paths; the
 * question must have been walked before. Bytes that no name of ours holds come out as they are: only compare it.
 */
export function readQuestionName(query: Uint8Array): { readonly name: string; readonly end: number } {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(String.fromCharCode(...query.subarray(at + 1, at + 1 + length)).toLowerCase());
    at += length + 1;
  }
  return { name: labels.join('.'), end: at + 1 };
}
