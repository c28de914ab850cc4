/**
 * The head of a shard: the pointer, and the manifest it names. Reading it never guesses: a pointer or manifest that is
 * missing or does not match is `corrupt`, never "empty".
 */
import { createHash } from "node:crypto";
import { decodeCollection } from "../../core/format/collection-json.ts";
import { collectionKey, pointerKey, type ShardRef } from "../../core/format/keys.ts";
import {
  decodeManifest,
  emptyManifest,
  type Manifest,
  manifestBytesMax,
} from "../../core/format/manifest.ts";
import { decodePointer, type Pointer, removal } from "../../core/format/pointer.ts";
import { sealedBytesMax } from "../../core/format/sealed-json.ts";
import { type Collection, checkCollectionName } from "../../core/model/collection.ts";
import { corrupt, isKind, isUnreadable, SiltstoneError } from "../../core/model/errors.ts";
import { ulidTimeMs } from "../../core/model/ulid.ts";
import { clockAllowanceMs, clockSkewMaxMs } from "../../core/policy/time-bounds.ts";
import type { ObjectStore } from "../ports.ts";
import { listManifests, type ManifestName, readManifest } from "./history.ts";

/** A reader that is overtaken by publications looks again this often. */
const attemptsMax = 5;

export interface Head {
  readonly pointer: Pointer;
  readonly etag: string;
  readonly manifest: Manifest;
}

/** The configuration of a collection. Throws `invalid` when the name is malformed, `notFound` when no collection has it. */
export async function readCollection(store: ObjectStore, name: string): Promise<Collection> {
  const key = collectionKey(checkCollectionName(name));
  const found = await store.get(key, { bytesMax: sealedBytesMax });
  if (found.kind !== "found") {
    throw new SiltstoneError(
      "notFound",
      `collection ${name} does not exist; create it with \`silt collection create ${name}\``,
      { isNoCollection: true },
    );
  }
  const collection = decodeCollection(found.body, key);
  if (collection.name !== name) throw corrupt(key, `it configures ${collection.name}`);
  return collection;
}

/**
 * No clock that S3 accepts makes a floor later than this after S3 got its pointer (a repair adds another two clocks' skews); one beyond
 * all segments to come would let nothing be published.
 */
const floorAheadMaxMs = clockAllowanceMs + 2 * clockSkewMaxMs;

function checkFloor(pointer: Pointer, modifiedMs: number): void {
  const aheadMs = ulidTimeMs(pointer.floor.ulid) - modifiedMs;
  if (aheadMs <= floorAheadMaxMs) return;
  const seconds = Math.floor(aheadMs / 1000);
  throw corrupt(pointerKey(pointer), `its floor is ${seconds} s ahead of when S3 got it; ${removal}`);
}

/** The shard's pointer, or null when it is what the caller already has (`knownEtag`). */
export async function readPointer(
  store: ObjectStore,
  collection: Collection,
  shard: number,
  knownEtag?: string,
): Promise<{ pointer: Pointer; etag: string } | null> {
  const ref: ShardRef = { collection: collection.name, shard };
  const key = pointerKey(ref);
  const found = await store.get(key, {
    bytesMax: sealedBytesMax,
    ...(knownEtag === undefined ? {} : { ifNoneMatch: knownEtag }),
  });
  switch (found.kind) {
    case "notModified":
      return null;
    case "absent":
      throw await missingPointer(store, collection, ref);
    case "found": {
      const pointer = decodePointer(found.body, key, ref);
      if (pointer.collectionId !== collection.id) {
        throw corrupt(key, `it belongs to collection id ${pointer.collectionId}, not to ${collection.id}`);
      }
      checkFloor(pointer, found.modifiedMs);
      return { pointer, etag: found.etag };
    }
  }
}

/** The manifest that a pointer names, its bytes checked against the pointer. */
export async function readManifestOf(
  store: ObjectStore,
  collection: Collection,
  pointer: Pointer,
): Promise<Manifest> {
  if (pointer.manifest === null) return emptyManifest(collection, pointer.shard);
  const found = await store.get(pointer.manifest, { bytesMax: manifestBytesMax });
  if (found.kind !== "found") throw corrupt(pointer.manifest, "the pointer names it, but it is missing");
  const sha256 = createHash("sha256").update(found.body).digest("hex");
  if (sha256 !== pointer.manifestSha256)
    throw corrupt(pointer.manifest, "its sha256 is not the one in the pointer");
  const manifest = decodeManifest(found.body, pointer.manifest, pointer);
  if (manifest.version !== pointer.version || manifest.commit !== pointer.commit) {
    throw corrupt(pointer.manifest, "its version or commit is not the one in the pointer");
  }
  if (manifest.epoch !== pointer.epoch)
    throw corrupt(pointerKey(manifest), `its epoch is not its manifest's; ${removal}`);
  if (!fitsCollection(manifest, collection))
    throw corrupt(pointer.manifest, "it does not fit the collection's configuration");
  return manifest;
}

