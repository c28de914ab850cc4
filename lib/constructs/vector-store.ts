/**
 * A whole vector store for one stage: storage, ingestion, compaction and query, for use in any CDK app.
 *
 *     const store = new VectorStore(stack, "Vectors", { stage: "prod" });
 *     store.grantProduce(upstreamFunction);
 *     store.grantQuery(apiFunction);
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { CfnOutput, Tags } from "aws-cdk-lib";
import { Metric, type MetricOptions } from "aws-cdk-lib/aws-cloudwatch";
import { Architecture, type Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import { Construct } from "constructs";
import { metric, metricNamespace, output, type Stage, stages } from "../contract.ts";
import { Compaction } from "./compaction.ts";
import { Ingestion, type ProduceGrant } from "./ingestion.ts";
import { Query } from "./query.ts";
import { Storage } from "./storage.ts";

export interface VectorStoreProps {
  /**
   * staging and prod keep bucket, table and logs when the stack is deleted. Logs are kept for a week in dev, a month in
   * staging, three months in prod.
   * @default "dev"
   */
  readonly stage?: Stage;
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
  readonly stage: Stage;
  readonly storage: Storage;
  readonly ingestion: Ingestion;
  readonly compaction: Compaction;
  readonly query: Query;

  constructor(scope: Construct, id: string, props: VectorStoreProps = {}) {
    super(scope, id);
    this.stage = props.stage ?? "dev";
    if (!stages.includes(this.stage)) {
      throw new Error(`stage: must be one of ${stages.join(", ")}, got ${JSON.stringify(this.stage)}`);
    }
    const architecture = props.architecture ?? Architecture.X86_64;
    const codeFolder = (name: string) => handlerFolder(name, architecture, props.handlersFolder);
    const shared = { stage: this.stage, architecture };
    this.storage = new Storage(this, "Storage", {
      stage: this.stage,
      noncurrentVersionDays: props.noncurrentVersionDays,
    });
    this.ingestion = new Ingestion(this, "Ingestion", {
      ...shared,
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

  // Metrics are of the whole stage. For one collection pass dimensionsMap {stage, collection}: but for CompactionSuccess,
  // CompactionFailure, CompactionDuration and QueryErrors, which are of none.

  /** Deltas waiting to be merged. @default maximum over 5 minutes */
  metricDeltasPending(options?: MetricOptions): Metric {
    return this.metric(metric.deltasPending, { statistic: "max", ...options });
  }

  /** Age of the oldest delta not merged yet. @default maximum over 5 minutes */
  metricOldestUnmergedDeltaAge(options?: MetricOptions): Metric {
    return this.metric(metric.oldestUnmergedDeltaAge, { statistic: "max", ...options });
  }

  /** Deltas that could not be read and were set aside. @default sum over 5 minutes */
  metricDeltasQuarantined(options?: MetricOptions): Metric {
    return this.metric(metric.deltasQuarantined, { statistic: "sum", ...options });
  }

  /** The most segments of a shard: above 50, merging does not get to them. @default maximum over 5 minutes */
  metricSegments(options?: MetricOptions): Metric {
    return this.metric(metric.segments, { statistic: "max", ...options });
  }

  /** Compactor runs that published or found nothing to do. @default sum over 5 minutes */
  metricCompactionSuccess(options?: MetricOptions): Metric {
    return this.metric(metric.compactionSuccess, { statistic: "sum", ...options });
  }

  /** Compactor runs that failed. @default sum over 5 minutes */
  metricCompactionFailure(options?: MetricOptions): Metric {
    return this.metric(metric.compactionFailure, { statistic: "sum", ...options });
  }

  /** Shards, collections and queues that compactor runs failed on, while they did the rest. @default sum over 5 minutes */
  metricCompactionFaults(options?: MetricOptions): Metric {
    return this.metric(metric.compactionFaults, { statistic: "sum", ...options });
  }

  /** How long a compactor run took. @default 95th percentile over 5 minutes */
  metricCompactionDuration(options?: MetricOptions): Metric {
    return this.metric(metric.compactionDuration, { statistic: "p95", ...options });
  }

  /** How long a query took inside the function. @default 95th percentile over 5 minutes */
  metricQueryLatency(options?: MetricOptions): Metric {
    return this.metric(metric.queryLatency, { statistic: "p95", ...options });
  }

  /** Queries that failed. @default sum over 5 minutes */
  metricQueryErrors(options?: MetricOptions): Metric {
    return this.metric(metric.queryErrors, { statistic: "sum", ...options });
  }

  /** Refreshes that found a broken snapshot and kept the previous one. @default sum over 5 minutes */
  metricSnapshotFallback(options?: MetricOptions): Metric {
    return this.metric(metric.snapshotFallback, { statistic: "sum", ...options });
  }

  /** Answers that lack shards, since a query group failed and the call allowed it. @default sum over 5 minutes */
  metricPartialAnswers(options?: MetricOptions): Metric {
    return this.metric(metric.partialAnswers, { statistic: "sum", ...options });
  }

  private metric(metricName: string, options: MetricOptions): Metric {
    return new Metric({
      namespace: metricNamespace,
      metricName,
      dimensionsMap: { stage: this.stage },
      ...options,
    }).attachTo(this);
  }

  private addOutputs(): void {
    const values: Record<(typeof output)[keyof typeof output], string> = {
      [output.bucket]: this.storage.bucket.bucketName,
      [output.table]: this.storage.table.tableName,
      [output.queueUrl]: this.ingestion.queue.queueUrl,
      [output.deadLetterQueueUrl]: this.ingestion.deadLetterQueue.queueUrl,
      [output.producerFunction]: this.ingestion.function.functionName,
      [output.compactorFunction]: this.compaction.function.functionName,
      [output.queryFunction]: this.query.function.functionName,
      [output.producerUrl]: this.ingestion.url.url,
      [output.queryUrl]: this.query.url.url,
    };
    for (const [name, value] of Object.entries(values))
      new CfnOutput(this, name, { value }).overrideLogicalId(name);
  }
}

function handlerFolder(name: string, architecture: Architecture, given: string | undefined): string {
  // Beside the compiled package: dist/lib/constructs and dist/lambdas/<architecture>.
  const handlers = given ?? join(import.meta.dirname, "../../lambdas", architecture.name);
  const folder = join(handlers, name);
  if (existsSync(join(folder, "handler.js"))) return folder;
  throw new Error(
    `handlersFolder: ${folder} has no handler.js; bundle the handlers first (\`npm run bundle\`)`,
  );
}
