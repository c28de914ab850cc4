/**
 * How records come in: the producer function with its URL, and the queue that tells the compactor of new deltas.
 *
 * The queue carries hints, not data: a lost message costs ten minutes, since the compactor also lists the deltas.
 */
import { Duration } from "aws-cdk-lib";
import type { IGrantable } from "aws-cdk-lib/aws-iam";
import type { IKey } from "aws-cdk-lib/aws-kms";
import {
  type FunctionUrl,
  FunctionUrlAuthType,
  type Function as LambdaFunction,
} from "aws-cdk-lib/aws-lambda";
import { Queue, QueueEncryption } from "aws-cdk-lib/aws-sqs";
import { Construct } from "constructs";
import { env } from "../contract/names.ts";
import { checkOptionalSetting, checkSetting } from "../contract/settings.ts";
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
import { checkProps } from "./props.ts";
import type { Storage } from "./storage.ts";

/** A message may not come back while the run that took it is still working. */
const visibilityTimeoutSeconds = functionTimeoutMs.compactor / 1000 + 60;
/** The compactor puts what it cannot read on the dead-letter queue itself, with the reason; this is the backstop. */
const receiveCountMax = 100;

export interface ProducerOptions {
  /** @default 512 */
  readonly memoryMiB?: number;
  /** @default none: the function shares the account's concurrency */
  readonly reservedConcurrency?: number;
}
const producerProps = { memoryMiB: true, reservedConcurrency: true } as const satisfies Record<
  keyof ProducerOptions,
  true
>;

export interface IngestionProps {
  /** Name of the store. */
  readonly store: string;
  readonly storage: Storage;
  readonly functions: StoreFunctions;
  readonly options: ProducerOptions;
}

export interface ProduceGrant {
  /**
   * Names of the collections that may be written, at least one.
   * @default all of the store, those made later included; none where there are aliases
   */
  readonly collections?: readonly string[];
  /**
   * Names of aliases that may be written by, at least one: their sides whose names are the alias's, `_v` and whatever follows, those made later
   * included. A side that is called otherwise has to be among the collections.
   * @default none; all where there are no collections
   */
  readonly aliases?: readonly string[];
}

export const queueEncryption = (key: IKey | undefined) =>
  key === undefined
    ? { encryption: QueueEncryption.SQS_MANAGED }
    : { encryption: QueueEncryption.KMS, encryptionMasterKey: key };

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
    const { storage, functions, options } = props;
    checkProps("producer", options, producerProps);
    this.storage = storage;
    const encryption = queueEncryption(storage.encryptionKey);
    this.deadLetterQueue = new Queue(this, "DeadLetterQueue", {
      retentionPeriod: Duration.days(14),
      ...encryption,
      enforceSSL: true,
    });
    this.queue = new Queue(this, "Queue", {
      visibilityTimeout: Duration.seconds(visibilityTimeoutSeconds),
      ...encryption,
      enforceSSL: true,
      deadLetterQueue: { queue: this.deadLetterQueue, maxReceiveCount: receiveCountMax },
    });
    this.environment = {
      [env.stage]: functions.stage,
      [env.store]: props.store,
      [env.bucket]: storage.bucket.bucketName,
      [env.table]: storage.table.tableName,
      [env.queueUrl]: this.queue.queueUrl,
      [env.deadLetterQueueUrl]: this.deadLetterQueue.queueUrl,
    };
    const producer = new HandlerFunction(this, "Producer", {
      functions,
      name: "producer",
      memoryMiB: checkSetting("producer.memoryMiB", options.memoryMiB),
      timeoutSeconds: functionTimeoutMs.producer / 1000,
      reservedConcurrency: checkOptionalSetting("producer.reservedConcurrency", options.reservedConcurrency),
      environment: this.environment,
    });
    this.function = producer.function;
    this.allowProduce(this.function);
    this.url = this.function.addFunctionUrl({ authType: FunctionUrlAuthType.AWS_IAM });
  }

  /** Gives whoever bundles the library the producer's rights, and a function the environment variables that it reads. */
  grantProduce(grantee: IGrantable, grant: ProduceGrant = {}): void {
    this.allowProduce(grantee, grant);
    setVariables(grantee, this.environment);
  }

  /**
   * No right to list: the names of deltas cannot be guessed, so that of all that may be read only what one wrote oneself can
   * be. S3 then answers 403 instead of 404 for a collection that does not exist (lib/aws/s3-object-store.ts).
   */
  private allowProduce(grantee: IGrantable, { collections, aliases }: ProduceGrant = {}): void {
    if (collections?.length === 0) throw new Error("collections: must name at least one collection");
    if (aliases?.length === 0) throw new Error("aliases: must name at least one alias");
    const isAll = collections === undefined && aliases === undefined;
    const given = isAll ? ["*"] : (aliases ?? []).map(checkCollectionName);
    const { bucket, bucketKey, encryptionKey } = this.storage;
    const sides = isAll ? given : given.map((alias) => `${alias}_v*`);
    const names = [...(collections ?? []).map(checkCollectionName), ...sides];
    const deltas = names.map((name) => bucket.arnForObjects(`${name}/*/deltas/*`));
    const configurations = names.map((name) => bucket.arnForObjects(`${name}/collection.json`));
    const leading = given.map((name) => bucket.arnForObjects(`${name}/alias.json`));
    giveRight(grantee, allowing(["s3:PutObject"], deltas));
    // A delta of one's own is read back when the answer to its PUT was lost.
    giveRight(grantee, allowing(["s3:GetObject"], [...configurations, ...leading, ...deltas]));
    giveRight(grantee, allowing(["sqs:SendMessage"], [this.queue.queueArn]));
    allowKey(grantee, bucketKey, "writeObjects");
    allowKey(grantee, encryptionKey, "sendMessages");
  }
}
