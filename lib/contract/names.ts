/**
 * Names that the CDK constructs, the handlers and the command line agree on: environment variables, stages, the table's
 * keys, event sources. Functions, settings and metrics have a table each beside this. Nothing here imports anything else
 * of the project, so that all sides can import it.
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
  /**
   * With query groups (lib/engine/read/fan-out.ts): the groups' functions, by name in order, separated by commas. Names of
   * 64 characters take 3,120 of the 4,096 bytes that Lambda has for a function's variables; the others take less than 700.
   */
  groupFunctions: "SILTSTONE_QUERY_GROUP_FUNCTIONS",
} as const;

/** Environment variables that the constructs' grants set on a user's own function, beside those of `env`. */
export const callerEnv = {
  /** grantQuery: name of the query function to invoke. */
  queryFunction: "SILTSTONE_QUERY_FUNCTION",
} as const;

/** Stages that `cdk deploy -c stage=…` accepts. */
export const stages = ["dev", "staging", "prod"] as const;
export type Stage = (typeof stages)[number];

/** Name of the stack of one stage. */
export const stackName = (stage: Stage): string => `Siltstone-${stage}`;

/** DynamoDB key attributes of the one table, and its TTL attribute (epoch seconds; lease rows never carry it). */
export const table = { partitionKey: "pk", sortKey: "sk", ttl: "expiresAtSeconds" } as const;

/** The `source` of a compactor event. `scheduled` ingests; `upkeep` merges and collects garbage; `manual` does all of it. */
export const compactorSources = ["scheduled", "upkeep", "manual", "migration"] as const;
export type CompactorSource = (typeof compactorSources)[number];
