/** How every AWS client of the project speaks HTTP: kept-alive connections, and no wait without an end. */
import type { RequestBounds } from "../core/policy/time-bounds.ts";

/** Parallel ranged GETs of several segments at once; one stream carries 54 to 75 MB/s. */
export const s3SocketsMax = 64;
export const socketsMax = 16;

export interface S3Bounds extends RequestBounds {
  /** Connections at a time. @default 64 */
  readonly sockets?: number;
}

/** The part of a client's configuration that says how long it waits, and how often it tries. */
export const patience = (
  { connectMs, answerMs, silenceMs, attempts }: RequestBounds,
  maxSockets: number,
) => ({
  maxAttempts: attempts,
  requestHandler: {
    connectionTimeout: connectMs,
    requestTimeout: answerMs,
    throwOnRequestTimeout: true,
    socketTimeout: silenceMs,
    httpAgent: { keepAlive: true, maxSockets },
    httpsAgent: { keepAlive: true, maxSockets },
  },
});
