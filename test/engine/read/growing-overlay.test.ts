/** QRY-10: strong reads read of the backlog what is new to them, however much waits, and lay over exactly what waits. */

import { bounds } from "../../../lib/core/model/bounds.ts";
import { snapshotVersion } from "../../../lib/core/model/ids.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { rollback } from "../../../lib/engine/operate/rollback.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { Crash, effects } from "../../support/effects.ts";
import { memoryWorld } from "../../support/memory/world.ts";
import { underBounds } from "../../support/small-bounds.ts";

const collection = "docs";
const day = 24 * 3_600_000;
const strong = { collection, consistency: "strong" as const };

async function storeOf({ cacheBytesMax = 1e9 } = {}) {
  const world = memoryWorld();
  const { collection: configuration } = await createCollection(world, {
    name: collection,
    dims: 2,
    metric: "l2",
  });
  let gate: Promise<void> | null = null;
  const lists: number[] = [];
  const store = effects(world, async ({ operation }, moment) => {
    if (moment !== "before" || operation !== "list") return undefined;
    lists.push(world.clock.nowMs());
    if (gate !== null) await gate;
    return undefined;
  });
  const reader = new Reader(store, { refreshSeconds: 300, cacheBytesMax, traffic: world.traffic });
  const put = (id: string, n = 1) =>
    produce(world, { collection, records: [{ id, vector: [n, 1], document: `${id} ${n}` }] });
  const ingest = () => compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + day });
  return { world, configuration, reader, put, ingest, lists, hold: (until: Promise<void>) => (gate = until) };
}

test("one more delta costs three requests, whatever waits", async () => {
  const { reader, put } = await storeOf();
  for (let i = 0; i < 100; i++) await put(`r${i}`);
  expect(await reader.count(strong)).toMatchObject({ count: 100, deltasOverlaid: 100 });
  for (let i = 100; i < 140; i++) {
    await put(`r${i}`);
    const answer = await reader.count(strong);
    expect(answer).toMatchObject({ count: i + 1, deltasOverlaid: i + 1, requests: 3 });
    // 140 deltas in pieces, each twice as large as the next.
    expect(answer.segments).toBeLessThanOrEqual(8);
  }
  expect((await reader.count(strong)).requests).toBe(2);
  await reader.close();
});

test("a backlog of more than one page is served, and one more delta is one more request", async () => {
  const { world, reader, put } = await storeOf();
  for (let i = 0; i < 1_200; i++) await put(`r${i % 1_000}`, i);
  const first = await reader.get({ ...strong, ids: ["r0", "r999", "r1000"] });
  expect(first.records.map(({ document }) => document)).toEqual(["r0 1000", "r999 999"]);
  expect(first.missing).toEqual(["r1000"]);
  expect(first.deltasOverlaid).toBe(1_200);
  const before = world.traffic.snapshot();
  await put("r1000");
  const put1 = world.traffic.since(before).requests;
  const next = await reader.count(strong);
  expect(next.count).toBe(1_001);
  // Two pages of the LIST, the pointer, the delta.
  expect(next.requests).toBeLessThanOrEqual(4);
  expect(put1).toBeLessThanOrEqual(2);
  await reader.close();
}, 60_000);

test("what was ingested is not laid over any more, and what it left is not read again", async () => {
  const { world, reader, put, ingest } = await storeOf();
  for (let i = 0; i < 20; i++) await put(`r${i}`);
  await reader.count(strong);
  await ingest();
  await put("r3", 7);
  await put("new");
  expect(await reader.count(strong)).toMatchObject({ count: 21, deltasOverlaid: 2 });
  await ingest();
  expect(await reader.count(strong)).toMatchObject({ count: 21, deltasOverlaid: 0 });
  expect(world.store.keys(`${collection}/0/deltas/`)).toEqual([]);
  await reader.close();
});

