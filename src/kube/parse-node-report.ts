import { isSubdomain } from '../model/names.ts';
import { valueAt } from './field-path.ts';

export const REPORT_LABEL = 'onehop.paas.io/report';
export const VERSION_ANNOTATION = 'onehop.paas.io/resource-version';
export const NOT_IN_EFFECT_ANNOTATION = 'onehop.paas.io/not-in-effect';

/** What the agent of one node says in its Lease. */
export interface ReportLease {
  readonly node: string;
  /** resourceVersion of ServiceRoutes that is in effect there. */
  readonly version: string;
  /** Code by `namespace/name` of routes that are not in effect in spite of it. */
  readonly notInEffect: ReadonlyMap<string, string>;
  /** As written, by the node's own clock. */
  readonly renewTime: string;
}

const MAX_LINES = 100;
const LINE = /^([a-z0-9-]{1,63}\/[a-z0-9-]{1,63}): ([a-z0-9-]{1,64})$/;

/** Parses a Lease `onehop-node-<node>`; undefined when it is not that of the node it names. Lines that are no `namespace/name: code` are passed over. */
export function parseNodeReport(raw: unknown): ReportLease | undefined {
  const text = (...path: string[]): string => {
    const value = valueAt(raw, path);
    return typeof value === 'string' ? value : '';
  };
  const node = text('spec', 'holderIdentity');
  if (!isSubdomain(node) || text('metadata', 'name') !== `onehop-node-${node}`) return undefined;
  const lines = text('metadata', 'annotations', NOT_IN_EFFECT_ANNOTATION).split('\n', MAX_LINES);
  return {
    node,
    version: text('metadata', 'annotations', VERSION_ANNOTATION).slice(0, 64),
    notInEffect: new Map(
      lines.flatMap((line) => {
        const [, key, code] = LINE.exec(line) ?? [];
        return key === undefined || code === undefined ? [] : [[key, code] as const];
      }),
    ),
    renewTime: text('spec', 'renewTime').slice(0, 64),
  };
}
