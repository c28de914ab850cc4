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

/** Flat segments beyond this many are merged whatever their size: each costs a query a little. */
export const flatSegmentsMax = 8;
/** Rows in flat segments beyond this many are given a graph. */
export const flatRowsMax = 2_000;
/** A merge takes in a segment at most this many times as large as what it already has. */
export const growth = 4;
/** A segment with more than this share of dead slots is rebuilt. */
export const deadShareMax = 0.25;
/** Bound on a segment: a rebuild of this many components fits one Lambda run (docs/performance.md). */
export const segmentComponentsMax = 150_000_000;

export const segmentRowsMax = (dims: number): number =>
  Math.max(flatRowsMax, Math.floor(segmentComponentsMax / dims));

export interface MergePlan {
  /** Ids, smallest segment first. */
  readonly inputs: readonly string[];
  readonly reason: "flats" | "dead";
  /** Whether the inputs are every segment of the shard: only then may an expired tombstone be dropped. */
  readonly whole: boolean;
}

export function planMerge(manifest: Manifest): MergePlan | null {
  const rowsMax = segmentRowsMax(manifest.dims);
  const bySize = [...manifest.segments].sort((a, b) => size(a) - size(b) || (a.id < b.id ? -1 : 1));
  const flats = bySize.filter((segment) => segment.kind === "flat");
  const flatRows = total(flats);
  if (flats.length > flatSegmentsMax || flatRows > flatRowsMax) {
    const inputs = takeWhile(flats, rowsMax);
    if (inputs.length === flats.length) {
      // A small result stays flat, and then a graph is no business of this merge.
      if (flatRows > flatRowsMax) cascade(inputs, bySize, rowsMax);
    }
    if (inputs.length > 1 || inputs.some((segment) => size(segment) > flatRowsMax))
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

function cascade(inputs: Segment[], bySize: readonly Segment[], rowsMax: number): void {
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
