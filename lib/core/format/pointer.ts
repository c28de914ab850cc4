/**
 * The pointer: the one small object per shard that is ever overwritten, always with If-Match. It says which manifest
 * is current, and carries the collector's floor, so that one conditional write orders publishing against garbage collection.
 */
import { createHash } from "node:crypto";
import type { Collection } from "../model/collection.ts";
import { corrupt } from "../model/errors.ts";
import {
  type CommitId,
  type Epoch,
  isVersion,
  type SnapshotVersion,
  snapshotVersion,
  versionMax,
} from "../model/ids.ts";
import { isUlid } from "../model/ulid.ts";
import { manifestKey, type ShardRef, shardName } from "./keys.ts";
import { emptyManifest, encodeManifest, type Manifest } from "./manifest.ts";
import { decodeSealed, encodeSealed } from "./sealed-json.ts";

export const pointerFormat = 1;

export interface Pointer {
  readonly format: typeof pointerFormat;
  readonly collection: string;
  readonly collectionId: string;
  readonly shard: number;
  readonly version: SnapshotVersion;
  readonly commit: CommitId;
  readonly epoch: Epoch;
  /** Key of the current manifest; null at version 0, which has none. */
  readonly manifest: string | null;
  readonly manifestSha256: string | null;
  /** What garbage collection may have removed: nothing at or above the floor. It only rises. */
  readonly floor: Floor;
  readonly publishedAt: string;
}

export interface Floor {
  /** Versions below it may be gone, unless pinned: nothing rolls back there. */
  readonly version: SnapshotVersion;
  /** Unpublished segments and manifests with a smaller ULID may be gone: nothing publishes them. */
  readonly ulid: string;
  /** Counts garbage collection runs, so that each one changes the pointer, and with it every writer's If-Match. */
  readonly generation: number;
}

export function firstPointer(collection: Collection, shard: number): Pointer {
  return {
    ...pointerTo(emptyManifest(collection, shard), {
      version: snapshotVersion(0),
      ulid: "0".repeat(26),
      generation: 0,
    }),
    manifest: null,
    manifestSha256: null,
  };
}

/** The pointer that makes `manifest` current. */
export const pointerTo = (manifest: Manifest, floor: Floor): Pointer => ({
  format: pointerFormat,
  collection: manifest.collection,
  collectionId: manifest.collectionId,
  shard: manifest.shard,
  version: manifest.version,
  commit: manifest.commit,
  epoch: manifest.epoch,
  manifest: manifestKey(manifest, manifest.version, manifest.commit),
  manifestSha256: createHash("sha256").update(encodeManifest(manifest)).digest("hex"),
  floor,
  publishedAt: manifest.createdAt,
});

export const encodePointer = (pointer: Pointer): Buffer => encodeSealed(pointer);

/** What to do about a pointer that is damaged. */
export const removal = "delete it, and write it anew with `silt snapshot repair`";

/** A generation is a count, or the time of a repair and a count. In ms, it ends in the year 33658. */
const generationMax = 1e15;

/** Reads a stored pointer. Throws `corrupt`, naming `key`. */
export function decodePointer(bytes: Uint8Array, key: string, shard: ShardRef): Pointer {
  const value = decodeSealed(bytes, key, pointerFormat) as Pointer;
  if (value.collection !== shard.collection || value.shard !== shard.shard) {
    throw corrupt(key, `it belongs to ${value.collection}/${value.shard}, not to ${shardName(shard)}`);
  }
  const { version, epoch, commit, floor } = value;
  if (!isVersion(version))
    throw corrupt(key, `its version is ${version}, not an integer from 0 to ${versionMax}; ${removal}`);
  if (!isVersion(epoch) || (version === 0 && epoch > 0))
    throw corrupt(
      key,
      `its epoch is ${epoch}, not an integer from 0 to ${versionMax}, or not 0 at version 0; ${removal}`,
    );
  if (!isUlid(commit)) throw corrupt(key, "its commit is not a ULID");
  if (
    !Number.isSafeInteger(floor?.version) ||
    floor.version > version ||
    !isUlid(floor.ulid) ||
    !Number.isSafeInteger(floor.generation) ||
    floor.generation > generationMax
  )
    throw corrupt(key, `its floor is malformed, or above its version; ${removal}`);
  if (version === 0 ? value.manifest !== null : value.manifest !== manifestKey(shard, version, commit)) {
    throw corrupt(
      key,
      `it names ${JSON.stringify(value.manifest)} for version ${version} and commit ${commit}`,
    );
  }
  return value;
}
