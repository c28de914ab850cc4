/** Cold start (docs/adr/0008): queries answered from clusters.bin while the graphs are on their way. */
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { createCollection } from "../../lib/engine/collections.ts";
import { compact } from "../../lib/engine/compact.ts";
import { readHead } from "../../lib/engine/head.ts";
import { merge } from "../../lib/engine/merge.ts";
import { produce } from "../../lib/engine/produce.ts";
import { Reader } from "../../lib/engine/reader.ts";
import { effects } from "../support/effects.ts";
import { random } from "../support/memory/clock.ts";
import { type MemoryWorld, memoryWorld } from "../support/memory/world.ts";

const dims = 12;
const name = "docs";
const hour = 3_600_000;
const limits = {
  flatSegmentsMax: 1,
  flatRowsMax: 20,
  growth: 1,
  deadShareMax: 0.25,
  segmentComponentsMax: 1e9,
  clusteredComponentsMin: 1,
  segmentWeightMax: 1e9,
};
type Metric = "cosine" | "l2" | "ip";

const vectorOf = (n: number): number[] =>
  Array.from({ length: dims }, (_, i) => Math.sin(n * 7.3 + i * 1.7 + 1) * (1 + (n % 3)));

async function write(
  world: MemoryWorld,
  records: readonly { id: string; n: number }[],
  deletes: readonly string[] = [],
) {
  await produce(world, {
    collection: name,
    records: records.map(({ id, n }) => ({ id, vector: vectorOf(n), document: `${id} ${n}` })),
    deletes: [...deletes],
  });
  await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });
}

async function collectionOf(metric: Metric, shards = 1) {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name, dims, metric, shards });
  const mergeAll = async () => {
    for (let shard = 0; shard < shards; shard++)
      await merge(world, collection, shard, { deadlineMs: world.clock.nowMs() + hour, limits });
  };
  return { world, collection, mergeAll };
}

/** Graphs do not arrive before `release`. */
function withoutGraphs(world: MemoryWorld) {
  const released = Promise.withResolvers<void>();
  const asked: string[] = [];
  const held = effects(world, async ({ key, operation }, moment) => {
    if (moment === "after" || operation !== "get") return undefined;
    asked.push(key);
    if (key.endsWith("index.hnsw")) await released.promise;
    return undefined;
  });
  const options = { refreshSeconds: 5, cacheBytesMax: 1e9, traffic: world.traffic };
  const reader = new Reader(held, options);
  return { reader, asked, release: () => released.resolve() };
}

const range = (first: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({ id: `r${first + i}`, n: first + i }));

describe.each(["cosine", "l2", "ip"] as const)("%s", (metric) => {
  test("a cold query has the results that the graphs give, over updates, deletes and segments", async () => {
    const next = random(7);
    const { world, collection, mergeAll } = await collectionOf(metric, 2);
    await write(world, range(0, 300));
    await mergeAll();
    await write(world, range(300, 60), ["r3", "r4", "r301"]);
    await write(world, [
      { id: "r5", n: 900 },
      { id: "r6", n: 901 },
    ]);
    await mergeAll();
    await write(world, [{ id: "r7", n: 902 }], ["r302", "r8"]);
    await write(world, [{ id: "r8", n: 903 }, ...range(500, 4)]);
    const { manifest } = await readHead(world.store, collection, 0);
    expect(manifest.segments.filter(({ kind }) => kind === "hnsw").length).toBeGreaterThan(1);
    expect(manifest.segments.filter(({ kind }) => kind === "flat").length).toBeGreaterThan(1);

    const warm = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
    for (let i = 0; i < 15; i++) {
      const { reader, asked, release } = withoutGraphs(world);
      const question = {
        collection: name,
        vector: vectorOf(Math.floor(next() * 1_000)),
        topK: [1, 5, 100][i % 3]!,
        excludeIds: i % 2 === 0 ? ["r9", "r8", "r301"] : [],
      };
      const cold = await reader.query(question);
      expect(cold.cold).toBe(true);
      expect(asked.some((key) => key.endsWith("index.hnsw"))).toBe(false);
      const exact = await warm.query({ ...question, consistency: "bounded", maxAgeSeconds: 0 });
      expect(exact.cold).toBeUndefined();
      const told = ({ results }: typeof cold) =>
        results.map((one) => ({
          ...one,
          score: expect.closeTo(one.score, 4),
          distance: expect.closeTo(one.distance, 4),
        }));
      expect(cold.results).toEqual(told(exact));
      expect(cold.snapshotVersion).toBe(exact.snapshotVersion);
      release();
      await reader.close();
    }
    await warm.close();
  });
});

