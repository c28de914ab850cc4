/**
 * Deltas that were put aside: putting them there, what they are, and putting them back.
 *
 * Putting aside is a copy on the server, whatever the size: nothing of the object passes through here. The original goes
 * when the copy and its reason are there; a crash before that leaves it in the backlog, and the next run does it again.
 */
import { cutText, errorTextBytesMax, explained, isKind, SiltstoneError } from "../core/errors.ts";
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
import { putDelta } from "./put-delta.ts";

export interface Quarantined {
  readonly delta: string;
  readonly reason: string;
  readonly bytes: number;
  readonly at: string;
}

/** Copied in a minute or so. Whatever is larger is no delta that anybody waits for: it stays where it is, and is reported. */
export const quarantinedBytesMax = 32 * 1024 ** 3;

/**
 * Moves a delta to quarantine/ with its reason; null when it is gone by now. What is answered instead says why it is
 * still there: the caller goes on with the others.
 */
export async function quarantine(
  world: World,
  shard: ShardRef,
  { delta, error }: { readonly delta: string; readonly error: SiltstoneError },
): Promise<"moved" | "gone" | { readonly left: SiltstoneError }> {
  try {
    return (await moveToQuarantine(world, shard, delta, cutText(explained(error), errorTextBytesMax)))
      ? "moved"
      : "gone";
  } catch (failure) {
    if (!isKind(failure, "unavailable") && !isKind(failure, "uncertain")) throw failure;
    const reason = `${error.message}; it could not be put aside: ${failure.message}`;
    return { left: new SiltstoneError(failure.kind, reason, { cause: failure }) };
  }
}

async function moveToQuarantine(world: World, shard: ShardRef, delta: string, why: string): Promise<boolean> {
  const { store, clock } = world;
  const key = deltaKey(shard, delta);
  const there = await store.head(key);
  if (there === null) return false;
  if (there.bytes > quarantinedBytesMax)
    throw new SiltstoneError("unavailable", `${key} is too large to be copied; delete it by hand`);
  const copyKey = quarantinedDeltaKey(shard, delta);
  const copied = await store.copy(key, copyKey);
  if (copied === null) return false;
  if ((await store.head(copyKey))?.bytes !== copied.bytes)
    throw new SiltstoneError("unavailable", `${copyKey} is not the copy that it should be`);
  const at = new Date(clock.nowMs()).toISOString();
  const reason = { format: 1, delta, reason: why, bytes: copied.bytes, at };
  await putOnce(
    store,
    quarantineReasonKey(shard, delta),
    Buffer.from(`${JSON.stringify(reason, null, 2)}\n`),
  );
  await store.delete([key]);
  return true;
}

/** If absent: what is there already is of an earlier attempt, or newer than what a run that slept wants to write. */
async function putOnce(store: ObjectStore, key: string, body: Uint8Array): Promise<void> {
  const put = await store.put(key, body, { ifAbsent: true });
  if (put.kind === "preconditionFailed" && (await store.head(key)) === null)
    throw new SiltstoneError("unavailable", `${key} could not be written; nothing was changed, try again`);
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
  await putDelta(world, shard, { delta: again, body: found.body });
  await world.store.delete([quarantinedDeltaKey(shard, delta), quarantineReasonKey(shard, delta)]);
  return again;
}
