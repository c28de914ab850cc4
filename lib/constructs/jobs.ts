/**
 * How texts become records: three queues by priority, the embedder that they wake, a schedule that wakes what no message did, and
 * the table's index of what is to be done. Only a store with the prop `embedding` has any of it.
 */
import { Duration, Fn, Stack } from "aws-cdk-lib";
import { AttributeType, ProjectionType } from "aws-cdk-lib/aws-dynamodb";
import { Effect, type IGrantable, PolicyStatement, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import {
  CfnEventInvokeConfig,
  type CfnFunction,
  type Function as LambdaFunction,
} from "aws-cdk-lib/aws-lambda";
import { SqsEventSource } from "aws-cdk-lib/aws-lambda-event-sources";
import { CfnSchedule } from "aws-cdk-lib/aws-scheduler";
import { Queue } from "aws-cdk-lib/aws-sqs";
import { Construct } from "constructs";
import { env, jobIndex, jobPrefix, jobSlotPrefix } from "../contract/names.ts";
import { checkSetting } from "../contract/settings.ts";
import { checkCollectionName } from "../core/model/collection.ts";
import { functionTimeoutMs } from "../core/policy/time-bounds.ts";
import { allowKey } from "./encryption.ts";
import {
  allowing,
  giveRight,
  HandlerFunction,
  type StoreFunctions,
  setVariables,
} from "./handler-function.ts";
import { type Ingestion, type ProduceGrant, queueEncryption } from "./ingestion.ts";
import type { Storage } from "./storage.ts";

const timeoutSeconds = functionTimeoutMs.embedder / 1_000;
/** As AWS asks: so that Lambda, where it is throttled, can try a batch again before its messages come back. */
const visibilityTimeoutSeconds = 6 * timeoutSeconds;
/** The embedder puts what it cannot understand on the dead-letter queue itself, with the reason; this is the backstop. */
const receiveCountMax = 100;
/** What is urgent waits for no others; of the rest, a run takes as many as come within some seconds. */
const sources = {
  High: { batchSize: 10, windowSeconds: 0 },
  Normal: { batchSize: 100, windowSeconds: 1 },
  Low: { batchSize: 200, windowSeconds: 5 },
} as const;
const sweepEventAgeSeconds = 60;

export interface JobsProps {
  readonly storage: Storage;
  readonly ingestion: Ingestion;
  readonly functions: StoreFunctions;
  readonly memoryMiB: number | undefined;
  readonly workersMax: number | undefined;
}

export class Jobs extends Construct {
  readonly function: LambdaFunction;
  /** From the highest priority. */
  readonly queues: readonly Queue[];
  readonly deadLetterQueue: Queue;
  /** The variables of a function that saves items, beside those of one that writes records. */
  readonly environment: Readonly<Record<string, string>>;
  private readonly storage: Storage;

  constructor(scope: Construct, id: string, props: JobsProps) {
    super(scope, id);
    const { storage, ingestion, functions } = props;
    this.storage = storage;
    storage.table.addGlobalSecondaryIndex({
      indexName: jobIndex.name,
      partitionKey: { name: jobIndex.partitionKey, type: AttributeType.STRING },
      sortKey: { name: jobIndex.sortKey, type: AttributeType.NUMBER },
      projectionType: ProjectionType.KEYS_ONLY,
    });
    const encryption = queueEncryption(storage.encryptionKey);
    this.deadLetterQueue = new Queue(this, "DeadLetterQueue", {
      retentionPeriod: Duration.days(14),
      ...encryption,
      enforceSSL: true,
    });
    const queueOf = (name: string) =>
      new Queue(this, name, {
        visibilityTimeout: Duration.seconds(visibilityTimeoutSeconds),
        retentionPeriod: Duration.days(14),
        ...encryption,
        enforceSSL: true,
        deadLetterQueue: { queue: this.deadLetterQueue, maxReceiveCount: receiveCountMax },
      });
    const queues = Object.keys(sources).map(queueOf);
    this.queues = queues;
    this.environment = {
      [env.jobQueueUrls]: Fn.join(
        ",",
        queues.map(({ queueUrl }) => queueUrl),
      ),
    };
    const embedder = new HandlerFunction(this, "Embedder", {
      functions,
      name: "embedder",
      memoryMiB: checkSetting("embedding.memoryMiB", props.memoryMiB),
      timeoutSeconds,
      environment: {
        ...ingestion.environment,
        ...this.environment,
        [env.jobDeadLetterQueueUrl]: this.deadLetterQueue.queueUrl,
      },
    });
    this.function = embedder.function;
    this.allowEmbedder(embedder, ingestion);
    const maxConcurrency = checkSetting("embedding.workersMax", props.workersMax);
    for (const [i, { batchSize, windowSeconds }] of Object.values(sources).entries())
      this.function.addEventSource(
        new SqsEventSource(queues[i]!, {
          batchSize,
          ...(windowSeconds === 0 ? {} : { maxBatchingWindow: Duration.seconds(windowSeconds) }),
          maxConcurrency,
          reportBatchItemFailures: true,
        }),
      );
    this.sweepEveryMinute();
  }

  /**
   * Lets a function, a role, a task save items with the bundled library; a function of the app gets the variables that it reads. It may call the
   * embedder, for collections that embed in the call.
   */
  grantSave(grantee: IGrantable, grant: ProduceGrant = {}): void {
    if (grant.aliases !== undefined)
      throw new Error("aliases: items are saved by a collection's own name; name collections");
    const names = namesOf(grant);
    this.allowItems(grantee, names);
    giveRight(grantee, allowing(["s3:PutObject", "s3:DeleteObject"], this.textsOf(names)));
    giveRight(grantee, allowing(["lambda:InvokeFunction"], [this.function.functionArn]));
    setVariables(grantee, { ...this.environment, [env.embedderFunction]: this.function.functionName });
  }

  private textsOf(names: readonly string[]): string[] {
    return names.map((name) => this.storage.bucket.arnForObjects(`${name}/texts/*`));
  }

  /** What who saves and who embeds both do: items and their texts are read, records of items written, and the queues told. */
  private allowItems(grantee: IGrantable, names: readonly string[]): void {
    const { bucket, bucketKey, encryptionKey } = this.storage;
    const configurations = names.map((name) => bucket.arnForObjects(`${name}/collection.json`));
    giveRight(grantee, allowing(["s3:GetObject"], [...configurations, ...this.textsOf(names)]));
    giveRight(
      grantee,
      this.onItems(["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"], jobPrefix),
    );
    giveRight(
      grantee,
      allowing(
        ["sqs:SendMessage"],
        this.queues.map(({ queueArn }) => queueArn),
      ),
    );
    allowKey(grantee, bucketKey, "writeObjects");
    allowKey(grantee, encryptionKey, "sendMessages");
    allowKey(grantee, encryptionKey, "useTable");
  }

  /** Of the table: items, jobs and settings, and no lease. */
  private onItems(actions: string[], prefix: string): PolicyStatement {
    return new PolicyStatement({
      effect: Effect.ALLOW,
      actions,
      resources: [this.storage.table.tableArn],
      conditions: { "ForAllValues:StringLike": { "dynamodb:LeadingKeys": [`${prefix}*`] } },
    });
  }

  /** Items, the index, its leases, and to write deltas as a producer does. */
  private allowEmbedder(embedder: HandlerFunction, ingestion: Ingestion): void {
    const { bucket, table } = this.storage;
    this.allowItems(embedder.function, namesOf({}));
    embedder.allow(["dynamodb:Query"], [`${table.tableArn}/index/${jobIndex.name}`]);
    embedder.function.addToRolePolicy(
      this.onItems(["dynamodb:GetItem", "dynamodb:UpdateItem"], `lease#${jobSlotPrefix}`),
    );
    const deltas = bucket.arnForObjects("*/*/deltas/*");
    embedder.allow(["s3:PutObject", "s3:GetObject"], [deltas]);
    // Whether a collection is gone, which stops its jobs, or may not be read, which is a fault.
    embedder.allow(["s3:ListBucket"], [bucket.bucketArn]);
    embedder.allow(["sqs:SendMessage"], [ingestion.queue.queueArn, this.deadLetterQueue.queueArn]);
  }

  private sweepEveryMinute(): void {
    // A sweep that failed is not repeated: the next one does its work.
    const { ref: functionName } = this.function.node.defaultChild as CfnFunction;
    new CfnEventInvokeConfig(this, "Invocation", {
      functionName,
      qualifier: "$LATEST",
      maximumRetryAttempts: 0,
      maximumEventAgeInSeconds: sweepEventAgeSeconds,
    });
    const role = new Role(this, "ScheduleRole", {
      assumedBy: new ServicePrincipal("scheduler.amazonaws.com", {
        conditions: { StringEquals: { "aws:SourceAccount": Stack.of(this).account } },
      }),
    });
    role.addToPolicy(allowing(["lambda:InvokeFunction"], [this.function.functionArn]));
    const schedule = new CfnSchedule(this, "Sweep", {
      description: "Siltstone embedder: sweep",
      scheduleExpression: "rate(1 minute)",
      flexibleTimeWindow: { mode: "OFF" },
      state: "ENABLED",
      target: {
        arn: this.function.functionArn,
        roleArn: role.roleArn,
        input: JSON.stringify({ source: "sweep" }),
        retryPolicy: { maximumRetryAttempts: 0, maximumEventAgeInSeconds: sweepEventAgeSeconds },
      },
    });
    schedule.node.addDependency(role);
  }
}

/** Of a grant: the collections that it names, or all. */
function namesOf({ collections }: ProduceGrant): string[] {
  if (collections?.length === 0) throw new Error("collections: must name at least one collection");
  return collections?.map(checkCollectionName) ?? ["*"];
}
