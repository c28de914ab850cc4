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
import { env, type Stage } from "../contract.ts";
import { functionTimeoutMs } from "../core/time-bounds.ts";
import { allowing, HandlerFunction } from "./handler-function.ts";
import type { Storage } from "./storage.ts";

/** A message may not come back while the run that took it is still working. */
const visibilityTimeoutSeconds = functionTimeoutMs.compactor / 1000 + 60;
/** The compactor puts what it cannot read on the dead-letter queue itself, with the reason; this is the backstop. */
const receiveCountMax = 100;

export interface IngestionProps {
  readonly stage: Stage;
  readonly storage: Storage;
  readonly codeFolder: string;
  readonly architecture: Architecture;
  /** @default 512 */
  readonly memoryMiB?: number | undefined;
  /** @default none */
  readonly reservedConcurrency?: number | undefined;
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
      [env.bucket]: props.storage.bucket.bucketName,
      [env.table]: props.storage.table.tableName,
      [env.queueUrl]: this.queue.queueUrl,
      [env.deadLetterQueueUrl]: this.deadLetterQueue.queueUrl,
    };
    const producer = new HandlerFunction(this, "Producer", {
      stage: props.stage,
      description: "Siltstone producer: writes deltas and notifies the compactor",
      codeFolder: props.codeFolder,
      architecture: props.architecture,
      memoryMiB: props.memoryMiB ?? 512,
      timeoutSeconds: functionTimeoutMs.producer / 1000,
      reservedConcurrency: props.reservedConcurrency,
      environment: this.environment,
    });
    this.function = producer.function;
    this.allowProduce(this.function);
    this.url = this.function.addFunctionUrl({ authType: FunctionUrlAuthType.AWS_IAM });
  }

  /** Gives a function that bundles the library the producer's rights and the environment variables it reads. */
  grantProduce(caller: LambdaFunction): void {
    this.allowProduce(caller);
    for (const [name, value] of Object.entries(this.environment)) caller.addEnvironment(name, value);
  }

  private allowProduce(grantee: IGrantable): void {
    const { bucket } = this.storage;
    const deltas = bucket.arnForObjects("*/deltas/*");
    for (const statement of [
      allowing(["s3:PutObject"], [deltas]),
      // A delta of one's own is read back when the answer to its PUT was lost.
      allowing(["s3:GetObject"], [bucket.arnForObjects("*/collection.json"), deltas]),
      // Without it S3 answers 403 instead of 404, and a collection that does not exist looks like a missing right.
      allowing(["s3:ListBucket"], [bucket.bucketArn]),
      allowing(["sqs:SendMessage"], [this.queue.queueArn]),
    ]) {
      grantee.grantPrincipal.addToPrincipalPolicy(statement);
    }
  }
}
