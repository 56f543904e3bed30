import type { HaproxyFeatures } from './features.ts';

export interface RenderOptions {
  /** Absolute path, without characters that a configuration line would read (checked when the proxy is opened). */
  readonly runDir: string;
  readonly drainTimeoutSeconds: number;
  /** Hard limit of open files of the HAProxy process. */
  readonly fileDescriptors: number;
  readonly threads: number;
  readonly haproxy: HaproxyFeatures;
  /** Name of the header that carries a caller's token, never forwarded. Default X-Onehop-Token. */
  readonly tokenHeader?: string;
  /** Servers see the caller pod's address (client-ip.ts). */
  readonly preserveClientIp?: boolean;
}
