/**
 * QRY-5: a query function lives within the file descriptors that it may have, sockets and SQLite's own files included. Its
 * handler runs in a process with so few, over the local S3.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { CreateBucketCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import pLimit from "p-limit";
import { S3ObjectStore } from "../../lib/aws/s3-object-store.ts";
import { env } from "../../lib/contract.ts";
import { shardsMax } from "../../lib/core/collection.ts";
import { createCollection, deleteCollection } from "../../lib/engine/collections.ts";
import { compact } from "../../lib/engine/compact.ts";
import { produce } from "../../lib/engine/produce.ts";
import { type RunningS3, startS3Server } from "../../scripts/local/s3/server.ts";
import { memoryWorld } from "../support/memory/world.ts";

const bucket = "descriptors";
const credentials = { accessKeyId: "local", secretAccessKey: "local" };
const folder = mkdtempSync(join(tmpdir(), "siltstone-descriptors-"));
const world = memoryWorld({ startMs: Date.now() });
let server: RunningS3;
let s3: S3Client;

beforeAll(async () => {
  server = await startS3Server({ folder: join(folder, "s3"), port: 0, region: "us-east-1" });
  s3 = new S3Client({ endpoint: server.endpoint, region: "us-east-1", credentials });
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
});
afterAll(async () => {
  s3.destroy();
  await server.stop();
  rmSync(folder, { recursive: true });
});

/** Every shard has a segment. */
async function publish(name: string, shards: number): Promise<void> {
  await createCollection(world, { name, dims: 2, metric: "l2", shards, fields: { tag: "string" } });
  const records = Array.from({ length: shards * 8 }, (_, i) => ({
    id: `r${i}`,
    vector: [i, 1],
    metadata: { tag: i % 2 === 0 ? "even" : "odd" },
  }));
  await produce(world, { collection: name, records });
  await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 3_600_000 });
  const limit = pLimit(48);
  for await (const page of world.store.list(`${name}/`))
    await Promise.all(page.map(({ key }) => limit(() => copy(key))));
}
async function copy(Key: string): Promise<void> {
  const found = await world.store.get(Key);
  if (found.kind === "found") await s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body: found.body }));
}
async function remove(name: string): Promise<void> {
  await deleteCollection(new S3ObjectStore(s3, bucket, world.traffic), name);
}

interface Said {
  // biome-ignore lint/suspicious/noExplicitAny: answers are JSON, and matched by the tests
  readonly answer: any;
  /** Descriptors: now, and the most that there were. */
  readonly open: number;
  readonly most: number;
  /** Of its cache. */
  readonly openFiles: readonly string[];
}

/** A query function that may have so many descriptors. */
class QueryProcess {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(descriptors: number) {
    const tmp = mkdtempSync(join(folder, "process-"));
    const script = join(import.meta.dirname, "query-process.ts");
    this.#child = spawn("sh", ["-c", `ulimit -n ${descriptors}; exec "$0" "$1"`, process.execPath, script], {
      stdio: ["pipe", "pipe", "inherit"],
      env: {
        ...process.env,
        TMPDIR: tmp,
        AWS_ENDPOINT_URL_S3: server.endpoint,
        AWS_REGION: "us-east-1",
        AWS_ACCESS_KEY_ID: credentials.accessKeyId,
        AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
        POWERTOOLS_LOG_LEVEL: "SILENT",
        POWERTOOLS_METRICS_DISABLED: "true",
        [env.stage]: "dev",
        [env.bucket]: bucket,
        [env.table]: "none",
        [env.queueUrl]: "http://127.0.0.1:1/none",
        [env.deadLetterQueueUrl]: "http://127.0.0.1:1/none",
        [env.refreshSeconds]: "300",
      },
    });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async ask(event: object): Promise<Said> {
    this.#child.stdin!.write(`${JSON.stringify(event)}\n`);
    const { value } = await this.#lines.next();
    return JSON.parse(value as string) as Said;
  }

  async end(): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }
}

