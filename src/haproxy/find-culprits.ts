import { parseRouteComment } from './section-names.ts';

/** Routes named by HAProxy's messages, `namespace/name` -> the message (unescaped text of HAProxy: bound it before showing). */
export type Culprits = ReadonlyMap<string, string>;

/**
 * Reads the messages of `haproxy -c` or of a failed start and finds the routes they speak of:
 * by line (`parsing [PATH/haproxy.cfg:123] : ...`), by section (`frontend 'shop.cart'`, `Proxy 'shop.cart.v1'`,
 * `Starting frontend shop.cart: cannot bind socket`), or by map file (`maps/shop.cart.header.map`).
 * Only alerts count. Empty: the messages name no route.
 */
export function findCulprits(messages: string, config: string, routes: readonly { readonly key: string; readonly stem: string }[]): Culprits {
  const owners = ownersOfLines(config);
  const byStem = new Map(routes.map(({ key, stem }) => [stem, key]));
  const culprits = new Map<string, string>();
  for (const message of messages.split('\n')) {
    if (!message.startsWith('[ALERT]')) continue;
    const route = ownerByLine(message, owners) ?? ownerByName(message, byStem);
    if (route !== undefined && !culprits.has(route)) culprits.set(route, message.replace(/^\[ALERT\]\s*\(\d+\)\s*:\s*/, ''));
  }
  return culprits;
}

/** Index = line number - 1. */
function ownersOfLines(config: string): readonly (string | undefined)[] {
  let owner: string | undefined;
  return config.split('\n').map((line) => (owner = parseRouteComment(line) ?? owner));
}

function ownerByLine(message: string, owners: readonly (string | undefined)[]): string | undefined {
  const line = /haproxy\.cfg:(\d+)\]/.exec(message)?.[1];
  return line === undefined ? undefined : owners[Number(line) - 1];
}

/** Section and map names begin with `namespace.name`; labels hold no dot. */
function ownerByName(message: string, byStem: ReadonlyMap<string, string>): string | undefined {
  for (const match of message.matchAll(/(?:^|[\s'"/(])([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)(?=[.'":\s),]|$)/g)) {
    const route = byStem.get(match[1] ?? '');
    if (route !== undefined) return route;
  }
  return undefined;
}
