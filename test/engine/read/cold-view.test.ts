/** Cold start (docs/adr/0008): queries answered from clusters.bin while the graphs are on their way. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import os, { tmpdir } from "node:os";
import { join } from "node:path";
import { graphsHoldMs } from "../../../lib/core/policy/time-bounds.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { merge } from "../../../lib/engine/compact/merge.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { effects } from "../../support/effects.ts";
import { random } from "../../support/memory/clock.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const dims = 12;
const name = "docs";
const hour = 3_600_000;
const limits = {
  flatSegmentsMax: 1,
  flatRowsMax: 20,
  growth: 1,
  deadShareMax: 0.25,
  staleMsMax: 1e15,
  uncountedMsMax: 1e15,
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

test("a read that needs the graphs does not wait for a query that was never asked", async () => {
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

/** Of the one version before the merge, so that nothing whole is left to fall back to (fallback.test.ts). */
async function loseVersionBefore(world: MemoryWorld): Promise<void> {
  await world.store.delete(world.store.keys(`${name}/0/manifests/000000000001`));
}

test("a failed load is tried again by the next query", async () => {
  const { world, mergeAll } = await collectionOf("cosine");
  await write(world, range(0, 100));
  await mergeAll();
  await loseVersionBefore(world);
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

test("a reader that is closed while its graphs arrive leaves nothing behind", async () => {
  const { world, mergeAll } = await collectionOf("cosine");
  await write(world, range(0, 100));
  await mergeAll();
  const folder = mkdtempSync(join(tmpdir(), "siltstone-test-"));
  const elsewhere = jest.spyOn(os, "tmpdir").mockReturnValue(folder);
  const { reader, asked, release } = withoutGraphs(world);
  elsewhere.mockRestore();
  expect(readdirSync(folder)).toHaveLength(1);
  expect((await reader.query({ collection: name, vector: vectorOf(1) })).cold).toBe(true);
  while (!asked.some((key) => key.endsWith("index.hnsw"))) await new Promise(setImmediate);
  const closed = reader.close();
  release();
  await closed;
  expect(reader.shards).toEqual([]);
  expect(readdirSync(folder)).toEqual([]);
  rmSync(folder, { recursive: true });
});

test.each(["count", "close"] as const)(
  "a query that ended before its cold view was there holds no other up: %s",
  async (next) => {
    const { world, mergeAll } = await collectionOf("cosine", 2);
    await write(world, range(0, 200));
    await mergeAll();
    const opening = Promise.withResolvers<void>();
    let fails = true;
    const held = effects(world, async ({ key, operation }, moment) => {
      if (moment === "after" || operation !== "get") return undefined;
      if (fails && key === `${name}/0/pointer.json`) return { kind: "refuse" };
      if (key.startsWith(`${name}/1/`) && key.endsWith("clusters.bin")) await opening.promise;
      return undefined;
    });
    const options = { refreshSeconds: 5, cacheBytesMax: 1e9, traffic: world.traffic };
    const reader = new Reader(held, options);
    await expect(reader.query({ collection: name, vector: vectorOf(1) })).rejects.toThrow("pointer.json");
    fails = false;
    const done = next === "count" ? reader.count({ collection: name }) : reader.close();
    opening.resolve();
    if (next === "count") expect(await done).toMatchObject({ count: 200 });
    else await done;
    await reader.close();
  },
);

test.each(["l2", "cosine"] as const)(
  "%s: vectors far from the origin keep their neighbours",
  async (metric) => {
    const next = random(3);
    const { world, mergeAll } = await collectionOf(metric);
    const vector = () => Array.from({ length: dims }, () => 50 + next());
    const records = Array.from({ length: 1_500 }, (_, n) => ({ id: `r${n}`, vector: vector() }));
    await produce(world, { collection: name, records });
    await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });
    await mergeAll();
    const warm = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
    const ids = (answer: { results: readonly { id: string }[] }) => answer.results.map(({ id }) => id);
    let same = 0;
    for (let i = 0; i < 10; i++) {
      const question = { collection: name, vector: vector() };
      const { reader, release } = withoutGraphs(world);
      const cold = await reader.query(question);
      expect(cold.cold).toBe(true);
      const exact = new Set(ids(await warm.query({ ...question, consistency: "bounded", maxAgeSeconds: 0 })));
      same += ids(cold).filter((id) => exact.has(id)).length;
      release();
      await reader.close();
    }
    expect(same).toBeGreaterThanOrEqual(95);
    await warm.close();
  },
);

test("dead rows of a flat segment do not hide the live ones behind them", async () => {
  const world = memoryWorld();
  const options = { name, dims: 1, metric: "l2", ordering: "source" } as const;
  const { collection } = await createCollection(world, options);
  const put = async (records: readonly { id: string; version: number; vector: number[] }[]) => {
    await produce(world, { collection: name, records });
    await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });
  };
  const rows = (prefix: string, count: number, version: number, first: number) =>
    Array.from({ length: count }, (_, n) => ({ id: `${prefix}${n}`, version, vector: [first + n / 10] }));
  await put(rows("g", 30, 9, 50));
  await merge(world, collection, 0, { deadlineMs: world.clock.nowMs() + hour, limits });
  // Older versions that arrive late are dead, and nearest.
  await put([...rows("g", 10, 1, 0), ...rows("near", 5, 1, 2)]);
  await put(rows("far", 10, 1, 20));
  const { reader, release } = withoutGraphs(world);
  const { results, cold } = await reader.query({ collection: name, vector: [0], topK: 10 });
  expect(cold).toBe(true);
  const expected = [
    ...["near0", "near1", "near2", "near3", "near4"],
    ...["far0", "far1", "far2", "far3", "far4"],
  ];
  expect(results.map(({ id }) => id)).toEqual(expected);
  release();
  await reader.close();
});

