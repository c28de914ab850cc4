/**
 * What the CDK constructs and the handlers agree on: environment variables, stack outputs, metric names, event
 * sources. Imports nothing, so that both sides can import it.
 */

/** Environment variables that the constructs set and the handlers read (parsed once by lib/aws/environment.ts). */
export const env = {
  /** Deployment stage: dev, staging or prod. */
  stage: "SILTSTONE_STAGE",
  /** Name of the bucket that holds every collection. */
  bucket: "SILTSTONE_BUCKET",
  /** Name of the DynamoDB table that holds leases and run records. */
  table: "SILTSTONE_TABLE",
  /** URL of the queue that producers notify and the compactor drains. */
  queueUrl: "SILTSTONE_QUEUE_URL",
  /** URL of the dead-letter queue for messages that cannot be understood. */
  deadLetterQueueUrl: "SILTSTONE_DLQ_URL",
  /** Query functions: seconds after which a cached view re-checks its pointer (0 to 300). */
  refreshSeconds: "SILTSTONE_REFRESH_SECONDS",
  /** Query functions: bytes of segment files kept on local disk and in memory before the least recently used go. */
  cacheBytesMax: "SILTSTONE_CACHE_BYTES_MAX",
} as const;

/** With query groups (lib/engine/read/fan-out.ts): the groups' functions, by name in order, separated by commas. */
export const groupFunctionsEnv = "SILTSTONE_QUERY_GROUP_FUNCTIONS";
/** Names of 64 characters take 3,120 of the 4,096 bytes that Lambda has for a function's variables; the others < 700. */
export const queryGroupsMax = 48;

/** Environment variables that the constructs' grants set on a user's own function, beside those of `env`. */
export const callerEnv = {
  /** grantQuery: name of the query function to invoke. */
  queryFunction: "SILTSTONE_QUERY_FUNCTION",
} as const;

/** Names of the CloudFormation outputs by which the command line finds a deployed stage. */
export const output = {
  bucket: "BucketName",
  table: "TableName",
  queueUrl: "QueueUrl",
  deadLetterQueueUrl: "DeadLetterQueueUrl",
  producerFunction: "ProducerFunctionName",
  compactorFunction: "CompactorFunctionName",
  queryFunction: "QueryFunctionName",
  producerUrl: "ProducerUrl",
  queryUrl: "QueryUrl",
} as const;

/** Stages that `cdk deploy -c stage=…` accepts. */
export const stages = ["dev", "staging", "prod"] as const;
export type Stage = (typeof stages)[number];

/** Name of the stack of one stage. */
export const stackName = (stage: Stage): string => `Siltstone-${stage}`;

/** DynamoDB key attributes of the one table, and its TTL attribute (epoch seconds; lease rows never carry it). */
export const table = { partitionKey: "pk", sortKey: "sk", ttl: "expiresAtSeconds" } as const;

/** CloudWatch namespace and metric names (embedded metric format). */
export const metricNamespace = "Siltstone";
export const metric = {
  deltasCreated: "DeltasCreated",
  recordsWritten: "RecordsWritten",
  recordsRejected: "RecordsRejected",
  produceErrors: "ProduceErrors",
  compactionSuccess: "CompactionSuccess",
  compactionFailure: "CompactionFailure",
  /** Shards, collections and queues that a run failed on, while it did the rest. */
  compactionFaults: "CompactionFaults",
  compactionDuration: "CompactionDuration",
  deltasMerged: "DeltasMerged",
  deltasPending: "DeltasPending",
  deltasQuarantined: "DeltasQuarantined",
  /** The most segments of a shard. */
  segments: "Segments",
  messagesDeadLettered: "MessagesDeadLettered",
  lockAcquisitionFailed: "LockAcquisitionFailed",
  oldestUnmergedDeltaAge: "OldestUnmergedDeltaAge",
  queryLatency: "QueryLatency",
  queryErrors: "QueryErrors",
  snapshotAge: "SnapshotAge",
  snapshotFallback: "SnapshotFallback",
  partialAnswers: "PartialAnswers",
  coldLoadDuration: "ColdLoadDuration",
} as const;

/** The `source` of a compactor event. `scheduled` ingests; `upkeep` merges and collects garbage; `manual` does all of it. */
export const compactorSources = ["scheduled", "upkeep", "manual", "migration"] as const;
export type CompactorSource = (typeof compactorSources)[number];
