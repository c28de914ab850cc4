/** Shards whose segments pile up: views are built in linear time, and ingestion merges what merging does not get to. */
import { DatabaseSync } from "node:sqlite";
import { jest } from "@jest/globals";
import { alarms } from "../../../lib/contract/alarms.ts";
import { segmentKey } from "../../../lib/core/format/keys.ts";
import { bounds } from "../../../lib/core/model/bounds.ts";
import { mergeLimits } from "../../../lib/core/policy/merge-plan.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { ingest } from "../../../lib/engine/compact/ingest.ts";
import { merge } from "../../../lib/engine/compact/merge.ts";
import { verify } from "../../../lib/engine/operate/verify.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { HeldLease, ingestLease, mergeLease } from "../../../lib/engine/shard/lease.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { effects } from "../../support/effects.ts";
import { memoryWorld } from "../../support/memory/world.ts";

const productBounds = { ...bounds };
/** So that few writes pile up. */
beforeEach(() => Object.assign(bounds, { piledFlats: 12 }));
afterEach(() => {
  Object.assign(bounds, productBounds);
  jest.restoreAllMocks();
});

async function statementsOfAView(flats: number): Promise<number> {
  Object.assign(bounds, productBounds);
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  for (let n = 0; n < flats; n++) {
    // Each writes one id anew, takes one back, and adds one.
    await produce(world, {
      collection: "docs",
      records: [
        { id: "same", vector: [n, 1] },
        { id: `id${n}`, vector: [n, 2] },
      ],
    });
    if (n > 2) await produce(world, { collection: "docs", deletes: [`id${n - 2}`] });
    world.clock.advance(1_000);
    await ingest(world, collection, 0, { outOfTime: () => false });
    if (n === 4)
      await merge(world, collection, 0, {
        deadlineMs: 9e15,
        limits: { ...mergeLimits, flatSegmentsMax: 2, flatRowsMax: 2 },
      });
  }
  const { segments } = (await readHead(world.store, collection, 0)).manifest;
  expect(segments).toHaveLength(flats - 4);
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  try {
    const prepared = jest.spyOn(DatabaseSync.prototype, "prepare");
    expect((await reader.count({ collection: "docs" })).count).toBe(4);
    const statements = prepared.mock.calls.length;
    prepared.mockRestore();
    const { results } = await reader.query({ collection: "docs", vector: [flats - 1, 1], topK: 9 });
    expect(results.map(({ id }) => id)).toEqual(["same", `id${flats - 1}`, `id${flats - 2}`, "id0"]);
    return statements;
  } finally {
    await reader.close();
  }
}

test("a view of three times as many segments takes at most three times as many statements", async () => {
  const few = await statementsOfAView(24);
  expect(await statementsOfAView(64)).toBeLessThanOrEqual(few * 3);
});

test("ingestion keeps segments few by itself where merging never gets to them, with bounded work, and loses nothing", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  const writes = 90;
  let [segmentsMost, ofOneWriteMost] = [0, 0];
  let before = 0;
  for (let n = 0; n < writes; n++) {
    const records = [
      { id: `id${n}`, vector: [n, 1] },
      { id: `again${n % 10}`, vector: [n, 2] },
    ];
    await produce(world, { collection: "docs", records, deletes: n % 3 === 0 ? [`id${n - 2}`] : [] });
    world.clock.advance(1_000);
    await ingest(world, collection, 0, { outOfTime: () => false });
    const { segments, version } = (await readHead(world.store, collection, 0)).manifest;
    segmentsMost = Math.max(segmentsMost, segments.length);
    ofOneWriteMost = Math.max(ofOneWriteMost, version - before);
    before = version;
  }
  expect(segmentsMost).toBeLessThanOrEqual(bounds.piledFlats + 1);
  expect(ofOneWriteMost).toBe(2);
  // Each merge halves what has piled up: one for every six writes.
  expect(before).toBeLessThan(writes * 1.25);
  expect((await verify(world, collection, 0)).faults).toEqual([]);
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  try {
    expect((await reader.count({ collection: "docs" })).count).toBe(writes + 10 - (writes / 3 - 1));
  } finally {
    await reader.close();
  }
});

