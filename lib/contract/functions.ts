/**
 * The Lambda functions, a row each. A function is this row, its folder lambdas/<name> with handler.ts, and its rights
 * in lib/constructs: bundle, constructs, command line and drill read the rest from here.
 */
interface FunctionRow {
  /** As the Lambda console shows it. */
  readonly description: string;
  /** CloudFormation output with the function's name, by which the command line finds it. */
  readonly output: string;
  /** Output with the name of its log group. */
  readonly logOutput: string;
  /** Output with its URL; null where it has none. */
  readonly urlOutput: string | null;
  /** Whether a call without an answer may have changed anything. */
  readonly writes: boolean;
  /** The prop of the store without which it is not there. @default it always is */
  readonly with?: "embedding";
}

export const functions = {
  producer: {
    description: "Siltstone producer: writes deltas and notifies the compactor",
    output: "ProducerFunctionName",
    logOutput: "ProducerLogGroupName",
    urlOutput: "ProducerUrl",
    writes: true,
  },
  compactor: {
    description: "Siltstone compactor: makes deltas into segments, merges them and publishes the result",
    output: "CompactorFunctionName",
    logOutput: "CompactorLogGroupName",
    urlOutput: null,
    writes: true,
  },
  query: {
    description: "Siltstone query: answers from cached segments",
    output: "QueryFunctionName",
    logOutput: "QueryLogGroupName",
    urlOutput: "QueryUrl",
    writes: false,
  },
  collections: {
    description: "Siltstone collections: creates collections, for the stack and by calls",
    output: "CollectionsFunctionName",
    logOutput: "CollectionsLogGroupName",
    urlOutput: null,
    writes: true,
  },
  embedder: {
    description: "Siltstone embedder: embeds the texts of items and writes their chunks",
    output: "EmbedderFunctionName",
    logOutput: "EmbedderLogGroupName",
    urlOutput: null,
    writes: true,
    with: "embedding",
  },
} as const satisfies Readonly<Record<string, FunctionRow>>;

export type FunctionName = keyof typeof functions;
export const functionNames = Object.keys(functions) as FunctionName[];

export const isAlwaysThere = (name: FunctionName): boolean => !("with" in functions[name]);

/** CloudFormation outputs with what is the store's as a whole. */
export const storeOutputs = {
  bucket: "BucketName",
  table: "TableName",
  queueUrl: "QueueUrl",
  deadLetterQueueUrl: "DeadLetterQueueUrl",
  failedEventsQueueUrl: "FailedEventsQueueUrl",
} as const;

/** Outputs of a store with the prop `embedding`. */
export const jobOutputs = {
  /** URLs of the queues, from the highest priority, separated by commas. */
  queueUrls: "JobQueueUrls",
  deadLetterQueueUrl: "JobDeadLetterQueueUrl",
} as const;

const outputsOf = (name: FunctionName): string[] => {
  const { output, logOutput, urlOutput } = functions[name];
  return [output, logOutput, ...(urlOutput === null ? [] : [urlOutput])];
};

/** Names of the outputs that every store has, and of those with the prop `embedding`. */
export const outputNames: readonly string[] = [
  ...Object.values(storeOutputs),
  ...functionNames.filter(isAlwaysThere).flatMap(outputsOf),
];
export const embeddingOutputNames: readonly string[] = [
  ...Object.values(jobOutputs),
  ...functionNames.filter((name) => !isAlwaysThere(name)).flatMap(outputsOf),
];
