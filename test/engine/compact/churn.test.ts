/** CMP-9, CMP-12: a shard of full segments that is written again and again stays as small as one that was built anew. */

import { type Manifest, snapshotBytes } from "../../../lib/core/format/manifest.ts";
import type { Collection } from "../../../lib/core/model/collection.ts";
import { type MergeLimits, segmentRowsMax } from "../../../lib/core/policy/merge-plan.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { collectGarbage } from "../../../lib/engine/compact/collect-garbage.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { type MergeReport, merge } from "../../../lib/engine/compact/merge.ts";
import { verify } from "../../../lib/engine/operate/verify.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const dims = 8;
const fullRows = 600;
const limits: MergeLimits = {
  flatSegmentsMax: 3,
  flatRowsMax: 40,
  growth: 4,
  deadShareMax: 0.22,
  staleMsMax: 7 * 24 * 3_600_000,
  uncountedMsMax: 24 * 3_600_000,
  segmentComponentsMax: fullRows * dims,
  segmentWeightMax: 1e9,
  clusteredComponentsMin: 60 * dims,
};
const document = "A passage as long as what people put beside a vector. ".repeat(4);

/** The shard and what it must hold. */
interface Shard {
  readonly world: MemoryWorld;
  readonly collection: Collection;
  readonly vectors: Map<string, number[]>;
}
async function empty(): Promise<Shard> {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims, metric: "l2" });
  return { world, collection, vectors: new Map() };
}
let state = 7;
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};

/** Writes and merges as a schedule would: every hundred rows. */
async function write(shard: Shard, ids: readonly string[], deletes: readonly string[] = []): Promise<void> {
  const { world } = shard;
  for (let start = 0; start < Math.max(ids.length, deletes.length); start += 100) {
    const records = ids.slice(start, start + 100).map((id) => {
      const vector = Array.from({ length: dims }, random);
      shard.vectors.set(id, vector);
      return { id, vector, document };
    });
    const gone = deletes.slice(start, start + 100);
    for (const id of gone) shard.vectors.delete(id);
    world.clock.advance(60_000);
    await produce(world, { collection: "docs", records, deletes: gone });
    const { shards } = await compact(world, { ingest: true, upkeep: false, deadlineMs: 9e15 });
    expect(shards[0]!.error).toBeUndefined();
    await upkeep(shard);
  }
}
/** As an import does: a full segment at once. */
async function addFull(shard: Shard, ids: readonly string[]): Promise<void> {
  for (const id of ids) shard.vectors.set(id, Array.from({ length: dims }, random));
  const records = ids.map((id) => ({ id, vector: shard.vectors.get(id)!, document }));
  await produce(shard.world, { collection: "docs", records });
  await compact(shard.world, { ingest: true, upkeep: false, deadlineMs: 9e15 });
  await upkeep(shard);
}
async function upkeep({ world, collection }: Shard): Promise<MergeReport> {
  const report = await merge(world, collection, 0, { deadlineMs: 9e15, limits });
  expect(report.outcome).toBe("done");
  return report;
}
const manifestOf = async ({ world, collection }: Shard): Promise<Manifest> =>
  (await readHead(world.store, collection, 0)).manifest;
/** Vectors and tombstones stored for each record that lives. */
async function storedShare(shard: Shard): Promise<number> {
  const { segments } = await manifestOf(shard);
  const stored = segments.reduce((sum, { slots, tombstones }) => sum + slots + tombstones, 0);
  return stored / shard.vectors.size;
}
async function rebuilt({ vectors }: Shard): Promise<Shard> {
  const fresh = await empty();
  for (const [id, vector] of vectors) fresh.vectors.set(id, vector);
  const records = [...vectors].map(([id, vector]) => ({ id, vector, document }));
  for (let start = 0; start < records.length; start += fullRows) {
    await produce(fresh.world, { collection: "docs", records: records.slice(start, start + fullRows) });
    await compact(fresh.world, { ingest: true, upkeep: false, deadlineMs: 9e15 });
    await upkeep(fresh);
  }
  return fresh;
}
async function recallOf({ world, vectors }: Shard): Promise<number> {
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  let found = 0;
  try {
    for (let n = 0; n < 40; n++) {
      const vector = Array.from({ length: dims }, random);
      const distance = ([, other]: [string, number[]]) =>
        other.reduce((sum, x, i) => sum + (x - vector[i]!) ** 2, 0);
      const truth = [...vectors].sort((a, b) => distance(a) - distance(b)).slice(0, 10);
      const { results } = await reader.query({ collection: "docs", vector, topK: 10 });
      const ids = new Set(results.map(({ id }) => id));
      found += truth.filter(([id]) => ids.has(id)).length;
    }
    expect((await reader.count({ collection: "docs" })).count).toBe(vectors.size);
  } finally {
    await reader.close();
  }
  return found / 400;
}
const names = (count: number, prefix = "id") => Array.from({ length: count }, (_, i) => `${prefix}${i}`);
const isFull = ({ segments }: Manifest) =>
  segments.filter(({ rows }) => rows >= segmentRowsMax(dims, limits) * 0.99).length;

