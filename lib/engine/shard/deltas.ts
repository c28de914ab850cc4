/** The backlog of a shard: finding them by LIST, reading them, and judging what is in them. */
import { hash } from "node:crypto";
import pLimit from "p-limit";
import { decodeDelta } from "../../core/format/delta.ts";
import { type DeltaHeader, deltaBytesMax } from "../../core/format/delta-header.ts";
import { afterDelta, deltaKey, deltaOfKey, deltaPrefix, type ShardRef } from "../../core/format/keys.ts";
import type { Manifest } from "../../core/format/manifest.ts";
import { bounds } from "../../core/model/bounds.ts";
import { rowProblem } from "../../core/model/check-records.ts";
import { type Collection, tombstoneRetentionOf } from "../../core/model/collection.ts";
import { isNewerFormat, isUnreadable, type Problem, SiltstoneError } from "../../core/model/errors.ts";
import type { DeltaId } from "../../core/model/ids.ts";
import { shown } from "../../core/model/metadata.ts";
import type { Row } from "../../core/model/row.ts";
import { ulidTimeMs } from "../../core/model/ulid.ts";
import { clockAllowanceMs, horizonMs } from "../../core/policy/time-bounds.ts";
import type { ObjectStore, World } from "../ports.ts";
import { ignoreStranger, type OnStranger, strangersOfList } from "./strangers.ts";

/** Deltas read at a time. */
const readConcurrency = 16;
const dayMs = 24 * 3_600_000;
/**
 * Nothing older is applied than what tombstones are kept for: so a delete can never be undone by something that arrives late
 * (docs/protocol.md, "Horizon").
 */
function horizonMsOf(collection: Collection): number {
  const retention = tombstoneRetentionOf(collection);
  return retention === "never" ? horizonMs : Math.min(horizonMs, retention * dayMs);
}
/** Tombstones are kept a little longer than deltas are applied, since clocks differ. */
export function tombstoneKeepMsOf(collection: Collection): number {
  const retention = tombstoneRetentionOf(collection);
  return retention === "never" ? Number.POSITIVE_INFINITY : retention * dayMs + 3_600_000;
}

export interface ListedDelta {
  readonly delta: DeltaId;
  readonly bytes: number;
  /** When S3 says that it was written. */
  readonly modifiedMs: number;
}

/** The deltas below the shard's deltas/ after `after` (null: all), oldest first. Throws `unavailable` for too many strangers. */
export async function* walkDeltas(
  store: ObjectStore,
  shard: ShardRef,
  after: DeltaId | null,
  onStranger: OnStranger,
): AsyncGenerator<ListedDelta> {
  const see = strangersOfList(deltaPrefix(shard), onStranger);
  for await (const page of store.list(deltaPrefix(shard), { startAfter: afterDelta(shard, after) })) {
    for (const { key, bytes, modifiedMs } of page) {
      const delta = deltaOfKey(shard, key);
      if (delta === null) see(key);
      else yield { delta, bytes, modifiedMs };
    }
  }
}

/** The oldest deltas after the watermark (null: of all), as many as one LIST of a shard looks at. Throws as `walkDeltas` does. */
export async function listDeltas(
  store: ObjectStore,
  shard: ShardRef,
  watermark: DeltaId | null,
  onStranger: OnStranger = ignoreStranger,
): Promise<ListedDelta[]> {
  const listed: ListedDelta[] = [];
  for await (const delta of walkDeltas(store, shard, watermark, onStranger)) {
    listed.push(delta);
    if (isCut(listed)) break;
  }
  return listed;
}

/** Whether there may be more behind the last that was listed. */
export const isCut = (listed: readonly ListedDelta[]): boolean => listed.length >= bounds.listedDeltas;

/** Where a cut LIST ends: what is newer was not looked at. Null when it was all. */
export const endOf = (listed: readonly ListedDelta[]): DeltaId | null =>
  isCut(listed) ? listed[listed.length - 1]!.delta : null;

/**
 * The listed deltas that are not part of the manifest yet. One below the watermark appeared too late to have been
 * acknowledged: no compactor ingests it, so no reader may read it either.
 */
export function backlogOf(listed: readonly ListedDelta[], manifest: Manifest): ListedDelta[] {
  const isInBacklog = isInBacklogOf(manifest);
  return listed.filter(({ delta }) => isInBacklog(delta));
}

/** The same of a name alone. */
export function isInBacklogOf(manifest: Manifest): (delta: DeltaId) => boolean {
  const applied = new Set(manifest.applied);
  return (delta) => delta > manifest.watermark && !applied.has(delta);
}

export interface DeltaRows {
  readonly rows: readonly Row[];
  /** Until then it is within the horizon, and may be applied. */
  readonly goodUntilMs: number;
}
export type ReadDelta =
  | ({ readonly kind: "rows"; readonly delta: DeltaId } & DeltaRows)
  /** Ingested, or put aside, since it was listed. */
  | { readonly kind: "gone"; readonly delta: DeltaId }
  | { readonly kind: "unreadable"; readonly delta: DeltaId; readonly error: SiltstoneError }
  /** The store does not give it to us, or it is of a newer format: it may be whole, and stays where it is. */
  | { readonly kind: "left"; readonly delta: DeltaId; readonly error: SiltstoneError };

