/** CMP-8: what ingestion and merges need, against what the compactor has. */

import { deltaBytesMax } from "../../../lib/core/format/delta-header.ts";
import { emptyManifest, type Manifest, type Segment } from "../../../lib/core/format/manifest.ts";
import { newCollection } from "../../../lib/core/model/collection.ts";
import { type SegmentId, segmentId } from "../../../lib/core/model/ids.ts";
import { ulidFloor } from "../../../lib/core/model/ulid.ts";
import { mergeLimits, planMerge, segmentRowsMax } from "../../../lib/core/policy/merge-plan.ts";
import { ingestEstimate, mergeEstimate, shortageOf } from "../../../lib/core/policy/resource-estimate.ts";

/** What a row takes in records.db with an id, a few fields and some text. */
const recordBytes = 600;
/** compaction.memoryMiB and compaction.diskMiB by default (lib/constructs/compaction.ts). */
const byDefault = { memoryBytes: 3008 * 2 ** 20, diskBytes: 4096 * 2 ** 20 };

const graphId = segmentId(ulidFloor(0));
const flatId = (i: number): SegmentId => segmentId(ulidFloor(1 + i));

/** A shard of one graph with as many dead nodes as a merge leaves, and flat segments to be added to it. */
function shardOf(dims: number, { graph, flats }: { graph: number; flats: number[] }): Manifest {
  const collection = newCollection({ name: "docs", dims, metric: "cosine" }, ulidFloor(0), 0);
  const { M } = collection.index;
  const segment = (id: SegmentId, kind: Segment["kind"], rows: number): Segment => {
    const slots = kind === "flat" ? rows : Math.floor(rows / (1 - mergeLimits.deadShareMax));
    const entry = (bytes: number) => ({ bytes, sha256: "0".repeat(64) });
    const files = { "vectors.f32": entry(slots * dims * 4), "records.db": entry(rows * recordBytes) };
    return {
      ...{ id, kind, rows, slots, tombstones: 0, minVersion: 0, maxVersion: 0 },
      sum: { rows, checksum: "0".repeat(32) },
      files: kind === "flat" ? files : { ...files, "index.hnsw": entry(slots * (dims * 4 + 8 * M + 13)) },
    };
  };
  return {
    ...emptyManifest(collection, 0),
    segments: [segment(graphId, "hnsw", graph), ...flats.map((rows, i) => segment(flatId(i), "flat", rows))],
  };
}

const roundedDown = (rows: number, parts: number) =>
  Array.from({ length: parts }, () => Math.floor(rows / parts));

test.each([1, 16, 128, 200, 256, 300, 330, 384, 600, 768, 1024, 1536, 3072, 4096])(
  "the largest merges of %i dims fit the compactor's defaults",
  (dims) => {
    const rows = segmentRowsMax(dims);
    const growing = shardOf(dims, { graph: Math.floor(rows * 0.79), flats: roundedDown(rows * 0.2, 9) });
    const building = shardOf(dims, { graph: rows, flats: roundedDown(rows, 9) });
    for (const manifest of [growing, building]) {
      const plan = planMerge(manifest, { nowMs: 0, tombstoneKeepMs: 0 })!;
      const taken = manifest.segments.filter(({ id }) => plan.inputs.includes(id));
      expect(taken.reduce((sum, segment) => sum + segment.rows, 0)).toBeGreaterThan(rows * 0.95);
      expect(shortageOf(mergeEstimate(manifest, plan), byDefault)).toBeNull();
    }
    const dead = shardOf(dims, { graph: rows, flats: [] });
    const plan = { inputs: [graphId], against: [], reason: "stale" } as const;
    expect(shortageOf(mergeEstimate(dead, plan), byDefault)).toBeNull();
  },
);

test.each([1, 16, 128, 384, 1024, 4096])(
  "the largest delta of %i dims fits the compactor's defaults",
  (dims) => {
    expect(shortageOf(ingestEstimate(1, deltaBytesMax, { dims }), byDefault)).toBeNull();
  },
);

test("needs are of the plan's inputs alone, and grow with every one of them", () => {
  const manifest = shardOf(384, { graph: 100_000, flats: [10_000, 20_000] });
  const needOf = (...inputs: SegmentId[]) =>
    mergeEstimate(manifest, { inputs, against: [], reason: "flats" });
  const [small, more, all] = [
    needOf(flatId(0)),
    needOf(flatId(0), flatId(1)),
    needOf(flatId(0), flatId(1), graphId),
  ];
  expect(more.memoryBytes).toBeGreaterThan(small.memoryBytes);
  expect(all.memoryBytes).toBeGreaterThan(more.memoryBytes);
  expect(more.diskBytes).toBeGreaterThan(small.diskBytes);
  expect(all.diskBytes).toBeGreaterThan(more.diskBytes);
  // Inputs and output lie side by side.
  const bytes = [manifest.segments[0]!, manifest.segments[1]!, manifest.segments[2]!].reduce(
    (sum, { files }) => sum + Object.values(files).reduce((n, file) => n + file.bytes, 0),
    0,
  );
  expect(all.diskBytes).toBeGreaterThan(bytes * 2);
});

test("a shortage names what is needed and what is there", () => {
  const has = { memoryBytes: 1e9, diskBytes: 2e9 };
  expect(shortageOf({ memoryBytes: 1e9, diskBytes: 2e9 }, has)).toBeNull();
  expect(shortageOf({ memoryBytes: 1.5e9, diskBytes: 1e9 }, has)).toBe(
    "1500 MB of memory (there are 1000 MB)",
  );
  expect(shortageOf({ memoryBytes: 1.5e9, diskBytes: 3e9 }, has)).toBe(
    "1500 MB of memory (there are 1000 MB) and 3000 MB of local disk (there are 2000 MB)",
  );
});
