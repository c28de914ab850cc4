/** What holds of every plan of a merge, whatever segments a shard has. */
import fc from "fast-check";
import { emptyManifest, type Manifest, type Segment } from "../../../lib/core/format/manifest.ts";
import { newCollection } from "../../../lib/core/model/collection.ts";
import { segmentId } from "../../../lib/core/model/ids.ts";
import { ulidFloor } from "../../../lib/core/model/ulid.ts";
import {
  type MergePlan,
  mergeLimits,
  optimizeLimits,
  planMerge,
  segmentRowsMax,
} from "../../../lib/core/policy/merge-plan.ts";
import { segmentsAfter } from "../../../lib/core/policy/stale-rows.ts";

const day = 24 * 3_600_000;
const nowMs = 100 * day;
const time = { nowMs, tombstoneKeepMs: 30 * day };
const collection = newCollection({ name: "docs", dims: 384, metric: "cosine" }, ulidFloor(0), 0);
/** Small, so that every rule is met with few rows: a segment holds 2,000. */
const limits = {
  ...mergeLimits,
  flatSegmentsMax: 3,
  flatRowsMax: 50,
  segmentComponentsMax: 2_000 * collection.dims,
};
const rowsMax = segmentRowsMax(collection.dims, limits);
const size = ({ rows, tombstones }: Segment): number => rows + tombstones;
const total = (segments: readonly Segment[]): number => segments.reduce((sum, one) => sum + size(one), 0);

interface Shape {
  readonly ageDays: number;
  readonly isGraph: boolean;
  readonly isClustered: boolean;
  readonly rows: number;
  readonly tombstones: number;
  readonly dead: number;
}

function segmentOf(ulid: string, { isGraph, isClustered, rows, tombstones, dead }: Shape): Segment {
  const entry = { bytes: rows * collection.dims * 4, sha256: "0".repeat(64) };
  return {
    ...{ id: segmentId(ulid), rows, tombstones, minVersion: 0, maxVersion: 0 },
    kind: isGraph ? "hnsw" : "flat",
    slots: isGraph ? rows + dead : rows,
    sum: { rows: rows + tombstones, checksum: "0".repeat(32) },
    files: {
      ...{ "vectors.f32": entry, "records.db": entry },
      ...(isGraph ? { "index.hnsw": entry } : {}),
      ...(isGraph && isClustered ? { "clusters.bin": { ...entry, head: entry } } : {}),
    },
  };
}

const shapes: fc.Arbitrary<Shape> = fc.record({
  ageDays: fc.integer({ min: 0, max: 90 }),
  isGraph: fc.boolean(),
  isClustered: fc.boolean(),
  rows: fc.oneof(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 0, max: 2_000 })),
  tombstones: fc.integer({ min: 0, max: 40 }),
  dead: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 500 })),
});
/** A few ms apart, so that no two have one id; up to 60 segments. */
const shards: fc.Arbitrary<Segment[]> = fc
  .array(shapes, { maxLength: 60 })
  .map((all) => all.map((shape, i) => segmentOf(ulidFloor(nowMs - shape.ageDays * day - i), shape)));

const manifestOf = (segments: readonly Segment[]): Manifest => ({
  ...emptyManifest(collection, 0),
  segments,
});
const planOf = (segments: readonly Segment[]): MergePlan | null =>
  planMerge(manifestOf(segments), time, limits);

test("a plan does not depend on the order in which the manifest names the segments", () => {
  const shuffled = shards.chain((segments) =>
    fc.tuple(
      fc.constant(segments),
      fc.shuffledSubarray(segments, { minLength: segments.length, maxLength: segments.length }),
    ),
  );
  fc.assert(fc.property(shuffled, ([one, other]) => expect(planOf(other)).toEqual(planOf(one))));
});