test("a graph that cannot be loaded: plain queries go on, with a warning, and it is not fetched each time", async () => {
  const { world, mergeAll } = await collectionOf("cosine");
  await write(world, range(0, 100));
  await mergeAll();
  await loseVersionBefore(world);
  const key = world.store.keys().find((one) => one.endsWith("index.hnsw"))!;
  const bytes = Buffer.from(world.store.bytes(key)!);
  bytes[200]! ^= 1;
  await world.store.put(key, bytes);
  const { reader, asked, release } = withoutGraphs(world);
  release();
  const answers = [];
  for (let i = 0; i < 5; i++) {
    answers.push(await reader.query({ collection: name, vector: vectorOf(1) }));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  expect(answers.map(({ cold }) => cold)).toEqual([true, true, true, true, true]);
  expect(answers.at(-1)!.warning).toContain(key);
  expect((await reader.health({})).status).toBe("degraded");
  expect(asked.filter((one) => one === key)).toHaveLength(1);
  await reader.close();
});

describe("graphs that should have been there, since the process was frozen while they were fetched", () => {
  const question = { collection: name, vector: vectorOf(1) };
  const minute = 60_000;
  /** The event loop has turned often enough for everything that waits for nothing but itself. */
  const settle = () => new Promise((resolve) => setTimeout(resolve, 50));

  /** A reader that has answered once, from clusters. */
  async function answeredCold() {
    const { world, mergeAll } = await collectionOf("cosine");
    await write(world, range(0, 100));
    await mergeAll();
    await loseVersionBefore(world);
    const held = withoutGraphs(world);
    expect((await held.reader.query(question)).cold).toBe(true);
    return { world, ...held };
  }
  /** What came of a call so far. */
  function watched<T>(call: Promise<T>): { readonly answer: () => T | null; readonly call: Promise<T> } {
    let answer: T | null = null;
    void call.then((given) => (answer = given));
    return { answer: () => answer, call };
  }

  test("are waited for by the next call, a minute later", async () => {
    const { world, reader, release } = await answeredCold();
    world.clock.advance(minute);
    const next = watched(reader.query(question));
    await settle();
    expect(next.answer()).toBeNull();
    release();
    expect((await next.call).cold).toBeUndefined();
    await reader.close();
  });

  test("are not waited for by calls that come before they can be there", async () => {
    const { world, reader, release } = await answeredCold();
    for (let calls = 0; calls < 4; calls++) {
      world.clock.advance(490);
      expect((await reader.query(question)).cold).toBe(true);
    }
    release();
    await reader.close();
  });

  test("are waited for within a bound, by a call in each refresh interval; then clusters answer", async () => {
    const { world, reader, release } = await answeredCold();
    for (let calls = 0; calls < 2; calls++) {
      world.clock.advance(minute);
      const next = watched(reader.query(question));
      await settle();
      world.clock.advance(graphsHoldMs - 1);
      await settle();
      expect(next.answer()).toBeNull();
      world.clock.advance(1);
      expect((await next.call).cold).toBe(true);
      expect((await reader.query(question)).cold).toBe(true);
    }
    world.clock.advance(minute);
    const last = reader.query(question);
    release();
    expect((await last).cold).toBeUndefined();
    await reader.close();
  });

  test("are fetched anew, and waited for, when their connections died meanwhile", async () => {
    const { world, mergeAll } = await collectionOf("cosine");
    await write(world, range(0, 100));
    await mergeAll();
    let died = Promise.withResolvers<void>();
    let deaths = 0;
    const store = effects(world, async ({ key, operation }, moment) => {
      if (moment === "after" || operation !== "get" || !key.endsWith("index.hnsw") || deaths === 2)
        return undefined;
      await died.promise;
      deaths += 1;
      return { kind: "refuse" };
    });
    const reader = new Reader(store, { refreshSeconds: 5, cacheBytesMax: 1e9, traffic: world.traffic });
    expect((await reader.query(question)).cold).toBe(true);
    world.clock.advance(minute);
    // Awake, it finds its connection dead, tries once more, and is given up.
    died.resolve();
    expect((await reader.query(question)).cold).toBe(true);
    died = Promise.withResolvers();
    died.resolve();
    world.clock.advance(minute);
    expect((await reader.query(question)).cold).toBeUndefined();
    expect(deaths).toBe(2);
    await reader.close();
  });

  test("are not waited for when they are damaged", async () => {
    const { world, reader, release } = await answeredCold();
    const key = world.store.keys().find((one) => one.endsWith("index.hnsw"))!;
    const bytes = Buffer.from(world.store.bytes(key)!);
    bytes[200]! ^= 1;
    await world.store.put(key, bytes);
    release();
    await settle();
    for (let calls = 0; calls < 3; calls++) {
      world.clock.advance(minute);
      const next = watched(reader.query(question));
      await settle();
      expect(next.answer()).toMatchObject({ cold: true, warning: expect.stringContaining(key) });
    }
    await reader.close();
  });
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
