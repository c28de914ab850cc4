/**
 * Going back: a kept version's segments become the newest version.
 *
 * A rollback is a publish like any other: under the ingest lease, with a new epoch, by If-Match. It takes back every
 * write that was ingested after that version, for everyone; deltas that are not ingested yet stay, and are ingested next. No
 * data is copied, unless the version is below the collector's floor, or its files are not there any more and the bucket's noncurrent
 * objects hold them (former-versions.ts).
 */

import { type SegmentFile, type ShardRef, segmentKey, shardName } from "../../core/format/keys.ts";
import { type Manifest, type Segment, takenBackBy } from "../../core/format/manifest.ts";
import type { Collection } from "../../core/model/collection.ts";
import { isKind, SiltstoneError } from "../../core/model/errors.ts";
import type { SnapshotVersion } from "../../core/model/ids.ts";
import type { DeletedObjects, World } from "../ports.ts";
import { type Head, readHead } from "../shard/head.ts";
import {
  type Bodies,
  listManifests,
  listPins,
  noVersion,
  publishedChain,
  readManifest,
} from "../shard/history.ts";
import { HeldLease, ingestLease } from "../shard/lease.ts";
import { publish } from "../shard/publish.ts";
import { copySegment } from "../shard/segment-transfer.ts";
import { FormerObjects, findVersion } from "./former-versions.ts";

export interface Rollback {
  /** The version that has the content now: the one made here, or the current one when that had it already. */
  readonly version: SnapshotVersion;
  readonly outcome: "done" | "current";
}

/**
 * Publishes the segments of `version` again. Throws `notFound` when it is not kept, `conflict` when the shard is busy. With
 * `deleted`, versions and files that are not there any more are taken from what the bucket still keeps of them.
 */
export async function rollback(
  world: World,
  collection: Collection,
  shard: number,
  version: SnapshotVersion,
  deleted?: DeletedObjects,
): Promise<Rollback> {
  const ref: ShardRef = { collection: collection.name, shard };
  const first = await readHead(world.store, collection, shard);
  const lease = await HeldLease.acquire(world, ingestLease(shardName(ref)), first.pointer.epoch);
  if (lease === null)
    throw new SiltstoneError("conflict", `${shardName(ref)} is being compacted; try again in a moment`);
  try {
    const head = await readHead(world.store, collection, shard);
    const target =
      deleted === undefined
        ? await keptVersion(world, head, version)
        : (await findVersion(world, deleted, head, { version })).manifest;
    const segments =
      deleted === undefined
        ? await keptSegments(world, head, target)
        : await restoredSegments(world, head, target, deleted);
    const isCurrent = target.commit === head.manifest.commit;
    if (isCurrent && segments.every((one, i) => one === target.segments[i]))
      return { version, outcome: "current" };
    await lease.check();
    // Whether an attempt landed is told by its commit alone. Not by the epoch: when the lease table was lost, another
    // holder may have the same one.
    const { own } = await publish(world, collection, head, ({ manifest, pointer }) => {
      if (manifest.epoch > lease.epoch)
        throw new SiltstoneError("fenced", `${shardName(ref)}: another writer took over`);
      if (pointer.floor.generation !== head.pointer.floor.generation) {
        throw new SiltstoneError(
          "conflict",
          `${shardName(ref)}: garbage was collected meanwhile; run it again`,
        );
      }
      return {
        cause: "rollback",
        epoch: lease.epoch,
        segments,
        applied: manifest.applied,
        watermark: manifest.watermark,
        ledger: target.ledger,
        takenBack: takenBackBy(manifest, target),
      };
    });
    return { version: own!.version, outcome: "done" };
  } finally {
    await lease.release().catch(() => {}); // It runs out by itself.
  }
}

/** A published version whose manifest is still there, or a pinned one. */
async function keptVersion(world: World, head: Head, version: SnapshotVersion): Promise<Manifest> {
  const names = await listManifests(world.store, head.manifest);
  const chain = await publishedChain(world.store, head, names);
  const inChain = chain.find((manifest) => manifest.version === version && version > 0);
  if (inChain) return inChain;
  const pin = (await listPins(world.store, head.manifest)).find((pin) => pin.version === version);
  if (pin) return readManifest(world.store, head.manifest, pin);
  throw noVersion(head.manifest, version, chain);
}

/**
 * The version's segments, such that no collector deletes them. At or above the floor nothing is deleted. Below it a
 * collector may be at work, a pin that keeps them can be taken away while we publish: those that the head does not name
 * are copied, and the copies are as safe as any new segment.
 */
async function keptSegments(world: World, head: Head, target: Manifest): Promise<readonly Segment[]> {
  if (target.version >= head.pointer.floor.version) return target.segments;
  const live = new Set(head.manifest.segments.map(({ id }) => id));
  const segments: Segment[] = [];
  for (const segment of target.segments)
    segments.push(live.has(segment.id) ? segment : await copyKept(world, head, segment, target));
  return segments;
}

/** The same, but a segment that is not there as a whole is copied from the bucket's noncurrent objects. */
async function restoredSegments(
  world: World,
  head: Head,
  target: Manifest,
  deleted: DeletedObjects,
): Promise<readonly Segment[]> {
  const bodies = new FormerObjects(world.store, deleted);
  const isAbove = target.version >= head.pointer.floor.version;
  const live = new Set(head.manifest.segments.map(({ id }) => id));
  const segments: Segment[] = [];
  for (const segment of target.segments) {
    const isSafe = (isAbove || live.has(segment.id)) && (await isThere(world, target, segment));
    segments.push(isSafe ? segment : await copyKept(world, head, segment, target, bodies));
  }
  return segments;
}

async function isThere({ store }: World, ref: ShardRef, { id, files }: Segment): Promise<boolean> {
  const found = await Promise.all(
    Object.entries(files).map(async ([file, { bytes }]) => {
      const object = await store.head(segmentKey(ref, id, file as SegmentFile));
      return object?.bytes === bytes;
    }),
  );
  return found.every(Boolean);
}

async function copyKept(
  world: World,
  head: Head,
  segment: Segment,
  of: Manifest,
  from: Bodies = world.store,
): Promise<Segment> {
  try {
    return await copySegment(world, of, segment, from);
  } catch (error) {
    if (!isKind(error, "corrupt") || of.version >= head.pointer.floor.version) throw error;
    if ((await listPins(world.store, of)).some(({ commit }) => commit === of.commit)) throw error;
    // The version is below the floor and is not kept: a collector was faster, and nothing is wrong with the shard.
    throw new SiltstoneError(
      "notFound",
      `${shardName(of)} has no version ${of.version} any more: garbage collection took it (${error.message})`,
    );
  }
}
