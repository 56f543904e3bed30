import { readFile } from 'node:fs/promises';
import { text as textOf } from 'node:stream/consumers';
import { CodedError, messageOf } from '../../model/coded-error.ts';
import type { TokenCode, TokenVerdict } from '../../model/token.ts';
import type { Settings } from '../../settings/settings.ts';
import { openKeySource } from '../../tokens/io/open-key-source.ts';
import { readJwks } from '../../tokens/io/read-jwks.ts';
import { TokenVerifier } from '../../tokens/token-verifier.ts';
import { postToAgent } from './admin-client.ts';

/** The token in a file, or on standard input (`-`): an argument could be read by every process of the machine. @throws CodedError */
export async function readToken(place: string): Promise<string> {
  try {
    return (place === '-' ? await textOf(process.stdin) : await readFile(place, 'utf8')).trim();
  } catch (error) {
    throw new CodedError({ code: 'token-unread', message: `no token can be read from ${place}: ${messageOf(error)}`, remedy: 'name a file with --token, or - for standard input', exitCode: 2 }, error);
  }
}

/** What the running agent says of it. */
export const askAgent = async (runDir: string, token: string): Promise<TokenVerdict> => (await postToAgent(runDir, '/token', { token })) as TokenVerdict;

/** What an agent with these settings would say of it. */
export async function judgeAlone(settings: Settings, codes: readonly TokenCode[], token: string): Promise<TokenVerdict> {
  const keys = settings.tokenJwks === '' ? undefined : openKeySource({ ...readJwks(settings.tokenJwks), issuer: settings.tokenIssuer, audience: settings.tokenAudience });
  const verifier = new TokenVerifier({ now: Date.now, ...(keys === undefined ? {} : { keys }) });
  verifier.setCodes(codes);
  try {
    return await verifier.verify(token);
  } finally {
    await keys?.close();
  }
}
