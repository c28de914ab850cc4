/**
 * What a store's roles are for, step by step: each right of the template is needed by one of these, and without it that step fails. The store
 * is deployed with two query groups, aliases with provisioned concurrency and a KMS key, and gives what grants give to roles of the app.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { GetQueueAttributesCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { Stack } from "aws-cdk-lib";
import { AccountRootPrincipal, Role } from "aws-cdk-lib/aws-iam";
import { Key } from "aws-cdk-lib/aws-kms";
import { type AwsWorld, awsWorld } from "../../lib/aws/aws-world.ts";
import { createProducer } from "../../lib/clients/producer.ts";
import type { VectorStore } from "../../lib/constructs/vector-store.ts";
import { type FunctionName, functions, storeOutputs } from "../../lib/contract/functions.ts";
import {
  descriptorKey,
  encodeExported,
  exportedPart,
  partKey,
} from "../../lib/core/format/exported-snapshot.ts";
import { nameKey } from "../../lib/core/format/keys.ts";
import { encodeName } from "../../lib/core/format/name-json.ts";
import { type LedBy, withBarrier } from "../../lib/core/model/alias.ts";
import { changeAlias, createAlias, mustReadAlias, setTarget } from "../../lib/engine/catalog/aliases.ts";
import type { TakenOver } from "../../lib/import/take-over.ts";
import { type Synthesis, synthesize } from "../../scripts/build/synthesize.ts";
import { accessKeyOfRole } from "../../scripts/local/iam/rules.ts";
import type { FaultRule } from "../../scripts/local/s3/fault-injection.ts";
import { type LocalStack, startLocalStack } from "../../scripts/local/stack.ts";
import { eventually } from "./deployed.ts";

/** Roles of the app that owns the stack, and what they were granted. */
const granted = {
  writer: (store: VectorStore, role: Role) => store.grantProduce(role),
  narrowWriter: (store: VectorStore, role: Role) => store.grantProduce(role, { collections: ["docs"] }),
  asker: (store: VectorStore, role: Role) => store.grantQuery(role),
  maker: (store: VectorStore, role: Role) => store.grantCreateCollections(role),
} as const;
type Grantee = keyof typeof granted;

export const synthesis = (outDir: string): Promise<Synthesis> =>
  synthesize(
    ...(["dev", outDir, { "query.groups": "2", "query.provisionedConcurrency": "1" }] as const),
    (store) => {
      const stack = Stack.of(store);
      for (const [name, grant] of Object.entries(granted))
        grant(store, new Role(stack, name, { roleName: name, assumedBy: new AccountRootPrincipal() }));
    },
    (stack) => ({ encryptionKey: new Key(stack, "Key") }),
  );

const dims = 4_096;
const vector = (n: number) => Buffer.from(new Float32Array(dims).fill(n + 1).buffer).toString("base64");
const records = (from: number, count: number) =>
  Array.from({ length: count }, (_, n) => ({ id: `r${from + n}`, vector: vector(from + n) }));

