import { connect } from 'node:net';

const MAX_ANSWER = 64 * 1024 * 1024;

/**
 * Sends one command to a HAProxy CLI socket (management guide, 9.3) and gives its answer without the closing empty line.
 * One connection per command. The answer ends with an empty line: a connection that the master accepted while it
 * re-executed itself never sees its end, so neither the end nor the close is waited for alone.
 * @throws Error when it cannot connect, or when nothing complete came within `timeoutMs`.
 */
export function askCli(path: string, command: string, timeoutMs = 2000): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let answer = '';
    const finish = (error?: Error): void => {
      clearTimeout(timer);
      socket.destroy();
      if (error === undefined) resolve(answer.trimEnd());
      else reject(error);
    };
    const timer = setTimeout(() => finish(new Error(`no answer from ${path} within ${timeoutMs} ms`)), timeoutMs);
    socket.setEncoding('utf8');
    socket.on('connect', () => socket.write(`${command}\n`));
    socket.on('data', (chunk: string) => {
      answer += chunk;
      if (answer === '\n' || answer.endsWith('\n\n')) finish();
      else if (answer.length > MAX_ANSWER) finish(new Error(`the answer from ${path} is longer than ${MAX_ANSWER} bytes`));
    });
    socket.on('error', finish);
    // Silence is how HAProxy says yes to many a command: a connection that breaks must not be taken for it.
    socket.on('close', () => finish(answer.endsWith('\n') ? undefined : new Error(`${path} closed the connection before it had answered`)));
  });
}

/** Below tune.bufsize (16 kB), above which HAProxy resets the connection. */
const CHUNK = 8 * 1024;

/**
 * Replaces a map in the running worker in one step (`prepare`, `add` in chunks, `commit`): readers see the old or the new.
 * @throws Error with HAProxy's words when any command is refused; the old map is live then.
 */
export async function replaceMap(socket: string, file: string, content: string): Promise<void> {
  const prepared = await askCli(socket, `prepare map ${file}`);
  const version = /^New version created: (\d+)$/.exec(prepared)?.[1];
  if (version === undefined) throw new Error(`prepare map ${file}: ${prepared}`);
  const silent = async (command: string): Promise<void> => {
    const answer = await askCli(socket, command);
    if (answer !== '') throw new Error(`${command.split('\n', 1)[0]}: ${answer}`);
  };
  try {
    for (const chunk of chunksOf(content)) await silent(`add map @${version} ${file} <<\n${chunk}`);
    await silent(`commit map @${version} ${file}`);
  } catch (error) {
    await askCli(socket, `clear map @${version} ${file}`).catch(() => undefined);
    throw error;
  }
}

/** Whole lines, each chunk ending with a line's end; the empty line that closes a payload is added by the sender. */
function* chunksOf(content: string): Generator<string> {
  let chunk = '';
  for (const line of content.split('\n')) {
    if (line === '') continue;
    if (chunk.length + line.length > CHUNK) {
      yield chunk;
      chunk = '';
    }
    chunk += `${line}\n`;
  }
  if (chunk !== '') yield chunk;
}
