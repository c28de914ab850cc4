/**
 * How many deltas and segments the protocol takes at once. Each is read where it applies, every time: the simulator makes
 * them small, so that runs of a few hundred steps meet them (test/sim/plan.ts). Nothing of the product changes them.
 *
 * - A LIST must see past what a dead run left: its batch, ingested and not deleted. So a strong read that refuses more than
 *   `overlaidDeltas` is not kept from its answer by a LIST that is cut: overlaid + batch < listed.
 * - A manifest names as applied what its LIST found, and what a dead run left behind the end of a cut one: listed + batch
 *   ≤ applied.
 * - Ingestion merges half of what has piled up at a time, in one step of a batch's size; a merger that holds the lease for all of a
 *   run keeps it from that for 15 minutes, in which a compactor makes some hundred segments: piled + hundreds < segments.
 */
export interface Bounds {
  /** Deltas looked at in one LIST of a shard; what lies behind them waits for the next round. */
  readonly listedDeltas: number;
  /** Deltas named as applied in one manifest. */
  readonly appliedDeltas: number;
  /** Deltas ingested as one segment. */
  readonly batchDeltas: number;
  /** Deltas that a read lays over its view; a larger backlog is an error, never an omission. */
  readonly overlaidDeltas: number;
  /** Deltas that came too late, put aside by one garbage collection run; the next goes on. */
  readonly lateDeltas: number;
  /** Flat segments above which ingestion merges the smallest itself: far above what the merge planner lets stand. */
  readonly piledFlats: number;
  /** Pairs of segments that a new view compares one by one; where more are unknown, flats are folded. Eleven segments have fewer. */
  readonly comparedPairs: number;
  /** Segments of one version: far above what ingestion lets stand. */
  readonly segments: number;
}

export const bounds: Bounds = {
  listedDeltas: 16_000,
  appliedDeltas: 20_000,
  batchDeltas: 2_000,
  overlaidDeltas: 8_000,
  lateDeltas: 1_000,
  piledFlats: 64,
  comparedPairs: 64,
  segments: 1_000,
};