test("a plan names segments of the version, each once, and reads no segment that it replaces", () => {
  fc.assert(
    fc.property(shards, (segments) => {
      const plan = planOf(segments);
      if (plan === null) return;
      const ids = new Set(segments.map(({ id }) => id));
      const named = [...plan.inputs, ...plan.against];
      expect(plan.inputs.length).toBeGreaterThan(0);
      expect(new Set(named).size).toBe(named.length);
      expect(named.filter((id) => !ids.has(id))).toEqual([]);
    }),
  );
});

test("a plan makes no segment above the bound out of several", () => {
  fc.assert(
    fc.property(shards, (segments) => {
      const plan = planOf(segments);
      if (plan === null || plan.inputs.length === 1) return;
      expect(total(segments.filter(({ id }) => plan.inputs.includes(id)))).toBeLessThanOrEqual(rowsMax);
    }),
  );
});

/** A version, and of each segment those of the first version whose rows it has by now. */
interface State {
  readonly segments: readonly Segment[];
  readonly holds: ReadonlyMap<string, readonly string[]>;
}

/** The version after a merge that finds nothing superseded: every row and tombstone is kept, and each pair is counted. */
function merged({ segments, holds }: State, { inputs }: MergePlan, id: string): State {
  const taken = inputs.map((input) => segments.find((one) => one.id === input)!);
  const rest = segments.filter((one) => !inputs.includes(one.id));
  const rows = taken.reduce((sum, one) => sum + one.rows, 0);
  const tombstones = taken.reduce((sum, one) => sum + one.tombstones, 0);
  const isGraph = rows > limits.flatRowsMax;
  const shape = { ageDays: 0, isGraph, isClustered: true, rows, tombstones, dead: 0 };
  const by = Object.fromEntries(rest.map((other) => [other.id, 0]));
  return {
    segments: [...rest, { ...segmentOf(id, shape), stale: { sinceMs: null, by } }],
    holds: new Map([
      ...rest.map((one) => [one.id, holds.get(one.id)!] as const),
      [id, taken.flatMap((one) => holds.get(one.id)!)] as const,
    ]),
  };
}

/** Old tombstones alone are a reason to rebuild, again and again, where nothing of them can go: not the matter here. */
const withFewTombstones = fc
  .array(
    shapes.map((shape) => ({
      ...shape,
      tombstones: Math.min(shape.tombstones, Math.floor(shape.rows * limits.deadShareMax)),
    })),
    { minLength: 1, maxLength: 60 },
  )
  .map((all) => all.map((shape, i) => segmentOf(ulidFloor(nowMs - shape.ageDays * day - i), shape)));

test("merge after merge loses no row, and comes to an end with few flat segments", () => {
  let mergesMax = 0;
  fc.assert(
    fc.property(withFewTombstones, (first) => {
      let state: State = { segments: first, holds: new Map(first.map(({ id }) => [id, [id]])) };
      const stepsMax = 2 * first.length + 2;
      for (let step = 0; ; step++) {
        const plan = planOf(state.segments);
        if (plan === null) break;
        expect(step).toBeLessThan(stepsMax);
        state = merged(state, plan, ulidFloor(nowMs + 1 + step));
        mergesMax = Math.max(mergesMax, step + 1);
        // What the first version had is there, once, whatever was merged with what.
        expect([...state.holds.values()].flat().sort()).toEqual(first.map(({ id }) => id).sort());
        expect(total(state.segments)).toBe(total(first));
      }
      const flats = state.segments.filter(({ kind }) => kind === "flat");
      expect(flats.length).toBeLessThanOrEqual(limits.flatSegmentsMax);
    }),
    { numRuns: 400 },
  );
  expect(mergesMax).toBeGreaterThan(3);
});

