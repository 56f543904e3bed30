import { createHash } from 'node:crypto';
import type { Snapshot } from '../model/snapshot.ts';

/*
 * A Snapshot as text: a head (JSON), one object (JSON) per line, list after list, and the SHA-256 of all that in hex. One object per line
 * keeps the memory for writing and reading small: a node may hold tens of thousands.
 */

/** Raised whenever the shape of a Snapshot changes: one of another shape is not read. */
export const SNAPSHOT_FORMAT = 1;

/** Where and for whom a Snapshot was taken: another node's, another source's or another shape's is foreign. */
export interface SnapshotOwner {
  readonly node: string;
  /** `kubernetes`, or `dir:PATH`. */
  readonly source: string;
}

export interface StoredSnapshot {
  readonly snapshot: Snapshot;
  /** When it was in effect for the last time, in ms since the epoch. */
  readonly savedAtMs: number;
  /** Of the boot during which it was taken: pods do not outlive it. */
  readonly bootId: string;
}

const LISTS = ['serviceRoutes', 'services', 'endpointSlices', 'pods', 'nodes', 'serviceAccounts', 'tokenCodes', 'problems'] as const satisfies readonly (keyof Snapshot)[];

interface Head extends SnapshotOwner {
  readonly format: number;
  readonly savedAtMs: number;
  readonly bootId: string;
  readonly resourceVersion?: string;
  /** Length of each list, in the order of LISTS. */
  readonly lengths: readonly number[];
}

/** Lines that are put together before they are given out. */
const PIECE_LINES = 200;

/** The pieces of the text, each ending with a line's end. */
export function* renderSnapshot({ snapshot, savedAtMs, bootId }: StoredSnapshot, { node, source }: SnapshotOwner): Generator<string> {
  const { resourceVersion } = snapshot;
  const head: Head = {
    format: SNAPSHOT_FORMAT,
    node,
    source,
    savedAtMs,
    bootId,
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
    lengths: LISTS.map((list) => snapshot[list].length),
  };
  const hash = createHash('sha256');
  let piece = `${JSON.stringify(head)}\n`;
  let lines = 0;
  for (const list of LISTS) {
    for (const object of snapshot[list]) {
      piece += `${JSON.stringify(object)}\n`;
      if (++lines % PIECE_LINES !== 0) continue;
      hash.update(piece);
      yield piece;
      piece = '';
    }
  }
  hash.update(piece);
  yield `${piece}${hash.digest('hex')}\n`;
}

/** Reads what {@link renderSnapshot} wrote for the same owner; else why it is not that: one line. */
export function parseSnapshot(text: string, owner: SnapshotOwner): StoredSnapshot | { readonly refused: string } {
  const end = text.lastIndexOf('\n', text.length - 2) + 1;
  if (createHash('sha256').update(text.slice(0, end)).digest('hex') !== text.slice(end).trimEnd()) return { refused: 'it is torn' };
  const lines = linesOf(text.slice(0, end));
  const head = JSON.parse(lines.next().value ?? '{}') as Partial<Head>;
  if (head.format !== SNAPSHOT_FORMAT) return { refused: `it has format ${String(head.format).slice(0, 20)}, not ${SNAPSHOT_FORMAT}` };
  if (head.node !== owner.node || head.source !== owner.source) return { refused: 'it is of another node or source' };
  const { savedAtMs = 0, bootId = '', resourceVersion, lengths = [] } = head;
  const list = (index: number): unknown[] => Array.from({ length: lengths[index] ?? 0 }, () => JSON.parse(lines.next().value ?? 'null') as unknown);
  // The sum says that these are the lines that were written, and the format that they mean what they meant.
  const snapshot = Object.fromEntries(LISTS.map((name, index) => [name, list(index)])) as unknown as Snapshot;
  return { snapshot: resourceVersion === undefined ? snapshot : { ...snapshot, resourceVersion }, savedAtMs, bootId };
}

function* linesOf(text: string): Generator<string, undefined> {
  for (let from = 0; from < text.length; ) {
    const to = text.indexOf('\n', from);
    yield text.slice(from, to);
    from = to + 1;
  }
}

/** After the node started again its pods are others: an address may be anybody's. Endpoints stay, as calls to a wrong one fail. */
export function withoutPodsOf(node: string, snapshot: Snapshot): Snapshot {
  return { ...snapshot, pods: snapshot.pods.filter(({ nodeName }) => nodeName !== node) };
}
