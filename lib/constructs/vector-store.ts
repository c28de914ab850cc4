/**
 * A whole vector store for one stage: storage, ingestion, compaction and query, for use in any CDK app.
 *
 *     const store = new VectorStore(stack, "Vectors", { stage: "prod" });
 *     store.grantProduce(upstreamFunction);
 *     store.grantQuery(apiFunction);
 */
import { type CustomResource, Stack, Tags } from "aws-cdk-lib";
import { Metric, type MetricOptions } from "aws-cdk-lib/aws-cloudwatch";
import { type IGrantable, type IManagedPolicy, PermissionsBoundary } from "aws-cdk-lib/aws-iam";
import type { Architecture } from "aws-cdk-lib/aws-lambda";
import { Construct } from "constructs";
import { type MetricName, metricNamespace, metrics } from "../contract/metrics.ts";
import { isStage, stageRule } from "../contract/names.ts";
import type { CollectionOptions } from "../core/model/collection.ts";
import { acknowledgeFindings } from "./acknowledged.ts";
import { Collections } from "./collections.ts";
import { Compaction, type CompactionOptions } from "./compaction.ts";
import { allowEmbedding, type EmbeddingOptions, embeddingProps } from "./embedding.ts";
import { type FunctionOptions, type StoreFunctions, setVariables } from "./handler-function.ts";
import { Ingestion, type ProduceGrant, type ProducerOptions } from "./ingestion.ts";
import { Jobs } from "./jobs.ts";
import { Monitoring, type MonitoringOptions } from "./monitoring/monitoring.ts";
import type { Watched } from "./monitoring/watched.ts";
import { addEndpoints, type NetworkOptions, networkProps } from "./network.ts";
import { addOutputs } from "./outputs.ts";
import { checkProps } from "./props.ts";
import { Query, type QueryOptions } from "./query.ts";
import { Storage, type StorageOptions } from "./storage.ts";
import { functionsOf } from "./store-functions.ts";

export interface VectorStoreProps {
  /**
   * Any name, as prod or pr-123. All but dev, dev-…, pr and pr-… keep bucket, table and logs when the stack is
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
   * Folder with the bundled handlers of that architecture, one folder a function.
   * @default the bundles that the package brings
   */
  readonly handlersFolder?: string;
  /** Bucket, table, and the key that all is encrypted with. */
  readonly storage?: StorageOptions;
  /** The producer function. */
  readonly producer?: ProducerOptions;
  /** The compactor and its schedules. */
  readonly compaction?: CompactionOptions;
  /** The query function, or the query groups. */
  readonly query?: QueryOptions;
  /** Of all functions. */
  readonly functions?: FunctionOptions;
  /** A VPC for the functions. @default none: they run outside of VPCs */
  readonly network?: NetworkOptions;
  /** Items, whose texts the store embeds, and the providers that it embeds them by. @default queries by the built-in embedder alone */
  readonly embedding?: EmbeddingOptions;
  /** Alarms, dashboard, budget. */
  readonly monitoring?: MonitoringOptions;
  /** Bounds the rights of every role of the store. @default none */
  readonly permissionsBoundary?: IManagedPolicy;
  /** Beside the tags `application` and `stage`. */
  readonly tags?: Readonly<Record<string, string>>;
  /**
   * Whether the stack gets the outputs by which the command line finds the store. Their names are fixed: only one
   * store of a stack can have them.
   * @default true
   */
  readonly outputs?: boolean;
}
const storeProps = {
  stage: true,
  architecture: true,
  handlersFolder: true,
  storage: true,
  producer: true,
  compaction: true,
  query: true,
  functions: true,
  network: true,
  embedding: true,
  monitoring: true,
  permissionsBoundary: true,
  tags: true,
  outputs: true,
} as const satisfies Record<keyof VectorStoreProps, true>;

export class VectorStore extends Construct {
  readonly stage: string;
  /** Unique in an account and region: the dimension `store` of every metric. */
  readonly storeName: string;
  readonly storage: Storage;
  readonly ingestion: Ingestion;
  readonly compaction: Compaction;
  readonly query: Query;
  readonly collections: Collections;
  /** Undefined without the prop `embedding`. */
  readonly jobs: Jobs | undefined;
  readonly monitoring: Monitoring;