test("a delta that a rollback took back is not shown by what a reader still has of it", async () => {
  const { world, configuration, reader, put, ingest } = await storeOf();
  await put("kept");
  await ingest();
  await put("a");
  await put("b");
  expect((await reader.count(strong)).count).toBe(3);
  await ingest();
  await rollback(world, configuration, 0, snapshotVersion(1));
  await put("c");
  expect(await reader.count(strong)).toMatchObject({ count: 2, deltasOverlaid: 1 });
  await reader.close();
});

test("calls that come while a round is under way share the next: each sees what was acknowledged before it came", async () => {
  const { reader, put, lists, hold } = await storeOf();
  await put("a");
  await reader.count(strong);
  const ofOne = lists.splice(0).length;
  const held = Promise.withResolvers<void>();
  hold(held.promise);
  const first = reader.count(strong);
  while (lists.length === 0) await new Promise(setImmediate);
  await put("b");
  const later = Array.from({ length: 10 }, () => reader.count(strong));
  await new Promise((resolve) => setTimeout(resolve, 20));
  held.resolve();
  expect((await first).count).toBeGreaterThanOrEqual(1);
  expect((await Promise.all(later)).map(({ count }) => count)).toEqual(Array(10).fill(2));
  expect(lists).toHaveLength(2 * ofOne);
  await reader.close();
});

test("a delta that has grown too old since it was read is judged anew", async () => {
  const { world, reader, put } = await storeOf();
  await put("a");
  expect((await reader.count(strong)).count).toBe(1);
  world.clock.advance(29 * day);
  expect(await reader.count(strong)).toMatchObject({ count: 1 });
  world.clock.advance(2 * day);
  await expect(reader.count(strong)).rejects.toMatchObject({ kind: "corrupt" });
  await reader.close();
});

test("what is kept of a backlog counts", async () => {
  const { reader, put } = await storeOf();
  for (let i = 0; i < 50; i++) await put(`r${i}`);
  await reader.count(strong);
  const [shard] = reader.shards;
  // A segment of 50 rows, 16 kB, and the rows.
  expect(shard!.bytes).toBeGreaterThan(10_000 + 50 * 400);
  await reader.close();
});

test("a backlog beyond the cache is refused before it is laid over", async () => {
  const { reader, put } = await storeOf({ cacheBytesMax: 60_000 });
  for (let i = 0; i < 200; i++) await put(`r${i}`);
  await expect(reader.count(strong)).rejects.toMatchObject({
    kind: "unavailable",
    message: expect.stringContaining("bytes of cache"),
  });
  await reader.close();
});

test("a LIST that ends before the backlog does is not all of it, though nearly all that it saw is ingested meanwhile", async () => {
  const small = { ...bounds, overlaidDeltas: 4, batchDeltas: 4, listedDeltas: 10, appliedDeltas: 20 };
  await underBounds(small, async () => {
    const { world, put } = await storeOf();
    for (let i = 0; i < 12; i++) {
      await put(`r${i}`);
      world.clock.advance(1_000);
    }
    // What a run ingests of a backlog that is old lies below the watermark then. It dies when two batches are published.
    world.clock.advance(2 * 3_600_000);
    let published = 0;
    const dies = effects(world, ({ operation, key }, moment) => {
      const isPublished = operation === "put" && key.endsWith("pointer.json") && moment === "after";
      if (isPublished && ++published === 2) throw new Crash("after two batches");
      return undefined;
    });
    let lists = 0;
    const store = effects(world, async ({ operation }, moment) => {
      if (operation !== "list" || moment !== "after" || ++lists !== 1) return undefined;
      const deadlineMs = world.clock.nowMs() + day;
      await compact(dies, { ingest: true, upkeep: false, deadlineMs }).catch(() => undefined);
      return undefined;
    });
    const reader = new Reader(store, { refreshSeconds: 300, cacheBytesMax: 1e9, traffic: world.traffic });
    expect(await reader.count(strong)).toMatchObject({ count: 12, snapshotVersion: 2, deltasOverlaid: 4 });
    await reader.close();
  });
});
