import type { Locate } from './field-path.ts';
import { ObjectReader, optional } from './object-reader.ts';
import type { Parsed } from './parsed-object.ts';

/** Parses a core/v1 ServiceAccount: only that it exists. */
export function parseServiceAccount(raw: unknown, locate: Locate): Parsed<'ServiceAccount'> {
  const read = new ObjectReader('ServiceAccount', raw, locate);
  if (!read.hasValidName()) return read.result();
  return read.result({ namespace: read.namespace, name: read.name, ...optional('origin', read.origin) });
}
