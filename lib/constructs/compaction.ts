/**
 * The compactor function and its two schedules: every minute it ingests what came in, every five minutes it merges
 * segments and collects garbage. A run that failed is not repeated; the next one does its work.
 */
import { Duration, Stack } from "aws-cdk-lib";
import { Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import type { Architecture, Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import { CfnSchedule } from "aws-cdk-lib/aws-scheduler";
import type { Queue } from "aws-cdk-lib/aws-sqs";
import { Construct } from "constructs";
import { functions } from "../contract/functions.ts";
import type { CompactorSource } from "../contract/names.ts";
import { checkSetting } from "../contract/settings.ts";
import { functionTimeoutMs } from "../core/policy/time-bounds.ts";
import { allowing, HandlerFunction } from "./handler-function.ts";
import type { Storage } from "./storage.ts";

/** An event that could not be delivered for this long is dropped: the next one asks for the same. 60 is the least. */
const eventAgeMaxSeconds = 60;

export interface CompactionProps {
  readonly stage: string;
  readonly storage: Storage;
  readonly queue: Queue;
  readonly deadLetterQueue: Queue;
  readonly environment: Readonly<Record<string, string>>;
  readonly codeFolder: string;
  readonly architecture: Architecture;
  readonly memoryMiB?: number | undefined;
  readonly storageMiB?: number | undefined;
  /** @default none */
  readonly reservedConcurrency?: number | undefined;
}

export class Compaction extends Construct {
  readonly function: LambdaFunction;

  constructor(scope: Construct, id: string, props: CompactionProps) {
    super(scope, id);
    const { bucket, table } = props.storage;
    const compactor = new HandlerFunction(this, "Compactor", {
      stage: props.stage,
      description: functions.compactor.description,
      codeFolder: props.codeFolder,
      architecture: props.architecture,
      memoryMiB: checkSetting("compactorMemoryMiB", props.memoryMiB),
      storageMiB: checkSetting("compactorStorageMiB", props.storageMiB),
      timeoutSeconds: functionTimeoutMs.compactor / 1000,
      reservedConcurrency: props.reservedConcurrency,
      environment: props.environment,
    });
    this.function = compactor.function;
    compactor.allow(
      ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
      [bucket.arnForObjects("*")],
    );
    compactor.allow(["s3:ListBucket"], [bucket.bucketArn]);
    compactor.allow(
      ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
      [props.queue.queueArn],
    );
    compactor.allow(["sqs:SendMessage"], [props.deadLetterQueue.queueArn]);
    compactor.allow(["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"], [table.tableArn]);
    // The scheduler hands its events to Lambda's own queue, which would repeat a failed run twice.
    this.function.configureAsyncInvoke({
      retryAttempts: 0,
      maxEventAge: Duration.seconds(eventAgeMaxSeconds),
    });

    const role = new Role(this, "ScheduleRole", {
      assumedBy: new ServicePrincipal("scheduler.amazonaws.com", {
        conditions: { StringEquals: { "aws:SourceAccount": Stack.of(this).account } },
      }),
    });
    const invoke = { role, functionArn: this.function.functionArn };
    role.addToPolicy(allowing(["lambda:InvokeFunction"], [invoke.functionArn]));
    this.schedule("Scheduled", { ...invoke, source: "scheduled", expression: "rate(1 minute)" });
    this.schedule("Upkeep", { ...invoke, source: "upkeep", expression: "rate(5 minutes)" });
  }

  private schedule(
    id: string,
    options: { role: Role; functionArn: string; source: CompactorSource; expression: string },
  ): void {
    const schedule = new CfnSchedule(this, id, {
      description: `Siltstone compactor: ${options.source}`,
      scheduleExpression: options.expression,
      flexibleTimeWindow: { mode: "OFF" },
      state: "ENABLED",
      target: {
        arn: options.functionArn,
        roleArn: options.role.roleArn,
        input: JSON.stringify({ source: options.source }),
        retryPolicy: { maximumRetryAttempts: 0, maximumEventAgeInSeconds: eventAgeMaxSeconds },
      },
    });
    // The role's policy is a resource of its own; without it the first events would be refused.
    schedule.node.addDependency(options.role);
  }
}
