/** CMP-9: what merges know of stale rows, from version to version; and what a plan makes of it. */

import {
  emptyManifest,
  faultOf,
  type Manifest,
  type Segment,
  type Staleness,
} from "../../../lib/core/format/manifest.ts";
import { newCollection } from "../../../lib/core/model/collection.ts";
import { segmentId } from "../../../lib/core/model/ids.ts";
import { ulidFloor } from "../../../lib/core/model/ulid.ts";
import { mergeLimits, planMerge } from "../../../lib/core/policy/merge-plan.ts";
import { type MergedSegment, segmentsAfter } from "../../../lib/core/policy/stale-rows.ts";

const day = 24 * 3_600_000;
const nowMs = 100 * day;
const collection = newCollection({ name: "docs", dims: 384, metric: "cosine" }, ulidFloor(0), 0);
const limits = { ...mergeLimits, flatSegmentsMax: 2 };

interface Shape {
  readonly rows: number;
  readonly kind?: Segment["kind"];
  readonly slots?: number;
  readonly tombstones?: number;
  readonly clustered?: boolean;
  readonly stale?: Staleness;
}
/** Made `days` ago. */
function segment(days: number, shape: Shape): Segment {
  const { rows, kind = "hnsw", slots = rows, tombstones = 0, clustered = kind === "hnsw", stale } = shape;
  const entry = { bytes: slots * 384 * 4, sha256: "0".repeat(64) };
  return {
    ...{
      id: segmentId(ulidFloor(nowMs - days * day)),
      kind,
      rows,
      slots,
      tombstones,
      minVersion: 0,
      maxVersion: 0,
    },
    sum: { rows: rows + tombstones, checksum: "0".repeat(32) },
    files: {
      "vectors.f32": entry,
      "records.db": entry,
      ...(kind === "hnsw" ? { "index.hnsw": entry } : {}),
      ...(clustered ? { "clusters.bin": { ...entry, head: entry } } : {}),
    },
    ...(stale ? { stale } : {}),
  };
}
const shardOf = (...segments: Segment[]): Manifest => ({ ...emptyManifest(collection, 0), segments });
const planOf = (...segments: Segment[]) =>
  planMerge(shardOf(...segments), { nowMs, tombstoneKeepMs: 30 * day }, limits);
const staleOf = (segments: readonly Segment[], { id }: Segment) =>
  segments.find((one) => one.id === id)!.stale;

describe("a plan", () => {
  const newer = segment(1, { rows: 1_000 });
  const by = (n: number, sinceMs: number | null = nowMs): Staleness => ({ sinceMs, by: { [newer.id]: n } });

  test("leaves alone what is not stale, or a little for a short while", () => {
    expect(planOf(segment(90, { rows: 10_000 }), newer)).toBeNull();
    expect(planOf(segment(90, { rows: 10_000, stale: by(0, null) }), newer)).toBeNull();
    expect(planOf(segment(90, { rows: 10_000, stale: by(2_200) }), newer)).toBeNull();
    expect(planOf(segment(90, { rows: 10_000, stale: by(1, nowMs - 7 * day) }), newer)).toBeNull();
  });

  test("reclaims more than a share, against what supersedes it", () => {
    const large = segment(90, { rows: 10_000, stale: by(2_201) });
    const plan = { inputs: [large.id], against: [newer.id], reason: "stale" };
    expect(planOf(large, newer)).toEqual(plan);
    const withDead = segment(90, { rows: 9_000, slots: 10_000, stale: by(1_201) });
    expect(planOf(withDead, newer)).toEqual({ ...plan, inputs: [withDead.id] });
    expect(planOf(segment(90, { rows: 7_000, slots: 10_000 }))).toMatchObject({ against: [] });
  });

  test("reclaims a little that has been stale for a week; by its own age where the time was not noted", () => {
    const weekAgo = nowMs - 7 * day - 1;
    expect(planOf(segment(90, { rows: 10_000, stale: by(1, weekAgo) }), newer)).toMatchObject({
      reason: "stale",
    });
    expect(planOf(segment(6, { rows: 9_999, slots: 10_000 }))).toBeNull();
    expect(planOf(segment(8, { rows: 9_999, slots: 10_000 }))).toMatchObject({ reason: "stale" });
    // What superseded it is no part of the version: nothing is left out then.
    const gone: Staleness = { sinceMs: weekAgo, by: { [ulidFloor(5)]: 9 } };
    expect(planOf(segment(90, { rows: 10_000, stale: gone }), newer)).toBeNull();
  });

  test("reclaims tombstones when all of them are past their time", () => {
    const shape = { rows: 5_000, tombstones: 5_000 };
    expect(planOf(segment(29, shape), newer)).toBeNull();
    expect(planOf(segment(31, shape), newer)).toMatchObject({ reason: "stale" });
  });

  test("counts flat segments after a day, and not again", () => {
    const flat = segment(2, { rows: 10, kind: "flat" });
    const large = segment(90, { rows: 10_000 });
    expect(planOf(large, flat)).toEqual({ inputs: [flat.id], against: [], reason: "count" });
    expect(planOf(large, segment(0.5, { rows: 10, kind: "flat" }))).toBeNull();
    expect(planOf({ ...large, stale: { sinceMs: null, by: { [flat.id]: 0 } } }, flat)).toBeNull();
    const small = segment(90, { rows: 10_000, clustered: false });
    expect(planOf(small, flat)).toEqual({ inputs: [flat.id], against: [small.id], reason: "count" });
    expect(planOf(small, { ...flat, stale: { sinceMs: null, by: { [small.id]: 0 } } })).toBeNull();
  });

  test("merges flat segments with each other after a day, and compares graphs by rebuilding the smaller one", () => {
    const [one, other] = [segment(2, { rows: 10, kind: "flat" }), segment(3, { rows: 12, kind: "flat" })];
    expect(planOf(one, other)).toEqual({ inputs: [one.id, other.id], against: [], reason: "count" });
    expect(planOf(one, segment(0.5, { rows: 10, kind: "flat" }))).toBeNull();
    const [large, small] = [segment(90, { rows: 90_000 }), segment(2, { rows: 2_100, clustered: false })];
    expect(planOf(large, small)).toEqual({ inputs: [small.id], against: [], reason: "count" });
    expect(planOf(large, segment(0.5, { rows: 2_100, clustered: false }))).toBeNull();
  });

  test("reclaims what is stale in a flat segment as well", () => {
    const late = segment(9, { rows: 10, kind: "flat", stale: by(1, nowMs - 8 * day) });
    expect(planOf(newer, late)).toEqual({ inputs: [late.id], against: [newer.id], reason: "stale" });
  });
});