describe.each([1, 2])("%d full segments", (full) => {
  test("ten rounds of 30 %: at most 1.3 × the vectors and bytes of a fresh build, recall within 0.01", async () => {
    const shard = await empty();
    const ids = names(fullRows * full);
    for (let n = 0; n < full; n++) await addFull(shard, ids.slice(n * fullRows, (n + 1) * fullRows));
    expect(isFull(await manifestOf(shard))).toBe(full);
    const shares: number[] = [];
    for (let round = 0; round < 10; round++) {
      await write(
        shard,
        ids.filter(() => random() < 0.3),
      );
      shares.push(await storedShare(shard));
    }
    expect(Math.max(...shares)).toBeLessThanOrEqual(1.3);
    const fresh = await rebuilt(shard);
    const bytes = async (of: Shard) => snapshotBytes(await manifestOf(of));
    expect((await bytes(shard)) / (await bytes(fresh))).toBeLessThanOrEqual(1.3);
    expect(await recallOf(shard)).toBeGreaterThanOrEqual((await recallOf(fresh)) - 0.01);
    expect((await verify(shard.world, shard.collection, 0)).faults).toEqual([]);
  }, 120_000);
});

test("a window that moves on: of deleted records neither rows nor, past the horizon, tombstones pile up", async () => {
  const shard = await empty();
  await write(shard, names(fullRows, "0-"));
  for (let round = 1; round <= 8; round++) {
    await write(shard, names(fullRows / 2, `${round}-`), [...shard.vectors.keys()].slice(0, fullRows / 2));
    shard.world.clock.advance(16 * 24 * 3_600_000);
    await upkeep(shard);
  }
  const { segments } = await manifestOf(shard);
  const tombstones = segments.reduce((sum, segment) => sum + segment.tombstones, 0);
  // Two rounds lie within the horizon; of older ones a share stays that is worth no rebuild.
  expect(tombstones).toBeLessThanOrEqual(fullRows * 1.3);
  expect(segments.reduce((sum, { slots }) => sum + slots, 0) / shard.vectors.size).toBeLessThanOrEqual(1.3);
  expect(await recallOf(shard)).toBeGreaterThan(0.95);
  expect((await verify(shard.world, shard.collection, 0)).faults).toEqual([]);
}, 120_000);

describe.each([
  ["a flat segment", 10],
  ["a graph without clusters.bin", 50],
  ["a graph with one", 90],
  ["a full segment", fullRows],
])("one deleted record of %s", (_, count) => {
  test("its row is gone from the newest version within eight days, its tombstone after its time, and then nothing is rewritten", async () => {
    const shard = await empty();
    await addFull(shard, names(count));
    await write(shard, ["other"], ["id3"]);
    const stored = async () => {
      const { segments } = await manifestOf(shard);
      const slots = segments.reduce((sum, segment) => sum + segment.slots, 0);
      const tombstones = segments.reduce((sum, segment) => sum + segment.tombstones, 0);
      return [slots - shard.vectors.size, tombstones];
    };
    expect(await stored()).toEqual([1, 1]);
    const days = async (count: number) => {
      for (let day = 0; day < count; day++) {
        shard.world.clock.advance(24 * 3_600_000 + 1);
        await upkeep(shard);
      }
    };
    await days(9);
    expect(await stored()).toEqual([0, 1]);
    expect((await verify(shard.world, shard.collection, 0)).faults).toEqual([]);
    await days(50);
    const { version } = await manifestOf(shard);
    await days(60);
    await collectGarbage(shard.world, shard.collection, 0);
    expect((await manifestOf(shard)).version).toBe(version);
  });
});

test("records that are only ever added are never rewritten for their age", async () => {
  const shard = await empty();
  await addFull(shard, names(fullRows));
  for (let day = 0; day < 10; day++) {
    shard.world.clock.advance(24 * 3_600_000);
    await write(shard, [`new${day}`]);
  }
  const { segments } = await manifestOf(shard);
  const [largest] = [...segments].sort((a, b) => b.rows - a.rows);
  expect(largest!.rows).toBe(fullRows);
  expect(Object.values(largest!.stale!.by)).toEqual([0]);
});

test("merging reads for a written row what depends on the row, not on how many full segments there are", async () => {
  const bytesRead = async (full: number): Promise<number> => {
    const shard = await empty();
    for (let n = 0; n < full; n++) await addFull(shard, names(fullRows, `${n}-`));
    const before = shard.world.traffic.bytesRead;
    for (let n = 0; n < 3; n++) await write(shard, names(100, `0-`));
    return shard.world.traffic.bytesRead - before;
  };
  expect((await bytesRead(6)) / (await bytesRead(1))).toBeLessThan(1.5);
});
