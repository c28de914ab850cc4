/**
 * Deltas that appeared below the low watermark: a producer slept between making the name and writing the object. It was
 * not acknowledged (lib/engine/produce.ts), no LIST of the compactor finds it, and no reader reads it. So that it does
 * not lie there for ever, garbage collection puts it aside, where a person can look at it and put it back.
 */
import { bounds } from "../core/bounds.ts";
import type { Collection } from "../core/collection.ts";
import { corrupt } from "../core/errors.ts";
import { deltaKey, deltaOfKey, deltaPrefix, type ShardRef } from "../core/keys.ts";
import type { Manifest } from "../core/manifest.ts";
import type { World } from "./ports.ts";
import { quarantine } from "./quarantine.ts";

/** Those that were put aside. */
export async function quarantineLateDeltas(
  world: World,
  collection: Collection,
  manifest: Manifest,
): Promise<string[]> {
  const ref: ShardRef = { collection: collection.name, shard: manifest.shard };
  const moved: string[] = [];
  for (const delta of await listLateDeltas(world, ref, manifest.watermark)) {
    const error = corrupt(deltaKey(ref, delta), "it was written too late to be acknowledged or merged");
    if ((await quarantine(world, ref, { delta, error })) === "moved") moved.push(delta);
  }
  return moved;
}

async function listLateDeltas(world: World, ref: ShardRef, watermark: string): Promise<string[]> {
  const late: string[] = [];
  for await (const page of world.store.list(deltaPrefix(ref))) {
    for (const { key } of page) {
      const delta = deltaOfKey(ref, key);
      if (delta === null) continue;
      if (delta > watermark || late.length >= bounds.lateDeltas) return late;
      late.push(delta);
    }
  }
  return late;
}
