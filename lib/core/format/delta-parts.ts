/** How a call's rows are cut into deltas: by shard, in the order of the call, each within bounds of rows and bytes. */
import type { Collection } from "../model/collection.ts";
import { invalid } from "../model/errors.ts";
import { grouped } from "../model/grouped.ts";
import type { DeltaRow } from "../model/row.ts";
import { shardOf } from "../model/shard-of.ts";

/** Most rows of one delta: small enough to be ingested in good time, large enough to be cheap. */
const rowsTarget = 4_000;
/** Half of the most that a delta may have, which leaves space for what encoding adds; the largest row has 313 KB. */
const bytesTarget = 32 * 1024 * 1024;
/**
 * Most bytes of one call, which is encoded whole before any of it is written. With the rows that a call may have it bounds the deltas that
 * its token names (lib/core/format/token.ts): one for each shard, 64 more for bytes and 16 for rows, and a few that are not full.
 */
export const callBytesMax = 2 * 1024 ** 3;
/** Bytes of a row beside its vector and texts: op, version, and offsets. */
const rowBytesFixed = 64;

export interface DeltaPart {
  readonly shard: number;
  readonly rows: readonly DeltaRow[];
}

export function deltaParts(collection: Collection, rows: readonly DeltaRow[]): DeltaPart[] {
  const bytes = rows.reduce((sum, row) => sum + rowBytes(row, collection.dims), 0);
  if (bytes > callBytesMax)
    throw invalid(
      `the call has ${bytes} bytes; at most ${callBytesMax} are written at once, make several calls`,
    );
  const byShard = grouped(rows, ({ id }) => shardOf(id, collection.shards));
  return [...byShard].sort(([a], [b]) => a - b).flatMap(([shard, part]) => cut(collection, shard, part));
}

function cut({ dims }: Collection, shard: number, rows: readonly DeltaRow[]): DeltaPart[] {
  const parts: { shard: number; rows: DeltaRow[] }[] = [];
  let bytes = 0;
  for (const row of rows) {
    const more = rowBytes(row, dims);
    const part = parts.at(-1);
    if (part && part.rows.length < rowsTarget && bytes + more <= bytesTarget) {
      part.rows.push(row);
      bytes += more;
    } else {
      parts.push({ shard, rows: [row] });
      bytes = more;
    }
  }
  return parts;
}

/** A delete takes the place of a vector too. */
const rowBytes = ({ id, document, metadata }: DeltaRow, dims: number): number =>
  rowBytesFixed +
  dims * 4 +
  Buffer.byteLength(id) +
  Buffer.byteLength(document ?? "") +
  Buffer.byteLength(metadata ?? "");
