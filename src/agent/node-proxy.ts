import type { EmbeddedProxy } from '../embedded/io/open-embedded-proxy.ts';
import type { HaproxyProxy } from '../haproxy/io/haproxy-proxy.ts';
import type { CallCounts } from '../model/call-counts.ts';
import type { CallRecord } from '../model/call-record.ts';
import type { Problem } from '../model/problem.ts';
import type { CheckRegexes, Proxy } from '../model/proxy.ts';
import type { RouteTable } from '../model/route-table.ts';
import type { OnTokensChanged, VerifyToken } from '../model/token.ts';

/** Who verifies callers' tokens, and says when all verdicts are void. */
export interface ProxyTokens {
  readonly verifyToken: VerifyToken;
  readonly onTokensChanged: OnTokensChanged;
}

/** What the proxy asks of the agent, and tells it. */
export interface ProxyParts extends ProxyTokens {
  /** A call that its route wants logged. */
  readonly onCall: (record: CallRecord) => void;
  /** What is wrong with an attached HAProxy; undefined when it is well again. */
  readonly onTrouble: (why: string | undefined) => void;
  /** Why the embedded proxy stands in for HAProxy from now on; undefined: no longer. */
  readonly onStandIn: (why: string | undefined) => void;
  /** Whether the HAProxy of another generation serves this node. */
  readonly siblingServes: () => Promise<boolean>;
}

/** The node's proxy, with what the agent needs of it besides serving. */
export interface NodeProxy {
  readonly proxy: Proxy;
  /** Judges a tenant's regular expressions as this proxy will run them. */
  readonly checkRegexes: CheckRegexes;
  /** HAProxy was adopted and has this table or a newer one: it stays as it is, and what has to stand in for it serves this. */
  readonly adopt: (table: RouteTable) => Promise<readonly Problem[]>;
  /** Names and values for metrics, a fixed small set. */
  readonly counters: () => Readonly<Record<string, number>>;
  /** What it has counted of calls. */
  readonly calls: () => Promise<CallCounts>;
  /** Records of calls that got lost on their way here. */
  readonly lostCalls: () => number;
  /** The agent begins to end: what happens to HAProxy from now on is no fault. */
  readonly prepareClose: () => void;
}

export interface HaproxyNodeProxy extends NodeProxy {
  readonly look: () => ReturnType<HaproxyProxy['look']>;
}

export interface EmbeddedNodeProxy extends NodeProxy {
  readonly proxy: EmbeddedProxy;
}
