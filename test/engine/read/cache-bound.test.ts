/** QRY-5: the cache is bounded by what really lies on disk and in memory, and what does not fit is refused before it is fetched. */
import { mkdtempSync, readdirSync, readlinkSync, rmSync, statSync } from "node:fs";
import os, { tmpdir } from "node:os";
import { join } from "node:path";
import { isKind } from "../../../lib/core/model/errors.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { merge } from "../../../lib/engine/compact/merge.ts";
import type { World } from "../../../lib/engine/ports.ts";
import { heldBytes } from "../../../lib/engine/read/open-segments.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readCollection, readHead } from "../../../lib/engine/shard/head.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { effects } from "../../support/effects.ts";
import { random } from "../../support/memory/clock.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const hour = 3_600_000;
const dims = 4;
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
const vectorOf = (n: number): number[] => [Math.sin(n), Math.cos(n), n % 7, 1];

async function write(world: MemoryWorld, collection: string, first: number, count: number): Promise<void> {
  const records = Array.from({ length: count }, (_, i) => ({
    id: `r${first + i}`,
    vector: vectorOf(first + i),
    document: `document ${first + i} `.repeat(20),
  }));
  await produce(world, { collection, records });
}
const ingest = (world: MemoryWorld) =>
  compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });
async function mergeAll(world: MemoryWorld, name: string): Promise<void> {
  const collection = await readCollection(world.store, name);
  for (let shard = 0; shard < collection.shards; shard++)
    await merge(world, collection, shard, { deadlineMs: world.clock.nowMs() + hour, limits });
}
/** Of the views of all shards. */
async function viewBytes(world: MemoryWorld, name: string): Promise<number[]> {
  const collection = await readCollection(world.store, name);
  const heads = Array.from({ length: collection.shards }, (_, shard) =>
    readHead(world.store, collection, shard),
  );
  return (await Promise.all(heads)).map(({ manifest }) => heldBytes(manifest.segments));
}
const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0);

/** Folders come and go meanwhile. */
function bytesBelow(folder: string): number {
  try {
    const entries = readdirSync(folder, { withFileTypes: true });
    return sum(
      entries.map((entry) => {
        const path = join(folder, entry.name);
        return entry.isDirectory()
          ? bytesBelow(path)
          : (statSync(path, { throwIfNoEntry: false })?.size ?? 0);
      }),
    );
  } catch {
    return 0;
  }
}

/** A reader whose files lie in a folder of their own. */
function reader(world: World & Pick<MemoryWorld, "traffic">, cacheBytesMax: number) {
  const folder = mkdtempSync(join(tmpdir(), "siltstone-test-"));
  const elsewhere = jest.spyOn(os, "tmpdir").mockReturnValue(folder);
  const made = new Reader(world, { refreshSeconds: 0, cacheBytesMax, traffic: world.traffic });
  elsewhere.mockRestore();
  const onDisk = () => bytesBelow(folder);
  return {
    reader: made,
    onDisk,
    async close() {
      await made.close();
      expect(onDisk()).toBe(0);
      rmSync(folder, { recursive: true });
    },
  };
}

test("a query over six shards that the cache does not hold is refused, and holds no more than the cache", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: "docs", dims, metric: "l2", shards: 6 });
  await write(world, "docs", 0, 600);
  await ingest(world);
  const sizes = await viewBytes(world, "docs");
  const cacheBytesMax = Math.floor(Math.max(...sizes) * 1.2);
  const { reader: small, onDisk, close } = reader(world, cacheBytesMax);
  for (let i = 0; i < 3; i++) {
    const before = world.traffic.bytesRead;
    const refused = await small
      .query({ collection: "docs", vector: vectorOf(1) })
      .catch((error: unknown) => error);
    expect(refused).toMatchObject({
      kind: "unavailable",
      message: expect.stringMatching(
        /^docs\/\d needs \d+ bytes of cache beside \d+ that are in use, this function has \d+: raise its memory.*query\.groups/,
      ),
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(world.traffic.bytesRead - before).toBeLessThan(cacheBytesMax + 50_000);
    expect(onDisk()).toBeLessThanOrEqual(cacheBytesMax);
    expect(sum(small.shards.map(({ bytes }) => bytes))).toBeLessThanOrEqual(cacheBytesMax);
    expect((await small.health({})).status).toBe("degraded");
  }
  await close();
  const fitting = reader(world, sum(sizes));
  expect((await fitting.reader.count({ collection: "docs" })).count).toBe(600);
  expect(fitting.onDisk()).toBeLessThanOrEqual(sum(sizes));
  await fitting.close();
});

