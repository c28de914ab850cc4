/** The unmerged deltas of a shard: finding them by LIST, reading them, and putting unreadable ones aside. */
import pLimit from "p-limit";
import type { Collection } from "../core/collection.ts";
import { decodeDelta } from "../core/delta.ts";
import type { DeltaHeader } from "../core/delta-header.ts";
import { corrupt, isKind, type SiltstoneError } from "../core/errors.ts";
import {
  deltaKey,
  deltaOfKey,
  deltaPrefix,
  quarantinedDeltaKey,
  quarantineReasonKey,
  type ShardRef,
  ulidTimeMs,
} from "../core/keys.ts";
import type { Manifest } from "../core/manifest.ts";
import type { Row } from "../core/record.ts";
import { rowProblem } from "../core/records.ts";
import type { ObjectStore, World } from "./ports.ts";

/** Deltas read at a time. */
const readConcurrency = 16;
/** Deltas looked at in one LIST of a shard; what lies behind them waits for the next round. */
export const listedMax = 20_000;
/**
 * Tombstones live this long, and nothing older is ever applied: so a delete can never be undone by something that
 * arrives late (docs/protocol.md, "Horizon").
 */
export const horizonMs = 30 * 24 * 3_600_000;
/** Tombstones are kept a little longer than deltas are applied, since clocks differ. */
export const tombstoneKeepMs = horizonMs + 3_600_000;

export interface ListedDelta {
  readonly delta: string;
  readonly bytes: number;
}

/** What lies below the shard's deltas/ from the watermark on, oldest first. */
export async function listDeltas(
  store: ObjectStore,
  shard: ShardRef,
  watermark: string,
): Promise<ListedDelta[]> {
  const listed: ListedDelta[] = [];
  for await (const page of store.list(deltaPrefix(shard), { startAfter: deltaKey(shard, watermark) })) {
    for (const { key, bytes } of page) {
      const delta = deltaOfKey(shard, key);
      if (delta !== null) listed.push({ delta, bytes });
    }
    if (listed.length >= listedMax) break;
  }
  return listed.slice(0, listedMax);
}

/**
 * The listed deltas that are not part of the manifest yet. One below the watermark appeared too late to have been
 * acknowledged: nobody merges it, so nobody may read it either.
 */
export function unmerged(listed: readonly ListedDelta[], manifest: Manifest): ListedDelta[] {
  const applied = new Set(manifest.applied);
  return listed.filter(({ delta }) => delta > manifest.watermark && !applied.has(delta));
}

export type ReadDelta =
  | { readonly kind: "rows"; readonly delta: string; readonly rows: Row[] }
  /** Merged, or put aside, since it was listed. */
  | { readonly kind: "gone"; readonly delta: string }
  | {
      readonly kind: "unreadable";
      readonly delta: string;
      readonly error: SiltstoneError;
      readonly body: Buffer;
    };

/** Reads and proves deltas, a bounded number at a time, in the given order. */
export async function readDeltas(
  world: World,
  collection: Collection,
  shard: ShardRef,
  deltas: readonly string[],
): Promise<ReadDelta[]> {
  const limit = pLimit(readConcurrency);
  return Promise.all(deltas.map((delta) => limit(() => readDelta(world, collection, shard, delta))));
}

async function readDelta(
  world: World,
  collection: Collection,
  shard: ShardRef,
  delta: string,
): Promise<ReadDelta> {
  const key = deltaKey(shard, delta);
  const found = await world.store.get(key);
  if (found.kind !== "found") return { kind: "gone", delta };
  try {
    const { header, rows } = decodeDelta(found.body, { key, delta });
    const fault =
      misfit(collection, shard, header) ??
      misfitRow(collection, rows) ??
      tooOld(Math.min(header.createdAtMs, ulidTimeMs(delta)), world.clock.nowMs());
    if (fault !== null) throw corrupt(key, fault);
    return { kind: "rows", delta, rows };
  } catch (error) {
    if (isKind(error, "corrupt")) return { kind: "unreadable", delta, error, body: found.body };
    throw error;
  }
}

/** Copies an unreadable delta and its reason to quarantine/, and only then removes it from the backlog. */
export async function quarantine(
  world: World,
  shard: ShardRef,
  unreadable: ReadDelta & { kind: "unreadable" },
): Promise<void> {
  const { delta, body, error } = unreadable;
  const reason = {
    format: 1,
    delta,
    reason: error.message,
    bytes: body.length,
    at: new Date(world.clock.nowMs()).toISOString(),
  };
  await world.store.put(quarantinedDeltaKey(shard, delta), body);
  await world.store.put(
    quarantineReasonKey(shard, delta),
    Buffer.from(`${JSON.stringify(reason, null, 2)}\n`),
  );
  await world.store.delete([deltaKey(shard, delta)]);
}

/** A delta of another collection, shard or embedding space must not be merged, however well-formed it is. */
function misfit(collection: Collection, shard: ShardRef, header: DeltaHeader): string | null {
  const expected = {
    collection: collection.name,
    collectionId: collection.id,
    shard: shard.shard,
    embeddingVersion: collection.embeddingVersion,
    dims: collection.dims,
  };
  for (const [field, value] of Object.entries(expected)) {
    const got = header[field as keyof typeof expected];
    if (got !== value)
      return `its ${field} is ${JSON.stringify(got)}, the collection's is ${JSON.stringify(value)}`;
  }
  return null;
}

/** A row that no producer of ours would have let through: a delta may come from other hands. */
function misfitRow(collection: Collection, rows: readonly Row[]): string | null {
  for (const row of rows) {
    const problem = rowProblem(collection, row);
    if (problem !== null) return problem;
  }
  return null;
}

function tooOld(createdAtMs: number, nowMs: number): string | null {
  const days = (nowMs - createdAtMs) / 86_400_000;
  return nowMs - createdAtMs <= horizonMs
    ? null
    : `it was made ${days.toFixed(1)} days ago, beyond the horizon of ${horizonMs / 86_400_000} days: a delete since then may be forgotten`;
}
