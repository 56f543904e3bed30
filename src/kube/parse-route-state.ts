import type { Problem } from '../model/problem.ts';
import type { Condition, RouteStatus } from '../model/route-status.ts';
import type { ServiceRoute } from '../model/service-route.ts';
import { isRecord, valueAt } from './field-path.ts';
import { parseServiceRoute, type ParseContext } from './parse-service-route.ts';

/** A ServiceRoute as the controller sees it: the route itself, and what was written about it. */
export interface RouteState {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly generation: number;
  readonly resourceVersion: string;
  /** Absent: it cannot be a route at all (its place is wrong). Without `spec`: it is invalid. */
  readonly route?: ServiceRoute;
  /** What is wrong with it by itself. */
  readonly problems: readonly Problem[];
  readonly status: RouteStatus;
}

const MAX_CONDITIONS = 16;
const MAX_TEXT = 2_000;

/** Parses an object of the API server; undefined when it has not even a name there. */
export function parseRouteState(raw: unknown, context: ParseContext): RouteState | undefined {
  const metadata = valueAt(raw, ['metadata']);
  const text = (field: string): string => textAt(metadata, field) ?? '';
  const generation = valueAt(metadata, ['generation']);
  const [name, namespace, resourceVersion] = [text('name'), text('namespace'), text('resourceVersion')];
  if (name === '' || namespace === '' || resourceVersion === '') return undefined;
  const { object, problems } = parseServiceRoute(raw, context, () => undefined);
  return {
    namespace,
    name,
    uid: text('uid'),
    generation: typeof generation === 'number' ? generation : 0,
    resourceVersion,
    ...(object === undefined ? {} : { route: object }),
    problems,
    status: parseStatus(valueAt(raw, ['status'])),
  };
}

function parseStatus(raw: unknown): RouteStatus {
  const observed = valueAt(raw, ['observedGeneration']);
  const conditions = valueAt(raw, ['conditions']);
  const texts = Object.fromEntries(
    (['vip', 'vip6', 'globalVip', 'globalVip6', 'versions', 'changeVersion', 'programmed'] as const).flatMap((field) => {
      const value = textAt(raw, field);
      return value === undefined ? [] : [[field, value]];
    }),
  );
  return {
    ...texts,
    ...(typeof observed === 'number' ? { observedGeneration: observed } : {}),
    conditions: (Array.isArray(conditions) ? (conditions as readonly unknown[]) : []).slice(0, MAX_CONDITIONS).flatMap(parseCondition),
  };
}

function parseCondition(raw: unknown): Condition[] {
  if (!isRecord(raw)) return [];
  const [type, status, reason, message, lastTransitionTime] = ['type', 'status', 'reason', 'message', 'lastTransitionTime'].map((field) => textAt(raw, field));
  const observedGeneration = raw['observedGeneration'];
  if (type === undefined || reason === undefined || lastTransitionTime === undefined) return [];
  return [
    {
      type,
      status: status === 'True' || status === 'False' ? status : 'Unknown',
      reason,
      message: message ?? '',
      ...(typeof observedGeneration === 'number' ? { observedGeneration } : {}),
      lastTransitionTime,
    },
  ];
}

function textAt(raw: unknown, field: string): string | undefined {
  const value = valueAt(raw, [field]);
  return typeof value === 'string' && value !== '' ? value.slice(0, MAX_TEXT) : undefined;
}
