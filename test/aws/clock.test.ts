/**
 * Clocks that are wrong, over the real SDK: S3 refuses them, since nothing corrects their signing. Here the server's clock
 * is off, which is the same seen from the other side.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CreateBucketCommand } from "@aws-sdk/client-s3";
import { awsWorld } from "../../lib/aws/aws-world.ts";
import type { LambdaHandler } from "../../lib/aws/lambda-handler.ts";
import { producerWorld } from "../../lib/aws/producer-world.ts";
import { s3Client } from "../../lib/aws/s3-client.ts";
import { createProducer } from "../../lib/clients/producer.ts";
import { env } from "../../lib/contract/names.ts";
import { deltaPrefix, pointerKey } from "../../lib/core/format/keys.ts";
import type { Collection } from "../../lib/core/model/collection.ts";
import { requestBounds } from "../../lib/core/policy/time-bounds.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { collectGarbage } from "../../lib/engine/compact/collect-garbage.ts";
import { ingest } from "../../lib/engine/compact/ingest.ts";
import type { ObjectStore, World } from "../../lib/engine/ports.ts";
import { type ProduceWorld, produce } from "../../lib/engine/write/produce.ts";
import type { Deployment } from "../../scripts/cli/deployment.ts";
import { runCommandLine } from "../../scripts/cli/program.ts";
import { type RunningS3, startS3Server } from "../../scripts/local/s3/server.ts";
import { MemoryLeases } from "../support/memory/leases.ts";

const minute = 60_000;
const hour = 60 * minute;
const queueUrl = "http://127.0.0.1:1/000000000000/none";
const names = { bucket: "clocks", table: "none", queueUrl, deadLetterQueueUrl: queueUrl };
const shard = { collection: "docs", shard: 0 };
const record = { id: "a", vector: [1, 0], document: "text" };
const call = { collection: "docs", records: [record] };
const saved = { ...process.env };
let folder: string;
let server: RunningS3;
let world: World;
let collection: Collection;

/** How far S3's clock is ahead of ours: by so much are we behind. */
const s3IsAhead = (clockAheadMs: number) => server.setFaultInjection({ clockAheadMs });
/** The world of a process whose clock goes wrong after its first GET. */
function sleeping<W extends ProduceWorld>(awake: W, aheadMs: number): W {
  const get: ObjectStore["get"] = async (...asked) => {
    const found = await awake.store.get(...asked);
    s3IsAhead(aheadMs);
    return found;
  };
  const store = new Proxy(awake.store, {
    get: (target, name) => (name === "get" ? get : Reflect.get(target, name).bind(target)),
  });
  return { ...awake, store };
}
/** The shard as it is, whatever the clock. */
async function state(): Promise<{ deltas: string[]; pointer: string }> {
  s3IsAhead(0);
  const deltas: string[] = [];
  for await (const page of world.store.list(deltaPrefix(shard))) deltas.push(...page.map(({ key }) => key));
  const pointer = await world.store.get(pointerKey(shard));
  return { deltas, pointer: pointer.kind === "found" ? pointer.body.toString() : pointer.kind };
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "siltstone-clock-"));
  server = await startS3Server({ folder, port: 0, region: "us-east-1" });
  Object.assign(process.env, {
    AWS_ENDPOINT_URL_S3: server.endpoint,
    AWS_ENDPOINT_URL_SQS: "http://127.0.0.1:1",
    AWS_REGION: "us-east-1",
    AWS_ACCESS_KEY_ID: "local",
    AWS_SECRET_ACCESS_KEY: "local",
    [env.stage]: "dev",
    [env.store]: "Siltstone-dev",
    [env.bucket]: names.bucket,
    [env.table]: names.table,
    [env.queueUrl]: queueUrl,
    [env.deadLetterQueueUrl]: queueUrl,
  });
  await s3Client(requestBounds.person).send(new CreateBucketCommand({ Bucket: names.bucket }));
  world = { ...awsWorld(names), leases: new MemoryLeases() };
  ({ collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2" }));
});
afterAll(async () => {
  process.env = saved;
  await server.stop();
  rmSync(folder, { recursive: true });
});