test("files on their way count once: what they take is not taken from others twice", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: "docs", dims, metric: "l2" });
  await write(world, "docs", 0, 200);
  await ingest(world);
  const [bytes] = await viewBytes(world, "docs");
  const shown: number[] = [];
  const { store } = world;
  const get: typeof store.get = async (key, options) => {
    if (key.includes("/segments/")) shown.push(sum(slow.reader.shards.map((shard) => shard.bytes)));
    return store.get(key, options);
  };
  const slow = reader({ ...world, store: Object.assign(Object.create(store), { get }) }, 10 * bytes!);
  await slow.reader.query({ collection: "docs", vector: vectorOf(1) });
  expect(shown.length).toBeGreaterThan(1);
  expect(new Set(shown)).toEqual(new Set([bytes]));
  await slow.close();
});

test("other collections make space when they have no readers, the least recently used first", async () => {
  const world = memoryWorld();
  const names = ["a", "b", "c"];
  for (const name of names) {
    await createCollection(world, { name, dims, metric: "l2" });
    await write(world, name, 0, 50);
  }
  await ingest(world);
  const [bytes] = await viewBytes(world, "a");
  const { reader: small, onDisk, close } = reader(world, bytes! * 2.5);
  const held = () => small.shards.map(({ shard }) => shard);
  for (const name of [...names, "b"]) {
    world.clock.advance(1_000);
    expect((await small.count({ collection: name })).count).toBe(50);
  }
  expect(held()).toEqual(["b/0", "c/0"]);
  world.clock.advance(1_000);
  await small.count({ collection: "a" });
  expect(held().sort()).toEqual(["a/0", "b/0"]);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(onDisk()).toBeLessThanOrEqual(bytes! * 2.5);
  await close();
});

test("the backlog that a strong read lays over its view counts, is refused where it does not fit, and goes when it is ingested", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: "docs", dims, metric: "l2" });
  await write(world, "docs", 0, 50);
  await ingest(world);
  const [bytes] = await viewBytes(world, "docs");
  await write(world, "docs", 50, 100);
  const tight = reader(world, bytes! + 20_000);
  const strong = { collection: "docs", consistency: "strong" } as const;
  await expect(tight.reader.count(strong)).rejects.toMatchObject({
    kind: "unavailable",
    message: expect.stringContaining("bytes of cache"),
  });
  expect((await tight.reader.count({ collection: "docs" })).count).toBe(50);
  expect(tight.onDisk()).toBeLessThanOrEqual(bytes!);
  await tight.close();

  const roomy = reader(world, bytes! * 10);
  expect((await roomy.reader.count(strong)).count).toBe(150);
  expect(roomy.onDisk()).toBeGreaterThan(bytes!);
  await ingest(world);
  const [after] = await viewBytes(world, "docs");
  expect((await roomy.reader.count({ collection: "docs" })).count).toBe(150);
  expect(roomy.onDisk()).toBeLessThanOrEqual(after!);
  expect(sum(roomy.reader.shards.map((shard) => shard.bytes))).toBe(after);
  await roomy.close();
});

test("old views that are still read count beside the new one: a third waits", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims, metric: "l2" });
  const publish = async (first: number) => {
    await write(world, "docs", first, 40);
    await ingest(world);
    await merge(world, collection, 0, {
      deadlineMs: world.clock.nowMs() + hour,
      limits: { ...limits, flatRowsMax: 1 },
    });
  };
  await publish(0);
  let held: { readonly keys: RegExp; readonly until: Promise<void> } | null = null;
  const slow = effects(world, async ({ key, operation }, moment) => {
    if (moment === "before" && operation === "get" && held?.keys.test(key)) await held.until;
    return undefined;
  });
  const [first] = await viewBytes(world, "docs");
  const { reader: small, onDisk, close } = reader(slow, first! * 3);
  expect((await small.count({ collection: "docs" })).count).toBe(40);
  // Two reads of two views wait for the vectors of their graphs.
  const released = Promise.withResolvers<void>();
  const reading = [];
  const question = { collection: "docs", vector: vectorOf(1), topK: 1, include: ["vector"] as const };
  const counts = [];
  for (const next of [40, 80, 120]) {
    held = { keys: /vectors\.f32/, until: released.promise };
    reading.push(small.query({ ...question }));
    await new Promise((resolve) => setTimeout(resolve, 30));
    await publish(next);
    const counted = await small.count({ collection: "docs" });
    counts.push([counted.count, counted.warning !== undefined]);
    expect(onDisk()).toBeLessThanOrEqual(first! * 6);
  }
  expect(counts.at(-1)).toEqual([expect.any(Number), true]);
  expect(counts.at(-1)![0]).toBeLessThan(160);
  released.resolve();
  await Promise.all(reading);
  held = null;
  await close();
});

