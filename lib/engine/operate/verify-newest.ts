/** Proves the files of a shard's newest segment alone: what was written last, at the cost of one segment. */
import type { SegmentFile } from "../../core/format/keys.ts";
import { segmentBytes } from "../../core/format/manifest.ts";
import type { Collection } from "../../core/model/collection.ts";
import { withFolder } from "../../segment/files.ts";
import type { World } from "../ports.ts";
import { readHead } from "../shard/head.ts";
import { fetchSegment } from "../shard/segment-transfer.ts";

/** Throws `corrupt`, naming the object, when one is missing or its sha256 is not the manifest's. */
export async function verifyNewestSegment(
  { store }: Pick<World, "store">,
  collection: Collection,
  shard: number,
): Promise<{ readonly files: number; readonly bytes: number }> {
  const { manifest } = await readHead(store, collection, shard);
  const [newest] = [...manifest.segments].sort((a, b) => (a.id < b.id ? 1 : -1));
  if (newest === undefined) return { files: 0, bytes: 0 };
  const files = Object.keys(newest.files) as SegmentFile[];
  await withFolder((folder) => fetchSegment(store, manifest, newest, files, folder));
  return { files: files.length, bytes: segmentBytes(newest) };
}
