/**
 * Names that the CDK constructs, the handlers and the command line agree on: environment variables, stages, the table's
 * keys, event sources. Functions, settings and metrics have a table each beside this. Nothing here imports anything else
 * of the project, so that all sides can import it.
 */

/** Environment variables that the constructs set and the handlers read (parsed once by lib/aws/environment.ts). */
export const env = {
  /** Deployment stage, see `stageRule`. */
  stage: "SILTSTONE_STAGE",
  /** Name of the store, unique in an account and region: the dimension of every metric. */
  store: "SILTSTONE_STORE",
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
   * 64 characters with the alias `live` take 3,360 of the 4,096 bytes that Lambda has for a function's variables; the others take less
   * than 700, and what providers take is checked at synthesis.
   */
  groupFunctions: "SILTSTONE_QUERY_GROUP_FUNCTIONS",
  /** Where there are items: URLs of the job queues, from the highest priority, separated by commas. */
  jobQueueUrls: "SILTSTONE_JOB_QUEUE_URLS",
  /** URL of the dead-letter queue for messages of these that cannot be understood. */
  jobDeadLetterQueueUrl: "SILTSTONE_JOB_DLQ_URL",
  /** Where items may be embedded in the call of who saves them: name of the embedder function. */
  embedderFunction: "SILTSTONE_EMBEDDER_FUNCTION",
  /** How the stage reaches its providers of embeddings, as JSON (lib/embedding/provider-access.ts). */
  providers: "SILTSTONE_PROVIDERS",
  /** Single values of that, changed for one function by hand; outside the stage dev only to approved ones. */
  providerOverrides: "SILTSTONE_PROVIDER_OVERRIDES",
} as const;

/** Environment variables that the constructs' grants set on a user's own function, beside those of `env`. */
export const callerEnv = {
  /** grantQuery: name of the query function to invoke. */
  queryFunction: "SILTSTONE_QUERY_FUNCTION",
  /** grantCreateCollections: name of the collections function to invoke. */
  collectionsFunction: "SILTSTONE_COLLECTIONS_FUNCTION",
} as const;

/** What a stage is called: dev, staging and prod, or any other name, as pr-123. `local` is the stack on the laptop. */
const stagePattern = /^(?!local$)[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?$/;
export const stageRule =
  "1 to 32 of a-z 0-9 -, beginning with a letter, ending with a letter or digit, and not local";
export const isStage = (name: string): boolean => stagePattern.test(name);

/**
 * What stages differ in, by the first word of their names: dev and pr-123 come and go; staging is kept; prod, and whatever else
 * a stage is called, is kept and protected.
 */
export const stageKindOf = (stage: string): "passing" | "staging" | "prod" => {
  const [word] = stage.split("-");
  if (word === "dev" || word === "pr") return "passing";
  return word === "staging" ? "staging" : "prod";
};

/** Name of the stack of one stage. */
export const stackName = (stage: string): string => `Siltstone-${stage}`;

/** DynamoDB key attributes of the one table, and its TTL attribute (epoch seconds; lease rows never carry it). */
export const table = { partitionKey: "pk", sortKey: "sk", ttl: "expiresAtSeconds" } as const;

/** Partition keys of the counters of requests and tokens begin with it (lib/aws/dynamodb-limit-table.ts). */
export const limitPrefix = "limit#";

/** Partition keys of items, jobs and their settings begin with it (lib/aws/dynamodb-job-table.ts). */
export const jobPrefix = "jobs#";
/** The table's index of items by status and time; only stores that embed have it. */
export const jobIndex = { name: "work", partitionKey: "workKey", sortKey: "workAtMs" } as const;

/** Leases of the embedder's runs begin with it: no more run at a time than the settings allow. */
export const jobSlotPrefix = "jobs/run-";

/**
 * The `source` of a compactor event. `scheduled` ingests; `upkeep` merges and collects garbage; `manual` does all of it. `optimize` merges
 * what the schedule would leave for later.
 */
export const compactorSources = ["scheduled", "upkeep", "manual", "optimize", "migration"] as const;
export type CompactorSource = (typeof compactorSources)[number];
