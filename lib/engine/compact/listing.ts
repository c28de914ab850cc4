/**
 * A *listing* is what one LIST finds of a shard's deltas, oldest first, with the time of the LIST: deltas that wait, and applied
 * ones whose objects are still there.
 */

import { deltaKey, type ShardRef, shardName } from "../../core/format/keys.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import type { World } from "../ports.ts";
import { type ListedDelta, listDeltas } from "../shard/deltas.ts";
import type { Head } from "../shard/head.ts";
import type { OnStranger } from "../shard/strangers.ts";

export interface Listing {
  readonly deltas: readonly ListedDelta[];
  /** Not after the LIST: the low watermark follows it. */
  readonly atMs: number;
}

export async function listNow(
  world: World,
  ref: ShardRef,
  { manifest }: Head,
  onStranger?: OnStranger,
): Promise<Listing> {
  const atMs = world.clock.nowMs();
  const deltas = await listDeltas(world.store, ref, manifest.watermark, onStranger);
  // S3 has judged the clock that signed the LIST: one that was ahead before that gives a time that S3 never saw.
  if (world.clock.nowMs() >= atMs) return { deltas, atMs };
  throw new SiltstoneError("unavailable", `${shardName(ref)}: the clock was set back meanwhile; run again`);
}

/** Deltas that a published manifest includes: left by a crash between the commit and their deletion. */
export async function deleteApplied(
  world: World,
  shard: ShardRef,
  head: Head,
  listed: readonly ListedDelta[],
): Promise<void> {
  const applied = new Set(head.manifest.applied);
  const keys = listed.filter(({ delta }) => applied.has(delta)).map(({ delta }) => deltaKey(shard, delta));
  if (keys.length > 0) await world.store.delete(keys);
}
