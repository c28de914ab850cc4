/**
 * Which segments to merge: a pure function from a manifest to the inputs of one merge, or to nothing.
 *
 * Rows of one id are ordered by version, not by segment, so any set of segments may be merged. Ingestion writes flat
 * segments. They are merged when they are many or hold more rows than exact search should read; the merge then takes in
 * every next larger segment that is at most `growth` times what it has so far. What remains is geometric: each segment
 * is more than `growth` times the next smaller one, so queries meet few graphs, and a row is rewritten a bounded
 * number of times (docs/adr/0005-merge-policy.md gives the bound and the measurement).
 *
 * A segment that cannot grow any more, or is not reached by that for long, is reclaimed by itself: rebuilt from its rows
 * that no other segment supersedes (docs/adr/0011-reclaiming.md). How many those are, merges have counted.
 */

import { isClustered, type Manifest, type Segment, segmentBytes } from "../format/manifest.ts";
import { bounds } from "../model/bounds.ts";
import type { SegmentId } from "../model/ids.ts";
import { ulidTimeMs } from "../model/ulid.ts";

export interface MergeLimits {
  /** Flat segments beyond this many are merged whatever their size: each costs a query a little. */
  readonly flatSegmentsMax: number;
  /** Rows in flat segments beyond this many are given a graph. */
  readonly flatRowsMax: number;
  /** A merge takes in a segment at most this many times as large as what it already has. */
  readonly growth: number;
  /** A segment of which a larger share is stale is rebuilt: what is stored is at most 1 / (1 - share) of what lives. */
  readonly deadShareMax: number;
  /** A segment in which something has been stale for longer is rebuilt, however little that is. */
  readonly staleMsMax: number;
  /** Segments that no merge has compared for longer are, however small they are. */
  readonly uncountedMsMax: number;
  /** Bound on a segment: a rebuild of this many components fits one Lambda run (docs/lab/performance.md). */
  readonly segmentComponentsMax: number;
  /** Bound on a segment of few dims: of components, where each row counts as `rowComponents` more (memory of a merge). */
  readonly segmentWeightMax: number;
  /** A graph of this many components is given clusters.bin, so that queries need not wait for all of it. */
  readonly clusteredComponentsMin: number;
}
const dayMs = 24 * 3_600_000;
/** What the product merges by. The simulator merges by smaller ones, to reach graphs with a handful of rows. */
export const mergeLimits: MergeLimits = {
  flatSegmentsMax: 8,
  flatRowsMax: 2_000,
  growth: 4,
  // 1 / (1 - 0.22) = 1.28: below 1.3 with what flat segments add.
  deadShareMax: 0.22,
  staleMsMax: 7 * dayMs,
  uncountedMsMax: dayMs,
  segmentComponentsMax: 150_000_000,
  segmentWeightMax: 228_000_000,
  clusteredComponentsMin: 15_000_000,
};

/**
 * What `silt optimize` merges by: all that makes queries slower or space larger, without waiting for more of it. Below a
 * twentieth a rebuild would cost far more than it gives.
 */
export const optimizeLimits: MergeLimits = {
  ...mergeLimits,
  flatSegmentsMax: 1,
  deadShareMax: 0.05,
  uncountedMsMax: 0,
};

/** What merging keeps of a row beside its vector, in components. */
const rowComponents = 200;

export function segmentRowsMax(dims: number, limits: MergeLimits = mergeLimits): number {
  const { flatRowsMax, segmentComponentsMax, segmentWeightMax } = limits;
  const rows = Math.min(segmentComponentsMax / dims, segmentWeightMax / (dims + rowComponents));
  return Math.max(flatRowsMax, Math.floor(rows));
}

export interface MergePlan {
  readonly inputs: readonly SegmentId[];
  /** Segments that supersede rows of the inputs, and stay as they are: such rows are left out. */
  readonly against: readonly SegmentId[];
  /** `flats`: many or large ones. `stale`: too much of a segment, or too long. `count`: to learn what they supersede. */
  readonly reason: "flats" | "stale" | "count";
}

/** When it is planned. */
export interface PlanTime {
  readonly nowMs: number;
  /** Tombstones that were made this long ago may be dropped. */
  readonly tombstoneKeepMs: number;
}

export function planMerge(
  manifest: Manifest,
  time: PlanTime,
  limits: MergeLimits = mergeLimits,
): MergePlan | null {
  const { flatSegmentsMax, flatRowsMax, growth } = limits;
  const rowsMax = segmentRowsMax(manifest.dims, limits);
  const bySize = [...manifest.segments].sort((a, b) => size(a) - size(b) || (a.id < b.id ? -1 : 1));
  const flats = bySize.filter((segment) => segment.kind === "flat");
  const flatRows = total(flats);
  if (flats.length > flatSegmentsMax || flatRows > flatRowsMax) {
    const fitting = takeWhile(flats, rowsMax);
    if (fitting.length === flats.length) {
      // A small result stays flat, and then a graph is no business of this merge.
      if (flatRows > flatRowsMax) cascade(fitting, bySize, { rowsMax, growth });
    }
    // Alone, a flat segment gains by a merge only when it has rows enough for a graph: its tombstones stay what they are.
    const isGain = (segment: Segment): boolean => segment.rows > flatRowsMax;
    const inputs = fitting.length > 1 ? fitting : flats.filter(isGain).slice(0, 1);
    if (inputs.length > 0) return { inputs: idsOf(inputs), against: [], reason: "flats" };
  }
  const stale = bySize.find((segment) => isToReclaim(manifest, segment, time, limits));
  if (stale) return { inputs: [stale.id], against: againstOf(bySize, stale), reason: "stale" };
  return planCount(manifest, bySize, time, limits);
}