export class RightsStore {
  readonly #folder = mkdtempSync(join(tmpdir(), "siltstone-rights-"));
  readonly recordFile = join(this.#folder, "allowed.jsonl");
  stack!: LocalStack;
  world!: AwsWorld;
  #lambda!: LambdaClient;
  #sqs!: SQSClient;

  async start(synthesized: Synthesis): Promise<void> {
    const ports = { s3: 0, sqs: 0, dynamodb: 0, lambda: 0, functionUrl: 0 };
    const stateDir = join(this.#folder, "state");
    mkdirSync(stateDir);
    const { recordFile } = this;
    this.stack = await startLocalStack({
      ...{ ...synthesized, stateDir, ports, scheduleEveryMs: 2_000, recordFile },
    });
    Object.assign(process.env, this.stack.environment);
    const name = (key: keyof typeof storeOutputs) => this.stack.outputs[storeOutputs[key]]!;
    const names = { bucket: name("bucket"), table: name("table") };
    this.world = awsWorld({
      ...{ ...names, queueUrl: name("queueUrl"), deadLetterQueueUrl: name("deadLetterQueueUrl") },
    });
    this.#lambda = new LambdaClient({ maxAttempts: 1 });
    this.#sqs = new SQSClient({ maxAttempts: 1 });
  }

  async stop(): Promise<void> {
    await this.stack?.stop();
    rmSync(this.#folder, { recursive: true, force: true });
    this.#lambda?.destroy();
    this.#sqs?.destroy();
  }

  async call(
    name: FunctionName,
    event: object,
    { as, InvocationType }: { as?: Grantee; InvocationType?: "Event" } = {},
  ): Promise<Record<string, unknown>> {
    const FunctionName = this.stack.outputs[functions[name].output]!;
    const Payload = JSON.stringify(event);
    const command = new InvokeCommand({
      ...{ FunctionName, Payload },
      ...(InvocationType === undefined ? {} : { InvocationType }),
    });
    const client = as === undefined ? this.#lambda : new LambdaClient({ maxAttempts: 1, ...credentials(as) });
    const answer = await client.send(command);
    if (InvocationType !== undefined) return {};
    const said = JSON.parse(answer.Payload!.transformToString());
    if (answer.FunctionError !== undefined) throw new Error(JSON.stringify(said).slice(0, 2_000));
    return said;
  }

  /** By its URL; signatures are not checked here, and whose they are is. */
  async ask(event: object, as: Grantee): Promise<void> {
    const { accessKeyId } = credentials(as).credentials;
    const authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/20261126/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0`;
    const headers = { "content-type": "application/json", authorization };
    const body = JSON.stringify(event);
    const url = this.stack.outputs[functions.query.urlOutput]!;
    const response = await fetch(url, { method: "POST", headers, body });
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  }

  /** By the library, as in a function of the app. */
  async produce(as: Grantee, collection: string, from: number): Promise<{ notified: unknown }> {
    const { AWS_ACCESS_KEY_ID: owner } = process.env;
    process.env.AWS_ACCESS_KEY_ID = credentials(as).credentials.accessKeyId;
    try {
      const name = (key: keyof typeof storeOutputs) => this.stack.outputs[storeOutputs[key]]!;
      const producer = createProducer({ bucket: name("bucket"), queueUrl: name("queueUrl") });
      return await producer.produce({ collection, records: records(from, 20) });
    } finally {
      process.env.AWS_ACCESS_KEY_ID = owner;
    }
  }

  send = (body: string) =>
    this.#sqs.send(
      new SendMessageCommand({ QueueUrl: this.stack.outputs[storeOutputs.queueUrl]!, MessageBody: body }),
    );

  async held(queue: "deadLetterQueueUrl" | "failedEventsQueueUrl"): Promise<number> {
    const name = "ApproximateNumberOfMessages";
    const QueueUrl = this.stack.outputs[storeOutputs[queue]]!;
    const { Attributes } = await this.#sqs.send(
      new GetQueueAttributesCommand({ QueueUrl, AttributeNames: [name] }),
    );
    return Number(Attributes?.[name]);
  }

  fault = (rule: Omit<FaultRule, "probability">) =>
    this.stack.setFaultInjection({ faults: { seed: 1, rules: [{ ...rule, probability: 1 }] } });
  well = () => this.stack.setFaultInjection({});

  /** What the roles were allowed so far. */
  recorded = (): string => readFileSync(this.recordFile, "utf8");
}

const credentials = (as: Grantee) => ({
  credentials: { accessKeyId: accessKeyOfRole(`role/${as}`), secretAccessKey: "local" },
});

/** True of what comes by itself within some seconds. */
const comes = (happened: () => Promise<boolean>) =>
  eventually(async () => ((await happened().catch(() => false)) ? true : undefined));

export interface Step {
  readonly title: string;
  run(store: RightsStore): Promise<unknown>;
}

export const steps: readonly Step[] = [
  {
    title: "a collection is created, and created again",
    run: async (store) => {
      // As a creation leaves it that died after its first PUT.
      const claim = encodeName({ name: "docs", kind: "collection" });
      await store.world.store.put(nameKey("docs"), claim, { ifAbsent: true });
      for (let time = 0; time < 2; time++)
        await store.call("collections", { name: "docs", dims, metric: "l2", shards: 2 }, { as: "maker" });
    },
  },
  {
    title: "records are written by the function and by the library, also when an answer is lost",
    run: async (store) => {
      const writes = [
        async (from: number) => ({
          notified: (await store.call("producer", { collection: "docs", records: records(from, 20) }))
            .notified,
        }),
        (from: number) => store.produce("writer", "docs", from),
        (from: number) => store.produce("narrowWriter", "docs", from),
      ];
      for (const [i, write] of writes.entries()) {
        // The sweep would find what was written all the same.
        if ((await write(40 * i)).notified !== true) throw new Error("the queue was not told");
        await store.fault({
          ...{ kind: "lostAnswer", operations: ["PutObject"], hitsMax: 1 },
          keyIncludes: "/deltas/",
        });
        await write(40 * i + 20).finally(() => store.well());
      }
    },
  },
  {
    title: "the schedule ingests what came",
    run: (store) =>
      comes(async () => (await store.call("query", { op: "count", collection: "docs" })).count === 120),
  },
  {
    title: "a bad message goes to the dead-letter queue, a bad delta into quarantine",
    run: async (store) => {
      await store.send("no JSON");
      const delta = store.world.clock.ulid();
      await store.world.store.put(`docs/0/deltas/${delta}.arrow`, Buffer.from("no arrow"), {
        ifAbsent: true,
      });
      await store.call("compactor", { source: "manual", collection: "docs" });
      await store.call("compactor", { source: "scheduled" });
      if ((await store.world.store.head(`docs/0/quarantine/${delta}.json`)) === null)
        throw new Error("it was not put aside");
      await comes(async () => (await store.held("deadLetterQueueUrl")) === 1);
    },
  },
  {
    title: "a segment that goes up in parts, and fails, is given up",
    run: async (store) => {
      // Nothing is ingested until all is there: then the segments are large.
      const operations = ["PutObject", "UploadPart"] as const;
      await store.fault({ kind: "internalError", operations: [...operations], keyIncludes: "/segments/" });
      for (let part = 0; part < 7; part++)
        await store.call("producer", { collection: "docs", records: records(1_000 + part * 200, 200) });
      // A run of the schedule may have the shards' leases.
      await comes(async () => {
        await store.call("compactor", { source: "manual", collection: "docs" }).catch(() => undefined);
        return abortedBelow(store, "segments");
      });
      await store.well();
      await store.call("compactor", { source: "manual", collection: "docs" });
    },
  },
  {
    title: "a copy into quarantine that goes part by part, and fails, is given up, and made again",
    run: async (store) => {
      const delta = store.world.clock.ulid();
      const key = `docs/1/deltas/${delta}.arrow`;
      await store.world.store.put(key, Buffer.alloc(257 * 2 ** 20), { ifAbsent: true });
      await store.fault({ kind: "internalError", operations: ["UploadPartCopy"] });
      await comes(async () => {
        await store.call("compactor", { source: "manual", collection: "docs" }).catch(() => undefined);
        return abortedBelow(store, "quarantine");
      });
      await store.well();
      await comes(async () => {
        await store.call("compactor", { source: "manual", collection: "docs" }).catch(() => undefined);
        return (await store.world.store.head(`docs/1/quarantine/${delta}.arrow`)) !== null;
      });
    },
  },
  {
    title: "an exported snapshot is taken over, and what the collection does not take is kept beside it",
    run: async (store) => {
      const path = "snapshot/rights/";
      const lines = [...records(5_000, 2), { id: "short", vector: [1] }];
      const body = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
      const part = exportedPart(0, body, lines.length);
      const snapshot = encodeExported({ collection: "docs", dims, metric: "l2", parts: [part] });
      await store.world.store.put(partKey(path, part), body, { ifAbsent: true });
      await store.world.store.put(descriptorKey(path), snapshot, { ifAbsent: true });
      const { migration } = await store.call("compactor", { source: "migration", snapshot_path: path });
      const { written, rejected, done } = migration as TakenOver;
      if (written !== 2 || rejected !== 1 || !done) throw new Error(JSON.stringify(migration));
    },
  },
  {
    title: "what a crash left behind is collected when it is old",
    run: async (store) => {
      const old = "01JD0000000000000000000000";
      const orphans = [`docs/0/segments/${old}/records.db`, `docs/0/manifests/000000000001-${old}.json`];
      for (const key of orphans) await store.world.store.put(key, Buffer.from("{}"), { ifAbsent: true });
      await store.call("compactor", { source: "manual", collection: "docs" });
      for (const key of orphans)
        if ((await store.world.store.head(key)) !== null) throw new Error(`${key} is there`);
    },
  },
  {
    title:
      "an alias is written to, by the function and by the library; a barrier of it whose driver died is lifted",
    run: async (store) => {
      const { world } = store;
      const notes = { name: "notes", actor: "test", reason: "test" };
      await createAlias(world, { ...notes, collection: "docs" });
      await setTarget(world, { ...notes, collection: "docs" });
      const call = { collection: "notes", records: records(5_000, 1) };
      const { alias: led } = await store.call("producer", call);
      if ((led as LedBy).collection !== "docs") throw new Error("it was not written through the alias");
      await store.produce("writer", "notes", 5_001);
      await changeAlias(world, notes, (alias, by) => withBarrier(alias, "target", 0, by));
      await store.call("compactor", { source: "manual" });
      const { alias } = await mustReadAlias(world.store, "notes");
      if (alias.barrier !== null) throw new Error("it stands");
    },
  },
  {
    title: "an event whose run fails is kept with the failed events",
    run: async (store) => {
      const event = { source: "manual", collection: "absent" };
      await store.call("compactor", event, { InvocationType: "Event" });
      await comes(async () => (await store.held("failedEventsQueueUrl")) > 0);
    },
  },
  {
    title: "records are found, by the query groups: by invocation, and over the URL",
    run: async (store) => {
      const query = { collection: "docs", vector: vector(3), topK: 1, consistency: "strong" };
      const { results } = await store.call("query", query, { as: "asker" });
      if ((results as { id: string }[])[0]?.id !== "r3") throw new Error("it was not found");
      await store.ask(query, "asker");
    },
  },
  {
    title: "who asks for, or writes to, a collection that is not there is told so",
    run: async (store) => {
      const calls = [
        () => store.call("query", { op: "count", collection: "absent" }),
        () => store.call("compactor", { source: "manual", collection: "absent" }),
      ];
      for (const call of calls) {
        const said = await call().then(
          () => "nothing",
          (error) => String(error),
        );
        if (!said.includes("notFound")) throw new Error(said);
      }
    },
  },
];

const abortedBelow = (store: RightsStore, folder: string): boolean =>
  store
    .recorded()
    .split("\n")
    .some((line) => line.includes("s3:AbortMultipartUpload") && line.includes(`/${folder}/`));
