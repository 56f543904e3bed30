/** One document of a YAML file and the line (1-based) on which its text begins. */
export interface Chunk {
  readonly text: string;
  readonly line: number;
}

/**
 * Splits YAML text before each document marker. A line that begins with `---` and a blank can be nothing else, not even
 * inside a block scalar or a quoted text (YAML 1.2.2, c-forbidden), so no parser is needed.
 * A text with directives (`%YAML`) stays in one piece: they belong to the document that follows.
 */
export function splitDocuments(text: string): readonly Chunk[] {
  if (/^%/m.test(text)) return [{ text, line: 1 }];
  const chunks: Chunk[] = [];
  let line = 1;
  let start = 0;
  const push = (end: number): void => {
    const part = text.slice(start, end);
    if (/\S/.test(part)) chunks.push({ text: part, line });
    for (let i = part.indexOf('\n'); i >= 0; i = part.indexOf('\n', i + 1)) line++;
    start = end;
  };
  for (const marker of text.matchAll(/^---(?=\s|$)/gm)) if (marker.index > start) push(marker.index);
  push(text.length);
  return chunks;
}
