import type { Server } from './servers.ts';
import { COUNTED, isChecked, serverWords } from './servers.ts';

/**
 * How a server of a running worker is. `leaving`: in maintenance, to be deleted once its last call has ended. `altered`: somebody else gave
 * it another address or weight, drains it, or switched its checks off.
 */
export type ServerState = 'serving' | 'leaving' | 'altered';

/** What a backend of a running worker has, by the server's name. */
export type RunningServers = ReadonlyMap<string, ServerState>;

/** What a backend should have. */
export interface WantedServers {
  readonly servers: readonly Pick<Server, 'name' | 'address' | 'way'>[];
  /** Takes all calls while it can be connected. */
  readonly first: string | undefined;
  /** Clear-text HTTP/2 to the servers. */
  readonly h2: boolean;
  /** Its calls in flight are counted: see {@link COUNTED}. */
  readonly counted?: boolean;
  /** They see the callers' addresses: see serversOf. */
  readonly preserveClientIp?: boolean;
}

/** One line for HAProxy's CLI (management guide, 9.3) and how its answer begins, in one of these ways; '' is silence. */
export interface Command {
  readonly text: string;
  readonly answer: string | readonly string[];
  /** Refused while calls are in flight: asked again later, and no fault. */
  readonly patient?: boolean;
}

/** The live map that pins a backend to one server: backend -> server. */
export const FIRST_MAP = 'maps/first.map';

/**
 * Commands that bring a backend from what runs to what is wanted, without a moment in which calls have no server or leave the near tier:
 * a pinned server is there and pinned before others come; others come before any leaves; who was pinned leaves last, after the pin.
 */
export function planServers(backend: string, running: RunningServers, pinned: string | undefined, wanted: WantedServers): readonly Command[] {
  const names = new Set(wanted.servers.map(({ name }) => name));
  const [first, others] = [wanted.servers.filter(({ name }) => name === wanted.first), wanted.servers.filter(({ name }) => name !== wanted.first)];
  const gone = [...running].filter(([name]) => !names.has(name));
  const bring = (servers: WantedServers['servers']): Command[] => servers.flatMap((server) => bringIn(backend, server, running.get(server.name), wanted));
  return [
    ...bring(first),
    ...(wanted.first === undefined || wanted.first === pinned ? [] : pin(backend, pinned, wanted.first)),
    ...bring(others),
    ...gone.flatMap(([name, state]) => (name === pinned ? [] : takeOut(backend, name, state))),
    ...(wanted.first === undefined && pinned !== undefined ? [{ text: `del map ${FIRST_MAP} ${backend}`, answer: '' }] : []),
    ...gone.flatMap(([name, state]) => (name === pinned ? takeOut(backend, name, state) : [])),
  ];
}

function bringIn(backend: string, { name, address, way }: WantedServers['servers'][number], state: ServerState | undefined, { h2, counted = false, preserveClientIp }: WantedServers): readonly Command[] {
  const server = `${backend}/${name}`;
  if (state === 'serving') return [];
  const checked = isChecked(way, preserveClientIp);
  // With `enabled` in the line that adds a server it would be up and get no calls (seen on 2.6).
  const on = checked ? [{ text: `enable health ${server}`, answer: '' }] : [];
  // One that leaves may have been altered besides, or be one whose adding was cut off before its checks were on.
  if (state !== undefined) return putRight(server, address, on);
  const { all, check } = serverWords(preserveClientIp);
  const words = [`add server ${server} ${address}`, ...(h2 ? ['proto h2'] : []), ...all, ...(counted ? [COUNTED] : []), ...(checked ? [check] : []), ...(way === 'backup' ? ['backup'] : [])];
  return [{ text: words.join(' '), answer: 'New server registered.' }, ...on, { text: `enable server ${server}`, answer: '' }];
}

/** All of its weight: balancing with fixed ones takes no other word. It takes calls last of all. */
function putRight(server: string, address: string, on: readonly Command[]): readonly Command[] {
  const [, host = '', port = ''] = /^\[?(.*?)\]?:(\d+)$/.exec(address) ?? [];
  return [
    { text: `set server ${server} addr ${host} port ${port}`, answer: ['IP changed', 'port changed', 'no need to change the addr', 'nothing changed'] },
    { text: `set server ${server} weight 100%`, answer: '' },
    ...on,
    { text: `set server ${server} state ready`, answer: '' },
  ];
}

function takeOut(backend: string, name: string, state: ServerState): readonly Command[] {
  const server = `${backend}/${name}`;
  return [
    ...(state === 'leaving' ? [] : [{ text: `set server ${server} state maint`, answer: '' }]),
    { text: `del server ${server}`, answer: 'Server deleted.', patient: true },
  ];
}

const pin = (backend: string, pinned: string | undefined, first: string): readonly Command[] => [
  { text: `${pinned === undefined ? 'add' : 'set'} map ${FIRST_MAP} ${backend} ${first}`, answer: '' },
];

/** Commands in one batch: below HAProxy's buffer of 16 kB, with the longest name and address in each line. */
const BATCH = 32;

/**
 * Commands that are sent together. Nobody leaves before all who come have been seen to be there; servers are deleted last, for their idle
 * connections take a moment to be closed. What is said about one server stays together.
 */
export function* inBatches(commands: readonly Command[]): Generator<readonly Command[]> {
  const [deleting, others] = [commands.filter(({ patient }) => patient === true), commands.filter(({ patient }) => patient !== true)];
  const leaves = others.findIndex(({ text }) => text.startsWith('set server ') && text.endsWith(' state maint'));
  const parts = leaves < 0 ? [others, deleting] : [others.slice(0, leaves), others.slice(leaves), deleting];
  for (const part of parts) {
    for (let from = 0, to = 0; from < part.length; from = to) {
      to = Math.min(from + BATCH, part.length);
      while (to < part.length && objectOf(part[to]) === objectOf(part[to - 1])) to--;
      yield part.slice(from, to);
    }
  }
}

/** `BACKEND/SERVER`, or the map: no server has as many commands as go in a batch. */
const objectOf = (command: Command | undefined): string | undefined => command?.text.split(' ', 3)[2];
