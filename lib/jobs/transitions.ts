/**
 * What may happen to an item, as pure functions of its record: each gives the next record, or null where it may not happen. Whoever
 * writes one does so where the record that it was made from still stands (change.ts), so transitions of one item are in a total order.
 *
 *   save ─► pending ─claim─► processing ─► finish ─► completed
 *              ▲                 │  ├─ refused, or attempts used up ─► failed
 *              └── postpone ─────┘  └─ cancel, supersede, delete
 *
 * I15, once a revision is finished no row of an older one becomes visible, rests on three of them:
 *
 *  1. `saved` gives a version above all before, and rows carry it: an older save's rows lose against newer ones of their ids.
 *  2. `recorded` raises the high-water to the number of chunks that are about to be put, while the revision is still the newest. Whoever
 *     cannot record does not put; whoever could did so before a newer save, whose worker therefore sees it.
 *  3. Finishing writes the revision's chunks, and tombstones of its version from their number up to the high-water.
 */
import type { Collection } from "../core/model/collection.ts";
import type { Metadata } from "../core/model/row.ts";
import { type Item, isActive, type JobError, type Operation, type Priority } from "./item.ts";

/** Runs of one job that may end without a word, before it is taken for what ends them. */
export const deathsMax = 8;

/** What is saved. */
export interface Save {
  readonly item: string;
  readonly job: string;
  readonly operationId: string;
  readonly operation: Operation | null;
  readonly priority: Priority;
  readonly text: Item["text"];
  readonly textBytes: number;
  readonly contentHash: string | null;
  readonly metadata: Metadata | null;
  readonly source: string | null;
  /** The source's own; null where arrival orders. */
  readonly version: number | null;
  readonly attemptsMax: number;
  /** The revision that is made once more although nothing changed, since its chunks are not what they should be; null for a save. */
  readonly again: number | null;
}

export type Saved =
  | { readonly kind: "saved"; readonly next: Item }
  /** The newest save has the same content, and is waiting or done. */
  | { readonly kind: "unchanged" }
  /** A newer version was saved before; of a revision that is to be made once more, that it is not the newest, or waits already. */
  | { readonly kind: "stale" };

export function saved(
  before: Item | null,
  save: Save,
  {
    collection,
    stamp,
    nowMs,
    wakeAtMs,
  }: { collection: Collection; stamp: string; nowMs: number; wakeAtMs: number },
): Saved {
  if (save.again !== null) {
    if (before === null || before.revision !== save.again || isActive(before)) return { kind: "stale" };
  } else if (before !== null) {
    if (save.version !== null && save.version <= before.version)
      return save.version === before.version && isSame(before, save)
        ? { kind: "unchanged" }
        : { kind: "stale" };
    if (save.version === null && isSame(before, save)) return { kind: "unchanged" };
  }
  const isDelete = save.operation === "delete";
  const hasChunks = before !== null && before.highWater > 0 && !wasDeleted(before);
  // Where the source orders, a revision of our own has the content, and the place, of the save before it.
  const own =
    collection.ordering === "source" && before !== null
      ? before.version
      : Math.max(Math.floor(nowMs), (before?.version ?? 0) + 1);
  return {
    kind: "saved",
    next: {
      collection: collection.name,
      collectionId: collection.id,
      item: save.item,
      stamp,
      job: save.job,
      operationId: save.operationId,
      operation: isDelete ? "delete" : hasChunks ? "update" : "create",
      priority: save.priority,
      status: "pending",
      attempts: 0,
      attemptsMax: save.attemptsMax,
      deaths: 0,
      createdAtMs: nowMs,
      scheduledAtMs: nowMs,
      startedAtMs: null,
      completedAtMs: null,
      error: null,
      contentHash: save.contentHash,
      embeddingVersion: collection.embeddingVersion,
      lease: null,
      source: save.source ?? before?.source ?? null,
      revision: (before?.revision ?? 0) + 1,
      version: save.version ?? own,
      text: save.text,
      textBytes: save.textBytes,
      metadata: save.metadata,
      highWater: before?.highWater ?? 0,
      chunks: before?.chunks ?? null,
      // The queue is told after this is written; an item of which nothing is heard by then is woken by the sweep.
      wakeAtMs,
    },
  };
}

const wasDeleted = ({ operation, status }: Item): boolean => operation === "delete" && status === "completed";

function isSame(before: Item, save: Save): boolean {
  if (before.status === "failed" || before.status === "cancelled") return false;
  return (
    (before.operation === "delete") === (save.operation === "delete") &&
    before.contentHash === save.contentHash &&
    JSON.stringify(before.metadata) === JSON.stringify(save.metadata)
  );
}

/** Who works on a job. */
export interface Claim {
  readonly job: string;
  readonly owner: string;
}

/** Whether the claim holds: the revision is the newest, and nobody else has taken it over. */
export const isHeld = (item: Item, { job, owner }: Claim): boolean =>
  item.job === job && item.status === "processing" && item.lease?.owner === owner;

export type Claimed =
  | { readonly kind: "claimed"; readonly next: Item }
  /** Its runs died too often. */
  | { readonly kind: "failed"; readonly next: Item }
  | { readonly kind: "notDue" };

