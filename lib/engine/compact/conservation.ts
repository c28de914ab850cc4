/** The conservation check, before a segment is published: no row was lost or invented on the way. */

import { type ShardRef, shardName } from "../../core/format/keys.ts";
import { addSums, equalSums, type RowSum } from "../../core/format/row-checksum.ts";
import { corrupt } from "../../core/model/errors.ts";

/** What came in is what is kept plus what is retired, to the last bit; a mismatch stops the run before anything shows. */
export function checkConservation(
  shard: ShardRef,
  sums: { cameIn: RowSum; kept: RowSum; retired: RowSum },
): void {
  const accounted = addSums(sums.kept, sums.retired);
  if (equalSums(sums.cameIn, accounted)) return;
  throw corrupt(
    shardName(shard),
    `conservation check failed: ${sums.cameIn.rows} rows came in, ${sums.kept.rows} were kept and ${sums.retired.rows} ` +
      "retired, and the checksums differ; nothing was published",
  );
}
