/** For every alarm a failure that it is for, made on a deployed store: by alarms.test.ts, and on the way through the runbook (test/journey). */
import { setTimeout as sleep } from "node:timers/promises";
import { InvokeCommand } from "@aws-sdk/client-lambda";
import { SendMessageCommand } from "@aws-sdk/client-sqs";
import { Table, tableFromIPC, tableToIPC } from "apache-arrow";
import { jobWorld } from "../../lib/aws/job-world.ts";
import type { AlarmName } from "../../lib/contract/alarms.ts";
import { functions, jobOutputs } from "../../lib/contract/functions.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { readCollection, readHead } from "../../lib/engine/shard/head.ts";
import { ingestLease } from "../../lib/engine/shard/lease.ts";
import { changeSettings } from "../../lib/jobs/control.ts";
import type { FaultRule } from "../../scripts/local/s3/fault-injection.ts";
import { samplesOf } from "../support/cloudwatch.ts";
import { rounds, type Watch, watched } from "./alarm-watch.ts";
import { dims, eventually } from "./deployed.ts";

export interface Failure {
  readonly title: string;
  readonly alarms: readonly AlarmName[];
  /** The collection that it concerns. @default `watched` */
  readonly collection?: string;
  /** Once, before the rounds. */
  breaks?(watch: Watch): Promise<unknown>;
  round(watch: Watch, round: number): Promise<unknown>;
  /** What an operator has no part in: AWS is well again, a caller sends something better. */
  passes?(watch: Watch): Promise<unknown>;
  /** What the runbook's commands do, where nobody follows it. */
  mends?(watch: Watch): Promise<unknown>;
}

const s3Fails: readonly FaultRule[] = [{ kind: "internalError", probability: 1 }];
const together = (count: number, work: (i: number) => Promise<unknown>) =>
  Promise.all(Array.from({ length: count }, (_, i) => work(i)));
const isLast = (round: number): boolean => round === rounds - 1;
const manual = (collection: string) => ({ source: "manual", collection });

const aRecord = (n: number, text = `text ${n}`) => ({ id: `item-${n}`, text });
const save = ({ deployed }: Watch, items: object[]) =>
  deployed.answer("producer", { collection: "items", items });
function jobsOf({ deployed }: Watch) {
  const urls = deployed.stack.outputs[jobOutputs.queueUrls]!.split(",");
  const settings = { table: deployed.output("table"), jobQueueUrls: urls };
  return { urls, jobs: jobWorld(settings, deployed.world) };
}
/** A worker goes by settings of the last two seconds. */
async function setWork(watch: Watch, state: "paused" | "running"): Promise<void> {
  await changeSettings(jobsOf(watch).jobs, { state }, "test");
  await sleep(2_100);
}

