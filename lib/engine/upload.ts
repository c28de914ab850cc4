/** What is true of every segment before it is published: no row was lost on the way, and its files are on the store. */
import { Checksum, equalSums, type RowSum } from "../core/checksum.ts";
import { corrupt } from "../core/errors.ts";
import { type SegmentFile, type ShardRef, segmentKey, shardName } from "../core/keys.ts";
import type { Segment } from "../core/manifest.ts";
import type { World } from "./ports.ts";

/** What came in is what is kept plus what is retired, to the last bit; a mismatch stops the run before anything shows. */
export function checkConservation(
  shard: ShardRef,
  sums: { cameIn: RowSum; kept: RowSum; retired: RowSum },
): void {
  const accounted = new Checksum().addSum(sums.kept).addSum(sums.retired).sum();
  if (equalSums(sums.cameIn, accounted)) return;
  throw corrupt(
    shardName(shard),
    `conservation check failed: ${sums.cameIn.rows} rows came in, ${sums.kept.rows} were kept and ${sums.retired.rows} ` +
      "retired, and the checksums differ; nothing was published",
  );
}

export async function uploadSegment(
  world: World,
  shard: ShardRef,
  segment: Segment,
  folder: string,
): Promise<void> {
  const files = Object.keys(segment.files) as SegmentFile[];
  await Promise.all(
    files.map((file) => world.store.putFile(segmentKey(shard, segment.id, file), `${folder}/${file}`)),
  );
}
