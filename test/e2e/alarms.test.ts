/**
 * Every alarm goes off for the failure that it is for, and none in a healthy store: the failures are made on the local stack, the
 * values are those that the functions wrote, or that the stack counts as AWS does (messages that wait, errors, throttled
 * calls, durations, bytes), and the alarms are those of the template (test/support/cloudwatch.ts evaluates them).
 *
 * What an alarm calls a period is a round here. What takes thousands of deltas or many minutes has a lower threshold (`scaled`); the
 * thresholds that are deployed are asserted in test/constructs/monitoring.test.ts.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { GetQueueAttributesCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { Table, tableFromIPC, tableToIPC } from "apache-arrow";
import type { CfnAlarm } from "aws-cdk-lib/aws-cloudwatch";
import { jobWorld } from "../../lib/aws/job-world.ts";
import { type AlarmName, alarmNames, alarms as rows } from "../../lib/contract/alarms.ts";
import { functions, jobOutputs } from "../../lib/contract/functions.ts";
import { type MetricName, type MetricRow, metrics } from "../../lib/contract/metrics.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { readCollection, readHead } from "../../lib/engine/shard/head.ts";
import { ingestLease } from "../../lib/engine/shard/lease.ts";
import { changeSettings } from "../../lib/jobs/control.ts";
import type { FaultRule } from "../../scripts/local/s3/fault-injection.ts";
import { type AlarmDefinition, periodMsOf, type Sample, samplesOf, stateOf } from "../support/cloudwatch.ts";
import { Deployed, dims, eventually, type FunctionName, vectorOf } from "./deployed.ts";

jest.setTimeout(300_000);

/** Rounds that no alarm needs more of. */
const rounds = 3;
const scaled: Readonly<Partial<Record<AlarmName, number>>> = {
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

const deployed = new Deployed();
const alarms = new Map<AlarmName, AlarmDefinition>();
let sqs: SQSClient;
let lambda: LambdaClient;

beforeAll(async () => {
  await deployed.start(null, {
    queryGroups: 2,
    providers: {},
    add: (store) => {
      for (const [name, threshold] of Object.entries(scaled))
        (store.monitoring.alarms[name as AlarmName]!.node.defaultChild as CfnAlarm).threshold = threshold;
    },
  });
  sqs = new SQSClient({});
  lambda = new LambdaClient({ maxAttempts: 1 });
  for (const alarm of deployed.alarms())
    alarms.set(alarmNames.find((name) => alarm.AlarmName.endsWith(`-${name}`))!, alarm);
  await createCollection(deployed.world, { name, dims, metric: "cosine", shards: 2 });
});
afterAll(async () => {
  await deployed.stop();
  deployed.remove();
  sqs?.destroy();
  lambda?.destroy();
});

const name = "watched";
const write = (from: number, count = 8, collection = name) =>
  call("producer", {
    collection,
    records: Array.from({ length: count }, (_, i) => ({ id: `r${from + i}`, vector: vectorOf(from + i) })),
  });
const compactNow = (event: object = { source: "scheduled" }) => call("compactor", event);
const ask = (event: object = {}, collection = name) =>
  call("query", { collection, vector: vectorOf(1), ...event });

/** Samples of the round that is under way. */
let own: Sample[] = [];

/** As CloudWatch's AWS/Lambda sees it. */
async function call(function_: FunctionName, event: object): Promise<boolean> {
  const count = (metric: string, value: number): void => {
    const dimensions = { FunctionName: deployed.stack.outputs[functions[function_].output]! };
    own.push({ namespace: "AWS/Lambda", name: metric, dimensions, atMs: 0, values: [value] });
  };
  const startMs = performance.now();
  try {
    const { failed } = await deployed.invoke(function_, event);
    count("Errors", failed ? 1 : 0);
    count("Duration", performance.now() - startMs);
    return !failed;
  } catch (error) {
    if ((error as Error).name !== "TooManyRequestsException") throw error;
    count("Throttles", 1);
    return false;
  }
}

async function counted(): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (const QueueUrl of deployed.stack.queues) {
    const { Attributes } = await sqs.send(
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

const emittedLines = (): string[] =>
  deployed.logLines().filter((line) => line.includes('"CloudWatchMetrics"'));

function linesBeyond(before: readonly string[], after: readonly string[]): string[] {
  const known = new Map<string, number>();
  for (const line of before) known.set(line, (known.get(line) ?? 0) + 1);
  return after.filter((line) => {
    const left = known.get(line) ?? 0;
    known.set(line, left - 1);
    return left <= 0;
  });
}

/** The alarms that are on after the rounds of `work`, of which each is a period of whatever length the alarm has. */
async function alarmsAfter(
  work: (round: number) => Promise<unknown>,
  thresholds: "scaled" | "deployed" = "scaled",
): Promise<AlarmName[]> {
  const byRound: Sample[][] = [];
  for (let round = 0; round < rounds; round++) {
    own = [];
    const before = emittedLines();
    await work(round);
    await sleep(100); // Lines are written when a call has been answered.
    byRound.push([...own, ...(await counted()), ...linesBeyond(before, emittedLines()).flatMap(samplesOf)]);
  }
  return [...alarms].flatMap(([name, alarm]) => {
    const periodMs = periodMsOf(alarm);
    const samples = byRound.flatMap((of, round) => of.map((one) => ({ ...one, atMs: round * periodMs })));
    const deployedAs = thresholds === "deployed" ? { Threshold: rows[name].threshold } : {};
    return stateOf({ ...alarm, ...deployedAs }, samples, { startMs: 0, periods: rounds }) === "ALARM"
      ? [name]
      : [];
  });
}

async function withFaults<T>(rules: readonly FaultRule[], work: () => Promise<T>): Promise<T> {
  await deployed.stack.setFaultInjection({ faults: { seed: 1, rules } });
  try {
    return await work();
  } finally {
    await deployed.stack.setFaultInjection({});
  }
}

const s3Fails: readonly FaultRule[] = [{ kind: "internalError", probability: 1 }];
const together = (count: number, work: (i: number) => Promise<unknown>) =>
  Promise.all(Array.from({ length: count }, (_, i) => work(i)));
const driven = new Set<AlarmName>();
async function expectAlarms(
  expected: readonly AlarmName[],
  work: (round: number) => Promise<unknown>,
): Promise<void> {
  const on = await alarmsAfter(work);
  expect(on).toEqual(expect.arrayContaining([...expected]));
  for (const name of expected) driven.add(name);
}

test("in a healthy store no alarm goes off", async () => {
  const on = await alarmsAfter(async (round) => {
    expect(await write(round * 8)).toBe(true);
    expect(await compactNow()).toBe(true);
    expect(await compactNow({ source: "upkeep" })).toBe(true);
    expect(await ask()).toBe(true);
    expect(await ask({ consistency: "strong" })).toBe(true);
  }, "deployed");
  expect(on).toEqual([]);
});

test("no run at all: NoSuccessfulRun, by data that is missing", async () => {
  expect(await alarmsAfter(async () => {})).toEqual(["NoSuccessfulRun"]);
  driven.add("NoSuccessfulRun");
});

test("runs that fail: CompactionFailing, and the event is kept: FailedEvents", () =>
  expectAlarms(["CompactionFailing", "FailedEvents"], (round) =>
    withFaults(s3Fails, async () => {
      expect(await compactNow()).toBe(false);
      if (round < rounds - 1) return;
      const FunctionName = deployed.stack.outputs[functions.compactor.output]!;
      await lambda.send(
        new InvokeCommand({ FunctionName, InvocationType: "Event", Payload: '{"source":"scheduled"}' }),
      );
      await eventually(async () =>
        (await counted()).some(
          ({ dimensions, values }) => /FailedEvents/.test(dimensions.QueueName!) && values[0]! > 0,
        )
          ? true
          : undefined,
      );
    }),
  ));

test("one damaged collection: CompactionFaults", async () => {
  await deployed.world.store.put("broken/collection.json", Buffer.from("{}"), { ifAbsent: true });
  // One that has just started looks at everything; another would within ten minutes.
  await deployed.killProcesses("compactor");
  await expectAlarms(["CompactionFaults"], () => compactNow());
  await deployed.world.store.delete(["broken/collection.json"]);
});

test("deltas that wait, since newer code wrote them: Backlog, OldestDelta", async () => {
  await createCollection(deployed.world, { name: "waiting", dims, metric: "cosine" });
  const newer = await deltaOfFormat2();
  for (let i = 0; i < 3; i++)
    await deployed.world.store.put(`waiting/0/deltas/${deployed.world.clock.ulid()}.arrow`, newer, {
      ifAbsent: true,
    });
  await sleep(1_100);
  await expectAlarms(["Backlog", "OldestDelta"], () =>
    compactNow({ source: "manual", collection: "waiting" }),
  );
  await deployed.world.store.delete(await deployed.keys("waiting/0/deltas/"));
});

test("segments that are not merged: Segments", async () => {
  await createCollection(deployed.world, { name: "many", dims, metric: "cosine" });
  let n = 0;
  const ingestOne = async () => {
    await write(n++, 1, "many");
    await compactNow();
  };
  for (let i = 0; i < 3; i++) await ingestOne();
  await expectAlarms(["Segments"], ingestOne);
});

test("a lease that others hold: LeaseContention", async () => {
  await write(500);
  const nowMs = Date.now();
  for (const shard of [0, 1])
    await deployed.world.leases.acquire(ingestLease(`${name}/${shard}`), {
      owner: "stuck",
      leaseMs: 600_000,
      nowMs,
    });
  await expectAlarms(["LeaseContention"], () => compactNow({ source: "manual", collection: name }));
  for (const shard of [0, 1]) {
    const held = await deployed.world.leases.read(ingestLease(`${name}/${shard}`));
    await deployed.world.leases.release(held!);
  }
});

test("a delta that is none: Quarantine", () =>
  expectAlarms(["Quarantine"], async () => {
    const key = `${name}/0/deltas/${deployed.world.clock.ulid()}.arrow`;
    await deployed.world.store.put(key, Buffer.from("no delta"), { ifAbsent: true });
    await compactNow({ source: "manual", collection: name });
  }));

test("a message that is none: DeadLetters", async () => {
  await deployed.send("garbage");
  await expectAlarms(["DeadLetters"], () => compactNow());
});

test("S3 that answers with errors: QueryErrors, ProducerErrors, FunctionErrors", () =>
  expectAlarms(["QueryErrors", "ProducerErrors", "FunctionErrors"], (round) =>
    round < rounds - 1
      ? Promise.resolve()
      : withFaults(s3Fails, async () => {
          await together(10, () => ask({ consistency: "strong" }));
          await together(10, (i) => write(600 + i, 1));
        }),
  ));

test("S3 that is slow: QueryLatency, FunctionTime", () =>
  expectAlarms(["QueryLatency", "FunctionTime"], () =>
    withFaults([{ kind: "delay", probability: 1, delayMs: 700 }], () => ask({ consistency: "strong" })),
  ));

test("views that are not compared with the newest version: SnapshotAge", async () => {
  await ask();
  await sleep(1_200);
  await expectAlarms(["SnapshotAge"], () => ask());
});

test("a damaged version: SnapshotFallback", async () => {
  await createCollection(deployed.world, { name: "damaged", dims, metric: "cosine" });
  for (const n of [0, 1]) {
    await write(n, 1, "damaged");
    await compactNow({ source: "manual", collection: "damaged" });
  }
  const { world } = deployed;
  const { pointer } = await readHead(world.store, await readCollection(world.store, "damaged"), 0);
  await deployed.replace(pointer.manifest!, Buffer.from("damaged"));
  await expectAlarms(["SnapshotFallback"], () => ask({}, "damaged"));
  await call("compactor", { source: "manual", collection: "damaged" });
});

test("a query group that does not answer: PartialAnswers", async () => {
  await createCollection(deployed.world, { name: "halves", dims, metric: "cosine", shards: 2 });
  await write(0, 20, "halves");
  await compactNow({ source: "manual", collection: "halves" });
  await expectAlarms(["PartialAnswers"], () =>
    withFaults([{ kind: "internalError", probability: 1, keyIncludes: "halves/1/" }], () =>
      ask({ allowPartial: true }, "halves"),
    ),
  );
});

test("items that are refused, one that waits, and a message that is none: JobsFailing, JobsLate, JobDeadLetters", async () => {
  await createCollection(deployed.world, { name: "items", dims, metric: "cosine", embedder: "lexical" });
  const save = (items: object[]) => call("producer", { collection: "items", items });
  const { outputs } = deployed.stack;
  const urls = outputs[jobOutputs.queueUrls]!.split(",");
  const jobs = jobWorld({ table: deployed.output("table"), jobQueueUrls: urls }, deployed.world);
  await expectAlarms(["JobsFailing", "JobDeadLetters"], async (round) => {
    if (round < rounds - 1) return;
    await sqs.send(new SendMessageCommand({ QueueUrl: urls[0]!, MessageBody: "garbage" }));
    await save(Array.from({ length: 10 }, (_, i) => ({ id: `bad-${i}`, text: "?!" })));
    await eventually(async () => ((await jobs.table.count("failed")) === 10 ? true : undefined));
    await eventually(async () =>
      (await counted()).some(
        ({ dimensions, values }) => /JobsDeadLetter/.test(dimensions.QueueName!) && values[0]! > 0,
      )
        ? true
        : undefined,
    );
  });
  await changeSettings(jobs, { state: "paused" }, "test");
  await sleep(2_100); // A worker goes by settings of the last two seconds.
  await save([{ id: "late", text: "late" }]);
  await sleep(1_600);
  await expectAlarms(["JobsLate"], () => call("embedder", { source: "sweep" }));
});

test("what the bucket holds: StorageGrowth", async () => {
  let bytes = 0;
  for await (const page of deployed.world.store.list("")) for (const object of page) bytes += object.bytes;
  await expectAlarms(["StorageGrowth"], async () => {
    const dimensions = { BucketName: deployed.output("bucket"), StorageType: "StandardStorage" };
    own.push({ namespace: "AWS/S3", name: "BucketSizeBytes", dimensions, atMs: 0, values: [bytes] });
  });
});

test("concurrency that is used up: Throttles", async () => {
  await deployed.redefine("producer", (definition) => ({ ...definition, reservedConcurrency: 1 }));
  await expectAlarms(["Throttles"], (round) =>
    round < rounds - 1 ? Promise.resolve() : together(14, (i) => write(700 + i, 1)),
  );
});

test("a process that fills its function's memory: FunctionMemory", async () => {
  // A process that has just started, as the one whose memory is bounded by what this one used.
  await deployed.redefine("producer", (definition) => ({ ...definition, memoryMegabytes: 512 }));
  await write(800, 1);
  await sleep(300); // Its report is written when the call has been answered.
  const used = Number([...deployed.log("producer").matchAll(/Max Memory Used: (\d+) MB/g)].at(-1)?.[1]);
  expect(used).toBeGreaterThan(30);
  await deployed.redefine("producer", (definition) => ({
    ...definition,
    memoryMegabytes: Math.ceil(used * 1.1),
  }));
  await expectAlarms(["FunctionMemory"], (round) => write(810 + round, 1));
});

test("every metric came from the function that the table says, over the dimensions that it says", () => {
  const odd = (["producer", "compactor", "query"] as const).flatMap((function_) =>
    deployed
      .log(function_)
      .split("\n")
      .flatMap(samplesOf)
      .filter(({ name, dimensions }) => {
        const row: MetricRow | undefined = metrics[name as MetricName];
        const isOwn = row?.emittedBy === function_ || row?.emittedBy === "every function";
        const isOfStore = Object.keys(dimensions).join() === "store";
        return (
          !isOwn ||
          !(isOfStore || (row.ofCollection && Object.keys(dimensions).join() === "store,collection"))
        );
      }),
  );
  expect(odd).toEqual([]);
});

test("every alarm was seen to go off", () => {
  expect([...driven].sort()).toEqual([...alarmNames].sort());
});

/** A delta as newer code might write it: other columns, and its number where every format has it. */
async function deltaOfFormat2(): Promise<Uint8Array> {
  await write(900, 1);
  const [key] = [
    ...(await deployed.keys(`${name}/0/deltas/`)),
    ...(await deployed.keys(`${name}/1/deltas/`)),
  ];
  const found = await deployed.world.store.get(key!);
  if (found.kind !== "found") throw new Error("it was just written");
  const table = tableFromIPC(found.body).select(["id", "op"]);
  table.schema.metadata.set("siltstone.format", "2");
  return tableToIPC(new Table(table.schema, table.batches), "file");
}