describe.each([
  { name: "2 hours behind", aheadMs: 2 * hour, said: "clock is 2 hours behind" },
  { name: "2 hours ahead", aheadMs: -2 * hour, said: "clock is 2 hours ahead" },
  { name: "20 minutes behind", aheadMs: 20 * minute, said: "clock is 20 minutes behind" },
  { name: "26 hours ahead", aheadMs: -26 * hour, said: "clock is 26 hours ahead" },
])("a clock $name", ({ aheadMs, said }) => {
  const refusal = { kind: "unavailable", message: expect.stringContaining(said) };

  test("every writer's first call is refused, with what to do, and nothing is written", async () => {
    const before = await state();
    s3IsAhead(aheadMs);
    await expect(createProducer(names).produce(call)).rejects.toMatchObject(refusal);
    await expect(ingest(world, collection, 0, { outOfTime: () => false })).rejects.toMatchObject(refusal);
    await expect(collectGarbage(world, collection, 0)).rejects.toMatchObject(refusal);
    // Without a body, an answer to a HEAD does not name its reason.
    await expect(world.store.head("docs/collection.json")).rejects.toMatchObject(refusal);
    await expect(world.store.copy("docs/collection.json", "docs/copy")).rejects.toMatchObject(refusal);
    await expect(world.store.delete(["docs/collection.json"])).rejects.toMatchObject(refusal);
    await expect(world.store.putFile("docs/0/segments/a", __filename)).rejects.toMatchObject(refusal);
    expect(await state()).toEqual(before);
  });

  test("the command line says so too", async () => {
    const file = join(folder, "records.jsonl");
    writeFileSync(file, JSON.stringify({ id: "a", vector: [1, 0] }));
    s3IsAhead(aheadMs);
    let err = "";
    const code = await runCommandLine(["import", "docs", "--records", file], {
      // An import asks no more of it.
      connect: async ({ name: stage }) => ({ stage, world }) as Deployment,
      stdin: (async function* () {})(),
      stdout: { write: () => undefined },
      stderr: { write: (text) => (err += text) },
      interrupted: new AbortController().signal,
    });
    expect(code).not.toBe(0);
    expect(err).toContain(said);
    expect(err).toContain("timedatectl");
  });

  test("a process whose clock goes wrong between two requests is refused at the second", async () => {
    const before = await state();
    // What a sandbox that slept goes on with: the configuration is read, and its clock has stood still.
    await expect(produce(sleeping(producerWorld(names), aheadMs), call)).rejects.toMatchObject(refusal);
    s3IsAhead(0);
    const compactor = sleeping(world, aheadMs);
    await expect(ingest(compactor, collection, 0, { outOfTime: () => false })).rejects.toMatchObject(refusal);
    s3IsAhead(0);
    await expect(collectGarbage(sleeping(world, aheadMs), collection, 0)).rejects.toMatchObject(refusal);
    expect(await state()).toEqual(before);
  });
});

test("a clock that is wrong by what S3 allows does no harm", async () => {
  for (const aheadMs of [14 * minute, -14 * minute]) {
    s3IsAhead(aheadMs);
    const { written, token } = await createProducer(names).produce(call);
    expect({ written, token: typeof token }).toEqual({ written: 1, token: "string" });
  }
});

test("the producer function says so too", async () => {
  const { handler } = jest.requireActual<{ handler: LambdaHandler }>("../../lambdas/producer/handler.ts");
  const logged = jest.spyOn(console, "error").mockImplementation(() => undefined);
  s3IsAhead(2 * hour);
  const context = { awsRequestId: "r", getRemainingTimeInMillis: () => 30_000 };
  await expect(handler(call, context)).rejects.toMatchObject({
    name: "unavailable",
    message: expect.stringContaining("clock is 2 hours behind"),
  });
  logged.mockRestore();
});