/** One batch of deltas is held in memory whole; a merge that ingestion makes by itself is no larger. */
export const batchBytesMax = 96 * 1024 * 1024;

/** The smaller half of flat segments that have piled up, as far as their bytes are bounded; null when there are few. */
export function planPiled({ segments }: Manifest): MergePlan | null {
  const flats = segments.filter(({ kind }) => kind === "flat");
  if (flats.length <= bounds.piledFlats) return null;
  const inputs: Segment[] = [];
  let bytes = 0;
  for (const segment of flats.sort((a, b) => segmentBytes(a) - segmentBytes(b) || (a.id < b.id ? -1 : 1))) {
    bytes += segmentBytes(segment);
    if (inputs.length > flats.length / 2 || bytes > batchBytesMax) break;
    inputs.push(segment);
  }
  return inputs.length > 1 ? { inputs: idsOf(inputs), against: [], reason: "flats" } : null;
}

/** Rows of a segment that others of the version are known to supersede; an id that two of them hold counts twice. */
export function supersededRows(manifest: Manifest, { stale, rows, tombstones }: Segment): number {
  const counted = manifest.segments.reduce((sum, { id }) => sum + (stale?.by[id] ?? 0), 0);
  return Math.min(rows + tombstones, counted);
}

/** What supersedes rows of a segment; where it has tombstones, also what may hold rows that they beat, and has no clusters.bin to ask. */
function againstOf(segments: readonly Segment[], { id, stale, tombstones }: Segment): SegmentId[] {
  const isRead = (one: Segment): boolean =>
    (stale?.by[one.id] ?? 0) > 0 || (tombstones > 0 && isSmallGraph(one));
  return idsOf(segments.filter((one) => one.id !== id && isRead(one)));
}

const isSmallGraph = (segment: Segment): boolean => segment.kind === "hnsw" && !isClustered(segment);

/** Whether so much of a segment is stale, or something for so long, that it is rebuilt without that. */
function isToReclaim(
  manifest: Manifest,
  segment: Segment,
  { nowMs, tombstoneKeepMs }: PlanTime,
  limits: MergeLimits,
): boolean {
  const dead = segment.slots - segment.rows;
  const superseded = supersededRows(manifest, segment);
  const share = (part: number): boolean => part > (segment.slots + segment.tombstones) * limits.deadShareMax;
  if (share(dead + superseded)) return true;
  // No manifest notes it: what a graph lost before, or older code made.
  const since = segment.stale === undefined ? ulidTimeMs(segment.id) : segment.stale.sinceMs;
  if (since !== null && nowMs - since > limits.staleMsMax && dead + superseded > 0) return true;
  // All of its tombstones are past the horizon, and what they beat may be gone.
  return share(segment.tombstones) && nowMs - ulidTimeMs(segment.id) > tombstoneKeepMs;
}

/**
 * Two segments that have lain beside each other for long, and no merge has compared: what one of them supersedes in the other
 * would stay. Flats are merged with each other, a graph (the smaller one) is rebuilt, and counted in all others. Whatever fits
 * beside it, the one that is due is an input: so each such merge leaves fewer that are old, and they come to an end.
 */
function planCount(
  manifest: Manifest,
  bySize: readonly Segment[],
  { nowMs }: PlanTime,
  limits: MergeLimits,
): MergePlan | null {
  const old = bySize.filter(({ id }) => nowMs - ulidTimeMs(id) > limits.uncountedMsMax);
  const due = old.find((one) => old.some((other) => one !== other && !isCounted(one, other)));
  if (due === undefined) return null;
  const beside = due.kind === "flat" ? bySize.filter((one) => one.kind === "flat" && one !== due) : [];
  const inputs = takeWhile([due, ...beside], segmentRowsMax(manifest.dims, limits));
  // Those without clusters.bin cannot be asked: their records are read instead, of flats that did not fit only once they are old.
  const isRead = (one: Segment): boolean => isSmallGraph(one) || (one.kind === "flat" && old.includes(one));
  const against = bySize.filter((one) => !inputs.includes(one) && isRead(one));
  return { inputs: idsOf(inputs), against: idsOf(against), reason: "count" };
}

/** Whether it is known how many ids of the one the other has written again: of which one does not matter, they are the same. */
const isCounted = (one: Segment, other: Segment): boolean =>
  one.stale?.by[other.id] !== undefined || other.stale?.by[one.id] !== undefined;

const idsOf = (segments: readonly Segment[]): SegmentId[] => segments.map(({ id }) => id);

/** The first of the flats, in this order: as many as one segment may hold, at least one. */
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
