// One GET from a test pod, for the scripts beside it: plain JavaScript without packages, for it runs inside an image.
import { Agent, get } from 'node:http';
import { Agent as TlsAgent, get as tlsGet } from 'node:https';

const isTls = (url) => url.startsWith('https:');

/** Connections of one caller: one at a time, kept or not. */
export const openConnections = (url, keepAlive) => new (isTls(url) ? TlsAgent : Agent)({ keepAlive, maxSockets: 1, rejectUnauthorized: false });

/**
 * Resolves with what pod-server.mjs answered, or with a message when there is no answer or its status is 400 or more.
 * A GET that finds its kept connection closed is sent again once on a new one, as every HTTP client does (RFC 9112 section 9.3.1):
 * `isResent`.
 */
export async function call(url, options) {
  try {
    return await callOnce(url, options);
  } catch (error) {
    if (!error.isResendable) return { message: error.message };
    return { ...(await callOnce(url, options).catch((again) => ({ message: again.message }))), isResent: true };
  }
}

/** Rejects when there is no whole answer. */
function callOnce(url, { agent, headers, timeoutMs }) {
  return new Promise((resolve, reject) => {
    const request = (isTls(url) ? tlsGet : get)(url, { agent, headers, timeout: timeoutMs });
    let isAnswering = false;
    const fail = (error) => reject(Object.assign(error, { isResendable: request.reusedSocket && !isAnswering && ['ECONNRESET', 'EPIPE'].includes(error.code) }));
    request.on('timeout', () => request.destroy(new Error(`no answer within ${timeoutMs} ms`))).on('error', fail);
    request.on('response', (response) => {
      isAnswering = true;
      let body = '';
      response.setEncoding('utf8').on('data', (text) => (body += text)).on('error', fail);
      response.on('end', () => resolve(readAnswer(response, body)));
    });
  });
}

function readAnswer({ statusCode, headers: answered }, body) {
  if (statusCode >= 400) return { message: `${statusCode} ${answered['x-onehop-reason'] ?? body.slice(0, 100).trim()}` };
  try {
    return JSON.parse(body);
  } catch {
    return { pod: answered['x-pod'] ?? '' };
  }
}
