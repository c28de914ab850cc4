/**
 * The commit. Everything that changes what readers see goes through here, and it is one conditional write.
 *
 *  1. The caller's `propose` looks at the head and answers the next manifest, or that there is nothing left to do.
 *  2. What must hold between head and next is checked (successionFault), and that no new segment lies below the
 *     collector's floor: its files may be gone.
 *  3. The manifest is written under a key of its own. A crash here leaves garbage.
 *  4. The pointer is written with If-Match: the commit.
 *  5. When the answer is lost, or says that another writer was first (which may have been our own first attempt), nothing
 *     is concluded: the head is read again. An attempt that won unnoticed is found by its own commit, in the head or
 *     among its ancestors: nothing else tells it from the work of another. One that lost is proposed again on the new
 *     head, unless garbage was collected in between.
 */

import { manifestKey, pointerKey, shardName } from "../../core/format/keys.ts";
import { encodeManifest, type Manifest, successionFault } from "../../core/format/manifest.ts";
import { encodePointer, type Floor, pointerTo } from "../../core/format/pointer.ts";
import { bounds } from "../../core/model/bounds.ts";
import type { Collection } from "../../core/model/collection.ts";
import { isKind, SiltstoneError } from "../../core/model/errors.ts";
import { commitId, snapshotVersion } from "../../core/model/ids.ts";
import type { World } from "../ports.ts";
import { type Head, readHead } from "./head.ts";
import { readManifest } from "./history.ts";

/** What a proposal decides; version, parent, commit and the unchanging fields follow from the head. */
export type Change = Pick<
  Manifest,
  "cause" | "epoch" | "segments" | "applied" | "watermark" | "ledger" | "takenBack"
>;

/** Contenders for one pointer are a compactor, a merger and a collector: losing this often means something is wrong. */
const attemptsMax = 12;

export interface Publication {
  /** The newest head that is known. */
  readonly head: Head;
  /** The version that this call published, on which others may have been built since; null when nothing was left to do. */
  readonly own: Manifest | null;
}

/**
 * Publishes what `propose` answers on top of the newest head. `propose` must be pure; null means that nothing is left
 * to do. Throws what `propose` throws; `conflict` when a new segment is below the floor or contention does not end.
 */
export async function publish(
  world: World,
  collection: Collection,
  head: Head,
  propose: (head: Head) => Change | null,
): Promise<Publication> {
  let current = head;
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const change = propose(current);
    if (change === null) return { head: current, own: null };
    // A first attempt may have won unnoticed, been undone by a rollback, and its segments been deleted as garbage since.
    if (current.pointer.floor.generation !== head.pointer.floor.generation) {
      throw new SiltstoneError(
        "conflict",
        `${pointerKey(head.manifest)}: garbage was collected meanwhile; run again`,
      );
    }
    const next = successor(current, change, world);
    const landed = await commit(world, current, next);
    if (landed !== null) return { head: landed, own: next };
    current = await readHead(world.store, collection, head.manifest.shard);
    if (await isPublished(world, current, next)) return { head: current, own: next };
  }
  throw new SiltstoneError(
    "conflict",
    `${pointerKey(head.manifest)}: lost ${attemptsMax} times to other writers; run again`,
  );
}

function successor(head: Head, change: Change, world: World): Manifest {
  const { manifest } = head;
  const next: Manifest = {
    ...manifest,
    ...change,
    version: snapshotVersion(manifest.version + 1),
    parent: { version: manifest.version, commit: manifest.commit },
    commit: commitId(world.clock.ulid()),
    createdAt: new Date(world.clock.nowMs()).toISOString(),
  };
  if (next.segments.length > bounds.segments) throw tooManySegments(next);
  const fault = successionFault(manifest, next) ?? belowFloor(head, next);
  if (fault !== null)
    throw new SiltstoneError("conflict", `${pointerKey(manifest)}: not published: ${fault}`);
  return next;
}

/** Ingestion merges long before, unless that fails or a merger holds its lease all the time. */
const tooManySegments = (next: Manifest): SiltstoneError =>
  new SiltstoneError(
    "unavailable",
    `${shardName(next)} would have ${next.segments.length} segments, and at most ${bounds.segments} are published: merges ` +
      'cannot keep up. Its deltas wait, and strong reads see them; look why merges fail (docs/runbook.md, "Backlog")',
  );

/**
 * A writer that slept through a garbage collection run holds segments whose files may be gone. A rollback's segments are old: it
 * takes them from a version at or above the floor, which no garbage collection run touches, or copies them (lib/engine/operate/rollback.ts).
 */
function belowFloor(head: Head, next: Manifest): string | null {
  const { floor } = head.pointer;
  if (next.cause === "rollback") return null;
  const known = new Set(head.manifest.segments.map((segment) => segment.id));
  const late = next.segments.find((segment) => !known.has(segment.id) && segment.id < floor.ulid);
  return late ? `segment ${late.id} is older than the floor of garbage collection, ${floor.ulid}` : null;
}

/** Null when the head has to be read again. */
async function commit(world: World, head: Head, next: Manifest): Promise<Head | null> {
  const body = encodeManifest(next);
  const put = await world.store.put(manifestKey(next, next.version, next.commit), body, { ifAbsent: true });
  // Refused, though no other writer has this key (S3's 409), or written by a first attempt: a pointer must not name it.
  if (put.kind === "preconditionFailed") return null;
  const pointer = pointerTo(next, head.pointer.floor);
  const etag = await movePointer(world, head, encodePointer(pointer));
  return etag === null ? null : { pointer, etag, manifest: next };
}

/**
 * Whether a version is the head's own or one that the head was built on. One that garbage collection has deleted since is not found: then
 * the floor's generation has changed, and nothing is proposed again.
 */
async function isPublished(
  world: World,
  { manifest: head }: Head,
  { version, commit }: Manifest,
): Promise<boolean> {
  let at = head;
  try {
    while (at.version > version && at.parent !== null) at = await readManifest(world.store, head, at.parent);
  } catch (error) {
    if (isKind(error, "notFound")) return false;
    throw error;
  }
  return at.commit === commit;
}

/** Raises the collector's floor on the same version; null when another writer moved the pointer meanwhile. */
export async function raiseFloor(world: World, head: Head, floor: Floor): Promise<Head | null> {
  const pointer = { ...head.pointer, floor };
  const etag = await movePointer(world, head, encodePointer(pointer));
  return etag === null ? null : { ...head, pointer, etag };
}

async function movePointer(world: World, head: Head, body: Buffer): Promise<string | null> {
  try {
    const put = await world.store.put(pointerKey(head.manifest), body, { ifMatch: head.etag });
    return put.kind === "written" ? put.etag : null;
  } catch (error) {
    if (isKind(error, "uncertain")) return null;
    throw error;
  }
}
