import { hash } from 'node:crypto';

/** An opaque code that stands for a ServiceAccount. The code itself is never kept: only its SHA-256, in lower-case hex. */
export interface TokenCode {
  readonly digest: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** Whom a verified token names. */
export interface TokenIdentity {
  readonly namespace: string;
  readonly serviceAccount: string;
  /** From when on it must be refused, in ms since the epoch; absent: a code, good until it is taken back. */
  readonly expiresAtMs?: number;
}

/** `why`: one printable line for the log that holds nothing of the token. */
export type TokenVerdict = { readonly ok: true; readonly identity: TokenIdentity } | { readonly ok: false; readonly why: string };

/** Verifies the value of the token header. Never rejects. */
export type VerifyToken = (token: string) => Promise<TokenVerdict>;

/** Calls `forget` whenever keys or codes changed: verdicts given before it are void. */
export type OnTokensChanged = (forget: () => void) => void;

/** Longest value of the token header that is looked at. A ServiceAccount's token has about 1 KB. */
export const MAX_TOKEN_BYTES = 8_192;

/** What of a token may be kept, and the key of every table of tokens: SHA-256 of the header's value, in lower-case hex. */
export const tokenDigest = (token: string): string => hash('sha256', token, 'hex');
