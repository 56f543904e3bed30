import type { TestPod } from './test-pod.ts';

/** What mixed-load.mjs calls again and again, and who may answer. */
export interface Target {
  /** Of the target, in failures. */
  readonly name: string;
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Else each call looks the name up and opens a connection. */
  readonly keepAlive: boolean;
  /** Pause between two calls. */
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** An answer of a server of another namespace, or of another version, is wrong. */
  readonly namespace: string;
  readonly versions: readonly string[];
}

/** A question for an A record; anything but the wanted answer is a loss. */
export interface Question {
  /** `*` stands for a label that nobody asked for before, which no cache has. */
  readonly name: string;
  readonly status: 'NOERROR' | 'NXDOMAIN';
  readonly address?: string;
}

export interface MixedPlan {
  readonly targets: readonly Target[];
  readonly dns?: { readonly server: string; readonly intervalMs: number; readonly timeoutMs: number; readonly questions: readonly Question[] };
}

/** Times are ms since 1970, of the moment at which a call or a question began. */
export interface MixedResult {
  readonly calls: number;
  readonly resent: number;
  readonly maxMs: number;
  /** Right answers. */
  readonly pods: Readonly<Record<string, number>>;
  readonly failures: readonly CallFailure[];
  readonly wrong: readonly { readonly name: string; readonly atMs: number; readonly by: string }[];
  readonly questions: number;
  /** After SERVFAIL, or no answer: the first 2,000. */
  readonly askedAgain: readonly { readonly name: string; readonly atMs: number; readonly said: string }[];
  readonly lost: readonly { readonly name: string; readonly atMs: number; readonly said: string; readonly wanted: string }[];
  readonly dnsMaxMs: number;
}

export interface CallFailure {
  readonly name: string;
  readonly atMs: number;
  readonly tookMs: number;
  readonly message: string;
}

/** Starts it in a pod; `stop` ends it and says how it went. */
export const startMixedLoad = (pod: TestPod, plan: MixedPlan): Promise<{ stop(): Promise<MixedResult> }> =>
  pod.start<MixedResult>(['node', '/opt/pod/mixed-load.mjs', JSON.stringify(plan)]);
