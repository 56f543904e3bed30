import type { Route } from '../model/route-table.ts';
import type { RenderOptions } from './render-options.ts';

/**
 * How HAProxy tells of finished calls: lines in a ring in its memory, which the agent reads from the runtime socket (`show events`).
 * Nobody else can write there, a reader that is slow or gone costs nothing, and what does not fit is dropped and counted.
 * (A ring with a `server` would send by itself, but 2.6 tries a receiver that is gone again and again without a pause: a full core.)
 */
export const CALLS_RING = 'calls';

/** 1 MiB: some 8,000 lines for a reader that is late. */
const RING_BYTES = 1024 * 1024;
/** Longest line: the path stands last, so what is cut off is its end. */
export const MAX_LINE = 4096;

/** Set where the proxy itself answers: the code of the refusal or failure. */
export const REASON_VARIABLE = 'txn.reason';
const SAMPLED_VARIABLE = 'txn.sampled';

const hasBreaker = (route: Route): boolean => route.versions.some(({ breaker }) => (breaker?.threshold ?? 0) > 0);
const sampledPercent = (route: Route): number => (route.log?.mode === 'Sampled' ? route.log.percent : 0);

/** Whether finished calls of this route must be told at all; a route that needs none renders no line. */
export const hasFeed = (route: Route): boolean => !route.invalid && (route.log?.mode === 'Errors' || sampledPercent(route) > 0 || hasBreaker(route));

/** The ring, when any route of the node needs it. */
export const renderRing = (routes: readonly Route[]): readonly string[] =>
  routes.some(hasFeed) ? [`ring ${CALLS_RING}`, '  format raw', `  maxlen ${MAX_LINE}`, `  size ${RING_BYTES}`, ''] : [];

/**
 * What a route's frontend tells of its calls (HAProxy manual 8.2.4, custom log format), before any other rule.
 * - Errors, or a breaker alone: `dontlog-normal`, so that a good call renders nothing.
 * - Sampled: drawn before anything else; a call that is not drawn renders nothing.
 * - Sampled beside a breaker: each call renders a line, and the ring gets those that failed or were drawn (`warning`, not `err`: a worker
 *   that stops says so at that level, which the reader waits for).
 *
 * The format is read by `parse-log-line`. No field can hold a blank or a line's end: names are our own, method and path are
 * encoded by HAProxy (`#XX`).
 */
export function renderLog(route: Route, { preserveClientIp }: Pick<RenderOptions, 'preserveClientIp'> = {}): readonly string[] {
  if (!hasFeed(route)) return [];
  const http = route.protocol === 'http';
  const percent = sampledPercent(route);
  const both = percent > 0 && hasBreaker(route);
  const rule = http ? 'http-request' : 'tcp-request content';
  const drawn = `{ rand(100) lt ${percent} }`;
  const fields = [
    http ? 'http' : 'tcp',
    both ? `%[var(${SAMPLED_VARIABLE})]` : percent > 0 ? '1' : '-',
    // %ci is what set-src has made of it.
    `%f %b %s ${preserveClientIp === true ? '%[fc_src]' : '%ci'} %Ts %ms`,
    http ? '%Th %Ti %Tc %Tr %Ta %ST' : '%Tc %Tt',
    `%ts %rc %B %[var(${REASON_VARIABLE})]`,
    ...(http && route.log !== undefined ? ['%HM %HP'] : []),
  ];
  return [
    `  log ring@${CALLS_RING} len ${MAX_LINE} format raw local0${both ? ' warning' : ''}`,
    `  log-format "${fields.join(' ')}"`,
    ...(percent === 0 ? ['  option dontlog-normal'] : []),
    ...(both ? ['  option log-separate-errors', `  ${rule} set-var(${SAMPLED_VARIABLE}) int(1) if ${drawn}`, `  ${rule} set-log-level err if { var(${SAMPLED_VARIABLE}) -m found }`] : []),
    ...(percent > 0 && !both && percent < 100 ? [`  ${rule} set-log-level silent unless ${drawn}`] : []),
    // The server's own header of that name is gone by then.
    ...(http ? [`  http-after-response set-var(${REASON_VARIABLE}) res.hdr(x-onehop-reason) if { status ge 400 }`] : []),
  ];
}
