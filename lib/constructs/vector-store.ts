/**
 * A whole vector store for one stage: storage, ingestion, compaction and query, for use in any CDK app.
 *
 *     const store = new VectorStore(stack, "Vectors", { stage: "prod" });
 *     store.grantProduce(upstreamFunction);
 *     store.grantQuery(apiFunction);
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { CfnOutput, Stack, Tags } from "aws-cdk-lib";
import { Metric, type MetricOptions } from "aws-cdk-lib/aws-cloudwatch";
import { Architecture, type Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import { Construct } from "constructs";
import { functions, storeOutputs } from "../contract/functions.ts";
import { type MetricName, metricNamespace, metrics } from "../contract/metrics.ts";
import { isStage, stageRule } from "../contract/names.ts";
import { Compaction } from "./compaction.ts";
import { Ingestion, type ProduceGrant } from "./ingestion.ts";
import { Query } from "./query.ts";
import { Storage } from "./storage.ts";

export interface VectorStoreProps {
  /**
   * Any name, as prod or pr-123. All but those that begin with dev or pr keep bucket, table and logs when the stack is
   * deleted. Logs are kept for a week in those, a month in staging, three months in all others.
   * @default "dev"
   */
  readonly stage?: string;
  /**
   * Processor of the functions.
   * @default Architecture.X86_64
   */
  readonly architecture?: Architecture;
  /**
   * Folder with the bundled handlers of that architecture: producer/, compactor/ and query/.
   * @default the bundles that the package brings
   */
  readonly handlersFolder?: string;
  /** @default 512 */
  readonly producerMemoryMiB?: number;
  /** @default 3008, the most that new accounts allow */
  readonly compactorMemoryMiB?: number;
  /** @default 3008, the most that new accounts allow */
  readonly queryMemoryMiB?: number;
  /** Local disk of the compactor, for the segments of one merge. @default 4096 */
  readonly compactorStorageMiB?: number;
  /** Local disk of the query function, for cached segments. @default 4096 */
  readonly queryStorageMiB?: number;
  /**
   * Segment files that a query function keeps on disk and in memory, at most half of its local disk: while views are
   * swapped, and old ones are still read, twice as much is there.
   * @default half of its memory, or half of its local disk where that is less
   */
  readonly queryCacheMiB?: number;
  /**
   * Functions over which the shards of a collection are spread, 1 to 48: each serves every n-th shard, and the query
   * function asks them all and merges their answers. The query props above are of each of them.
   * @default 1: the query function serves all shards itself
   */
  readonly queryGroups?: number;
  /**
   * Seconds after which a query function looks for a newer snapshot, from 0 to 300.
   * @default 5
   */
  readonly refreshSeconds?: number;
  /** @default none: the function shares the account's concurrency */
  readonly producerReservedConcurrency?: number;
  /** @default none: the function shares the account's concurrency */
  readonly compactorReservedConcurrency?: number;
  /** @default none: the function shares the account's concurrency */
  readonly queryReservedConcurrency?: number;
  /**
   * Days that replaced and deleted objects can still be recovered, at least 14.
   * @default 14
   */
  readonly noncurrentVersionDays?: number;
  /**
   * Whether the stack gets the outputs by which the command line finds the store. Their names are fixed: only one
   * store of a stack can have them.
   * @default true
   */
  readonly outputs?: boolean;
}

export class VectorStore extends Construct {
  readonly stage: string;
  /** Unique in an account and region: the dimension `store` of every metric. */
  readonly storeName: string;
  readonly storage: Storage;
  readonly ingestion: Ingestion;
  readonly compaction: Compaction;
  readonly query: Query;