const ofRuns: readonly Failure[] = [
  { title: "no run at all, by data that is missing", alarms: ["NoSuccessfulRun"], round: async () => {} },
  {
    title: "runs that fail, and whose event is kept",
    alarms: ["CompactionFailing", "FailedEvents"],
    round: (watch, round) =>
      watch.withFaults(s3Fails, async () => {
        expect(await watch.compact()).toBe(false);
        if (!isLast(round)) return;
        const FunctionName = watch.deployed.stack.outputs[functions.compactor.output]!;
        const Payload = '{"source":"scheduled"}';
        await watch.lambda.send(new InvokeCommand({ FunctionName, InvocationType: "Event", Payload }));
        await eventually(() => watch.waits(/FailedEvents/));
      }),
  },
  {
    title: "one damaged collection",
    alarms: ["CompactionFaults"],
    collection: "broken",
    breaks: async ({ deployed }) => {
      await deployed.world.store.put("broken/collection.json", Buffer.from("{}"), { ifAbsent: true });
      // One that has just started looks at everything; another would within ten minutes.
      await deployed.killProcesses("compactor");
    },
    round: (watch) => watch.compact(),
    mends: ({ deployed }) => deployed.world.store.delete(["broken/collection.json"]),
  },
  {
    title: "deltas that wait, since they are of a newer format",
    alarms: ["Backlog", "OldestDelta"],
    collection: "waiting",
    breaks: async (watch) => {
      const { deployed } = watch;
      await createCollection(deployed.world, { name: "waiting", dims, metric: "cosine" });
      for (let n = 0; n < 3; n++) await watch.write(n, 1, "waiting");
      for (const key of await deployed.keys("waiting/0/deltas/")) {
        const found = await deployed.world.store.get(key);
        if (found.kind !== "found") throw new Error("it was just written");
        await deployed.replace(key, ofFormat2(found.body));
      }
      await sleep(1_100);
    },
    round: (watch) => watch.compact(manual("waiting")),
    mends: async ({ deployed }) => deployed.world.store.delete(await deployed.keys("waiting/0/deltas/")),
  },
  {
    title: "segments that are not merged",
    alarms: ["Segments"],
    collection: "many",
    breaks: async (watch) => {
      await createCollection(watch.deployed.world, { name: "many", dims, metric: "cosine" });
      for (let n = 0; n < 3; n++) await ingestOne(watch, n);
    },
    round: (watch, round) => ingestOne(watch, 3 + round),
  },
  {
    title: "a lease that others hold",
    alarms: ["LeaseContention"],
    breaks: async (watch) => {
      await watch.write(500);
      for (const shard of [0, 1])
        await watch.deployed.world.leases.acquire(ingestLease(`${watched}/${shard}`), {
          ...{ owner: "stuck", leaseMs: 600_000, nowMs: Date.now() },
        });
    },
    round: (watch) => watch.compact(manual(watched)),
    mends: async ({ deployed: { world } }) => {
      for (const shard of [0, 1])
        await world.leases.release((await world.leases.read(ingestLease(`${watched}/${shard}`)))!);
    },
  },
];
/** A delta as newer code might write it: other columns, and its number where every format has it. */
function ofFormat2(delta: Uint8Array): Uint8Array {
  const table = tableFromIPC(delta).select(["id", "op"]);
  table.schema.metadata.set("siltstone.format", "2");
  return tableToIPC(new Table(table.schema, table.batches), "file");
}
async function ingestOne(watch: Watch, n: number): Promise<void> {
  await watch.write(n, 1, "many");
  await watch.compact();
}

const ofMessages: readonly Failure[] = [
  {
    title: "a delta that was replaced by what is none",
    alarms: ["Quarantine"],
    round: async (watch, round) => {
      await watch.write(400 + round, 1);
      const { deployed } = watch;
      const [key = ""] = [
        ...(await deployed.keys(`${watched}/0/deltas/`)),
        ...(await deployed.keys(`${watched}/1/deltas/`)),
      ];
      await deployed.replace(key, Buffer.from("no delta"));
      await watch.compact(manual(watched));
    },
  },
  {
    title: "a message that is none",
    alarms: ["DeadLetters"],
    breaks: ({ deployed }) => deployed.send("garbage"),
    round: (watch) => watch.compact(),
  },
];

const ofAnswers: readonly Failure[] = [
  {
    title: "S3 that answers with errors",
    alarms: ["QueryErrors", "ProducerErrors", "FunctionErrors"],
    round: async (watch, round) => {
      if (!isLast(round)) return;
      await watch.withFaults(s3Fails, async () => {
        await together(10, () => watch.ask({ consistency: "strong" }));
        await together(10, (i) => watch.write(600 + i, 1));
      });
    },
  },
  {
    title: "S3 that is slow",
    alarms: ["QueryLatency", "FunctionTime"],
    round: (watch) =>
      watch.withFaults([{ kind: "delay", probability: 1, delayMs: 700 }], () =>
        watch.ask({ consistency: "strong" }),
      ),
  },
  {
    title: "views that are not compared with the newest version",
    alarms: ["SnapshotAge"],
    breaks: async (watch) => {
      await watch.ask();
      await sleep(1_200);
    },
    round: (watch) => watch.ask(),
  },
  {
    title: "a damaged version",
    alarms: ["SnapshotFallback"],
    collection: "damaged",
    breaks: async (watch) => {
      const { world } = watch.deployed;
      await createCollection(world, { name: "damaged", dims, metric: "cosine" });
      for (const n of [0, 1]) {
        await watch.write(n, 1, "damaged");
        await watch.compact(manual("damaged"));
      }
      const { pointer } = await readHead(world.store, await readCollection(world.store, "damaged"), 0);
      await watch.deployed.replace(pointer.manifest!, Buffer.from("damaged"));
    },
    round: (watch) => watch.ask({}, "damaged"),
    mends: (watch) => watch.compact(manual("damaged")),
  },
  {
    title: "a query group that does not answer",
    alarms: ["PartialAnswers"],
    collection: "halves",
    breaks: async (watch) => {
      await createCollection(watch.deployed.world, { name: "halves", dims, metric: "cosine", shards: 2 });
      await watch.write(0, 20, "halves");
      await watch.compact(manual("halves"));
    },
    round: (watch) =>
      watch.withFaults([{ kind: "internalError", probability: 1, keyIncludes: "halves/1/" }], () =>
        watch.ask({ allowPartial: true }, "halves"),
      ),
  },
];

