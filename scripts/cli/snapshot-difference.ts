/** What lies between two versions of one shard, from their manifests alone. */
import { type Manifest, type Segment, snapshotBytes } from "../../lib/core/format/manifest.ts";
import type { DeltaId } from "../../lib/core/model/ids.ts";

export interface SnapshotDifference {
  readonly added: readonly Segment[];
  readonly removed: readonly Segment[];
  /** Segments that both have. */
  readonly kept: number;
  /** Rows stored in `to` less those in `from`; superseded rows count until they are merged away. */
  readonly rows: number;
  readonly tombstones: number;
  readonly bytes: number;
  /** Writes that came in between, and rows that were superseded or expired, by the conservation ledgers. */
  readonly ingestedRows: number;
  readonly retiredRows: number;
  /** Deltas that `to` names as ingested and `from` does not; those whose objects are long gone are named by neither. */
  readonly deltas: readonly DeltaId[];
  readonly causes: { readonly from: string; readonly to: string };
}

export function differenceOf(from: Manifest, to: Manifest): SnapshotDifference {
  const inFrom = new Set(from.segments.map(({ id }) => id));
  const inTo = new Set(to.segments.map(({ id }) => id));
  const applied = new Set(from.applied);
  return {
    added: to.segments.filter(({ id }) => !inFrom.has(id)),
    removed: from.segments.filter(({ id }) => !inTo.has(id)),
    kept: to.segments.filter(({ id }) => inFrom.has(id)).length,
    rows: total(to, "rows") - total(from, "rows"),
    tombstones: total(to, "tombstones") - total(from, "tombstones"),
    bytes: snapshotBytes(to) - snapshotBytes(from),
    ingestedRows: to.ledger.ingested.rows - from.ledger.ingested.rows,
    retiredRows: to.ledger.retired.rows - from.ledger.retired.rows,
    deltas: to.applied.filter((delta) => !applied.has(delta)),
    causes: { from: from.cause, to: to.cause },
  };
}

const total = ({ segments }: Manifest, field: "rows" | "tombstones"): number =>
  segments.reduce((sum, segment) => sum + segment[field], 0);
