/**
 * A segment's files between the store and a local folder. Fetching: parallel ranged GETs into a local folder, each file's sha256 checked against the manifest
 * before it is opened. A file that does not match is deleted and reported as `corrupt`.
 */
import { hash } from "node:crypto";
import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import pLimit, { type LimitFunction } from "p-limit";
import { type SegmentFile, type ShardRef, segmentKey } from "../../core/format/keys.ts";
import type { FileEntry, Segment } from "../../core/format/manifest.ts";
import type { Collection } from "../../core/model/collection.ts";
import { corrupt } from "../../core/model/errors.ts";
import { segmentId } from "../../core/model/ids.ts";
import { Clusters } from "../../segment/clusters.ts";
import { withFolder } from "../../segment/files.ts";
import { type SegmentWork, workHere } from "../../segment/segment-work.ts";
import type { ByteRange, ObjectStore, World } from "../ports.ts";
import type { Bodies } from "./history.ts";

/** One S3 stream gives 54 to 75 MB/s: several at once fill a Lambda's network. */
const partBytes = 8 * 1024 * 1024;
const partsAtOnce = 8;
/** Parts of one file that are asked for before the first of them is written: what is held of it while one of them is slow. */
const partsAhead = 2 * partsAtOnce;

/** How much of the fetching goes on at a time, of whatever shares the limits, and who hashes what came. */
export interface FetchLimits {
  readonly files: LimitFunction;
  readonly parts: LimitFunction;
  readonly work: Pick<SegmentWork, "hash">;
}
const limitsOfOne = (): FetchLimits => ({
  files: pLimit(Number.POSITIVE_INFINITY),
  parts: pLimit(partsAtOnce),
  work: workHere,
});

/** The files that searching a segment takes: the graph holds the vectors as searches see them. */
export const searchedFiles = ({ kind }: Pick<Segment, "kind">): SegmentFile[] =>
  kind === "hnsw" ? ["index.hnsw", "records.db"] : ["vectors.f32", "records.db"];

/**
 * Fetches `files` of a segment into `folder` (made when needed). Throws `corrupt` naming the object, when nothing is written into
 * the folder any more: it may be deleted then.
 */
export async function fetchSegment(
  store: Bodies,
  shard: ShardRef,
  segment: Segment,
  files: readonly SegmentFile[],
  folder: string,
  limits: FetchLimits = limitsOfOne(),
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const fetch = (file: SegmentFile) =>
    fetchFile(store, segmentKey(shard, segment.id, file), segment.files[file]!, join(folder, file), limits);
  const fetched = await Promise.allSettled(files.map((file) => limits.files(() => fetch(file))));
  for (const one of fetched) if (one.status === "rejected") throw one.reason;
}

async function fetchFile(
  store: Bodies,
  key: string,
  entry: FileEntry,
  path: string,
  { parts: limit, work }: FetchLimits,
): Promise<void> {
  const file = await open(path, "w");
  const sha256 = work.hash(path, entry.bytes);
  try {
    const parts: Promise<Buffer>[] = [];
    let asked = 0;
    const ask = () => {
      const range = { start: asked, limit: Math.min(entry.bytes, asked + partBytes) };
      asked = range.limit;
      const part = limit(() => fetchRange(store, key, range));
      part.catch(() => {}); // Awaited in order below; a later one may fail first.
      parts.push(part);
    };
    while (asked < entry.bytes || parts.length > 0) {
      while (asked < entry.bytes && parts.length < partsAhead) ask();
      const bytes = await parts.shift()!;
      await file.writeFile(bytes);
      sha256.add(bytes);
    }
    if ((await sha256.digest()) !== entry.sha256)
      throw corrupt(key, "its sha256 is not the one in the manifest");
  } catch (error) {
    sha256.abandon();
    await rm(path, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}

/** The verified head of a segment's clusters.bin. Throws `corrupt` naming the object. */
export async function fetchClusters(
  store: ObjectStore,
  shard: ShardRef,
  segment: Segment,
  collection: Pick<Collection, "dims">,
): Promise<Clusters> {
  const key = segmentKey(shard, segment.id, "clusters.bin");
  const { bytes, sha256 } = segment.files["clusters.bin"]!.head!;
  const head = await fetchRange(store, key, { start: 0, limit: bytes });
  if (hash("sha256", head, "hex") !== sha256)
    throw corrupt(key, "its head's sha256 is not the one in the manifest");
  return Clusters.decode(head, key, collection, segment);
}

/** Part of an immutable object that a manifest names. Throws `corrupt` when it is missing or shorter. */
export async function fetchRange(store: Bodies, key: string, { start, limit }: ByteRange): Promise<Buffer> {
  const part = await store.get(key, { range: { start, limit } });
  if (part.kind !== "found") throw corrupt(key, "the manifest names it, but it is missing");
  if (part.body.length !== limit - start) throw corrupt(key, `it ends before byte ${limit}`);
  return part.body;
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

/** The same files, read `from` there, under a new name. Throws `corrupt` when one is missing or damaged. */
export async function copySegment(
  world: World,
  ref: ShardRef,
  segment: Segment,
  from: Bodies = world.store,
): Promise<Segment> {
  const copy = { ...segment, id: segmentId(world.clock.ulid()) };
  await withFolder(async (folder) => {
    await fetchSegment(from, ref, segment, Object.keys(segment.files) as SegmentFile[], folder);
    await uploadSegment(world, ref, copy, folder);
  });
  return copy;
}
