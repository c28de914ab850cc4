/** Deltas that were put aside: what they are, and putting them back. */
import { SiltstoneError } from "../core/errors.ts";
import {
  deltaKey,
  isUlid,
  quarantinedDeltaKey,
  quarantinePrefix,
  quarantineReasonKey,
  type ShardRef,
  shardName,
} from "../core/keys.ts";
import type { ObjectStore, World } from "./ports.ts";

export interface Quarantined {
  readonly delta: string;
  readonly reason: string;
  readonly bytes: number;
  readonly at: string;
}

export async function listQuarantine(store: ObjectStore, shard: ShardRef): Promise<Quarantined[]> {
  const found: Quarantined[] = [];
  const prefix = quarantinePrefix(shard);
  for await (const page of store.list(prefix)) {
    for (const { key, bytes } of page) {
      const delta = key.slice(prefix.length).replace(/\.arrow$/, "");
      if (!key.endsWith(".arrow") || !isUlid(delta)) continue;
      found.push({ bytes, ...(await readReason(store, shard, delta)), delta });
    }
  }
  return found;
}

async function readReason(
  store: ObjectStore,
  shard: ShardRef,
  delta: string,
): Promise<{ reason: string; at: string }> {
  const unknown = { reason: "unknown: why it was put aside is missing or damaged", at: "" };
  const found = await store.get(quarantineReasonKey(shard, delta));
  if (found.kind !== "found") return unknown;
  try {
    const { reason, at } = JSON.parse(found.body.toString("utf8")) as { reason: unknown; at: unknown };
    return typeof reason === "string" && typeof at === "string" ? { reason, at } : unknown;
  } catch {
    return unknown;
  }
}

/**
 * Puts a delta back among the unmerged ones, under a new ULID: its place in the backlog is new, the versions of its rows
 * are not. If it is still unreadable, the next run puts it aside again.
 */
export async function retryQuarantined(world: World, shard: ShardRef, delta: string): Promise<string> {
  const found = await world.store.get(quarantinedDeltaKey(shard, delta));
  if (found.kind !== "found")
    throw new SiltstoneError("notFound", `${shardName(shard)} has no quarantined delta ${delta}`);
  const again = world.clock.ulid();
  const key = deltaKey(shard, again);
  const put = await world.store.put(key, found.body, { ifAbsent: true });
  if (put.kind === "preconditionFailed" && (await world.store.head(key)) === null) {
    throw new SiltstoneError("unavailable", `${key} could not be written; nothing was changed, try again`);
  }
  await world.store.delete([quarantinedDeltaKey(shard, delta), quarantineReasonKey(shard, delta)]);
  return again;
}