test("a damaged segment keeps no other from being merged: segments stay few", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  const segments = async () => (await readHead(world.store, collection, 0)).manifest.segments;
  const write = async (n: number) => {
    await produce(world, { collection: "docs", records: [{ id: `id${n}`, vector: [n, 1] }] });
    world.clock.advance(1_000);
    await ingest(world, collection, 0, { outOfTime: () => false });
  };
  for (let n = 0; n < 3; n++) await write(n);
  const damaged = (await segments())[1]!.id;
  const key = segmentKey({ collection: "docs", shard: 0 }, damaged, "records.db");
  world.store.bytes(key)![100]! ^= 1;
  let most = 0;
  for (let n = 3; n < 60; n++) {
    await write(n);
    most = Math.max(most, (await segments()).length);
  }
  expect(most).toBeLessThanOrEqual(bounds.piledFlats + 2);
  expect((await segments()).map(({ id }) => id)).toContain(damaged);
  expect((await verify(world, collection, 0)).faults).toHaveLength(1);
});

test("the last bound on segments refuses a version, and no write: deltas wait, strong reads see them, a merge ends it", async () => {
  Object.assign(bounds, { piledFlats: 100, segments: 5 });
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  const write = (n: number) =>
    produce(world, { collection: "docs", records: [{ id: `id${n}`, vector: [n, 1] }] });
  const ingested = () => ingest(world, collection, 0, { outOfTime: () => false });
  for (let n = 0; n < 5; n++) {
    await write(n);
    expect(await ingested()).toMatchObject({ outcome: "done" });
  }
  await write(5);
  await expect(ingested()).rejects.toMatchObject({
    kind: "unavailable",
    message: expect.stringMatching(/docs\/0 would have 6 segments, and at most 5 .*docs\/runbook\.md/),
  });
  await write(6);
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  try {
    expect((await reader.count({ collection: "docs" })).count).toBe(5);
    expect((await reader.count({ collection: "docs", consistency: "strong" })).count).toBe(7);
    await merge(world, collection, 0, { deadlineMs: 9e15, limits: { ...mergeLimits, flatSegmentsMax: 2 } });
    expect(await ingested()).toMatchObject({ outcome: "done" });
    expect((await reader.count({ collection: "docs" })).count).toBe(7);
  } finally {
    await reader.close();
  }
});

test("the alarm comes long before ingestion merges by itself, and that long before the last bound", () => {
  const { threshold } = alarms.Segments;
  expect(threshold * 1.2).toBeLessThanOrEqual(productBounds.piledFlats);
  expect(productBounds.piledFlats * 10).toBeLessThan(productBounds.segments);
});

test("a merger that is at work keeps its inputs", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  const lease = await HeldLease.acquire(world, mergeLease("docs/0"));
  for (let n = 0; n < bounds.piledFlats + 2; n++) {
    await produce(world, { collection: "docs", records: [{ id: `id${n}`, vector: [n, 1] }] });
    await ingest(world, collection, 0, { outOfTime: () => false });
    await lease!.check();
  }
  const count = async () => (await readHead(world.store, collection, 0)).manifest.segments.length;
  expect(await count()).toBe(bounds.piledFlats + 2);
  await lease!.release();
  await produce(world, { collection: "docs", deletes: ["id0"] });
  await ingest(world, collection, 0, { outOfTime: () => false });
  expect(await count()).toBeLessThan(bounds.piledFlats);
});

test("merging what has piled up extends the ingest lease, however slow S3 is, and stops when that is lost", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  const write = (id: string) => produce(world, { collection: "docs", records: [{ id, vector: [1, 1] }] });
  const segments = async () => (await readHead(world.store, collection, 0)).manifest.segments.length;
  const pileUp = async () => {
    for (let n = await segments(); n < bounds.piledFlats; n++) {
      await write(`id${n}`);
      await ingest(world, collection, 0, { outOfTime: () => false });
    }
    await write("the last");
  };
  let onLost = async (): Promise<unknown> => undefined;
  const slow = effects(world, async ({ operation, key }, moment) => {
    if (moment === "before" || operation !== "get" || !key.endsWith("/records.db")) return;
    // A few of these are longer than a lease.
    world.clock.advance(40_000);
    expect((await world.leases.read(ingestLease("docs/0")))!.expiresAtMs).toBeGreaterThan(
      world.clock.nowMs(),
    );
    await onLost();
  });
  await pileUp();
  expect(await ingest(slow, collection, 0, { outOfTime: () => false })).toMatchObject({ outcome: "done" });
  expect(await segments()).toBeLessThan(bounds.piledFlats);

  await pileUp();
  const before = await segments();
  onLost = async () => {
    onLost = async () => undefined;
    await world.leases.forceRelease(ingestLease("docs/0"), (await world.leases.read(ingestLease("docs/0")))!);
  };
  await ingest(slow, collection, 0, { outOfTime: () => false });
  expect(await segments()).toBe(before + 1);
});
