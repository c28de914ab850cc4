/**
 * QRY-5: a query function lives within the file descriptors that it may have, sockets and SQLite's own files included. Its
 * handler runs in a process with so few, over the local S3.
 */

import { shardsMax } from "../../lib/core/model/collection.ts";
import { createCollection, deleteCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { memoryWorld } from "../support/memory/world.ts";
import { type LocalBucket, localBucket, QueryProcess, type Said } from "../support/query-process.ts";

const world = memoryWorld({ startMs: Date.now() });
let bucket: LocalBucket;

beforeAll(async () => {
  bucket = await localBucket();
});
afterAll(() => bucket.close());

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
  await bucket.fill(world.store, `${name}/`);
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
    const asked = new QueryProcess(bucket, descriptors);
    const first = await askUntilAnswered(asked, { op: "count", collection: wide });
    expect(first.answer).toMatchObject({ count: shards * 8 });
    await readAll(asked, wide, shards);
    await readAll(asked, other, 1);
    await readAll(asked, wide, shards);
    const { answer, most } = await asked.ask({ op: "health" });
    expect(answer).toMatchObject({ status: "ok", held: { shards: shards + 1, faults: 0 } });
    expect(most).toBeLessThan(descriptors);
    await deleteCollection(bucket.store, wide);
    const refused = await askUntilAnswered(asked, { op: "count", collection: wide, consistency: "strong" });
    expect(refused.answer.failed).toMatchObject({ kind: "notFound" });
    // What is left is the other's.
    expect(refused.openFiles.length).toBeLessThanOrEqual(1);
    await readAll(asked, other, 1);
    await asked.end();
  },
  600_000,
);

test("a reader without a descriptor left says so, in its answer and in its health, and answers again when there are some", async () => {
  await publish("docs", 12);
  const asked = new QueryProcess(bucket, 100);
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
