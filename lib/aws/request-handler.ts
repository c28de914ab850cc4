/** How every AWS client of the project speaks HTTP: kept-alive connections, and no wait without an end. */

/** A connection that is not there after this long is not coming. */
const connectionTimeoutMs = 3_000;
/** Until the answer's headers: a part of 8 MiB over a slow line fits. */
const requestTimeoutMs = 30_000;
/** Silence in the middle of a body. */
const socketTimeoutMs = 10_000;

/** Parallel ranged GETs of several segments at once; one stream carries 54 to 75 MB/s. */
export const s3SocketsMax = 64;
export const socketsMax = 16;

export const requestHandler = (maxSockets: number) => ({
  connectionTimeout: connectionTimeoutMs,
  requestTimeout: requestTimeoutMs,
  throwOnRequestTimeout: true,
  socketTimeout: socketTimeoutMs,
  httpAgent: { keepAlive: true, maxSockets },
  httpsAgent: { keepAlive: true, maxSockets },
});
