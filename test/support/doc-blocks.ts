import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const DOCS = join(import.meta.dirname, '../../docs');

/** The named blocks of commands in a file of docs/: from the word after "sh" to the lines. */
export function docBlocks(file: string): ReadonlyMap<string, string> {
  const blocks = readFileSync(join(DOCS, file), 'utf8').matchAll(/^```sh *(\S*)\n([^]*?)^```$/gm);
  return new Map([...blocks].map(([, name = '', text = '']) => [name, text]));
}

export function docBlock(file: string, name: string): string {
  const text = docBlocks(file).get(name);
  if (text === undefined) throw new Error(`docs/${file} has no block '${name}'`);
  return text;
}
