import type { BalanceAlgorithm, Locality, Protocol, RetryCondition, RuleType } from '../model/service-route.ts';

/** A `spec` that satisfies the CRD's schema, with its defaults: what the rules and the translation may rely on. */
export interface CheckedSpec {
  readonly rule: { readonly type: RuleType; readonly header?: string; readonly prefer?: string };
  readonly global: boolean;
  readonly acl: {
    readonly defaultAllow: boolean;
    readonly entries: readonly { readonly kind?: '' | 'ServiceAccount' | 'Service'; readonly name: string; readonly namespace?: string }[];
  };
  readonly to: readonly CheckedVersion[];
  readonly protocol?: Protocol;
  readonly port: { readonly targetPort?: string | number; readonly listen?: number };
  readonly locality: Locality;
  readonly spillAt?: number;
  readonly timeout: { readonly connect: string; readonly request: string };
  readonly retries: { readonly attempts: number; readonly on: readonly RetryCondition[]; readonly nonIdempotent: boolean };
  readonly rateLimit?: { readonly requestsPerSecond: number; readonly burst?: number; readonly per: 'Caller' | 'Route' };
  readonly log: { readonly mode: 'Off' | 'Errors' | 'Sampled'; readonly percent: number };
}

export interface CheckedVersion {
  readonly kind: 'Service';
  readonly name: string;
  readonly balance?: { readonly rule?: string | number; readonly algorithm?: BalanceAlgorithm; readonly hashHeader?: string };
  readonly breaker?: { readonly threshold?: number; readonly window: number; readonly breakTime: number; readonly connLimit?: number };
}
