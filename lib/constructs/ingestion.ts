/**
 * How records come in: the producer function with its URL, and the queue that tells the compactor of new deltas.
 *
 * The queue carries hints, not data: a lost message costs ten minutes, since the compactor also lists the deltas.
 */
import { Duration } from "aws-cdk-lib";
import type { IGrantable } from "aws-cdk-lib/aws-iam";
import {
  type Architecture,
  type FunctionUrl,
  FunctionUrlAuthType,
  type Function as LambdaFunction,
} from "aws-cdk-lib/aws-lambda";
import { Queue, QueueEncryption } from "aws-cdk-lib/aws-sqs";
import { Construct } from "constructs";
import { functions } from "../contract/functions.ts";
import { env } from "../contract/names.ts";
import { checkSetting } from "../contract/settings.ts";
import { checkCollectionName } from "../core/model/collection.ts";
import { functionTimeoutMs } from "../core/policy/time-bounds.ts";
import { allowing, HandlerFunction } from "./handler-function.ts";
import type { Storage } from "./storage.ts";

/** A message may not come back while the run that took it is still working. */
const visibilityTimeoutSeconds = functionTimeoutMs.compactor / 1000 + 60;
/** The compactor puts what it cannot read on the dead-letter queue itself, with the reason; this is the backstop. */
const receiveCountMax = 100;

export interface IngestionProps {
  readonly stage: string;
  /** Name of the store. */
  readonly store: string;
  readonly storage: Storage;
  readonly codeFolder: string;
  readonly architecture: Architecture;
  readonly memoryMiB?: number | undefined;
  /** @default none */
  readonly reservedConcurrency?: number | undefined;
}

export interface ProduceGrant {
  /**
   * Names of the collections that may be written, at least one.
   * @default all of the store, those made later included
   */
  readonly collections?: readonly string[];
}

export class Ingestion extends Construct {
  readonly queue: Queue;
  readonly deadLetterQueue: Queue;
  readonly function: LambdaFunction;
  readonly url: FunctionUrl;
  /** The variables that every function of the store gets: the names of all it consists of, whatever its rights. */
  readonly environment: Readonly<Record<string, string>>;
  private readonly storage: Storage;

  constructor(scope: Construct, id: string, props: IngestionProps) {
    super(scope, id);
    this.storage = props.storage;
    this.deadLetterQueue = new Queue(this, "DeadLetterQueue", {
      retentionPeriod: Duration.days(14),
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
    });
    this.queue = new Queue(this, "Queue", {
      visibilityTimeout: Duration.seconds(visibilityTimeoutSeconds),
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      deadLetterQueue: { queue: this.deadLetterQueue, maxReceiveCount: receiveCountMax },
    });
    this.environment = {
      [env.stage]: props.stage,
      [env.store]: props.store,
      [env.bucket]: props.storage.bucket.bucketName,
      [env.table]: props.storage.table.tableName,
      [env.queueUrl]: this.queue.queueUrl,
      [env.deadLetterQueueUrl]: this.deadLetterQueue.queueUrl,
    };
    const producer = new HandlerFunction(this, "Producer", {
      stage: props.stage,
      description: functions.producer.description,
      codeFolder: props.codeFolder,
      architecture: props.architecture,
      memoryMiB: checkSetting("producerMemoryMiB", props.memoryMiB),
      timeoutSeconds: functionTimeoutMs.producer / 1000,
      reservedConcurrency: props.reservedConcurrency,
      environment: this.environment,
    });
    this.function = producer.function;
    this.allowProduce(this.function);
    this.url = this.function.addFunctionUrl({ authType: FunctionUrlAuthType.AWS_IAM });
  }

  /** Gives a function that bundles the library the producer's rights and the environment variables it reads. */
  grantProduce(caller: LambdaFunction, { collections }: ProduceGrant = {}): void {
    this.allowProduce(caller, collections);
    for (const [name, value] of Object.entries(this.environment)) caller.addEnvironment(name, value);
  }

  /**
   * No right to list: the names of deltas cannot be guessed, so that of all that may be read only what one wrote oneself can
   * be. S3 then answers 403 instead of 404 for a collection that does not exist (lib/aws/s3-object-store.ts).
   */
  private allowProduce(grantee: IGrantable, collections?: readonly string[]): void {
    if (collections?.length === 0) throw new Error("collections: must name at least one collection");
    const { bucket } = this.storage;
    const names = collections?.map(checkCollectionName) ?? ["*"];
    const deltas = names.map((name) => bucket.arnForObjects(`${name}/*/deltas/*`));
    const configurations = names.map((name) => bucket.arnForObjects(`${name}/collection.json`));
    for (const statement of [
      allowing(["s3:PutObject"], deltas),
      // A delta of one's own is read back when the answer to its PUT was lost.
      allowing(["s3:GetObject"], [...configurations, ...deltas]),
      allowing(["sqs:SendMessage"], [this.queue.queueArn]),
    ]) {
      grantee.grantPrincipal.addToPrincipalPolicy(statement);
    }
  }
}
