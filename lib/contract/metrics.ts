/**
 * The metrics, a row each: they go out in CloudWatch's embedded metric format, over the dimension `store`, and those of a
 * collection over `store` and `collection` as well. Emission, the constructs' metric methods and docs/api.md follow from here.
 */
import type { FunctionName } from "./functions.ts";

export interface MetricRow {
  readonly unit: "Count" | "Milliseconds" | "Seconds" | "Percent";
  /** What an alarm or a graph looks at by default. */
  readonly statistic: "Sum" | "Maximum" | "p95";
  /** Whether it is also emitted for each collection. */
  readonly ofCollection: boolean;
  readonly emittedBy: FunctionName | "every function";
  /** Version of the package that emitted it first. */
  readonly since: string;
  readonly description: string;
}

const since = "0.1.0";
const count = { unit: "Count", statistic: "Sum", since } as const;

export const metricNamespace = "Siltstone";
export const metrics = {
  DeltasCreated: { ...count, ofCollection: true, emittedBy: "producer", description: "deltas of a call" },
  RecordsWritten: {
    ...count,
    ofCollection: true,
    emittedBy: "producer",
    description: "records and deletes of a call",
  },
  RecordsRejected: {
    ...count,
    ofCollection: true,
    emittedBy: "producer",
    description: "records of a call that were refused",
  },
  ProduceErrors: {
    ...count,
    ofCollection: false,
    emittedBy: "producer",
    description: "a call that failed for no fault of the caller's",
  },
  CompactionSuccess: {
    ...count,
    ofCollection: false,
    emittedBy: "compactor",
    description: "a run in which nothing failed",
  },
  CompactionFailure: {
    ...count,
    ofCollection: false,
    emittedBy: "compactor",
    description: "a run that failed",
  },
  CompactionFaults: {
    ...count,
    ofCollection: false,
    emittedBy: "compactor",
    description: "shards, collections and queues that a run failed on while it did the rest",
  },
  CompactionDuration: {
    unit: "Milliseconds",
    statistic: "p95",
    since,
    ofCollection: false,
    emittedBy: "compactor",
    description: "how long a run took",
  },
  DeltasMerged: {
    ...count,
    ofCollection: true,
    emittedBy: "compactor",
    description: "deltas that a run ingested",
  },
  DeltasQuarantined: {
    ...count,
    ofCollection: true,
    emittedBy: "compactor",
    description: "deltas that a run put into quarantine",
  },
  DeltasPending: {
    unit: "Count",
    statistic: "Maximum",
    since,
    ofCollection: true,
    emittedBy: "compactor",
    description: "deltas that a run which ingests left in the backlog",
  },
  OldestUnmergedDeltaAge: {
    unit: "Seconds",
    statistic: "Maximum",
    since,
    ofCollection: true,
    emittedBy: "compactor",
    description: "age of the oldest delta that a run which ingests left in the backlog",
  },
  Segments: {
    unit: "Count",
    statistic: "Maximum",
    since,
    ofCollection: true,
    emittedBy: "compactor",
    description: "the most segments of a shard that the run looked at",
  },
  MessagesDeadLettered: {
    ...count,
    ofCollection: false,
    emittedBy: "compactor",
    description: "messages that a run sent to the dead-letter queue",
  },
  LockAcquisitionFailed: {
    ...count,
    ofCollection: false,
    emittedBy: "compactor",
    description: "shards whose lease another run held",
  },
  QueryLatency: {
    unit: "Milliseconds",
    statistic: "p95",
    since,
    ofCollection: true,
    emittedBy: "query",
    description: "how long a query took inside the function",
  },
  QueryErrors: {
    ...count,
    ofCollection: false,
    emittedBy: "query",
    description: "a call that failed for no fault of the caller's; with query groups, by the group as well",
  },
  PartialAnswers: {
    ...count,
    ofCollection: true,
    emittedBy: "query",
    description: "with query groups, an answer that lacks shards, as the call allowed",
  },
  SnapshotAge: {
    unit: "Seconds",
    statistic: "Maximum",
    since,
    ofCollection: true,
    emittedBy: "query",
    description: "how long ago the view that answered was known to be the newest",
  },
  SnapshotFallback: {
    ...count,
    ofCollection: true,
    emittedBy: "query",
    description:
      "an answer from an older version, since the newest is damaged or of a newer format, or S3 did not answer",
  },
  ColdLoadDuration: {
    unit: "Milliseconds",
    statistic: "p95",
    since,
    ofCollection: true,
    emittedBy: "query",
    description: "how long a process's first answer from a collection took, in the function that loads it",
  },
  ItemsSaved: {
    ...count,
    ofCollection: true,
    emittedBy: "producer",
    description: "items of a call that are new or changed",
  },
  JobsCompleted: {
    ...count,
    ofCollection: false,
    emittedBy: "embedder",
    description: "jobs that a run finished",
  },
  JobsFailed: {
    ...count,
    ofCollection: false,
    emittedBy: "embedder",
    description: "jobs that were refused, or have had all their attempts",
  },
  JobsPostponed: {
    ...count,
    ofCollection: false,
    emittedBy: "embedder",
    description: "jobs that have to wait: a provider that throttles or does not answer, another attempt",
  },
  ChunksWritten: {
    ...count,
    ofCollection: false,
    emittedBy: "embedder",
    description: "chunks of the jobs that a run finished",
  },
  EmbeddingTokens: {
    ...count,
    ofCollection: false,
    emittedBy: "embedder",
    description: "tokens as providers count them",
  },
  JobWait: {
    unit: "Seconds",
    statistic: "Maximum",
    since,
    ofCollection: false,
    emittedBy: "embedder",
    description: "from the save to the finish, of the slowest job of a run",
  },
  EmbedderErrors: { ...count, ofCollection: false, emittedBy: "embedder", description: "a run that failed" },
  JobsWaiting: {
    unit: "Count",
    statistic: "Maximum",
    since,
    ofCollection: false,
    emittedBy: "embedder",
    description: "jobs that wait, by a sweep",
  },
  OldestJobAge: {
    unit: "Seconds",
    statistic: "Maximum",
    since,
    ofCollection: false,
    emittedBy: "embedder",
    description: "age of the oldest of the jobs that are due first, by a sweep",
  },
  MemoryUsed: {
    unit: "Percent",
    statistic: "Maximum",
    since,
    ofCollection: false,
    emittedBy: "every function",
    description: "memory of the process beside that of the function, by a call after which it is above 75 %",
  },
} as const satisfies Readonly<Record<string, MetricRow>>;

export type MetricName = keyof typeof metrics;
