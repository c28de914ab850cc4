/**
 * Whether a clusters.bin says of a segment what the other files do: its head, every inverted list and bucket by its hash,
 * each label in one inverted list and in the bucket that the list's hash of the id leads to, and records that add up to the
 * manifest's sum. A cold query checks as much of what it fetches. Residual codes are only checked to be numbers.
 */
import { hash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import type { Segment } from "../core/format/manifest.ts";
import { Checksum, digestOf, equalSums } from "../core/format/row-checksum.ts";
import type { Collection } from "../core/model/collection.ts";
import { decodeBucket } from "./cluster-buckets.ts";
import { Clusters } from "./clusters.ts";
import { VectorFile } from "./files.ts";
import { damageOf } from "./records-db.ts";

/** `folder` holds the segment's verified files. Throws `corrupt`. */
export function checkClusters(folder: string, collection: Collection, segment: Segment): void {
  const path = join(folder, "clusters.bin");
  const vectors = new VectorFile(join(folder, "vectors.f32"), collection.dims);
  let fd: number | null = null;
  const read = ({ start, limit }: { start: number; limit: number }, sha256: Uint8Array): Buffer => {
    const bytes = Buffer.alloc(limit - start);
    readSync(fd!, bytes, 0, bytes.length, start);
    if (!hash("sha256", bytes, "buffer").equals(sha256))
      throw new Error(`the sha256 of its bytes ${start} to ${limit} is not the one in its head`);
    return bytes;
  };
  try {
    fd = openSync(path, "r");
    const head = segment.files["clusters.bin"]!.head!;
    const headBytes = read({ start: 0, limit: head.bytes }, Buffer.from(head.sha256, "hex"));
    const clusters = Clusters.decode(headBytes, path, collection, segment);
    const bucketOfLabel = bucketsByLabel(clusters, collection, segment, (list) =>
      read(clusters.listRange(list), clusters.listHash(list)),
    );
    const sum = new Checksum();
    for (let bucket = 0; bucket < clusters.shape.buckets; bucket++) {
      const bytes = read(clusters.bucketRange(bucket), clusters.bucketHash(bucket));
      for (const record of decodeBucket(bytes, clusters.bucketRecords[bucket]!)) {
        const { id, label } = record;
        if (clusters.bucketOf(id) !== bucket || (label !== null && bucketOfLabel[label] !== bucket))
          throw new Error(`bucket ${bucket} has a record of another`);
        const digest = digestOf({ ...record, vector: label === null ? null : vectors.at(label) });
        if (digest.toString("base64") !== record.digest)
          throw new Error(`bucket ${bucket} has a row that is not the segment's`);
        sum.addDigest(digest);
      }
    }
    if (!equalSums(sum.sum(), segment.sum)) throw new Error("its records are not the segment's");
  } catch (error) {
    throw damageOf(path, error);
  } finally {
    if (fd !== null) closeSync(fd);
    vectors.close();
  }
}

/** For each label the bucket that its inverted list leads to; -1 for a dead one. */
function bucketsByLabel(
  clusters: Clusters,
  { dims, metric }: Collection,
  { slots }: Segment,
  read: (list: number) => Buffer,
): Int32Array {
  const buckets = new Int32Array(slots).fill(-1);
  const anywhere = new Float32Array(dims);
  for (let list = 0; list < clusters.shape.groups; list++) {
    for (const { label, bucket } of clusters.near(list, read(list), anywhere, metric)) {
      if (buckets[label] !== -1)
        throw new Error(
          `inverted list ${list} has label ${label}, which belongs to another list or is out of range`,
        );
      buckets[label] = bucket;
    }
  }
  return buckets;
}
