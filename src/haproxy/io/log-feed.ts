// Invariants:
// - At most one stream is current; one that says that its worker stops is read for another moment, then closed: an open one would keep
//   the old worker from ending.
// - A line is given once: a worker that ran before this feed, or was read before, is read from its newest line on. HAProxy tells its start in
//   whole seconds: one that may have run before the feed is read from its oldest line on, and calls that ended before `openedAtMs` are the
//   reader's to leave out.
// - Nothing here grows: a line has a longest length, and what the reader does not fetch HAProxy drops and counts.
import { connect, type Socket } from 'node:net';
import { parseInfo, type Worker } from '../parse-answers.ts';
import { CALLS_RING, MAX_LINE } from '../render-log.ts';
import { askCli } from './cli-socket.ts';

export interface LogFeedOptions {
  /** HAProxy's runtime socket. */
  readonly socket: string;
  readonly onLine: (line: string) => void;
}

export interface LogFeed {
  /** Since when it tells, in ms since the epoch. */
  readonly openedAtMs: number;
  /** Whether lines are wanted now: while no route needs them, nothing is asked. */
  want(on: boolean): void;
  /** Lines that HAProxy could not keep because they were not read in time. */
  dropped(): number;
  close(): void;
}

const RETRY_MS = 250;
/** Calls that end while a new worker takes over are still told by the old one. */
const LINGER_MS = 500;
/** Seconds without any line after which HAProxy closes the stream; it is opened again then. */
const IDLE_SECONDS = 86_400;

/** Follows the calls ring of whatever worker answers on the runtime socket, over reloads and restarts, until closed. */
export function openLogFeed({ socket: path, onLine }: LogFeedOptions): LogFeed {
  const openedAtMs = Date.now();
  const openedAt = Math.floor(openedAtMs / 1000);
  const open = new Set<Socket>();
  let current: Socket | undefined;
  let last: Worker | undefined;
  let wanted = false;
  let dropped = 0;
  let timer: NodeJS.Timeout | undefined;
  let looking = false;

  const later = (ms: number): void => {
    clearTimeout(timer);
    timer = setTimeout(() => void look(), ms).unref();
  };

  const look = async (): Promise<void> => {
    if (!wanted || looking || current !== undefined) return;
    looking = true;
    const answer = await askCli(path, 'show info', 1000).catch(() => '');
    looking = false;
    const worker = parseInfo(answer);
    if (!wanted) return;
    if (worker === undefined || /^Stopping: 1$/m.test(answer)) return later(RETRY_MS);
    const read = last === undefined ? worker.startedAt < openedAt : last.pid === worker.pid && last.startedAt === worker.startedAt;
    last = worker;
    follow(read);
  };

  const follow = (read: boolean): void => {
    const stream = connect(path);
    current = stream;
    open.add(stream);
    const leave = (): void => {
      if (current !== stream) return;
      current = undefined;
      later(0);
    };
    const lines = splitLines((line) => {
      const lost = /^(\d{1,15}) events? dropped$/.exec(line)?.[1];
      if (lost !== undefined) dropped += Number(lost);
      else if (!line.startsWith('Proxy ')) onLine(line);
      else if (current === stream && line.includes(' stopped (')) {
        leave();
        setTimeout(() => stream.destroy(), LINGER_MS).unref();
      }
    });
    stream.setEncoding('latin1');
    stream.on('connect', () => stream.write(`set timeout cli ${IDLE_SECONDS};show events ${CALLS_RING} ${read ? '-nw' : '-w'}\n`));
    stream.on('data', lines);
    stream.on('error', () => undefined);
    stream.on('close', () => {
      open.delete(stream);
      if (current !== stream) return;
      current = undefined;
      later(RETRY_MS);
    });
    stream.unref();
  };

  const stop = (): void => {
    wanted = false;
    clearTimeout(timer);
    current = undefined;
    for (const stream of open) stream.destroy();
  };

  return {
    openedAtMs,
    want(on) {
      if (on === wanted) return;
      if (!on) return stop();
      wanted = true;
      later(0);
    },
    dropped: () => dropped,
    close: stop,
  };
}

/** Cuts chunks into lines without their ends; one longer than HAProxy writes any is left out. */
function splitLines(onLine: (line: string) => void): (chunk: string) => void {
  let begun = '';
  let skipping = false;
  return (chunk) => {
    const parts = chunk.split('\n');
    const tail = parts.pop() ?? '';
    for (const part of parts) {
      const line = begun + part;
      begun = '';
      if (!skipping && line !== '' && line.length <= MAX_LINE) onLine(line);
      skipping = false;
    }
    begun += tail;
    if (begun.length > MAX_LINE) {
      begun = '';
      skipping = true;
    }
  };
}
