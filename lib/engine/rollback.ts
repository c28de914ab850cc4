/**
 * Going back: a kept version's segments become the newest version; and the repair of a lost pointer.
 *
 * A rollback is a publish like any other: under the ingest lease, with a new epoch, by If-Match. It takes back every
 * write that was merged after that version, for everyone; deltas that are not merged yet stay, and are merged next. No
 * data is copied, unless the version is below the collector's floor and kept by a pin alone.
 */
import type { Collection } from "../core/collection.ts";
import { corrupt, SiltstoneError } from "../core/errors.ts";
import {
  deltaOfKey,
  deltaPrefix,
  pointerKey,
  type SegmentFile,
  type ShardRef,
  shardName,
} from "../core/keys.ts";
import type { Manifest, Segment } from "../core/manifest.ts";
import { encodePointer, firstPointer, type Pointer, pointerTo } from "../core/pointer.ts";
import { withFolder } from "../segment/files.ts";
import { fetchSegment } from "./fetch.ts";
import { type Head, readHead } from "./head.ts";
import { listManifests, listPins, noVersion, publishedChain, readManifest } from "./history.ts";
import { uploadSegment } from "./ingest.ts";
import { HeldLease, ingestLease } from "./lease.ts";
import type { World } from "./ports.ts";
import { publish } from "./publish.ts";

/** Publishes the segments of `version` again. Throws `notFound` when it is not kept, `conflict` when the shard is busy. */
export async function rollback(
  world: World,
  collection: Collection,
  shard: number,
  version: number,
): Promise<Head> {
  const ref: ShardRef = { collection: collection.name, shard };
  const first = await readHead(world.store, collection, shard);
  const lease = await HeldLease.acquire(world, ingestLease(shardName(ref)), first.pointer.epoch);
  if (lease === null)
    throw new SiltstoneError("conflict", `${shardName(ref)} is being compacted; try again in a moment`);
  try {
    const head = await readHead(world.store, collection, shard);
    const target = await keptVersion(world, head, version);
    if (target.commit === head.manifest.commit) return head;
    const segments = await keptSegments(world, ref, head, target);
    await lease.check();
    return await publish(world, collection, head, ({ manifest, pointer }) => {
      // An earlier attempt whose answer was lost: epochs are ours alone, and this one publishes nothing else.
      if (manifest.epoch === lease.epoch) return null;
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
      };
    });
  } finally {
    await lease.release().catch(() => {}); // It runs out by itself.
  }
}

/** A published version at or above the floor, or a pinned one. */
async function keptVersion(world: World, head: Head, version: number): Promise<Manifest> {
  const names = await listManifests(world.store, head.manifest);
  const chain = await publishedChain(world.store, head, names);
  const inChain = chain.find((manifest) => manifest.version === version && version > 0);
  if (inChain && version >= head.pointer.floor.version) return inChain;
  const pin = (await listPins(world.store, head.manifest)).find((pin) => pin.version === version);
  if (pin) return readManifest(world.store, head.manifest, pin);
  throw noVersion(
    head.manifest,
    version,
    chain.filter((manifest) => manifest.version >= head.pointer.floor.version),
  );
}

/**
 * The version's segments, such that no collector takes them. At or above the floor nothing is collected. Below it only a
 * pin keeps them, and a pin can be taken away while we publish: those that the head does not name are copied, and the
 * copies are as safe as any new segment.
 */
async function keptSegments(
  world: World,
  ref: ShardRef,
  head: Head,
  target: Manifest,
): Promise<readonly Segment[]> {
  if (target.version >= head.pointer.floor.version) return target.segments;
  const live = new Set(head.manifest.segments.map(({ id }) => id));
  const segments: Segment[] = [];
  for (const segment of target.segments)
    segments.push(live.has(segment.id) ? segment : await copySegment(world, ref, segment));
  return segments;
}

async function copySegment(world: World, ref: ShardRef, segment: Segment): Promise<Segment> {
  const copy = { ...segment, id: world.clock.ulid() };
  await withFolder(async (folder) => {
    await fetchSegment(world.store, ref, segment, Object.keys(segment.files) as SegmentFile[], folder);
    await uploadSegment(world, ref, copy, folder);
  });
  return copy;
}

export interface Repair {
  readonly outcome: "intact" | "repaired";
  readonly version: number;
  /** What the choice was made from, for people. */
  readonly candidates: readonly {
    readonly version: number;
    readonly commit: string;
    readonly missingDeltas: number;
  }[];
}

/**
 * Writes a lost pointer anew, create-if-absent. Of the newest manifests (a crash or a lost race may have left one that
 * was never published) it takes one that includes every delta that any of them applied and that is gone: only a
 * published manifest's deltas are ever deleted, so the others lose nothing by being passed over.
 */
export async function repairPointer(world: World, collection: Collection, shard: number): Promise<Repair> {
  const ref: ShardRef = { collection: collection.name, shard };
  const there = await world.store.get(pointerKey(ref));
  if (there.kind === "found") {
    const head = await readHead(world.store, collection, shard);
    return { outcome: "intact", version: head.manifest.version, candidates: [] };
  }
  const manifests = await newestManifests(world, ref, collection);
  const waiting = new Set<string>();
  for await (const page of world.store.list(deltaPrefix(ref)))
    for (const { key } of page) waiting.add(deltaOfKey(ref, key) ?? "");
  const gone = new Set(
    manifests.flatMap((manifest) => manifest.applied.filter((delta) => !waiting.has(delta))),
  );
  const candidates = manifests.map((manifest) => {
    const parent = manifests.find((other) => other.commit === manifest.parent?.commit);
    const included = new Set([...manifest.applied, ...(parent?.applied ?? [])]);
    return { manifest, missingDeltas: [...gone].filter((delta) => !included.has(delta)).length };
  });
  const best = candidates.find((candidate) => candidate.missingDeltas === 0);
  if (candidates.length > 0 && !best) {
    throw corrupt(
      pointerKey(ref),
      "it is missing, and no manifest includes all deltas that are gone; restore an S3 version of it",
    );
  }
  const pointer = best ? pointerTo(best.manifest, floorOf(best.manifest)) : firstPointer(collection, shard);
  const put = await world.store.put(pointerKey(ref), encodePointer(pointer), { ifAbsent: true });
  if (put.kind === "preconditionFailed")
    throw new SiltstoneError("conflict", `${pointerKey(ref)} is there again; look before you go on`);
  return {
    outcome: "repaired",
    version: pointer.version,
    candidates: candidates.map(({ manifest: { version, commit }, missingDeltas }) => ({
      version,
      commit,
      missingDeltas,
    })),
  };
}

/** All manifests of the two newest versions, newest first: an unpublished one is at most one version ahead. */
async function newestManifests(world: World, ref: ShardRef, collection: Collection): Promise<Manifest[]> {
  const names = (await listManifests(world.store, ref)).reverse();
  const newest = names[0]?.version ?? 0;
  const manifests: Manifest[] = [];
  for (const name of names.filter(({ version }) => version >= newest - 1)) {
    const manifest = await readManifest(world.store, ref, name);
    if (manifest.collectionId === collection.id) manifests.push(manifest);
  }
  return manifests;
}

/** What the lost floor was is not known: nothing older than the version itself may be rolled back to or published. */
const floorOf = (manifest: Manifest): Pointer["floor"] => ({
  version: manifest.version,
  ulid: manifest.commit,
  generation: 0,
});
