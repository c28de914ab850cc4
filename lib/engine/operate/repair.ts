/**
 * The repair of a lost pointer: it is written anew, create-if-absent, and names the version that was current.
 *
 *  1. That is one of the newest version's manifests, or their parent (repair-candidates.ts): a crash or a lost race leaves
 *     manifests that were never published, but no manifest more than one version ahead. Only a published one's deltas are
 *     ever deleted, so it is one that includes every delta that is gone. Of those that do, one whose files are all there,
 *     and the newest.
 *  2. The floor is inferred, since the lost one is not known: by the rule of retention, at a time when the clock of no
 *     collector has been yet. It is at least as high as any that was ever raised, so whatever a sleeping collector is
 *     about to delete lies below it. The versions above it are the kept ones, and their ages are what they were.
 *  3. The generation is the time, above any count: a writer that slept over the repair meets another one.
 *  4. A manifest that may never have been published may be a collector's orphan, and so may what it names: it is
 *     published anew, under a new commit and with copies.
 *  5. A delta that only a manifest which was passed over has applied is put again under a new name. If that one had been
 *     published after all, its publisher may be asleep before it deletes the delta.
 */

import { deltaKey, manifestKey, pointerKey, type ShardRef } from "../../core/format/keys.ts";
import { encodeManifest, type Manifest, type Segment } from "../../core/format/manifest.ts";
import { encodePointer, type Floor, firstPointer, pointerTo } from "../../core/format/pointer.ts";
import { sealedBytesMax } from "../../core/format/sealed-json.ts";
import type { Collection } from "../../core/model/collection.ts";
import { isKind, SiltstoneError } from "../../core/model/errors.ts";
import {
  type CommitId,
  commitId,
  type DeltaId,
  type SnapshotVersion,
  snapshotVersion,
} from "../../core/model/ids.ts";
import { ulidFloor } from "../../core/model/ulid.ts";
import type { World } from "../ports.ts";
import { readHead } from "../shard/head.ts";
import { listManifests, type ManifestName, publishedChain } from "../shard/history.ts";
import { putAgain, readToPutAgain } from "../shard/put-again.ts";
import { putNew } from "../shard/put-new.ts";
import { defaultRetention, highestFloor, type Retention, skewMaxMs } from "../shard/retention.ts";
import { copySegment } from "../shard/segment-transfer.ts";
import {
  chooseCandidate,
  isProven,
  leftOut,
  newestManifests,
  surveyCandidates,
} from "./repair-candidates.ts";

export interface Repair {
  readonly outcome: "intact" | "repaired";
  readonly version: SnapshotVersion;
  /** Files that the version names and that are missing: then it cannot be read, and a rollback to an older one can help. */
  readonly missingFiles: number;
  /** Objects in the place of deltas that were to be put again, which are not those deltas: they were left as they are. */
  readonly left: readonly { readonly delta: DeltaId; readonly bytes: number }[];
  /** What the choice was made from, for people. */
  readonly candidates: readonly {
    readonly version: SnapshotVersion;
    readonly commit: CommitId;
    readonly missingDeltas: number;
    readonly missingFiles: number;
  }[];
}