test("the disk is never over twice the bound, and no answer is wrong, whatever is asked, published and merged in whatever order", async () => {
  const seed = 20_261_126;
  const next = random(seed);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)]!;
  const world = memoryWorld({ seed });
  const shards: Record<string, number> = { a: 1, b: 3, c: 2 };
  const rows: Record<string, number> = {};
  for (const [name, count] of Object.entries(shards)) {
    await createCollection(world, { name, dims, metric: "l2", shards: count });
    await write(world, name, 0, 30);
    rows[name] = 30;
  }
  await ingest(world);
  const sizes = await Promise.all(Object.keys(shards).map((name) => viewBytes(world, name)));
  const cacheBytesMax = Math.floor(sum(sizes.flat()) * 0.9);
  let most = 0;
  let disk = (): number => 0;
  const watched = effects(world, () => {
    most = Math.max(most, disk());
    return undefined;
  });
  const { reader: small, onDisk, close } = reader(watched, cacheBytesMax);
  disk = onDisk;
  const outcomes = { right: 0, refused: 0 };
  const ask = async (name: string) => {
    const consistency = pick(["eventual", "strong"] as const);
    const least = rows[name]!;
    try {
      const answer =
        next() < 0.5
          ? await small.count({ collection: name, consistency })
          : await small
              .query({ collection: name, consistency, vector: vectorOf(3), topK: 1_000 })
              .then(({ results, warning }) => ({ count: results.length, warning }));
      if (consistency === "strong") expect(answer.count).toBe(least);
      else expect(answer.count).toBeLessThanOrEqual(least);
      outcomes.right += 1;
    } catch (error) {
      if (!isKind(error, "unavailable")) throw error;
      expect(error.message).toMatch(/bytes of cache beside|bytes beside/);
      outcomes.refused += 1;
    }
  };
  for (let step = 0; step < 60; step++) {
    world.clock.advance(1_000);
    const name = pick(Object.keys(shards));
    if (next() < 0.3) {
      await write(world, name, rows[name]!, 5);
      rows[name]! += 5;
    }
    if (next() < 0.2) await ingest(world);
    if (next() < 0.1) await mergeAll(world, name);
    await Promise.all(Array.from({ length: next() < 0.4 ? 2 : 1 }, () => ask(pick(Object.keys(shards)))));
  }
  expect(most).toBeGreaterThan(cacheBytesMax * 0.5);
  expect(most).toBeLessThanOrEqual(cacheBytesMax * 2);
  expect(outcomes.right).toBeGreaterThan(20);
  expect(outcomes.refused).toBeGreaterThan(0);
  await close();
});

test("sixty shards have no more files open than the reader may have, and every shard answers", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: "docs", dims, metric: "l2", shards: 60 });
  await write(world, "docs", 0, 600);
  await ingest(world);
  const descriptorsMax = 40;
  const options = { refreshSeconds: 300, cacheBytesMax: 1e9, descriptorsMax, traffic: world.traffic };
  const bounded = new Reader(world, options);
  const openRecords = () =>
    readdirSync("/proc/self/fd").filter((descriptor) => {
      try {
        return readlinkSync(`/proc/self/fd/${descriptor}`).endsWith("records.db");
      } catch {
        return false; // The one that listed them.
      }
    }).length;
  const before = openRecords();
  const ids = Array.from({ length: 600 }, (_, i) => `r${i}`);
  for (let reads = 0; reads < 2; reads++) {
    expect((await bounded.get({ collection: "docs", ids })).missing).toEqual([]);
    expect(openRecords() - before).toBeLessThanOrEqual(descriptorsMax);
    expect(openRecords() - before).toBeGreaterThan(0);
  }
  await bounded.close();
  expect(openRecords()).toBe(before);
});
