import type { Locate } from './field-path.ts';
import { isRecord, valueAt } from './field-path.ts';
import { ObjectReader, optional } from './object-reader.ts';
import { parseTokenSecret, TOKEN_LABEL } from './parse-token-secret.ts';
import type { Parsed } from './parsed-object.ts';

/**
 * Parses a core/v1 Secret of a folder: whom its code names, if it bears the label; any other Secret is passed over. The code itself goes no
 * further than here: it stands in no result and in no Problem.
 */
export function parseCallerCode(raw: unknown, locate: Locate): Parsed<'Secret'> | undefined {
  const labels = valueAt(raw, ['metadata', 'labels']);
  if (!isRecord(labels) || !Object.hasOwn(labels, TOKEN_LABEL)) return undefined;
  const read = new ObjectReader('Secret', raw, locate);
  if (!read.hasValidName()) return read.result();
  const label = ['metadata', 'labels', TOKEN_LABEL];
  const secret = parseTokenSecret(raw);
  if (secret === undefined || secret.serviceAccount === '') {
    read.invalid(label, 'its value is no name of a ServiceAccount', `write the name of a ServiceAccount of namespace ${read.namespace}`);
    return read.result();
  }
  const { namespace, name, serviceAccount, code } = secret;
  if ('why' in code) {
    const field = read.has(['stringData', 'token']) ? ['stringData', 'token'] : ['data', 'token'];
    read.invalid(field, code.why, 'write a random code there, such as the output of: openssl rand -hex 32');
    return read.result();
  }
  return read.result({ namespace, name, code: { digest: code.digest, namespace, serviceAccount }, ...optional('origin', read.origin) });
}
