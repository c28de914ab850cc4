/** CMP-9, ENV-3: merging goes on under every load, and a delete is never undone by it. */
import type { Collection, Ordering } from "../../../lib/core/model/collection.ts";
import { planMerge } from "../../../lib/core/policy/merge-plan.ts";
import { mergeMs } from "../../../lib/core/policy/merge-time.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { merge } from "../../../lib/engine/compact/merge.ts";
import { verify } from "../../../lib/engine/operate/verify.ts";
import type { World } from "../../../lib/engine/ports.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { limits as small } from "../../crash/scenarios.ts";
import { type Effect, effects } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

/** Every merge takes in the whole shard. */
const limits = { ...small, growth: 1_000 };
const minute = 60_000;
const day = 24 * 60 * minute;

async function made(ordering: Ordering): Promise<{ world: MemoryWorld; collection: Collection }> {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2", ordering });
  return { world, collection };
}
interface Writes {
  readonly put?: Readonly<Record<string, number>>;
  readonly deleted?: Readonly<Record<string, number>>;
}
/** Ids and their versions, ingested as one version of the shard. */
async function publish(world: MemoryWorld, { put = {}, deleted = {} }: Writes): Promise<void> {
  world.clock.advance(1_000);
  await produce(world, {
    collection: "docs",
    records: Object.entries(put).map(([id, version]) => ({ id, version, vector: [1, 2] })),
    deletes: Object.entries(deleted).map(([id, version]) => ({ id, version })),
  });
  const { shards } = await compact(world, { ingest: true, upkeep: false, deadlineMs: 9e15 });
  expect(shards[0]!.error).toBeUndefined();
}
const mergeNow = (world: World, collection: Collection, leftMs = 60 * minute) =>
  merge(world, collection, 0, { deadlineMs: world.clock.nowMs() + leftMs, limits });
const tombstonesOf = async (world: MemoryWorld, collection: Collection) =>
  (await readHead(world.store, collection, 0)).manifest.segments.reduce((sum, s) => sum + s.tombstones, 0);
async function idsIn(world: MemoryWorld): Promise<string[]> {
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  try {
    const { results } = await reader.query({ collection: "docs", vector: [1, 2], topK: 100 });
    return results.map(({ id }) => id).sort();
  } finally {
    await reader.close();
  }
}
/** A merger during each of whose uploads something is ingested. */
function beside(world: MemoryWorld, work: () => Promise<void>) {
  return effects(world, async ({ operation, key }: Effect, moment) => {
    if (moment === "before" && operation === "putFile" && key.endsWith("/records.db")) await work();
    return undefined;
  });
}

test("counters as versions and an ingestion beside every merge: all twelve merges are progress", async () => {
  const { world, collection } = await made("source");
  await publish(world, { put: { a: 1, b: 1 }, deleted: { gone: 5 } });
  world.clock.advance(32 * day);
  let version = 1;
  for (let round = 0; round < 12; round++) {
    await publish(world, { put: { [`r${round}`]: ++version, a: version } });
    let n = 0;
    const merger = beside(world, async () => {
      if (n < 2) await publish(world, { put: { [`s${round}-${++n}`]: 2 } });
    });
    const report = await mergeNow(merger, collection);
    expect(report.outcome).not.toBe("overtaken");
    expect(report.merges.length).toBeGreaterThan(0);
    const { manifest } = await readHead(world.store, collection, 0);
    // What a merge leaves: its output, and what came meanwhile.
    expect(manifest.segments.length).toBeLessThanOrEqual(2 + n);
  }
  expect(await tombstonesOf(world, collection)).toBe(1);
  expect(await idsIn(world)).not.toContain("gone");
  expect((await verify(world, collection, 0)).faults).toEqual([]);
  // The first merge that nothing undercuts drops it.
  await publish(world, { put: { last: 100 } });
  await mergeNow(world, collection);
  expect(await tombstonesOf(world, collection)).toBe(0);
});

test("flat segments that do not fit into one are compared once, whatever smaller one has come since", async () => {
  const { world, collection } = await made("source");
  const many = (of: string) => Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`${of}${i}`, 1]));
  await publish(world, { put: { a: 1 }, deleted: many("one") });
  await publish(world, { put: { a: 2 }, deleted: many("other") });
  world.clock.advance(2 * day);
  await publish(world, { put: { b: 1 } });
  // A segment holds 20 rows and tombstones.
  const few = {
    ...limits,
    flatSegmentsMax: 30,
    flatRowsMax: 2,
    segmentComponentsMax: 40,
    uncountedMsMax: day,
  };
  const run = () =>
    merge(world, collection, 0, { deadlineMs: world.clock.nowMs() + 60 * minute, limits: few });
  expect(await run()).toMatchObject({ outcome: "done", merges: [{ inputs: 1, rows: 0 }] });
  expect((await run()).merges).toEqual([]);
  // The small one has been there for a day as well.
  world.clock.advance(2 * day);
  expect(await run()).toMatchObject({ outcome: "done", merges: [{ inputs: 1, rows: 1 }] });
  world.clock.advance(2 * day);
  expect((await run()).merges).toEqual([]);
  expect(await idsIn(world)).toEqual(["a", "b"]);
  expect((await verify(world, collection, 0)).faults).toEqual([]);
  expect(await tombstonesOf(world, collection)).toBe(40);
});

test("a merge that leaves no row uploads nothing", async () => {
  const { world, collection } = await made("source");
  await publish(world, { put: { a: 1 } });
  await publish(world, { deleted: { a: 2 } });
  world.clock.advance(32 * day);
  const uploaded: string[] = [];
  const merger = effects(world, ({ operation, key }) => {
    if (operation === "putFile") uploaded.push(key);
    return undefined;
  });
  expect(await mergeNow(merger, collection)).toMatchObject({ outcome: "done", merges: [{ rows: 0 }] });
  expect((await readHead(world.store, collection, 0)).manifest.segments).toEqual([]);
  expect(uploaded).toEqual([]);
});

test("an older write that arrives while its delete is being forgotten stays deleted", async () => {
  const { world, collection } = await made("source");
  await publish(world, { put: { a: 1, b: 1, c: 1 }, deleted: { gone: 5 } });
  world.clock.advance(32 * day);
  await publish(world, { put: { d: 9 } });
  let isDone = false;
  const merger = beside(world, async () => {
    if (!isDone) await publish(world, { put: { gone: 4 } });
    isDone = true;
  });
  expect(await mergeNow(merger, collection)).toMatchObject({ outcome: "done" });
  expect(await idsIn(world)).toEqual(["a", "b", "c", "d"]);
  expect((await verify(world, collection, 0)).faults).toEqual([]);
});

test("a merge with time for one try only keeps tombstones of a source's versions at once, and is progress", async () => {
  const { world, collection } = await made("source");
  await publish(world, { put: { a: 1, b: 1, c: 1 }, deleted: { gone: 5 } });
  world.clock.advance(32 * day);
  await publish(world, { put: { d: 9 } });
  // An estimate of a few microseconds: time for one, not for two.
  const { manifest } = await readHead(world.store, collection, 0);
  const takesMs = mergeMs(
    manifest,
    planMerge(manifest, { nowMs: world.clock.nowMs(), tombstoneKeepMs: 0 }, limits)!,
  );
  expect(takesMs).toBeGreaterThan(0);
  expect(await mergeNow(world, collection, takesMs * 1.5)).toMatchObject({ merges: [{ rows: 4 }] });
  expect(await tombstonesOf(world, collection)).toBe(1);
});
