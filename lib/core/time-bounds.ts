/**
 * Times that must stay in proportion to each other, in one place.
 *
 * Bounds on waiting lie within each other (test/core/time-bounds.test.ts holds the order):
 *
 *   an answer held up by a refresh < a request with all its attempts < a read < what asks readers < the function's time
 *
 * So whoever waits is told by who knows why, and no process is killed with its cache for want of an answer. Bounds on clocks
 * say what enforces them.
 */

/** Lambda ends a call of the function after this long, and the process with it. */
export const functionTimeoutMs = { producer: 30_000, query: 30_000, compactor: 900_000 } as const;

/** An eventual answer that has a view waits this long for a newer one. */
export const refreshHoldMs = 2_000;

/** What is left of the query function's time when a read gives up, */
export const readMarginMs = 3_000;
/** when the query function gives up the groups that it has asked, */
export const fanOutMarginMs = 2_000;
/** and when it answers, whatever it is still waiting for. */
export const answerMarginMs = 1_000;

/** How long a client of AWS waits. */
export interface RequestBounds {
  /** For a connection. One that is busy counts as well: no more requests are sent than there are connections. */
  readonly connectMs: number;
  /** For the answer's headers, from when the connection was there: a request's body is sent meanwhile. */
  readonly answerMs: number;
  /** In the middle of a body. */
  readonly silenceMs: number;
  /** How often it is sent until there are headers, */
  readonly attempts: number;
  /** and until there is a whole body. */
  readonly bodyAttempts: number;
}

/** By who asks. A person's line may be slow: a part of 8 MiB fits. */
export const requestBounds = {
  query: { connectMs: 1_000, answerMs: 2_000, silenceMs: 2_000, attempts: 3, bodyAttempts: 2 },
  producer: { connectMs: 1_000, answerMs: 7_000, silenceMs: 2_000, attempts: 3, bodyAttempts: 1 },
  compactor: { connectMs: 3_000, answerMs: 30_000, silenceMs: 10_000, attempts: 3, bodyAttempts: 3 },
  person: { connectMs: 3_000, answerMs: 30_000, silenceMs: 10_000, attempts: 3, bodyAttempts: 3 },
} as const satisfies Record<string, RequestBounds>;

/** What the SDK waits between the attempts of one request, in all, when it is throttled. */
const backoffMs = 1_500;

/** The longest that a request without an answer takes, and one whose answer breaks off every time. */
export const silentRequestMs = ({ connectMs, answerMs, attempts }: RequestBounds): number =>
  attempts * (connectMs + answerMs) + backoffMs;
export const brokenRequestMs = (bounds: RequestBounds): number =>
  bounds.bodyAttempts * (silentRequestMs(bounds) + bounds.silenceMs);

/** Invoking a function: its answer comes when its run ends. */
export const invocationBounds = { connectMs: 3_000, answerMs: functionTimeoutMs.compactor + 60_000 } as const;

/** A lease outlives a request of its holder that nobody answers; it is extended when less than `extendBelowMs` is left. */
export const leaseMs = 120_000;
export const leaseExtendBelowMs = 90_000;
/** Less than this left counts as lost: clocks differ. */
export const leaseMarginMs = 5_000;

/** S3 refuses a request that was signed further from its own time than this. */
export const clockSkewMaxMs = 15 * 60_000;

/**
 * How far what a delta says of its own time, by its ULID and by the versions of its rows where arrival orders them, may lie
 * ahead of when S3 says that it was written (lib/engine/deltas.ts). S3 tells whole seconds, and its servers' clocks differ
 * a little: a minute beside the skew that it allows.
 */
export const clockAllowanceMs = clockSkewMaxMs + 60_000;