describe("after a merge", () => {
  const large = segment(90, { rows: 10_000, stale: { sinceMs: 7, by: { [ulidFloor(1)]: 4 } } });
  const flats = [segment(2, { rows: 10, kind: "flat" }), segment(1, { rows: 10, kind: "flat" })];
  const output = segment(0, { rows: 20, kind: "flat" });
  const merged = (part: Partial<MergedSegment> = {}): MergedSegment => ({
    plan: { inputs: flats.map(({ id }) => id), against: [], reason: "flats" },
    output,
    counted: new Map([[large.id, 3]]),
    supersedes: new Map(),
    ...part,
  });

  test("a large segment knows how many of its ids were written again, since when, and of nothing that is gone", () => {
    const after = segmentsAfter(shardOf(large, ...flats), merged(), nowMs);
    expect(after.map(({ id }) => id)).toEqual([large.id, output.id]);
    expect(staleOf(after, large)).toEqual({ sinceMs: 7, by: { [output.id]: 3 } });
    const fresh = { ...large, stale: { sinceMs: null, by: {} } };
    expect(staleOf(segmentsAfter(shardOf(fresh, ...flats), merged(), nowMs), fresh)?.sinceMs).toBe(nowMs);
    const none = merged({ counted: new Map([[large.id, 0]]) });
    expect(staleOf(segmentsAfter(shardOf(fresh, ...flats), none, nowMs), fresh)).toEqual({
      sinceMs: null,
      by: { [output.id]: 0 },
    });
  });

  test("uncounted, the output takes over what its inputs were known to write again", () => {
    const known = { ...large, stale: { sinceMs: 7, by: { [flats[0]!.id]: 2, [flats[1]!.id]: 5 } } };
    const after = segmentsAfter(shardOf(known, ...flats), merged({ counted: new Map() }), nowMs);
    expect(staleOf(after, known)).toEqual({ sinceMs: 7, by: { [output.id]: 7 } });
  });

  test("a count that is not known of all inputs is not known of the output", () => {
    const partly = { ...large, stale: { sinceMs: 7, by: { [flats[0]!.id]: 2 } } };
    const after = segmentsAfter(shardOf(partly, ...flats), merged({ counted: new Map() }), nowMs);
    expect([staleOf(after, partly), staleOf(after, output)]).toEqual([undefined, undefined]);
  });

  test("a segment that grew keeps its stale rows and since when; one that was reclaimed begins anew", () => {
    const other = segment(3, { rows: 500 });
    const base = { ...large, slots: 10_100, stale: { sinceMs: 9, by: { [other.id]: 8 } } };
    const grown = { ...segment(0, { rows: 10_005, slots: 10_105 }), id: output.id };
    const growing = merged({
      plan: { inputs: [flats[0]!.id, base.id], against: [], reason: "flats" },
      output: grown,
      counted: new Map([[other.id, 1]]),
    });
    const after = segmentsAfter(shardOf(base, other, ...flats), growing, nowMs);
    expect(staleOf(after, grown)).toEqual({ sinceMs: 9, by: { [other.id]: 8 } });
    const reclaiming = merged({
      plan: { inputs: [base.id], against: [other.id], reason: "stale" },
      output: { ...grown, slots: 9_990, rows: 9_990 },
      counted: new Map([[other.id, 499]]),
      supersedes: new Map([[other.id, 2]]),
    });
    const anew = segmentsAfter(shardOf(base, other, ...flats), reclaiming, nowMs);
    expect(staleOf(anew, grown)).toEqual({ sinceMs: null, by: { [other.id]: 0 } });
    // Exactly, and not by ids: that an old row has an id that is here as well says nothing of this one.
    expect(staleOf(anew, other)).toEqual({ sinceMs: nowMs, by: { [grown.id]: 2 } });
  });
});

test("a malformed staleness is a fault of the manifest", () => {
  const fault = (stale: unknown) => faultOf(shardOf({ ...segment(1, { rows: 0 }), stale } as Segment));
  expect(fault({ sinceMs: null, by: {} })).toBeNull();
  for (const stale of [
    { sinceMs: "1", by: {} },
    { sinceMs: null, by: { a: -1 } },
  ])
    expect(fault(stale)).toMatch(/staleness/);
});
