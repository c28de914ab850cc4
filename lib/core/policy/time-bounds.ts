/**
 * Times that must stay in proportion to each other, in one place.
 *
 * Bounds on waiting lie within each other (test/core/policy/time-bounds.test.ts holds the order):
 *
 *   an answer held up by a refresh < a request with all its attempts < a read < what asks readers < the function's time
 *
 * So a caller that waits is told by the one that knows why, and no process is killed with its cache for want of an answer.
 *
 * Bounds on clocks say what enforces them. The low watermark (docs/protocol.md) hides whatever appears below it, so no
 * acknowledged delta may ever appear there; what is from the future is put aside, so no acknowledged delta may be:
 *
 *   clockSkewMaxMs (producer) + deltaPutMaxMs + clockSkewMaxMs (compactor) < watermarkLagMs
 *   clockSkewMaxMs (producer) + clockSetBackMaxMs < clockAllowanceMs
 *
 * S3 judges the clock that signs a request. A time that a process took before a request, and that is not after the time
 * when it was answered, is one that S3 has judged: even a clock that is set in between cannot make it too late.
 */

/** Lambda ends a call of the function after this long, and the process with it. */
export const functionTimeoutMs = {
  producer: 30_000,
  query: 30_000,
  compactor: 900_000,
  collections: 60_000,
  embedder: 300_000,
} as const;

/**
 * An eventual answer takes the view that there is, and the next one is looked for behind it, while the last check is younger
 * than this: the interval at which a check is due and as much again, 30 s at most, by the clock when the call came. With an
 * interval of 0 no answer does.
 */
export const refreshBehindMs = (refreshMs: number): number => refreshMs + Math.min(30_000, refreshMs);
/** So much longer while the look-up or the files of a newer version are on their way, whose size decides how long that takes. */
export const loadBehindMs = (refreshMs: number): number =>
  refreshBehindMs(refreshMs) + Math.min(60_000, 12 * refreshMs);

/** An eventual answer whose view is older waits this long for a newer one. */
export const refreshHoldMs = 2_000;

/**
 * A query that clusters could answer waits this long for graphs that should have been there, where the process was frozen
 * while they were fetched. What is left is enough for an answer from clusters.
 */
export const graphsHoldMs = 20_000;

/** What is left of the query function's time when a read gives up, */
export const readMarginMs = 3_000;
/** when the query function gives up the groups that it has asked, */
export const fanOutMarginMs = 2_000;
/** what embedding a query's text leaves of that for the reading, */
export const embedMarginMs = 2_000;
/** and when it answers, whatever it is still waiting for. */
export const answerMarginMs = 1_000;

/**
 * A save that waits for its items gives the embedder so long (lib/jobs/in-call.ts), and waits so much longer for its answer: both, with the saving
 * before it, within the producer's time.
 */
export const embedInCallMs = 18_000;
export const embedInCallMarginMs = 3_000;

/** How long a client of AWS waits. */
export interface RequestBounds {
  /** Waiting for a connection. One that is busy counts as well: no more requests are sent than there are connections. */
  readonly connectMs: number;
  /** Waiting for the answer's headers, from when the connection was there: a request's body is sent meanwhile. */
  readonly answerMs: number;
  /** Silence in the middle of a body. */
  readonly silenceMs: number;
  /** How often it is sent until there are headers, */
  readonly attempts: number;
  /** and until there is a whole body. */
  readonly bodyAttempts: number;
}

/** The bounds of each kind of client. A person's line may be slow: a part of 8 MiB fits. */
export const requestBounds = {
  query: { connectMs: 1_000, answerMs: 2_000, silenceMs: 2_000, attempts: 3, bodyAttempts: 2 },
  producer: { connectMs: 1_000, answerMs: 7_000, silenceMs: 2_000, attempts: 3, bodyAttempts: 1 },
  embedder: { connectMs: 3_000, answerMs: 15_000, silenceMs: 5_000, attempts: 3, bodyAttempts: 2 },
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

/** A lease outlives a request of its holder that is never answered; it is extended when less than `extendBelowMs` is left. */
export const leaseMs = 120_000;
export const leaseExtendBelowMs = 90_000;
/** Less than this left counts as lost: clocks differ. */
export const leaseMarginMs = 5_000;

/**
 * S3 refuses a request that was signed further from its own time than this, so a process whose clock is worse gets
 * nothing done. It holds because no client corrects its signing by the server's time (lib/aws/s3-client.ts).
 */
export const clockSkewMaxMs = 15 * 60_000;

/**
 * A delta is acknowledged only when the time in its ULID, after its PUT was answered, is at most this long ago, and at most
 * `clockSetBackMaxMs` to come: a clock that keeps time is set back by less (lib/engine/shard/put-delta.ts).
 */
export const deltaPutMaxMs = 15 * 60_000;
export const clockSetBackMaxMs = 20_000;

/**
 * How far what a delta says of its own time, by its ULID and by the versions of its rows where arrival orders them, may lie
 * ahead of when S3 says that it was written (lib/engine/shard/deltas.ts). S3 tells whole seconds, and its servers' clocks differ
 * a little: a minute beside the skew that it allows.
 */
export const clockAllowanceMs = clockSkewMaxMs + 60_000;

/**
 * An alias's writing side moves within this, or not at all: the deadline of its barrier. A write waits as long for barriers, looking so
 * often, within the producer function's time.
 */
export const barrierMs = 10_000;
export const barrierWaitMs = 10_000;
export const barrierPollMs = 250;
/** Eventual reads choose a side by an alias that was asked for at most this long ago. */
export const aliasHeldMs = 5_000;

/** How far the low watermark stays behind the LIST that moves it (lib/engine/compact/ingest.ts). */
export const watermarkLagMs = 60 * 60_000;

/**
 * Whether a lease holds others up. One whose end lies further ahead than clocks differ was taken by a clock that was
 * wrong: no run waits for days for it. A lease saves work and keeps nothing safe, so it may be taken.
 */
export const isLeaseHeld = (expiresAtMs: number, { nowMs, leaseMs }: { nowMs: number; leaseMs: number }) =>
  expiresAtMs > nowMs && expiresAtMs <= nowMs + leaseMs + 2 * clockSkewMaxMs;

/** A run begins every minute; while a shard is busy it goes on until the next one has begun, and asks for messages this often. */
export const busyRunMs = 60_000;
export const busyPollMs = 5_000;

/** After a run, no shard and no configuration is unseen for longer (docs/protocol.md, "The sweep"). */
export const sweepMs = 10 * 60_000;
/** A shard in which nothing changes is surveyed for garbage this often. */
export const surveyMs = 60 * 60_000;
/** A remembered watermark of an idle shard is read anew after this long. */
export const watermarkReadMs = 60 * 60_000;

/** What the steps of a run that began in time may still take: none begins when less is left of the function's time. */
export const runMarginMs = {
  /**
   * A batch of 96 MiB of deltas is read, written and published in some 20 seconds at the function's default memory, which has
   * space for five of them side by side (merges are begun only when their estimate fits); the rest is for the notes.
   */
  compactor: 120_000,
  /** The answer. */
  embedder: 5_000,
} as const;

/** Who restores or carries segments waits so long for a shard's lease: a run of the compactor holds it while it works there. */
export const leaseWaitMs = functionTimeoutMs.compactor;

/** However long deletes are remembered, no delta that is older is applied (docs/protocol.md, "Horizon"). */
export const horizonMs = 30 * 86_400_000;
/** A deleted item is remembered for longer than that: when it is forgotten, no delta of an older save of it can be applied any more. */
export const deletedItemKeptMs = 40 * 86_400_000;
