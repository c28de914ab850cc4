/**
 * The compactor function and its two schedules: every minute it ingests what came in, every five minutes it merges
 * segments and collects garbage. A run that failed is not repeated; the next one does its work.
 */
import { Duration, Stack } from "aws-cdk-lib";
import { Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import {
  CfnEventInvokeConfig,
  type CfnFunction,
  type Function as LambdaFunction,
} from "aws-cdk-lib/aws-lambda";
import { CfnSchedule } from "aws-cdk-lib/aws-scheduler";
import { Queue } from "aws-cdk-lib/aws-sqs";
import { Construct } from "constructs";
import type { CompactorSource } from "../contract/names.ts";
import { checkOptionalSetting, checkSetting } from "../contract/settings.ts";
import { functionTimeoutMs } from "../core/policy/time-bounds.ts";
import { allowKey } from "./encryption.ts";
import { allowing, HandlerFunction, type StoreFunctions } from "./handler-function.ts";
import { type Ingestion, queueEncryption } from "./ingestion.ts";
import { checkProps } from "./props.ts";
import type { Storage } from "./storage.ts";

/** An event that could not be delivered for this long is dropped: the next one asks for the same. 60 is the least. */
const eventAgeMaxSeconds = 60;

export interface CompactionOptions {
  /** @default 3008, the most that new accounts allow */
  readonly memoryMiB?: number;
  /** Local disk, for the segments of one merge. @default 4096 */
  readonly diskMiB?: number;
  /** @default none: the function shares the account's concurrency */
  readonly reservedConcurrency?: number;
  /** Minutes between two runs that ingest, 1 to 60: how long a record waits for eventual reads. @default 1 */
  readonly intervalMinutes?: number;
  /** Minutes between two runs that merge and collect garbage, 1 to 1,440. @default 5 */
  readonly upkeepIntervalMinutes?: number;
}
const compactionProps = {
  memoryMiB: true,
  diskMiB: true,
  reservedConcurrency: true,
  intervalMinutes: true,
  upkeepIntervalMinutes: true,
} as const satisfies Record<keyof CompactionOptions, true>;

export interface CompactionProps {
  readonly storage: Storage;
  readonly ingestion: Ingestion;
  readonly functions: StoreFunctions;
  readonly options: CompactionOptions;
}

export class Compaction extends Construct {
  readonly function: LambdaFunction;
  /** Between two scheduled runs, of whichever kind comes more often. */
  readonly intervalMinutes: number;
  /** Where events go that did not reach the compactor, or whose run failed: for an hour, so that what is over is forgotten. */
  readonly failedEventsQueue: Queue;

  constructor(scope: Construct, id: string, { storage, ingestion, functions, options }: CompactionProps) {
    super(scope, id);
    checkProps("compaction", options, compactionProps);
    const compactor = new HandlerFunction(this, "Compactor", {
      functions,
      name: "compactor",
      memoryMiB: checkSetting("compaction.memoryMiB", options.memoryMiB),
      diskMiB: checkSetting("compaction.diskMiB", options.diskMiB),
      timeoutSeconds: functionTimeoutMs.compactor / 1000,
      reservedConcurrency: checkOptionalSetting(
        "compaction.reservedConcurrency",
        options.reservedConcurrency,
      ),
      environment: ingestion.environment,
    });
    this.function = compactor.function;
    allowCompaction(compactor, storage, ingestion);
    const { encryptionKey } = storage;
    this.failedEventsQueue = new Queue(this, "FailedEvents", {
      retentionPeriod: Duration.hours(1),
      ...queueEncryption(encryptionKey),
      enforceSSL: true,
    });
    compactor.allow(["sqs:SendMessage"], [this.failedEventsQueue.queueArn]);
    // The scheduler hands its events to Lambda's own queue, which would repeat a failed run twice. (The CDK's own destination
    // would give the function rights that it does not need.)
    const { ref: functionName } = this.function.node.defaultChild as CfnFunction;
    const destination = { onFailure: { destination: this.failedEventsQueue.queueArn } };
    const invocation = new CfnEventInvokeConfig(this, "Invocation", {
      functionName,
      qualifier: "$LATEST",
      maximumRetryAttempts: 0,
      maximumEventAgeInSeconds: eventAgeMaxSeconds,
      destinationConfig: destination,
    });
    // Lambda looks whether the role may send to the destination.
    invocation.node.addDependency(this.function.role!);

    const role = new Role(this, "ScheduleRole", {
      assumedBy: new ServicePrincipal("scheduler.amazonaws.com", {
        conditions: { StringEquals: { "aws:SourceAccount": Stack.of(this).account } },
      }),
    });
    role.addToPolicy(allowing(["lambda:InvokeFunction"], [this.function.functionArn]));
    role.addToPolicy(allowing(["sqs:SendMessage"], [this.failedEventsQueue.queueArn]));
    allowKey(role, encryptionKey, "sendMessages");
    const every = (source: CompactorSource, id: string, minutes: number) =>
      this.schedule(id, { role, source, expression: `rate(${minutes} minute${minutes === 1 ? "" : "s"})` });
    const interval = checkSetting("compaction.intervalMinutes", options.intervalMinutes);
    const upkeep = checkSetting("compaction.upkeepIntervalMinutes", options.upkeepIntervalMinutes);
    every("scheduled", "Scheduled", interval);
    every("upkeep", "Upkeep", upkeep);
    this.intervalMinutes = Math.min(interval, upkeep);
  }

  private schedule(id: string, options: { role: Role; source: CompactorSource; expression: string }): void {
    const schedule = new CfnSchedule(this, id, {
      description: `Siltstone compactor: ${options.source}`,
      scheduleExpression: options.expression,
      flexibleTimeWindow: { mode: "OFF" },
      state: "ENABLED",
      target: {
        arn: this.function.functionArn,
        roleArn: options.role.roleArn,
        input: JSON.stringify({ source: options.source }),
        retryPolicy: { maximumRetryAttempts: 0, maximumEventAgeInSeconds: eventAgeMaxSeconds },
        deadLetterConfig: { arn: this.failedEventsQueue.queueArn },
      },
    });
    // The role's policy is a resource of its own; without it the first events would be refused.
    schedule.node.addDependency(options.role);
  }
}

/**
 * It writes segments, manifests and pointers, puts deltas aside, makes exported snapshots into deltas, and deletes what nothing names any more. It never writes a
 * configuration or a pin, and never deletes a configuration, a pin or a pointer.
 */
function allowCompaction(compactor: HandlerFunction, storage: Storage, ingestion: Ingestion): void {
  const { bucket, bucketKey, encryptionKey, table } = storage;
  const { queue, deadLetterQueue } = ingestion;
  const below = (...folders: string[]) => folders.map((folder) => bucket.arnForObjects(`*/*/${folder}/*`));
  compactor.allow(["s3:ListBucket"], [bucket.bucketArn]);
  compactor.allow(["s3:GetObject"], [bucket.arnForObjects("*")]);
  compactor.allow(
    ["s3:PutObject"],
    [
      ...below("segments", "manifests", "quarantine"),
      bucket.arnForObjects("*/*/pointer.json"),
      // To lift a barrier whose driver died.
      bucket.arnForObjects("*/alias.json"),
    ],
  );
  // Of an exported snapshot that it takes over: the records, and how far it is (lib/core/format/exported-snapshot.ts).
  compactor.allow(["s3:PutObject"], [...below("deltas"), bucket.arnForObjects("snapshot/*/run/*")]);
  // A segment that goes up in parts, a copy above 256 MiB that is put aside: given up when a part fails.
  compactor.allow(["s3:AbortMultipartUpload"], below("segments", "quarantine"));
  compactor.allow(["s3:DeleteObject"], below("deltas", "segments", "manifests"));
  compactor.allow(["sqs:ReceiveMessage", "sqs:DeleteMessage"], [queue.queueArn]);
  compactor.allow(["sqs:SendMessage"], [deadLetterQueue.queueArn]);
  compactor.allow(["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"], [table.tableArn]);
  allowKey(compactor.function, bucketKey, "writeObjects");
  // Receiving asks a part of what sending asks.
  allowKey(compactor.function, encryptionKey, "sendMessages");
  allowKey(compactor.function, encryptionKey, "useTable");
}
