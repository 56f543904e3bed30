import { byCodeUnit, isNamespaceName, isSubdomain } from '../model/names.ts';
import type { TokenCode } from '../model/token.ts';
import { isRecord, valueAt } from './field-path.ts';
import { soleCodes } from './parse-token-secret.ts';

/** The one Secret of the system namespace in which the controller publishes all codes' digests. */
export const PUBLISHED_CODES = 'onehop-token-codes';

/** By namespace. */
export type PublishedCodes = ReadonlyMap<string, readonly TokenCode[]>;

/** `digest serviceAccount`. */
const LINE = /^([0-9a-f]{64}) (\S{1,253})$/;
/** Twice what the API server lets a Secret hold, encoded. */
const MAX_TEXT = 3 * 1024 * 1024;

/**
 * Parses that Secret: one key per namespace, one line per code. A digest can name ServiceAccounts of the namespace under whose key it stands
 * and no others. What cannot be read is passed over.
 */
export function parsePublishedCodes(raw: unknown): PublishedCodes {
  const data = valueAt(raw, ['data']);
  const found = new Map<string, readonly TokenCode[]>();
  for (const [namespace, encoded] of Object.entries(isRecord(data) ? data : {})) {
    if (!isNamespaceName(namespace) || typeof encoded !== 'string' || encoded.length > MAX_TEXT) continue;
    const codes = Buffer.from(encoded, 'base64').toString('latin1').split('\n').flatMap((line): TokenCode[] => {
      const [, digest, serviceAccount] = LINE.exec(line) ?? [];
      return digest !== undefined && serviceAccount !== undefined && isSubdomain(serviceAccount) ? [{ digest, namespace, serviceAccount }] : [];
    });
    found.set(namespace, soleCodes(codes));
  }
  return found;
}

/** All of them for the Snapshot, sorted by digest. */
export const allCodes = (published: Iterable<PublishedCodes>): readonly TokenCode[] => soleCodes([...published].flatMap((one) => [...one.values()].flat()));

/** What stands under a namespace's key, before base64. */
export const renderCodes = (codes: readonly TokenCode[]): string => codes.map(({ digest, serviceAccount }) => `${digest} ${serviceAccount}`).sort(byCodeUnit).join('\n');
