import { printable } from '../model/problem.ts';
import type { AnswerTail } from './name-table.ts';
import { readQuestionName } from './question-name.ts';
import { CLASS, HEADER_BYTES, TYPE, UDP_PAYLOAD, WireWriter } from './wire.ts';
import { writeRecord } from './write-records.ts';
import type { ServerIdentity } from './zone.ts';

/** Answers class CH (RFC 4892): who serves this, for people with `dig`. Undefined: a name that we do not have. */
export function answerChaos(query: Uint8Array, type: number, identity: ServerIdentity): AnswerTail | undefined {
  const text = textOf(readQuestionName(query).name, identity);
  if (text === undefined) return undefined;
  const writer = new WireWriter(UDP_PAYLOAD);
  const matches = type === TYPE.TXT || type === TYPE.ANY;
  if (matches) writeRecord(writer, HEADER_BYTES, TYPE.TXT, 0, () => writer.counted(printable(text, 255), 255), CLASS.CH);
  return { bytes: writer.written(), answers: matches ? 1 : 0, authorities: 0, additionals: 0, revision: 0 };
}

function textOf(name: string, identity: ServerIdentity): string | undefined {
  if (name === 'id.server' || name === 'hostname.bind') return identity.nodeName;
  return name === 'version.server' || name === 'version.bind' ? `onehop ${identity.version}` : undefined;
}