test("the graphs are fetched when the first query was answered, and serve from then on", async () => {
  const { world, mergeAll } = await collectionOf("cosine");
  await write(world, range(0, 100));
  await mergeAll();
  const { reader, asked, release } = withoutGraphs(world);
  const question = { collection: name, vector: vectorOf(1) };
  const first = await Promise.all([reader.query(question), reader.query(question)]);
  expect(first.map(({ cold }) => cold)).toEqual([true, true]);
  expect((await reader.query(question)).cold).toBe(true);
  // What needs the graphs waits for them.
  const counted = reader.count({ collection: name });
  const filtered = reader.query({ ...question, filter: {} });
  while (!asked.some((key) => key.endsWith("index.hnsw"))) await new Promise(setImmediate);
  release();
  expect((await counted).count).toBe(100);
  expect((await filtered).cold).toBeUndefined();
  const later = await reader.query(question);
  expect(later.cold).toBeUndefined();
  expect(later.results.map(({ id }) => id)).toEqual(first[0]!.results.map(({ id }) => id));
  await reader.close();
});

test("what needs the graphs does not wait for a query that was never asked", async () => {
  const { world, mergeAll } = await collectionOf("cosine");
  await write(world, range(0, 100));
  await mergeAll();
  const { reader, release } = withoutGraphs(world);
  release();
  const question = { collection: name, vector: vectorOf(1) };
  const [query, count, strong] = await Promise.all([
    reader.query(question),
    reader.count({ collection: name }),
    reader.query({ ...question, consistency: "strong" }),
  ]);
  expect(query.results[0]!.id).toBe("r1");
  expect(count.count).toBe(100);
  expect(strong.results[0]!.id).toBe("r1");
  await reader.close();
});

test("a cold view is checked against the pointer like any other", async () => {
  const { world, mergeAll } = await collectionOf("cosine");
  await write(world, range(0, 100));
  await mergeAll();
  const { reader, release } = withoutGraphs(world);
  const question = { collection: name, vector: vectorOf(500), topK: 1 };
  const before = await reader.query(question);
  expect(before).toMatchObject({ cold: true, snapshotVersion: 2 });
  await write(world, [{ id: "new", n: 500 }]);
  // Within the refresh interval the cold view serves; after it, the pointer has moved, and the graphs are waited for.
  expect((await reader.query(question)).snapshotVersion).toBe(2);
  await world.clock.sleep(6_000);
  const after = reader.query(question);
  release();
  const answer = await after;
  expect(answer).toMatchObject({ snapshotVersion: 3 });
  expect(answer.results[0]!.id).toBe("new");
  await reader.close();
});

test("a failed load is tried again by the next query", async () => {
  const { world, mergeAll } = await collectionOf("cosine");
  await write(world, range(0, 100));
  await mergeAll();
  const key = world.store.keys().find((one) => one.endsWith("index.hnsw"))!;
  const graph = Buffer.from(world.store.bytes(key)!);
  await world.store.delete([key]);
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  const question = { collection: name, vector: vectorOf(1) };
  expect((await reader.query(question)).cold).toBe(true);
  await expect(reader.count({ collection: name })).rejects.toThrow(key);
  expect((await reader.query(question)).cold).toBe(true);
  await world.store.put(key, graph);
  expect((await reader.count({ collection: name })).count).toBe(100);
  expect((await reader.query(question)).cold).toBeUndefined();
  await reader.close();
});

const cacheFolders = () => readdirSync(tmpdir()).filter((one) => one.startsWith("siltstone-cache-"));

test("a reader that is closed while its graphs arrive leaves nothing behind", async () => {
  const { world, mergeAll } = await collectionOf("cosine");
  await write(world, range(0, 100));
  await mergeAll();
  const before = cacheFolders();
  const { reader, asked, release } = withoutGraphs(world);
  expect((await reader.query({ collection: name, vector: vectorOf(1) })).cold).toBe(true);
  while (!asked.some((key) => key.endsWith("index.hnsw"))) await new Promise(setImmediate);
  const closed = reader.close();
  release();
  await closed;
  expect(reader.health().shards).toEqual([]);
  expect(cacheFolders()).toEqual(before);
});

test("a pointer from before the cold answer is refused", async () => {
  const { world, mergeAll } = await collectionOf("cosine");
  await write(world, range(0, 30));
  const past = Buffer.from(world.store.bytes(`${name}/0/pointer.json`)!);
  await mergeAll();
  const key = world.store.keys().find((one) => one.endsWith("index.hnsw"))!;
  await world.store.delete([key]);
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  expect((await reader.query({ collection: name, vector: vectorOf(1) })).cold).toBe(true);
  await world.store.put(`${name}/0/pointer.json`, past);
  await expect(reader.count({ collection: name })).rejects.toThrow("went back from version 2 to 1");
  await reader.close();
});
