/** What an ingestion of one shard did, and what it left: a *pending* delta is one that is still in the backlog, whatever the reason. */

import { ulidTimeMs } from "../../core/model/ulid.ts";
import { endOf, type ListedDelta } from "../shard/deltas.ts";
import type { LeftDeltas } from "./ingest-batch.ts";

export interface IngestReport {
  /**
   * `busy`: another compactor holds the shard. `fenced`: it was taken over. `outOfTime`: some deltas are left. `overBudget`:
   * the oldest that is left needs more memory or disk than there is.
   */
  readonly outcome: "done" | "busy" | "fenced" | "outOfTime" | "overBudget";
  /** What is missing, and what to do about it; present with `overBudget`. */
  readonly shortage?: string;
  readonly version: number;
  /** Segments of that version. */
  readonly segments: number;
  readonly deltas: number;
  readonly rows: number;
  readonly quarantined: number;
  /** Deltas that are still in the backlog. */
  readonly pending: readonly string[];
  /** Where the backlog is longer than one LIST: what is newer than this delta was not looked at. */
  readonly unseenAfter: string | null;
  /** Those of them that this run can do nothing about, and why; others are ingested past them. */
  readonly left: readonly { readonly delta: string; readonly reason: string }[];
  readonly oldestPendingMs: number | null;
}

/** What is counted while it goes on. */
export type IngestCounts = Pick<IngestReport, "version" | "segments" | "deltas" | "rows" | "quarantined">;
export const noCounts: IngestCounts = { version: 0, segments: 0, deltas: 0, rows: 0, quarantined: 0 };

export const reportOf = (
  outcome: IngestReport["outcome"],
  counts: IngestCounts,
  listed: readonly ListedDelta[],
  pending: readonly ListedDelta[],
  left: LeftDeltas = new Map(),
): IngestReport => ({
  outcome,
  ...counts,
  pending: pending.map(({ delta }) => delta),
  unseenAfter: endOf(listed),
  left: pending.flatMap(({ delta }) => {
    const reason = left.get(delta)?.message;
    return reason === undefined ? [] : [{ delta, reason }];
  }),
  oldestPendingMs: pending.length === 0 ? null : ulidTimeMs(pending[0]!.delta),
});
