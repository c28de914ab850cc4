/**
 * Promotion into an empty collection: the files of the source's version are copied as they are, graphs included, within the object
 * store where it can copy from the other bucket, and through this machine where it cannot. Then each shard's segments join it.
 *
 * Copies have new names: what is under way is too young for a collector, whatever the age of the original.
 */
import pLimit from "p-limit";
import { type SegmentFile, type ShardRef, segmentKey } from "../../core/format/keys.ts";
import type { Manifest, Segment } from "../../core/format/manifest.ts";
import type { Collection } from "../../core/model/collection.ts";
import { corrupt } from "../../core/model/errors.ts";
import { type SegmentId, segmentId } from "../../core/model/ids.ts";
import { withFolder } from "../../segment/files.ts";
import { fetchSegment, uploadSegment } from "../shard/segment-transfer.ts";
import { joinSegments } from "./join-segments.ts";
import type { Side } from "./promotion-plan.ts";

const segmentsAtOnce = 4;

/**
 * Copies an object of the source's store into the target's, in the service; null when it is not there. `refused`: whoever may write to
 * the one may not read the other; then the bytes go through this machine, read by who may.
 */
export type CopyAcross = (from: string, to: string) => Promise<{ readonly bytes: number } | null | "refused">;

/** Whether the source's files can be the target's: it is empty, and both would lay the same rows out in the same way. */
export function canCopyFiles(from: Side, to: Side): boolean {
  const layout = ({ format, dims, metric, embeddingVersion, index, fields, shards, ordering }: Collection) =>
    JSON.stringify([
      format,
      dims,
      metric,
      embeddingVersion,
      index.M,
      index.efConstruction,
      shards,
      ordering,
      Object.entries(fields).sort(),
    ]);
  return (
    to.manifests.every(({ segments }) => segments.length === 0) &&
    layout(from.collection) === layout(to.collection)
  );
}

export interface FilesCarried {
  readonly rows: number;
  readonly segments: number;
  readonly bytes: number;
}

/** Shard by shard: one that is done is not empty any more, and a run that goes on after it carries rows. */
export async function promoteFiles(
  from: Side,
  to: Side,
  { copy, onProgress }: { readonly copy: CopyAcross | null; readonly onProgress: (bytes: number) => void },
): Promise<FilesCarried> {
  let [rows, segments, bytes] = [0, 0, 0];
  const limit = pLimit(segmentsAtOnce);
  for (const manifest of from.manifests) {
    if (manifest.segments.length === 0) continue;
    const ids = new Map(manifest.segments.map(({ id }) => [id, segmentId(to.world.clock.ulid())]));
    const copies = await Promise.all(
      manifest.segments.map((segment) =>
        limit(async () => {
          const made = renamed(segment, ids);
          await copySegment(from, to, manifest, { segment, made, copy });
          for (const { bytes: size } of Object.values(segment.files)) bytes += size;
          onProgress(bytes);
          return made;
        }),
      ),
    );
    await joinSegments(to.world, to.collection, manifest.shard, copies);
    segments += copies.length;
    rows += copies.reduce((sum, one) => sum + one.rows, 0);
  }
  return { rows, segments, bytes };
}

/** Under its new name, as the others have theirs. */
function renamed({ stale, ...segment }: Segment, ids: ReadonlyMap<SegmentId, SegmentId>): Segment {
  const id = ids.get(segment.id)!;
  if (stale === undefined) return { ...segment, id };
  const by = Object.entries(stale.by).flatMap(([other, count]) => {
    const now = ids.get(other as SegmentId);
    return now === undefined ? [] : [[now, count] as const];
  });
  return { ...segment, id, stale: { ...stale, by: Object.fromEntries(by) } };
}

async function copySegment(
  from: Side,
  to: Side,
  manifest: Manifest,
  { segment, made, copy }: { segment: Segment; made: Segment; copy: CopyAcross | null },
): Promise<void> {
  const source: ShardRef = { collection: from.collection.name, shard: manifest.shard };
  const target: ShardRef = { collection: to.collection.name, shard: manifest.shard };
  const names = Object.keys(segment.files) as SegmentFile[];
  for (const name of copy === null ? [] : names) {
    const key = segmentKey(source, segment.id, name);
    const copied = await copy!(key, segmentKey(target, made.id, name));
    if (copied === "refused") break;
    const { bytes } = segment.files[name]!;
    if (copied?.bytes !== bytes)
      throw corrupt(key, `the manifest names ${bytes} bytes, ${copied?.bytes ?? "none"} were copied`);
    if (name === names.at(-1)) return;
  }
  await withFolder(async (folder) => {
    await fetchSegment(from.world.store, source, segment, names, folder);
    await uploadSegment(to.world, target, made, folder);
  });
}