  constructor(scope: Construct, id: string, props: VectorStoreProps = {}) {
    super(scope, id);
    this.stage = props.stage ?? "dev";
    if (!isStage(this.stage))
      throw new Error(`stage: must be ${stageRule}, got ${JSON.stringify(this.stage)}`);
    this.storeName = storeNameOf(this);
    const architecture = props.architecture ?? Architecture.X86_64;
    const codeFolder = (name: string) => handlerFolder(name, architecture, props.handlersFolder);
    const shared = { stage: this.stage, architecture };
    this.storage = new Storage(this, "Storage", {
      stage: this.stage,
      noncurrentVersionDays: props.noncurrentVersionDays,
    });
    this.ingestion = new Ingestion(this, "Ingestion", {
      ...shared,
      store: this.storeName,
      storage: this.storage,
      codeFolder: codeFolder("producer"),
      memoryMiB: props.producerMemoryMiB,
      reservedConcurrency: props.producerReservedConcurrency,
    });
    this.compaction = new Compaction(this, "Compaction", {
      ...shared,
      storage: this.storage,
      environment: this.ingestion.environment,
      queue: this.ingestion.queue,
      deadLetterQueue: this.ingestion.deadLetterQueue,
      codeFolder: codeFolder("compactor"),
      memoryMiB: props.compactorMemoryMiB,
      storageMiB: props.compactorStorageMiB,
      reservedConcurrency: props.compactorReservedConcurrency,
    });
    this.query = new Query(this, "Query", {
      ...shared,
      storage: this.storage,
      environment: this.ingestion.environment,
      codeFolder: codeFolder("query"),
      memoryMiB: props.queryMemoryMiB,
      storageMiB: props.queryStorageMiB,
      cacheMiB: props.queryCacheMiB,
      refreshSeconds: props.refreshSeconds,
      reservedConcurrency: props.queryReservedConcurrency,
      groups: props.queryGroups,
    });
    Tags.of(this).add("application", "siltstone");
    Tags.of(this).add("stage", this.stage);
    if (props.outputs ?? true) this.addOutputs();
  }

  /**
   * Lets a function write with the bundled library: it may read collection configurations, create deltas and notify
   * the queue, and gets the environment variables that the library reads (SILTSTONE_STAGE, SILTSTONE_BUCKET,
   * SILTSTONE_TABLE, SILTSTONE_QUEUE_URL, SILTSTONE_DLQ_URL). `collections` narrows what it may write; the notifications
   * that it may send are of the whole store.
   */
  grantProduce(caller: LambdaFunction, grant: ProduceGrant = {}): void {
    this.ingestion.grantProduce(caller, grant);
  }

  /**
   * Lets a function invoke the query function, directly and over its URL, and sets SILTSTONE_QUERY_FUNCTION to its
   * name.
   */
  grantQuery(caller: LambdaFunction): void {
    this.query.grantQuery(caller);
  }

  /**
   * A metric of the whole store, with its usual statistic over 5 minutes. `collection` narrows it, for those metrics that are
   * emitted for each collection.
   */
  metric(name: MetricName, options: MetricOptions & { readonly collection?: string } = {}): Metric {
    const { collection, ...given } = options;
    const { statistic, ofCollection } = metrics[name];
    if (collection !== undefined && !ofCollection)
      throw new Error(`metric ${name}: is of the whole store, not of a collection; got ${collection}`);
    return new Metric({
      namespace: metricNamespace,
      metricName: name,
      statistic,
      dimensionsMap: { store: this.storeName, ...(collection === undefined ? {} : { collection }) },
      ...given,
    }).attachTo(this);
  }

  private addOutputs(): void {
    const values: Record<string, string> = {
      [storeOutputs.bucket]: this.storage.bucket.bucketName,
      [storeOutputs.table]: this.storage.table.tableName,
      [storeOutputs.queueUrl]: this.ingestion.queue.queueUrl,
      [storeOutputs.deadLetterQueueUrl]: this.ingestion.deadLetterQueue.queueUrl,
      [functions.producer.output]: this.ingestion.function.functionName,
      [functions.compactor.output]: this.compaction.function.functionName,
      [functions.query.output]: this.query.function.functionName,
      [functions.producer.urlOutput]: this.ingestion.url.url,
      [functions.query.urlOutput]: this.query.url.url,
    };
    for (const [name, value] of Object.entries(values))
      new CfnOutput(this, name, { value }).overrideLogicalId(name);
  }
}

/** The stack's name and the construct's path in it. */
function storeNameOf(store: VectorStore): string {
  const { node, stackName } = Stack.of(store);
  return `${stackName}/${store.node.path.slice(node.path === "" ? 0 : node.path.length + 1)}`;
}

function handlerFolder(name: string, architecture: Architecture, given: string | undefined): string {
  // In the package this is dist/esm or dist/cjs, and the bundles are in dist/lambdas/<architecture>.
  const handlers = given ?? join(import.meta.dirname, "../lambdas", architecture.name);
  const folder = join(handlers, name);
  if (existsSync(join(folder, "handler.js"))) return folder;
  throw new Error(
    `handlersFolder: ${folder} has no handler.js; bundle the handlers first (\`npm run bundle\`)`,
  );
}