/** On a busy machine a call over very many shards may end before everything has arrived; the next one finds it. */
async function askUntilAnswered(asked: QueryProcess, event: object): Promise<Said> {
  for (let calls = 1; ; calls++) {
    const said = await asked.ask(event);
    if (said.answer.failed?.kind !== "unavailable" || calls === 5) return said;
  }
}

/** Every kind of read of a collection, each of which looks at all of its shards. */
async function readAll(asked: QueryProcess, collection: string, shards: number): Promise<void> {
  const nearest = await askUntilAnswered(asked, { collection, vector: [shards, 1], topK: 3 });
  expect(nearest.answer).toMatchObject({ results: [{ id: `r${shards}`, score: 1 }, {}, {}] });
  expect(nearest.answer.warning).toBeUndefined();
  const filtered = { collection, vector: [shards, 1], filter: { tag: "even" }, topK: 1, include: ["vector"] };
  expect((await askUntilAnswered(asked, filtered)).answer).toMatchObject({
    results: [{ vector: [expect.any(Number), 1] }],
  });
  for (const consistency of ["eventual", "strong"]) {
    const counted = await askUntilAnswered(asked, {
      op: "count",
      collection,
      consistency,
      filter: { tag: "even" },
    });
    expect(counted.answer).toMatchObject({ count: shards * 4 });
  }
  const got = await askUntilAnswered(asked, {
    op: "get",
    collection,
    ids: ["r1", "r2"],
    include: ["vector", "metadata"],
  });
  expect(got.answer).toMatchObject({ records: [{ vector: [1, 1] }, { vector: [2, 1] }] });
}

// The largest collection under Lambda's own limit takes a minute to make: `npm run test:wide`.
const widths = [
  { shards: 60, descriptors: 100 },
  ...(process.env.WIDE === "1" ? [{ shards: shardsMax, descriptors: 1024 }] : []),
];
test.each(widths)(
  "a function with $descriptors descriptors reads a collection of $shards shards, and goes on answering others",
  async ({ shards, descriptors }) => {
    const [wide, other] = [`wide-${shards}`, `other-${shards}`];
    await publish(wide, shards);
    await publish(other, 1);
    const asked = new QueryProcess(descriptors);
    const first = await askUntilAnswered(asked, { op: "count", collection: wide });
    expect(first.answer).toMatchObject({ count: shards * 8 });
    await readAll(asked, wide, shards);
    await readAll(asked, other, 1);
    await readAll(asked, wide, shards);
    const { answer, most } = await asked.ask({ op: "health" });
    expect(answer).toMatchObject({ status: "ok", held: { shards: shards + 1, faults: 0 } });
    expect(most).toBeLessThan(descriptors);
    await remove(wide);
    const refused = await askUntilAnswered(asked, { op: "count", collection: wide, consistency: "strong" });
    expect(refused.answer.failed).toMatchObject({ kind: "notFound" });
    // What is left is the other's.
    expect(refused.openFiles.length).toBeLessThanOrEqual(1);
    await readAll(asked, other, 1);
    await asked.end();
  },
  600_000,
);

test("without a descriptor left it says so, in its answer and in its health, and answers again when there are some", async () => {
  await publish("docs", 12);
  const asked = new QueryProcess(100);
  expect((await asked.ask({ op: "ping" })).answer).toEqual({ pong: true });
  await asked.ask({ left: 3 });
  for (const vector of [
    [1, 1],
    [2, 1],
  ]) {
    const { answer } = await asked.ask({ collection: "docs", vector });
    expect(answer.failed).toMatchObject({
      kind: "unavailable",
      message: expect.stringMatching(/EMFILE|descriptor/),
    });
    expect((await asked.ask({ op: "health" })).answer).toMatchObject({ status: "degraded" });
  }
  await asked.ask({ left: null });
  await readAll(asked, "docs", 12);
  expect((await asked.ask({ op: "health" })).answer).toMatchObject({ status: "ok" });
  await asked.end();
});