export function claimed(
  item: Item,
  { owner, nowMs, leaseMs, stamp }: { owner: string; nowMs: number; leaseMs: number; stamp: string },
): Claimed {
  const isLost = item.status === "processing" && (item.lease?.untilMs ?? 0) <= nowMs;
  if (!isLost && !(item.status === "pending" && item.scheduledAtMs <= nowMs)) return { kind: "notDue" };
  const deaths = item.deaths + (isLost ? 1 : 0);
  if (deaths > deathsMax) {
    const error = {
      kind: "died",
      message: `${deaths} runs ended without a word: of memory, of time, or of this text`,
    };
    return { kind: "failed", next: ended({ ...item, deaths }, "failed", { stamp, nowMs, error }) };
  }
  return {
    kind: "claimed",
    next: {
      ...item,
      stamp,
      deaths,
      status: "processing",
      startedAtMs: nowMs,
      lease: { owner, untilMs: nowMs + leaseMs },
    },
  };
}

export const extended = (item: Item, claim: Claim, untilMs: number, stamp: string): Item | null =>
  isHeld(item, claim) ? { ...item, stamp, lease: { owner: claim.owner, untilMs } } : null;

/** Before chunks are put: from now on as many may be there. */
export const recorded = (item: Item, claim: Claim, chunks: number, stamp: string): Item | null =>
  isHeld(item, claim) ? { ...item, stamp, highWater: Math.max(item.highWater, chunks) } : null;

/** After they were put, with the tombstones of those above. */
export const finished = (
  item: Item,
  claim: Claim,
  { chunks, nowMs, stamp }: { chunks: number; nowMs: number; stamp: string },
): Item | null =>
  isHeld(item, claim)
    ? { ...ended(item, "completed", { stamp, nowMs, error: null }), chunks, attempts: item.attempts + 1 }
    : null;

/** It has to wait, through no fault of its own: no attempt is counted. */
export const postponed = (
  item: Item,
  claim: Claim,
  { notBeforeMs, error, stamp }: { notBeforeMs: number; error: JobError | null; stamp: string },
): Item | null =>
  isHeld(item, claim)
    ? {
        ...item,
        ...{ stamp, error, status: "pending", lease: null },
        ...{ scheduledAtMs: notBeforeMs, wakeAtMs: notBeforeMs },
      }
    : null;

/** A run failed: the job waits for another, or has had all it may have. `isFinal`: repeating cannot help. */
export function failed(
  item: Item,
  claim: Claim,
  reason: { error: JobError; isFinal: boolean; notBeforeMs: number; nowMs: number; stamp: string },
): Item | null {
  if (!isHeld(item, claim)) return null;
  const counted = { ...item, attempts: item.attempts + 1 };
  if (reason.isFinal || counted.attempts >= item.attemptsMax) return ended(counted, "failed", reason);
  return postponed(counted, claim, reason);
}

/** Stops a job that waits or runs: whoever runs it finds that it is not his any more before he puts anything. */
export const cancelled = (
  item: Item,
  { error, nowMs, stamp }: { error: JobError; nowMs: number; stamp: string },
): Item | null => (isActive(item) ? ended(item, "cancelled", { stamp, nowMs, error }) : null);

/** The same for one that failed: nobody is to retry it. */
export const cleared = (
  item: Item,
  reason: { error: JobError; nowMs: number; stamp: string },
): Item | null => (item.status === "failed" ? ended(item, "cancelled", reason) : cancelled(item, reason));

/** Takes a job from a run that is too slow, or was forgotten: it finds that it is not its own any more. */
export const takenBack = (
  item: Item,
  { startedBeforeMs, nowMs, stamp }: { startedBeforeMs: number; nowMs: number; stamp: string },
): Item | null =>
  item.status === "processing" && (item.startedAtMs ?? 0) < startedBeforeMs
    ? { ...item, stamp, status: "pending", lease: null, scheduledAtMs: nowMs, wakeAtMs: nowMs }
    : null;

/** A job that ended without its work done begins anew. `force`: also one that has had all its attempts, or was cancelled. */
export function retried(
  item: Item,
  { force, nowMs, stamp }: { force: boolean; nowMs: number; stamp: string },
): Item | null {
  const mayRun =
    item.status === "failed"
      ? force || item.attempts < item.attemptsMax
      : item.status === "cancelled" && force;
  if (!mayRun) return null;
  return {
    ...item,
    ...{ stamp, status: "pending", lease: null, error: null, completedAtMs: null },
    ...(force ? { attempts: 0, deaths: 0 } : {}),
    ...{ scheduledAtMs: nowMs, wakeAtMs: nowMs },
  };
}

/** The queue was told of it just now. */
export const woken = (item: Item, againAtMs: number, stamp: string): Item | null =>
  item.status === "pending" ? { ...item, stamp, wakeAtMs: againAtMs } : null;

const ended = (
  item: Item,
  status: "completed" | "failed" | "cancelled",
  { stamp, nowMs, error }: { stamp: string; nowMs: number; error: JobError | null },
): Item => ({ ...item, stamp, status, error, lease: null, completedAtMs: nowMs });
