/**
 * Which segments to merge: a pure function from a manifest to the inputs of one merge, or to nothing.
 *
 * Rows of one id are ordered by version, not by segment, so any set of segments may be merged. Ingestion writes flat
 * segments. They are merged when they are many or hold more rows than exact search should read; the merge then takes in
 * every next larger segment that is at most `growth` times what it has so far. What remains is geometric: each segment
 * is more than `growth` times the next smaller one, so queries meet few graphs, and a row is rewritten a bounded
 * number of times (docs/adr/0005-merge-policy.md gives the bound and the measurement).
 */
import type { Manifest, Segment } from "./manifest.ts";

export interface MergeLimits {
  /** Flat segments beyond this many are merged whatever their size: each costs a query a little. */
  readonly flatSegmentsMax: number;
  /** Rows in flat segments beyond this many are given a graph. */
  readonly flatRowsMax: number;
  /** A merge takes in a segment at most this many times as large as what it already has. */
  readonly growth: number;
  /** A segment with more than this share of dead slots is rebuilt. */
  readonly deadShareMax: number;
  /** Bound on a segment: a rebuild of this many components fits one Lambda run (docs/performance.md). */
  readonly segmentComponentsMax: number;
  /** Bound on a segment of few dims: of components, where each row counts as `rowComponents` more (memory of a merge). */
  readonly segmentWeightMax: number;
  /** A graph of this many components is given clusters.bin, so that queries need not wait for all of it. */
  readonly clusteredComponentsMin: number;
}
/** What the product merges by. The simulator merges by smaller ones, to reach graphs with a handful of rows. */
export const mergeLimits: MergeLimits = {
  flatSegmentsMax: 8,
  flatRowsMax: 2_000,
  growth: 4,
  deadShareMax: 0.25,
  segmentComponentsMax: 150_000_000,
  segmentWeightMax: 228_000_000,
  clusteredComponentsMin: 15_000_000,
};

/** What merging keeps of a row beside its vector, in components. */
const rowComponents = 200;

export function segmentRowsMax(dims: number, limits: MergeLimits = mergeLimits): number {
  const { flatRowsMax, segmentComponentsMax, segmentWeightMax } = limits;
  const rows = Math.min(segmentComponentsMax / dims, segmentWeightMax / (dims + rowComponents));
  return Math.max(flatRowsMax, Math.floor(rows));
}

export interface MergePlan {
  /** Ids, smallest segment first. */
  readonly inputs: readonly string[];
  readonly reason: "flats" | "dead";
  /** Whether the inputs are every segment of the shard: only then may an expired tombstone be dropped. */
  readonly whole: boolean;
}

export function planMerge(manifest: Manifest, limits: MergeLimits = mergeLimits): MergePlan | null {
  const { flatSegmentsMax, flatRowsMax, growth, deadShareMax } = limits;
  const rowsMax = segmentRowsMax(manifest.dims, limits);
  const bySize = [...manifest.segments].sort((a, b) => size(a) - size(b) || (a.id < b.id ? -1 : 1));
  const flats = bySize.filter((segment) => segment.kind === "flat");
  const flatRows = total(flats);
  if (flats.length > flatSegmentsMax || flatRows > flatRowsMax) {
    const inputs = takeWhile(flats, rowsMax);
    if (inputs.length === flats.length) {
      // A small result stays flat, and then a graph is no business of this merge.
      if (flatRows > flatRowsMax) cascade(inputs, bySize, { rowsMax, growth });
    }
    // Alone, a flat segment gains by a merge only when it has rows enough for a graph: its tombstones stay what they are.
    if (inputs.length > 1 || inputs.some((segment) => segment.rows > flatRowsMax))
      return plan(manifest, inputs, "flats");
  }
  const dead = bySize.find((segment) => segment.slots - segment.rows > segment.slots * deadShareMax);
  return dead ? plan(manifest, [dead], "dead") : null;
}

const plan = (manifest: Manifest, inputs: Segment[], reason: MergePlan["reason"]): MergePlan => ({
  inputs: inputs.map((segment) => segment.id),
  reason,
  whole: inputs.length === manifest.segments.length,
});

/** As many flats, smallest first, as one segment may hold; always at least one. */
function takeWhile(flats: readonly Segment[], rowsMax: number): Segment[] {
  const taken: Segment[] = [];
  let rows = 0;
  for (const segment of flats) {
    if (taken.length > 0 && rows + size(segment) > rowsMax) break;
    taken.push(segment);
    rows += size(segment);
  }
  return taken;
}

function cascade(
  inputs: Segment[],
  bySize: readonly Segment[],
  { rowsMax, growth }: { rowsMax: number; growth: number },
): void {
  let rows = total(inputs);
  for (const segment of bySize) {
    if (segment.kind === "flat") continue;
    if (size(segment) > rows * growth || rows + size(segment) > rowsMax) break;
    inputs.push(segment);
    rows += size(segment);
  }
}

/** Tombstones count: they too are read, kept and written. */
const size = (segment: Segment): number => segment.rows + segment.tombstones;
const total = (segments: readonly Segment[]): number =>
  segments.reduce((sum, segment) => sum + size(segment), 0);
