/**
 * Deltas that appeared below the low watermark: a producer slept between making the name and writing the object. It was
 * not acknowledged (lib/engine/shard/put-delta.ts), no LIST of the compactor finds it, and no reader reads it. So that it does
 * not lie there for ever, garbage collection puts it aside, where a person can look at it and put it back.
 *
 * A LIST from the very beginning walks over the delete markers of all that was ingested in the last two weeks, so a run looks
 * two hours below the watermark, which is where most sleepers end up; and once a day from the beginning, in two hours of
 * the day that differ from shard to shard. Upkeep surveys every shard within two hours (lib/engine/compact/sweep.ts), so whatever
 * comes late is found within a day and two hours.
 */

import { deltaKey, type ShardRef } from "../../core/format/keys.ts";
import type { Manifest } from "../../core/format/manifest.ts";
import { bounds } from "../../core/model/bounds.ts";
import type { Collection } from "../../core/model/collection.ts";
import { corrupt } from "../../core/model/errors.ts";
import { type DeltaId, deltaId } from "../../core/model/ids.ts";
import { shardOf } from "../../core/model/shard-of.ts";
import { ulidFloor, ulidTimeMs } from "../../core/model/ulid.ts";
import { surveyMs } from "../../core/policy/time-bounds.ts";
import type { World } from "../ports.ts";
import { walkDeltas } from "../shard/deltas.ts";
import { quarantine } from "../shard/quarantine.ts";
import { ignoreStranger, type OnStranger } from "../shard/strangers.ts";

const windowMs = 2 * surveyMs;
const windowsOfDay = 12;

/** Those that were put aside. `thorough`: from the very beginning, whatever the time of the day. */
export async function quarantineLateDeltas(
  world: World,
  collection: Collection,
  manifest: Manifest,
  { thorough = false, onStranger = ignoreStranger }: { thorough?: boolean; onStranger?: OnStranger },
): Promise<DeltaId[]> {
  const ref: ShardRef = { collection: collection.name, shard: manifest.shard };
  const moved: DeltaId[] = [];
  const isWhole = thorough || isTurn(collection, manifest, world.clock.nowMs());
  const after = isWhole ? null : deltaId(ulidFloor(ulidTimeMs(manifest.watermark) - windowMs));
  for (const delta of await listLateDeltas(world, ref, { after, manifest, onStranger })) {
    const error = corrupt(deltaKey(ref, delta), "it was written too late to be acknowledged or ingested");
    if ((await quarantine(world, ref, { delta, error })) === "moved") moved.push(delta);
  }
  return moved;
}

function isTurn({ id }: Collection, { shard }: Manifest, nowMs: number): boolean {
  return Math.floor(nowMs / windowMs) % windowsOfDay === shardOf(`${id}/${shard}`, windowsOfDay);
}

/** Deltas from `after`, or the very beginning, up to the watermark. */
async function listLateDeltas(
  world: World,
  ref: ShardRef,
  { after, manifest, onStranger }: { after: DeltaId | null; manifest: Manifest; onStranger: OnStranger },
): Promise<DeltaId[]> {
  const late: DeltaId[] = [];
  for await (const { delta } of walkDeltas(world.store, ref, after, onStranger)) {
    if (delta > manifest.watermark || late.length >= bounds.lateDeltas) break;
    late.push(delta);
  }
  return late;
}
