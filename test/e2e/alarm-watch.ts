/**
 * CloudWatch over a deployed store: the values are those that the functions wrote, or that the stack counts as AWS does (messages that wait,
 * errors, throttled calls, durations, bytes), and the alarms are those of the template (test/support/cloudwatch.ts evaluates them).
 * What an alarm calls a period is a round here.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { LambdaClient } from "@aws-sdk/client-lambda";
import { GetQueueAttributesCommand, SQSClient } from "@aws-sdk/client-sqs";
import { type AlarmName, alarmNames, alarms as rows } from "../../lib/contract/alarms.ts";
import { functions } from "../../lib/contract/functions.ts";
import type { FaultRule } from "../../scripts/local/s3/fault-injection.ts";
import { type AlarmDefinition, periodMsOf, type Sample, samplesOf, stateOf } from "../support/cloudwatch.ts";
import { type Deployed, type FunctionName, vectorOf } from "./deployed.ts";

/** Rounds that no alarm needs more of. */
export const rounds = 3;
/** What takes thousands of deltas or many minutes; the thresholds that are deployed are asserted in test/constructs/monitoring.test.ts. */
export const scaled: Readonly<Partial<Record<AlarmName, number>>> = {
  Backlog: 3,
  OldestDelta: 0.5,
  Segments: 4,
  LeaseContention: 1,
  SnapshotAge: 1,
  FunctionTime: 2,
  FunctionMemory: 76,
  StorageGrowth: 0,
  JobsLate: 0.5,
};

/** The collection that is written and asked where a failure names no other; it has two shards. */
export const watched = "watched";

export class Watch {
  readonly deployed: Deployed;
  readonly alarms = new Map<AlarmName, AlarmDefinition>();
  readonly sqs = new SQSClient({});
  readonly lambda = new LambdaClient({ maxAttempts: 1 });
  /** Samples of the round that is under way. */
  #own: Sample[] = [];

  /** Of a store that is started. */
  constructor(deployed: Deployed) {
    this.deployed = deployed;
    for (const alarm of deployed.alarms())
      this.alarms.set(alarmNames.find((name) => alarm.AlarmName.endsWith(`-${name}`))!, alarm);
  }

  destroy(): void {
    this.sqs.destroy();
    this.lambda.destroy();
  }

  write = (from: number, count = 8, collection = watched): Promise<boolean> =>
    this.call("producer", {
      collection,
      records: Array.from({ length: count }, (_, i) => ({ id: `r${from + i}`, vector: vectorOf(from + i) })),
    });
  compact = (event: object = { source: "scheduled" }): Promise<boolean> => this.call("compactor", event);
  ask = (event: object = {}, collection = watched): Promise<boolean> =>
    this.call("query", { collection, vector: vectorOf(1), ...event });

  /** As CloudWatch's AWS/Lambda sees it; whether it succeeded. */
  async call(function_: FunctionName, event: object): Promise<boolean> {
    const count = (metric: string, value: number): void => {
      const dimensions = { FunctionName: this.deployed.stack.outputs[functions[function_].output]! };
      this.sample({ namespace: "AWS/Lambda", name: metric, dimensions, values: [value] });
    };
    const startMs = performance.now();
    try {
      const { failed } = await this.deployed.invoke(function_, event);
      count("Errors", failed ? 1 : 0);
      count("Duration", performance.now() - startMs);
      return !failed;
    } catch (error) {
      if ((error as Error).name !== "TooManyRequestsException") throw error;
      count("Throttles", 1);
      return false;
    }
  }

  sample(one: Omit<Sample, "atMs">): void {
    this.#own.push({ ...one, atMs: 0 });
  }

  /** Messages that wait, by queue. */
  async counted(): Promise<Sample[]> {
    const samples: Sample[] = [];
    for (const QueueUrl of this.deployed.stack.queues) {
      const { Attributes } = await this.sqs.send(
        new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["ApproximateNumberOfMessages"] }),
      );
      samples.push({
        namespace: "AWS/SQS",
        name: "ApproximateNumberOfMessagesVisible",
        dimensions: { QueueName: QueueUrl.split("/").at(-1)! },
        atMs: 0,
        values: [Number(Attributes!.ApproximateNumberOfMessages)],
      });
    }
    return samples;
  }

  /** Undefined until a message waits there. */
  waits = async (queue: RegExp): Promise<true | undefined> =>
    (await this.counted()).some(
      ({ dimensions, values }) => queue.test(dimensions.QueueName!) && values[0]! > 0,
    )
      ? true
      : undefined;

  /** The alarms that are on after the rounds of `work`, of which each is a period of whatever length the alarm has. */
  async alarmsAfter(
    work: (round: number) => Promise<unknown>,
    thresholds: "scaled" | "deployed" = "scaled",
  ): Promise<AlarmName[]> {
    const byRound: Sample[][] = [];
    for (let round = 0; round < rounds; round++) {
      this.#own = [];
      const before = this.#emitted();
      await work(round);
      await sleep(100); // Lines are written when a call has been answered.
      const lines = linesBeyond(before, this.#emitted());
      byRound.push([...this.#own, ...(await this.counted()), ...lines.flatMap(samplesOf)]);
    }
    return [...this.alarms].flatMap(([name, alarm]) => {
      const periodMs = periodMsOf(alarm);
      const samples = byRound.flatMap((of, round) => of.map((one) => ({ ...one, atMs: round * periodMs })));
      const deployedAs = thresholds === "deployed" ? { Threshold: rows[name].threshold } : {};
      return stateOf({ ...alarm, ...deployedAs }, samples, { startMs: 0, periods: rounds }) === "ALARM"
        ? [name]
        : [];
    });
  }

  /** What runs in every healthy store; no alarm goes off. */
  healthy = async (round: number): Promise<void> => {
    const done = [
      await this.write(round * 8),
      await this.compact(),
      await this.compact({ source: "upkeep" }),
      await this.ask(),
      await this.ask({ consistency: "strong" }),
    ];
    if (done.includes(false)) throw new Error(`a call failed: ${done}`);
  };

  async withFaults<T>(rules: readonly FaultRule[], work: () => Promise<T>): Promise<T> {
    await this.deployed.stack.setFaultInjection({ faults: { seed: 1, rules } });
    try {
      return await work();
    } finally {
      await this.deployed.stack.setFaultInjection({});
    }
  }

  #emitted = (): string[] => this.deployed.logLines().filter((line) => line.includes('"CloudWatchMetrics"'));
}

function linesBeyond(before: readonly string[], after: readonly string[]): string[] {
  const known = new Map<string, number>();
  for (const line of before) known.set(line, (known.get(line) ?? 0) + 1);
  return after.filter((line) => {
    const left = known.get(line) ?? 0;
    known.set(line, left - 1);
    return left <= 0;
  });
}