/** Of few ids or of so many that hardly two fit into one segment: rows, tombstones, or both. */
const crowded: fc.Arbitrary<Segment[]> = fc
  .array(
    fc.record({
      ageDays: fc.constantFrom(0, 2, 60),
      isGraph: fc.boolean(),
      isClustered: fc.boolean(),
      rows: fc.constantFrom(0, 1, 40, 51, 900, 1_500),
      tombstones: fc.constantFrom(0, 1, 15, 450),
      dead: fc.constantFrom(0, 0, 300),
    }),
    { maxLength: 8 },
  )
  .map((all) =>
    all
      // None of no rows is published, and none of few has a graph.
      .filter(({ rows, tombstones }) => rows + tombstones > 0)
      .map((shape, i) =>
        segmentOf(ulidFloor(nowMs - shape.ageDays * day - i), {
          ...shape,
          isGraph: shape.isGraph && shape.rows > limits.flatRowsMax,
        }),
      ),
  );

/** The version after a merge that keeps every row, while clusters.bin of every neighbour says that it may hold a third of them. */
function mergedAmid(manifest: Manifest, plan: MergePlan, id: string): Manifest {
  const taken = manifest.segments.filter((one) => plan.inputs.includes(one.id));
  const rows = taken.reduce((sum, one) => sum + one.rows, 0);
  const tombstones = taken.reduce((sum, one) => sum + one.tombstones, 0);
  const shape = {
    ageDays: 0,
    isGraph: rows > limits.flatRowsMax,
    isClustered: rows > 900,
    rows,
    tombstones,
    dead: 0,
  };
  const asked = manifest.segments.filter(
    (one) => !plan.inputs.includes(one.id) && "clusters.bin" in one.files,
  );
  const merged = {
    plan,
    output: segmentOf(id, shape),
    counted: new Map(asked.map((one) => [one.id, Math.floor(total(taken) / 3)])),
    supersedes: new Map(plan.against.map((one) => [one, 0])),
  };
  return { ...manifest, segments: segmentsAfter(manifest, merged, nowMs) };
}

const { flatSegmentsMax, deadShareMax, uncountedMsMax } = optimizeLimits;
test.each([
  ["upkeep", limits],
  ["optimize", { ...limits, flatSegmentsMax, deadShareMax, uncountedMsMax }],
])(
  "why a merge was made is no reason to merge its output: merges come to an end, whatever fits beside what (%s)",
  (_, by) => {
    fc.assert(
      fc.property(crowded, (segments) => {
        let manifest = manifestOf(segments);
        for (const days of [0, 2, 4, 11, 13]) {
          const later = { ...time, nowMs: nowMs + days * day };
          for (let step = 1; ; step++) {
            const plan = planMerge(manifest, later, by);
            if (plan === null) break;
            expect(step).toBeLessThanOrEqual(4 * segments.length);
            const id = ulidFloor(later.nowMs + step);
            manifest = mergedAmid(manifest, plan, id);
            const next = planMerge(manifest, later, by);
            if (next?.reason === plan.reason) expect(next.inputs).not.toEqual([id]);
          }
        }
      }),
      { numRuns: 400 },
    );
  },
);

describe("flat segments of which two do not fit into one", () => {
  const shape = { isGraph: false, isClustered: false, rows: 10, tombstones: 0, dead: 0 };
  const flat = (ageDays: number, part: Partial<Shape>): Segment =>
    segmentOf(ulidFloor(nowMs - ageDays * day), { ...shape, ageDays, ...part });
  const deletes = { rows: 10, tombstones: 1_980 };

  test("are compared when they are due, whatever smaller one has come since", () => {
    const [fresh, one, other] = [flat(0, { rows: 20 }), flat(3, deletes), flat(2, deletes)];
    expect(planOf([fresh, one, other])).toEqual({ inputs: [one.id], against: [other.id], reason: "count" });
    const known = { sinceMs: null, by: { [one.id]: 0 } };
    expect(planOf([fresh, one, { ...other, stale: known }])).toBeNull();
  });

  test("are given a graph when they have rows enough, whatever smaller one has come since", () => {
    const [fresh, one, other] = [flat(0, { rows: 20 }), flat(3, { rows: 1_990 }), flat(2, { rows: 1_995 })];
    expect(planOf([fresh, one, other])).toEqual({ inputs: [one.id], against: [], reason: "flats" });
  });
});
