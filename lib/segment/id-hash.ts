/** Where an id's record is looked for in clusters.bin: its bucket, and what tells most absent ids without reading it. */
import { hash } from "node:crypto";

export interface IdHash {
  readonly high: number;
  readonly fingerprint: number;
}
/** Bits of the id's sha256 that shardOf does not use: a shard's ids must not all fall into the same buckets. */
export function idHash(id: string): IdHash {
  const digest = hash("sha256", id, "buffer");
  return { high: digest.readUInt32LE(8), fingerprint: digest.readUInt16LE(12) };
}
export const bucketOfHash = (high: number, buckets: number): number => Math.floor((high / 2 ** 32) * buckets);
