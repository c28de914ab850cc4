/**
 * A delta that is written again, under a new name: a retry, a restoration, a repair. Its old name may be below the low
 * watermark, or applied already. Its rows keep the place in the order of writes that the old name gave them, so that they
 * beat nothing that was written after them, and are the very same writes where they are there twice.
 */
import { decodeDelta, encodeDelta } from "../../core/format/delta.ts";
import type { ShardRef } from "../../core/format/keys.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import type { World } from "../ports.ts";
import { putDelta } from "./put-delta.ts";

/** Answers the new name, when the object is there. Throws as `putDelta` does. */
export async function putAgain(
  world: Pick<World, "store" | "clock">,
  shard: ShardRef,
  delta: string,
  body: Uint8Array,
): Promise<string> {
  const again = world.clock.ulid();
  await putDelta(world, shard, { delta: again, body: renamed(body, delta, again) });
  return again;
}

/** What cannot be read is put as it is: ingestion judges it, and says why. */
function renamed(body: Uint8Array, delta: string, again: string): Uint8Array {
  try {
    const { header, rows } = decodeDelta(body, { key: delta, delta });
    const { writtenAs = delta } = header;
    // A name from the future has no place in the order that could be kept.
    return writtenAs < again ? encodeDelta({ ...header, writtenAs }, rows) : body;
  } catch (error) {
    if (error instanceof SiltstoneError) return body;
    throw error;
  }
}
