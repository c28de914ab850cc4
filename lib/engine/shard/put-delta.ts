/**
 * Putting a delta into the backlog, for callers that say afterwards that it will be ingested: producers, a retry from
 * quarantine, a repair.
 *
 * What appears below the low watermark is hidden, and what is from the future is put aside (lib/core/policy/time-bounds.ts). S3 has
 * judged the clock that signed the PUT, not the one that made the ULID: the process may have slept in between, or its clock
 * been set. So the ULID is compared with the clock before the PUT, and again after it was answered.
 */

import { deltaKey, type ShardRef } from "../../core/format/keys.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import type { DeltaId } from "../../core/model/ids.ts";
import { ulidTimeMs } from "../../core/model/ulid.ts";
import { clockSetBackMaxMs, deltaPutMaxMs } from "../../core/policy/time-bounds.ts";
import type { World } from "../ports.ts";
import { putNew } from "./put-new.ts";

/** Throws `unavailable` when nothing was written, `uncertain` when it may have been, or too late to be seen. */
export async function putDelta(
  world: Pick<World, "store" | "clock">,
  shard: ShardRef,
  { delta, body }: { readonly delta: DeltaId; readonly body: Uint8Array },
): Promise<void> {
  const key = deltaKey(shard, delta);
  if (isFarFromNow(world, delta)) {
    // ULIDs do not go back with the clock that made them.
    throw new SiltstoneError(
      "unavailable",
      `${key} was named ${deltaPutMaxMs / 60_000} minutes ago, or by a clock that has been set back: repeat the call; ` +
        "if that does not help, start this process again",
    );
  }
  if (!(await putNew(world.store, key, body))) {
    // Absent: refused without a reason, or ingested and deleted already. Repeating the call is right in both cases.
    throw new SiltstoneError("uncertain", `the write of ${key} could not be confirmed; repeat the call`);
  }
  if (isFarFromNow(world, delta)) {
    throw new SiltstoneError(
      "uncertain",
      `${key} took over ${deltaPutMaxMs / 60_000} minutes to write, or the clock was set meanwhile; repeat the call`,
    );
  }
}

function isFarFromNow({ clock }: Pick<World, "clock">, delta: DeltaId): boolean {
  const passedMs = clock.nowMs() - ulidTimeMs(delta);
  return passedMs > deltaPutMaxMs || passedMs < -clockSetBackMaxMs;
}
