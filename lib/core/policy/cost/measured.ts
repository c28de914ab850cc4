/** What the cost is reckoned from: counts of requests, times and sizes, each with where it was measured. */

/**
 * Measured by the benches trickle, import and warm-query (docs/lab/performance.md), for one shard; those of runs that find nothing, by
 * test/e2e/idle-requests.test.ts over the local stack and, where they are a matter of hours, by test/engine/compact/sweep.test.ts.
 */
export const measured = {
  /** A producer call: one PUT, and one GET of the configuration. */
  producePuts: 1,
  produceGets: 1,
  /** A compactor run that finds deltas: files, manifest, pointer; lists; head, configuration. The deltas' GETs are apart. */
  ingestPuts: 4,
  ingestLists: 5,
  ingestGets: 8,
  /** An upkeep run of a shard that is written to. It reads the manifests of the last hour. */
  upkeepPutsAndLists: 13,
  upkeepGets: 110,
  /** Every run: a note; one that ingests, the queue twice, whose second answer is empty. */
  runReceives: 2,
  runNotes: 1,
  /** What is looked at in its turn: the bucket's folders and a configuration; of a shard its deltas, or by upkeep its pointer. */
  sweepLists: 1,
  sweepGets: 1,
  lookLists: 1,
  upkeepLookGets: 1,
  /** Once an hour the head of an idle shard. */
  watermarkGets: 2,
  /** A survey of an idle shard: head, kept manifests; manifests, pins, segments, late deltas. */
  surveyGets: 10,
  surveyLists: 4,
  /** Milliseconds of a warm query in a function, its overhead included. */
  queryMs: 5,
  produceMs: 30,
  ingestMs: 1_500,
  /** A run that asks only the queue; one that looks and finds nothing, and the survey of a shard. */
  restMs: 50,
  idleMs: 150,
  /** Metrics that runs emit when nothing happens; what writing, and what asking, adds for one collection. */
  idleMetrics: 1,
  writeMetrics: 20,
  queryMetrics: 8,
  /** What the alarms that are deployed by default look at (test/constructs/monitoring.test.ts): each metric of each is charged. */
  alarmMetrics: 31,
  /** Bytes of log of a run that finds nothing, and of a call of the producer or the query function. */
  idleLogBytes: 2_000,
  callLogBytes: 1_500,
  /** Rows of 384 dims inserted into a graph in a second on one processor. */
  insertRowsPerSecond: 1_000,
  /** How often a row is inserted into some graph before it comes to rest (a trickle's merges). */
  insertionsPerRow: 4,
  /** Bytes written to S3 in the end by each byte of a trickle's deltas. */
  writeAmplification: 4.2,
  /** Milliseconds of the embedder for an item and for each of its chunks of 384 dims, the provider's answer included (bench `items`, on a busy machine), and items of one delta. */
  itemMs: 100,
  chunkMs: 2,
  itemsPerDelta: 25,
  /** Bytes a second that a cold start fetches and opens. */
  coldBytesPerSecond: 200e6,
} as const;
