/**
 * A delta that is written again, under a new name: a retry, a restoration, a repair. Its old name may be below the low
 * watermark, or applied already. Its rows keep the place in the order of writes that the old name gave them, so that they
 * beat nothing that was written after them, and are the very same writes where they are there twice.
 */
import { decodeDelta, encodeDelta } from "../../core/format/delta.ts";
import { deltaBytesMax } from "../../core/format/delta-header.ts";
import type { ShardRef } from "../../core/format/keys.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import { type DeltaId, deltaId } from "../../core/model/ids.ts";
import type { BoundedGetResult, ObjectStore, World } from "../ports.ts";
import { readTwice } from "./deltas.ts";
import { putDelta } from "./put-delta.ts";

/**
 * A delta that is about to be put again; the object with the key may soon be gone. So a content that does not prove itself is read
 * twice, and is the object's only when both reads gave the same: a GET may have flipped a bit. Throws `unavailable` where they differ.
 */
export async function readToPutAgain(
  store: ObjectStore,
  key: string,
  delta: DeltaId,
): Promise<BoundedGetResult> {
  const first = await store.getBounded(key, deltaBytesMax);
  if (first.kind !== "found" || decoded(first.body, delta)) return first;
  const second = await store.getBounded(key, deltaBytesMax);
  if (second.kind !== "found" || decoded(second.body, delta) || second.body.equals(first.body)) return second;
  throw readTwice(key);
}

/** Answers the new name, when the object is there. Throws as `putDelta` does. */
export async function putAgain(
  world: Pick<World, "store" | "clock">,
  shard: ShardRef,
  delta: DeltaId,
  body: Uint8Array,
): Promise<DeltaId> {
  const again = deltaId(world.clock.ulid());
  await putDelta(world, shard, { delta: again, body: renamed(body, delta, again) });
  return again;
}

/** What cannot be read is put as it is: ingestion judges it, and says why. */
function renamed(body: Uint8Array, delta: DeltaId, again: DeltaId): Uint8Array {
  const whole = decoded(body, delta);
  if (whole === null) return body;
  const { writtenAs = delta } = whole.header;
  // A name from the future has no place in the order that could be kept.
  return writtenAs < again ? encodeDelta({ ...whole.header, writtenAs }, whole.rows) : body;
}

function decoded(body: Uint8Array, delta: DeltaId): ReturnType<typeof decodeDelta> | null {
  try {
    return decodeDelta(body, { key: delta, delta });
  } catch (error) {
    if (error instanceof SiltstoneError) return null;
    throw error;
  }
}
