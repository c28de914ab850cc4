/**
 * Restoring deltas that were deleted: after a rollback took back what was ingested, or a person deleted what waited. The
 * bucket keeps them as versions of their objects for a while.
 *
 * Copied back under their old names they would lie below the low watermark, or count as applied, and be put aside or deleted
 * again. So they are put again under new names, and keep their place in the order of writes (lib/engine/shard/put-again.ts): a
 * write or delete that came after them stands, and what is restored twice, or was never lost, changes nothing.
 */

import { decodeDelta } from "../../core/format/delta.ts";
import { deltaBytesMax } from "../../core/format/delta-header.ts";
import {
  deltaKey,
  deltaOfKey,
  deltaPrefix,
  quarantinedDeltaKey,
  quarantinePrefix,
  type ShardRef,
  shardName,
} from "../../core/format/keys.ts";
import { bounds } from "../../core/model/bounds.ts";
import { corrupt, invalid, SiltstoneError } from "../../core/model/errors.ts";
import { type DeltaId, deltaId } from "../../core/model/ids.ts";
import { ulidFloor } from "../../core/model/ulid.ts";
import type { DeletedObject, DeletedObjects, ObjectStore, World } from "../ports.ts";
import { putDeletedBack } from "../shard/quarantine.ts";

export interface DeletedDelta {
  readonly delta: DeltaId;
  readonly object: DeletedObject;
}

/**
 * Deltas that are neither there any more nor in quarantine, oldest first, of those named from `sinceMs` until before `untilMs`
 * (ms since 1970).
 */
export async function listDeleted(
  store: ObjectStore,
  deleted: DeletedObjects,
  shard: ShardRef,
  { sinceMs, untilMs }: { readonly sinceMs: number; readonly untilMs: number },
): Promise<DeletedDelta[]> {
  const aside = new Set<string>();
  for await (const page of store.list(quarantinePrefix(shard))) for (const { key } of page) aside.add(key);
  const found: DeletedDelta[] = [];
  const prefix = deltaPrefix(shard);
  const [first, limit] = [deltaId(ulidFloor(sinceMs)), deltaId(ulidFloor(untilMs))];
  // No delta has the very name of the floor: what is behind it is all.
  for await (const page of deleted.list(prefix, { startAfter: deltaKey(shard, first) })) {
    for (const object of page) {
      const delta = deltaOfKey(shard, object.key);
      if (delta === null || aside.has(quarantinedDeltaKey(shard, delta))) continue;
      if (delta >= limit) return found;
      if (found.length === bounds.listedDeltas)
        throw invalid(
          `${shardName(shard)} has more than ${bounds.listedDeltas} deleted deltas from then on: restore them in parts, by --since and --until`,
        );
      found.push({ delta, object });
    }
  }
  return found;
}

/** Answers the new name. What cannot be read is `corrupt`, and not put again. */
export async function restoreDelta(
  world: Pick<World, "store" | "clock">,
  deleted: DeletedObjects,
  shard: ShardRef,
  { delta, object }: DeletedDelta,
): Promise<DeltaId> {
  const { key, bytes } = object;
  if (bytes > deltaBytesMax)
    throw corrupt(key, `it had ${bytes} bytes; a delta has at most ${deltaBytesMax}`);
  const body = await deleted.get(object);
  if (body === null)
    throw new SiltstoneError("notFound", `${key}: the bucket no longer keeps the deleted object`);
  decodeDelta(body, { key, delta });
  return putDeletedBack(world, shard, { delta, body });
}