/** Reads and proves deltas, a bounded number at a time, in the given order. */
export async function readDeltas(
  world: World,
  collection: Collection,
  shard: ShardRef,
  deltas: readonly DeltaId[],
): Promise<ReadDelta[]> {
  const limit = pLimit(readConcurrency);
  return Promise.all(deltas.map((delta) => limit(() => readDelta(world, collection, shard, delta))));
}

/** A content that does not prove itself is judged when two reads gave the same: a GET may have flipped a bit, and the next one another. */
async function readDelta(
  world: World,
  collection: Collection,
  shard: ShardRef,
  delta: DeltaId,
): Promise<ReadDelta> {
  const key = deltaKey(shard, delta);
  // Ids and values are for readers of the collection, and not for a log: they are the problems'.
  const unreadable = (reason: string, problems: readonly Problem[] = []): ReadDelta => ({
    kind: "unreadable",
    delta,
    error: new SiltstoneError("corrupt", `${key} is corrupt: ${reason}`, { problems }),
  });
  let unproven: Buffer | null = null;
  for (;;) {
    const askedMs = world.clock.nowMs();
    const found = await world.store.getBounded(key, deltaBytesMax);
    if (found.kind === "absent") return { kind: "gone", delta };
    if (found.kind === "refused") return { kind: "left", delta, error: found.error };
    if (found.kind === "tooLarge") return unreadable(tooLarge(found.bytes));
    try {
      const { header, rows } = decodeDelta(found.body, { key, delta });
      const madeMs = ulidTimeMs(header.writtenAs ?? delta);
      const oldestMs = Math.min(header.createdAtMs, madeMs);
      const beyondMs = horizonMsOf(collection);
      const fault =
        tooEarly(delta, found.modifiedMs) ??
        misfit(collection, shard, header) ??
        misfitVersion(collection, rows, Math.min(madeMs, found.modifiedMs)) ??
        // A clock that was set in between must not make it old (lib/core/policy/time-bounds.ts).
        tooOld(oldestMs, Math.min(askedMs, world.clock.nowMs()), beyondMs);
      if (fault !== null) return unreadable(fault);
      const problem = misfitRow(collection, rows);
      if (problem === null) return { kind: "rows", delta, rows, goodUntilMs: oldestMs + beyondMs };
      const [part] = problem.field.split(".");
      return unreadable(`row ${problem.index} breaks a rule of its collection: its ${part}`, [problem]);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      const before: Buffer | null = unproven;
      unproven = hash("sha256", found.body, "buffer");
      if (before === null) continue;
      if (!before.equals(unproven)) return { kind: "left", delta, error: readTwice(key) };
      return { kind: isNewerFormat(error) ? "left" : "unreadable", delta, error };
    }
  }
}

/** The bytes of an object differ from one GET to the next: it says nothing about the object. */
export const readTwice = (key: string): SiltstoneError =>
  new SiltstoneError("unavailable", `${key} was read twice, with different bytes; repeat the call`);

/** What keeps an object from being a delta, by what a LIST says of it: nothing of it is read then. Null when nothing does. */
export const entryProblem = ({ delta, bytes, modifiedMs }: ListedDelta): string | null =>
  bytes > deltaBytesMax ? tooLarge(bytes) : tooEarly(delta, modifiedMs);

const tooLarge = (bytes: number): string => `it has ${bytes} bytes; a delta has at most ${deltaBytesMax}`;

/** No clock that S3 accepts makes such a name: it would be listed, and win, for as long as its time has not come. */
function tooEarly(delta: DeltaId, modifiedMs: number): string | null {
  const aheadMs = ulidTimeMs(delta) - modifiedMs;
  return aheadMs > clockAllowanceMs ? `its name is ${ahead(aheadMs)} of when S3 got it` : null;
}

/**
 * Where arrival orders the writes, a version is the time of a producer's call, which was before it named its delta: one
 * from the future would win over every later write and delete of its id.
 */
function misfitVersion({ ordering }: Collection, rows: readonly Row[], madeMs: number): string | null {
  if (ordering !== "arrival") return null;
  const early = rows.find(({ version }) => version - madeMs > clockAllowanceMs);
  if (early === undefined) return null;
  const { row, version } = early;
  return `row ${row}: its version ${version} is ${ahead(version - madeMs)} of when its delta was made`;
}

const ahead = (ms: number): string =>
  `${Math.floor(ms / 1000)} s ahead (at most ${clockAllowanceMs / 1000} s are allowed)`;

/** A delta of another collection, shard or embedding space must not be ingested, however well-formed it is. */
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
    if (got !== value) return `its ${field} is ${shown(got)}, the collection's is ${shown(value)}`;
  }
  return null;
}

/** A row that no producer of ours would have let through: a delta may come from other hands. */
function misfitRow(collection: Collection, rows: readonly Row[]): Problem | null {
  for (const row of rows) {
    const problem = rowProblem(collection, row);
    if (problem !== null) return problem;
  }
  return null;
}

function tooOld(createdAtMs: number, nowMs: number, beyondMs: number): string | null {
  const days = (nowMs - createdAtMs) / dayMs;
  return nowMs - createdAtMs <= beyondMs
    ? null
    : `it was made ${days.toFixed(1)} days ago, beyond the horizon of ${beyondMs / dayMs} days: a delete since then may be forgotten`;
}