export async function repairPointer(
  world: World,
  collection: Collection,
  shard: number,
  retention: Retention = defaultRetention,
): Promise<Repair> {
  const ref: ShardRef = { collection: collection.name, shard };
  const there = await world.store.get(pointerKey(ref), { bytesMax: sealedBytesMax });
  if (there.kind === "found") {
    const { manifest } = await readHead(world.store, collection, shard);
    return { outcome: "intact", version: manifest.version, missingFiles: 0, left: [], candidates: [] };
  }
  const names = await listManifests(world.store, ref);
  const newest = await newestManifests(world, collection, ref, names);
  if (newest.length === 0) {
    await placePointer(world, ref, encodePointer(firstPointer(collection, shard)));
    return { outcome: "repaired", version: snapshotVersion(0), missingFiles: 0, left: [], candidates: [] };
  }
  const { candidates, waiting } = await surveyCandidates(world, collection, ref, { names, newest });
  const best = chooseCandidate(ref, candidates);
  const chain = await inferredChain(world, newest, names);
  const nowMs = world.clock.nowMs();
  const floor: Floor = {
    version: snapshotVersion(Math.min(best.manifest.version, highestFloor(chain, retention, nowMs))),
    ulid: ulidFloor(nowMs + skewMaxMs - retention.orphanMs),
    generation: nowMs,
  };
  const isSafe = isProven(best, candidates) || best.missingFiles > 0;
  const manifest = isSafe ? best.manifest : await published(world, ref, best.manifest, { chain, floor });
  const left = await putAllAgain(world, ref, leftOut(best, candidates, waiting));
  const pointer =
    manifest.version === 0 ? { ...firstPointer(collection, shard), floor } : pointerTo(manifest, floor);
  await placePointer(world, ref, encodePointer(pointer));
  return {
    outcome: "repaired",
    version: manifest.version,
    missingFiles: best.missingFiles,
    left,
    candidates: candidates.map(({ manifest: { version, commit }, missingDeltas, missingFiles }) => ({
      version,
      commit,
      missingDeltas,
      missingFiles,
    })),
  };
}

/**
 * The chain by which the floor is inferred. Of several manifests of the newest version it is not known which one was
 * published, so it begins with the oldest: the version before it counts as superseded then. Where a manifest further back is
 * damaged the chain ends, and more is given up.
 */
async function inferredChain(
  world: World,
  newest: readonly Manifest[],
  names: readonly ManifestName[],
): Promise<Manifest[]> {
  const oldest = newest.reduce((a, b) => (a.commit < b.commit ? a : b));
  try {
    return await publishedChain(world.store, { manifest: oldest }, names);
  } catch (error) {
    if (!isKind(error, "corrupt")) throw error;
    return [oldest];
  }
}

/** The manifest, or one with its content of which a collector that took it for an orphan knows nothing. */
async function published(
  world: World,
  ref: ShardRef,
  manifest: Manifest,
  { chain, floor }: { chain: readonly Manifest[]; floor: Floor },
): Promise<Manifest> {
  const before = chain.filter(({ version }) => version < manifest.version);
  const named = (manifests: readonly Manifest[]) =>
    new Set(manifests.flatMap(({ segments }) => segments.map(({ id }) => id)));
  const kept = named(before.filter(({ version }) => version >= floor.version));
  const givenUp = named(before.filter(({ version }) => version < floor.version));
  const isSafe = ({ id }: Segment) => kept.has(id) || (id >= floor.ulid && !givenUp.has(id));
  if (manifest.commit >= floor.ulid && manifest.segments.every(isSafe)) return manifest;
  const segments = [];
  for (const segment of manifest.segments)
    segments.push(isSafe(segment) ? segment : await copySegment(world, ref, segment));
  const anew: Manifest = {
    ...manifest,
    segments,
    commit: commitId(world.clock.ulid()),
    createdAt: new Date(world.clock.nowMs()).toISOString(),
  };
  const key = manifestKey(ref, anew.version, anew.commit);
  const put = await world.store.put(key, encodeManifest(anew), { ifAbsent: true });
  if (put.kind === "written") return anew;
  throw new SiltstoneError("unavailable", `${key} could not be written; nothing was repaired, try again`);
}

/** Answers those that are too large to be deltas: ingestion quarantines them, and they do not keep a repair from being made. */
async function putAllAgain(world: World, ref: ShardRef, deltas: readonly DeltaId[]): Promise<Repair["left"]> {
  const left: { delta: DeltaId; bytes: number }[] = [];
  for (const delta of deltas) {
    const found = await readToPutAgain(world.store, deltaKey(ref, delta), delta);
    if (found.kind === "found") await putAgain(world, ref, delta, found.body);
    // It may be whole, and its only manifest is passed over.
    if (found.kind === "refused") throw found.error;
    if (found.kind === "tooLarge") left.push({ delta, bytes: found.bytes });
  }
  return left;
}

async function placePointer(world: World, ref: ShardRef, body: Buffer): Promise<void> {
  const key = pointerKey(ref);
  if (!(await putNew(world.store, key, body)))
    throw new SiltstoneError("conflict", `${key} is there again; look before you go on`);
}
