import { Backoff } from '../../daemon/backoff.ts';
import { sleep } from '../../daemon/io/timers.ts';
import { SerialRunner } from '../../daemon/serial-runner.ts';
import { ApiError } from '../../kube/api-error.ts';
import type { ApiClient } from '../../kube/io/open-api-client.ts';
import { isRefusal, NotLeader, type GuardedWriter } from './guarded-writer.ts';
import { TokenPublisher } from './token-publisher.ts';
import { TokenSecrets } from './token-secrets.ts';

export interface TokenCodesOptions {
  readonly client: Pick<ApiClient, 'request' | 'stream' | 'onAnswer'>;
  readonly writer: GuardedWriter;
  readonly systemNamespace: string;
  readonly identity: string;
  readonly onTrouble: (what: string, error: unknown) => void;
}

export interface TokenCodes {
  /** Leadership came or went: Secrets are read, and codes published, only while leading. */
  lead(): void;
  counts(): { readonly published: number; readonly refused: number; readonly granted: number };
  close(): Promise<void>;
}

/** The published Secret is looked at this often without any change. */
const TICK_MS = 10_000;

/** Publishes the digests of all namespaces' codes. It never holds up the controller's other writes, nor they it. */
export function openTokenCodes({ client, writer, systemNamespace, identity, onTrouble }: TokenCodesOptions): TokenCodes {
  const publisher = new TokenPublisher({ client, writer, namespace: systemNamespace, identity });
  let secrets: TokenSecrets | undefined;
  const runner = new SerialRunner<'pass'>({
    apply: async () => {
      if (!writer.isLeader) {
        const ended = secrets;
        secrets = undefined;
        publisher.forget();
        await ended?.close();
        return;
      }
      if (secrets === undefined) {
        const first = await publisher.publishedNamespaces();
        secrets = new TokenSecrets({ client, first, onChange: () => runner.want('pass'), onTrouble });
      }
      const seen = secrets.seen();
      if (seen !== undefined) await publisher.publish(seen);
    },
    onError: (error) => {
      // A conflict: somebody else wrote it, and it is read again.
      if (!(error instanceof NotLeader) && !(error instanceof ApiError && error.status === 409)) onTrouble(error instanceof ApiError && isRefusal(error) ? 'refused' : 'failed', error);
    },
    backoff: new Backoff({ baseMs: 200, maxMs: 10_000 }, Math.random),
    sleep,
  });
  const tick = setInterval(() => runner.want('pass'), TICK_MS);
  return {
    lead: () => runner.want('pass'),
    counts: () => ({ ...publisher.counts, granted: [...(secrets?.seen()?.values() ?? [])].filter((one) => typeof one !== 'string').length }),
    close: async () => {
      clearInterval(tick);
      await runner.close();
      await secrets?.close();
    },
  };
}
