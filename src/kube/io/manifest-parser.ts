import { parseManifest } from '../parse-manifest.ts';
import type { DocumentCache, Manifest } from '../parse-manifest.ts';
import { readRouteSchema } from './read-crd.ts';

/** Parses the files of one folder; objects that an edit did not change keep their identity. */
export interface ManifestParser {
  /** @throws Error when the text could not be parsed in bounded time or memory. */
  parse(text: string, file: string): Promise<Manifest>;
  /** Frees what is remembered of a file that is gone. */
  forget(file: string): void;
  close(): Promise<void>;
}

/** Parsing in the caller's own thread: for one reading, or where that thread has nothing else to do. */
export async function openInlineParser(globalNamespace: string): Promise<ManifestParser> {
  const context = { schema: await readRouteSchema(), globalNamespace };
  const caches = new Map<string, DocumentCache>();
  return {
    async parse(text, file) {
      const { manifest, cache } = parseManifest(text, file, context, caches.get(file));
      caches.set(file, cache);
      return manifest;
    },
    forget: (file) => void caches.delete(file),
    close: async () => undefined,
  };
}
