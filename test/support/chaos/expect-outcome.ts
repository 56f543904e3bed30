import type { ChaosCaller, ChaosRoute } from './chaos-objects.ts';

/** What may come of a call: versions (Services) that may answer it, and words for other ends. */
export interface Expected {
  readonly services: readonly string[];
  /** Refusal codes; `closed`: nobody listens, or a tcp route ends the connection. */
  readonly refusals: readonly string[];
}

export interface Asked {
  /** By the global address. */
  readonly global: boolean;
  /** Value of the version header. */
  readonly header?: string | undefined;
}

const refused = (code: string): Expected => ({ services: [], refusals: [code] });

/** The contract (docs/serviceroute.md), written down a second time: who may call, in which order refusals are tried, which version answers. */
export function expectOutcome(route: ChaosRoute | undefined, caller: ChaosCaller | undefined, { global, header }: Asked): Expected {
  if (route === undefined || (global && route.globalVip === undefined)) return refused('closed');
  const refuse = (code: string): Expected => refused(route.protocol === 'tcp' ? 'closed' : code);
  if (caller === undefined) return refuse('caller-unknown');
  if (!global && caller.namespace !== route.namespace) return refuse('namespace-isolated');
  if (!isAllowed(route, caller)) return refuse('acl-denied');
  const names = route.to.map(({ name }) => name);
  const otherwise = route.prefer === undefined ? refuse('no-version') : { services: [route.prefer], refusals: [] };
  switch (route.type) {
    case '':
      return { services: route.prefer === undefined ? names : [route.prefer], refusals: [] };
    case 'Percentage': {
      const sum = route.to.reduce((total, { weight = 0 }) => total + weight, 0);
      const drawn = route.to.filter(({ weight = 0 }) => weight > 0).map(({ name }) => name);
      if (sum === 100) return { services: drawn, refusals: [] };
      return { services: [...drawn, ...otherwise.services], refusals: otherwise.refusals };
    }
    case 'Header': {
      const found = header === undefined ? undefined : route.to.find(({ match }) => match !== undefined && match !== '' && new RegExp(match).test(header));
      return found === undefined ? otherwise : { services: [found.name], refusals: [] };
    }
  }
}

function isAllowed({ acl }: ChaosRoute, caller: ChaosCaller): boolean {
  if (acl === undefined) return true;
  const named = acl.entries.some(({ kind, name, namespace }) => {
    const isAccount = kind !== 'Service' && caller.serviceAccount === name;
    const isService = kind !== 'ServiceAccount' && caller.app === name;
    return namespace === caller.namespace && (isAccount || isService);
  });
  return named !== acl.defaultAllow;
}
