/**
 * What a merge learns of rows that are superseded, kept in the manifest from one version to the next: pure. It decides
 * what is reclaimed and when (lib/core/policy/merge-plan.ts), never what an answer holds; losing it costs space, and a count that is too
 * high costs one rebuild, after which the truth is known.
 */
import type { Manifest, Segment, Staleness } from "../format/manifest.ts";
import type { SegmentId } from "../model/ids.ts";
import type { MergePlan } from "./merge-plan.ts";

/** How many ids of a segment a merge's output has written again, by segment. */
export type Counts = ReadonlyMap<SegmentId, number>;

export interface MergedSegment {
  readonly plan: MergePlan;
  /** No part of the version where it has no rows. */
  readonly output: Segment;
  /** Ids that neighbours share with the output; which of the two is older was not looked at. */
  readonly counted: Counts;
  /** Rows, exactly, that are older than the output's in the segments that it was merged against. */
  readonly supersedes: Counts;
}

/** The segments of the version that a merge makes of `manifest`, each with what is known of it now. */
export function segmentsAfter(manifest: Manifest, merged: MergedSegment, nowMs: number): Segment[] {
  const { plan, output } = merged;
  const inputs = manifest.segments.filter(({ id }) => plan.inputs.includes(id));
  const kept = manifest.segments.filter(({ id }) => !plan.inputs.includes(id));
  const live = new Set(kept.map(({ id }) => id));
  const byOfOutput: Record<string, number> = {};
  const after = kept.map((segment) => {
    const by = only(segment.stale?.by ?? {}, live);
    const { here, there } = countsBetween(segment, inputs, merged);
    if (here !== null) by[output.id] = here;
    if (there !== null) byOfOutput[segment.id] = there;
    return withStaleness(segment, { sinceMs: segment.stale?.sinceMs ?? null, by }, nowMs);
  });
  if (output.sum.rows === 0) return after;
  const since = inputs.map(({ stale }) => stale?.sinceMs ?? null).filter((ms) => ms !== null);
  const sinceMs = since.length === 0 ? null : Math.min(...since);
  return [...after, withStaleness(output, { sinceMs, by: byOfOutput }, nowMs)];
}

/**
 * How many ids of a neighbour the output has written again (`here`), and the other way round (`there`); null when it is not known.
 * What is not known of every input is not known of the output, and will be counted anew.
 */
function countsBetween(
  neighbour: Segment,
  inputs: readonly Segment[],
  { plan, counted, supersedes }: MergedSegment,
): { here: number | null; there: number | null } {
  const before = inputs.map(({ id, stale }) => ({
    here: neighbour.stale?.by[id],
    there: stale?.by[neighbour.id],
  }));
  const exact = supersedes.get(neighbour.id);
  if (exact !== undefined) return { here: exact, there: 0 };
  const there = sumOfKnown(before.map((one) => one.there));
  // What is reclaimed is old: that it shares an id with another says nothing about the other.
  const now = plan.reason === "stale" ? undefined : counted.get(neighbour.id);
  if (now !== undefined) return { here: now, there };
  if (before.some((one) => one.here === undefined && one.there === undefined))
    return { here: null, there: null };
  return { here: sumOfKnown(before.map((one) => one.here)), there };
}

function sumOfKnown(counts: readonly (number | undefined)[]): number | null {
  const known = counts.filter((n) => n !== undefined);
  return known.length === 0 ? null : known.reduce((sum, n) => sum + n, 0);
}

/** The segment with what is known of it, since now where it was not known before; without, where there is nothing. */
function withStaleness(segment: Segment, { sinceMs, by }: Staleness, nowMs: number): Segment {
  const { stale: _stale, ...rest } = segment;
  const isStale = segment.slots > segment.rows || Object.values(by).some((n) => n > 0);
  if (!isStale && Object.keys(by).length === 0) return rest;
  return { ...rest, stale: { sinceMs: isStale ? (sinceMs ?? nowMs) : null, by } };
}

function only(by: Staleness["by"], live: ReadonlySet<string>): Record<string, number> {
  return Object.fromEntries(Object.entries(by).filter(([id]) => live.has(id)));
}