export const fitsCollection = (manifest: Manifest, { id, dims, metric }: Collection): boolean =>
  manifest.collectionId === id && manifest.dims === dims && manifest.metric === metric;

/** Looks again when the pointer moved between the two reads: a slow reader's manifest may have been deleted as garbage. */
export async function readHead(store: ObjectStore, collection: Collection, shard: number): Promise<Head> {
  for (let attempt = 1; ; attempt++) {
    const { pointer, etag } = (await readPointer(store, collection, shard))!;
    try {
      return { pointer, etag, manifest: await readManifestOf(store, collection, pointer) };
    } catch (error) {
      if (!isKind(error, "corrupt") || attempt === attemptsMax) throw error;
      if ((await readPointer(store, collection, shard, etag)) === null) throw error;
    }
  }
}

/** The head once more; where the pointer has not moved, nothing is fetched. */
export async function readHeadAgain(
  store: ObjectStore,
  collection: Collection,
  shard: number,
  known: Head,
): Promise<Head> {
  const moved = await readPointer(store, collection, shard, known.etag);
  return moved === null ? known : readHead(store, collection, shard);
}

/** The head; null while the collection is being created and this shard's pointer has yet to come. */
export async function readHeadIfPlaced(
  store: ObjectStore,
  collection: Collection,
  shard: number,
): Promise<Head | null> {
  try {
    return await readHead(store, collection, shard);
  } catch (error) {
    const ref: ShardRef = { collection: collection.name, shard };
    const isToCome =
      isKind(error, "unavailable") &&
      (await store.head(pointerKey(ref))) === null &&
      (await countManifests(store, collection, ref)) === 0;
    if (isToCome) return null;
    throw error;
  }
}

/** A shard that has published, or whose collection is gone, and has no pointer is damaged, never empty. */
async function missingPointer(
  store: ObjectStore,
  collection: Collection,
  shard: ShardRef,
): Promise<SiltstoneError> {
  const { name, id } = collection;
  const key = pointerKey(shard);
  const manifests = await countManifests(store, collection, shard);
  // A slow reader may see manifests that were published since: by a creation's end, or a repair.
  if (manifests > 0 && (await store.head(key)) !== null)
    return new SiltstoneError("unavailable", `${key} has been placed meanwhile; repeat the call`);
  const configuration =
    manifests > 0 ? null : await store.get(collectionKey(name), { bytesMax: sealedBytesMax });
  const isBeingCreated =
    configuration?.kind === "found" && decodeCollection(configuration.body, collectionKey(name)).id === id;
  if (isBeingCreated) {
    return new SiltstoneError(
      "unavailable",
      `${key} is not there yet: collection ${name} is being created; ` +
        `if its creation failed, finish it: repeat \`silt collection create ${name}\` as it was`,
    );
  }
  return corrupt(
    key,
    `it is missing, and ${manifests} manifests are there; restore it with ` +
      `\`silt snapshot repair ${name} --shard ${shard.shard}\` (docs/runbook.md, "Lost pointer")`,
  );
}

/**
 * How many manifests are there; 0 when none is this collection's. A writer of a former one of its name, who slept until this
 * one was made, may have left some: they say nothing about whether this shard has published.
 */
export async function countManifests(
  store: ObjectStore,
  collection: Collection,
  shard: ShardRef,
): Promise<number> {
  const names = await listManifests(store, shard);
  for (const name of names) if (await mayBeOf(store, collection, shard, name)) return names.length;
  return 0;
}

/** True as well of what cannot be read: a lost pointer is never taken for one that is yet to come. */
async function mayBeOf(
  store: ObjectStore,
  { id }: Collection,
  shard: ShardRef,
  name: ManifestName,
): Promise<boolean> {
  try {
    return (await readManifest(store, shard, name)).collectionId === id;
  } catch (error) {
    if (isUnreadable(error)) return true;
    if (isKind(error, "notFound")) return false;
    throw error;
  }
}