  constructor(scope: Construct, id: string, props: VectorStoreProps = {}) {
    super(scope, id);
    checkProps("", props, storeProps);
    this.stage = props.stage ?? "dev";
    if (!isStage(this.stage))
      throw new Error(`stage: must be ${stageRule}, got ${JSON.stringify(this.stage)}`);
    this.storeName = storeNameOf(this);
    if (props.network !== undefined) {
      checkProps("network", props.network, networkProps);
      addEndpoints(this, props.network, props.embedding);
    }
    const { storage: storageOptions = {}, query: queryOptions = {} } = props;
    const storage = new Storage(this, "Storage", { ...storageOptions, stage: this.stage });
    const functions = functionsOf(props, this.stage, storage);
    this.storage = storage;
    this.ingestion = new Ingestion(this, "Ingestion", {
      ...{ storage, functions, store: this.storeName },
      options: props.producer ?? {},
    });
    this.compaction = new Compaction(this, "Compaction", {
      ...{ storage, functions, ingestion: this.ingestion },
      options: props.compaction ?? {},
    });
    this.query = new Query(this, "Query", {
      ...{ storage, functions, environment: this.ingestion.environment },
      options: queryOptions,
    });
    this.collections = new Collections(this, "Collections", {
      ...{ storage, functions, environment: this.ingestion.environment },
    });
    this.jobs = this.addEmbedding(props.embedding, functions);
    this.monitoring = new Monitoring(this, "Monitoring", this.watched(), props.monitoring ?? {});
    if (props.permissionsBoundary !== undefined)
      PermissionsBoundary.of(this).apply(props.permissionsBoundary);
    for (const [name, value] of Object.entries({
      ...props.tags,
      application: "siltstone",
      stage: this.stage,
    }))
      Tags.of(this).add(name, value);
    if (props.outputs ?? true) addOutputs(this);
    acknowledgeFindings(this, storage.bucket);
  }

  /**
   * Lets a function, a role, a task write with the bundled library: it may read collection configurations, create deltas and notify
   * the queue. A function of the app gets the environment variables that the library reads (`produceEnvironment`).
   * `collections` and `aliases` narrow what it may write; the notifications that it may send are of the whole store.
   */
  grantProduce(grantee: IGrantable, grant: ProduceGrant = {}): void {
    this.ingestion.grantProduce(grantee, grant);
  }

  /**
   * Lets a function, a role, a task save items with the bundled library (`siltstone/jobs`), of the named collections or of all. A function
   * of the app gets the environment variables that the library reads. Throws where the store has no `embedding`.
   */
  grantSaveItems(grantee: IGrantable, grant: Omit<ProduceGrant, "aliases"> = {}): void {
    if (this.jobs === undefined)
      throw new Error("grantSaveItems: the store embeds no items; give it the prop `embedding`");
    this.jobs.grantSave(grantee, grant);
    setVariables(grantee, this.ingestion.environment);
  }

  /** The variables that the library reads, for who is no function of the app: a container, an imported function. */
  get produceEnvironment(): Readonly<Record<string, string>> {
    return this.ingestion.environment;
  }

  /**
   * Lets a function, a role, a task invoke the query function, directly and over its URL. A function of the app gets its name
   * (`queryEnvironment`).
   */
  grantQuery(grantee: IGrantable): void {
    this.query.grantQuery(grantee);
  }

  /** SILTSTONE_QUERY_FUNCTION, for who is no function of the app. */
  get queryEnvironment(): Readonly<Record<string, string>> {
    return this.query.environment;
  }

  /**
   * Declares a collection, which is created when the stack is deployed, and never changed or deleted by it: one whose configuration
   * differs from what is there fails the deployment.
   */
  addCollection(name: string, options: Omit<CollectionOptions, "name">): CustomResource {
    return this.collections.add(name, options);
  }

  /**
   * Lets a function, a role, a task create collections by invoking the collections function with a configuration. A function of the
   * app gets its name (`collectionsEnvironment`).
   */
  grantCreateCollections(grantee: IGrantable): void {
    this.collections.grantCreate(grantee);
  }

  /** SILTSTONE_COLLECTIONS_FUNCTION, for who is no function of the app. */
  get collectionsEnvironment(): Readonly<Record<string, string>> {
    return this.collections.environment;
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

  private addEmbedding(options: EmbeddingOptions | undefined, functions: StoreFunctions): Jobs | undefined {
    if (options === undefined) return undefined;
    checkProps("embedding", options, embeddingProps);
    const { storage, ingestion, stage } = this;
    const { memoryMiB, workersMax } = options;
    const jobs = new Jobs(this, "Jobs", { storage, ingestion, functions, memoryMiB, workersMax });
    // A query's text is embedded once, where the call comes in.
    allowEmbedding(this.query.function, options, {
      ...{ storage, stage },
      groups: this.query.groupFunctions.length,
    });
    allowEmbedding(jobs.function, options, { storage, stage, groups: 0 });
    // Items come in a producer's call as well.
    jobs.grantSave(ingestion.function);
    return jobs;
  }

  private watched(): Watched {
    const { ingestion, compaction, query, collections, jobs } = this;
    return {
      stage: this.stage,
      store: this.storeName,
      intervalMinutes: compaction.intervalMinutes,
      functions: {
        producer: [ingestion.function],
        compactor: [compaction.function],
        query: [query.function, ...query.groupFunctions],
        collections: [collections.function],
        embedder: jobs === undefined ? [] : [jobs.function],
      },
      jobDeadLetterQueue: jobs?.deadLetterQueue,
      queue: ingestion.queue,
      deadLetterQueue: ingestion.deadLetterQueue,
      failedEventsQueue: compaction.failedEventsQueue,
      bucket: this.storage.bucket,
    };
  }
}

/** The stack's name and the construct's path in it. */
function storeNameOf(store: VectorStore): string {
  const { node, stackName } = Stack.of(store);
  return `${stackName}/${store.node.path.slice(node.path === "" ? 0 : node.path.length + 1)}`;
}
