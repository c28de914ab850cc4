/** The shard of an id: the first 48 bits of the sha256 of its UTF-8 bytes, big endian, modulo the shard count. Never changes. */
import { hash } from "node:crypto";

export const shardOf = (id: string, shards: number): number =>
  shards === 1 ? 0 : hash("sha256", id, "buffer").readUIntBE(0, 6) % shards;