const ofItems: readonly Failure[] = [
  {
    title: "items that are refused, and a message that is none",
    alarms: ["JobsFailing", "JobDeadLetters"],
    collection: "items",
    breaks: ({ deployed }) =>
      createCollection(deployed.world, { name: "items", dims, metric: "cosine", embedder: "lexical" }),
    round: async (watch, round) => {
      if (!isLast(round)) return;
      const { jobs, urls } = jobsOf(watch);
      await watch.sqs.send(new SendMessageCommand({ QueueUrl: urls[0]!, MessageBody: "garbage" }));
      await save(
        watch,
        Array.from({ length: 10 }, (_, n) => aRecord(n, "?!")),
      );
      await eventually(async () => ((await jobs.table.count("failed")) === 10 ? true : undefined));
      await eventually(() => watch.waits(/JobsDeadLetter/));
      // A run's line comes when it has ended.
      const counted = () =>
        watch.deployed
          .log("embedder")
          .split("\n")
          .flatMap(samplesOf)
          .filter(({ name, dimensions }) => name === "JobsFailed" && Object.keys(dimensions).length === 1)
          .reduce((sum, { values }) => sum + values.reduce((a, b) => a + b, 0), 0);
      await eventually(async () => (counted() >= 10 ? true : undefined));
    },
    passes: async (watch) => {
      await save(
        watch,
        Array.from({ length: 10 }, (_, n) => aRecord(n)),
      );
      const { jobs } = jobsOf(watch);
      await eventually(async () => ((await jobs.table.count("failed")) === 0 ? true : undefined));
    },
  },
  {
    title: "an item that waits",
    alarms: ["JobsLate"],
    collection: "items",
    breaks: async (watch) => {
      await setWork(watch, "paused");
      await save(watch, [aRecord(10)]);
      await sleep(1_600);
    },
    round: (watch) => watch.call("embedder", { source: "sweep" }),
  },
];

const ofFunctions: readonly Failure[] = [
  {
    title: "what the bucket holds",
    alarms: ["StorageGrowth"],
    round: async (watch) => {
      let bytes = 0;
      for await (const page of watch.deployed.world.store.list(""))
        for (const object of page) bytes += object.bytes;
      const dimensions = { BucketName: watch.deployed.output("bucket"), StorageType: "StandardStorage" };
      watch.sample({ namespace: "AWS/S3", name: "BucketSizeBytes", dimensions, values: [bytes] });
    },
  },
  {
    title: "concurrency that is used up",
    alarms: ["Throttles"],
    breaks: ({ deployed }) =>
      deployed.redefine("producer", (definition) => ({ ...definition, reservedConcurrency: 1 })),
    round: (watch, round) =>
      isLast(round) ? together(14, (i) => watch.write(700 + i, 1)) : Promise.resolve(),
  },
  {
    title: "a process that fills its function's memory",
    alarms: ["FunctionMemory"],
    breaks: async (watch) => {
      const { deployed } = watch;
      const withMemory = (memoryMegabytes: number) =>
        deployed.redefine("producer", (definition) => ({ ...definition, memoryMegabytes }));
      // A process that has just started, as the one whose memory is bounded by what this one used.
      await withMemory(512);
      await watch.write(800, 1);
      await sleep(300); // Its report is written when the call has been answered.
      const used = Number([...deployed.log("producer").matchAll(/Max Memory Used: (\d+) MB/g)].at(-1)?.[1]);
      expect(used).toBeGreaterThan(30);
      await withMemory(Math.ceil(used * 1.1));
    },
    round: (watch, round) => watch.write(810 + round, 1),
  },
];

export const failures: readonly Failure[] = [
  ...ofRuns,
  ...ofMessages,
  ...ofAnswers,
  ...ofItems,
  ...ofFunctions,
];
