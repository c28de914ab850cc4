/**
 * An **item** is a text of the user's, with metadata, by an id of his. Saving it makes a **job**: the work of embedding the item's
 * newest content, or of removing it. The item's record holds its one job, so that there is never a second one that is active;
 * a newer save supersedes it. Pieces of the text become **chunks**, which are records of the collection.
 *
 * The record stands in the table for as long as the item may have chunks. What happens to it is a transition (transitions.ts),
 * which is written where exactly the record that it was made from still stands.
 */
import { corrupt } from "../core/model/errors.ts";
import { parseExactly } from "../core/model/exact-json.ts";
import { isPlainObject, metadataProblems } from "../core/model/metadata.ts";
import type { Metadata } from "../core/model/row.ts";
import { deletedItemKeptMs } from "../core/policy/time-bounds.ts";

export const priorities = ["high", "normal", "low"] as const;
export type Priority = (typeof priorities)[number];
export const statuses = ["pending", "processing", "completed", "failed", "cancelled"] as const;
export type Status = (typeof statuses)[number];
export const operations = ["create", "update", "delete"] as const;
export type Operation = (typeof operations)[number];

export interface ItemKey {
  /** Of the collection by that id: one that is made again under its name has no items of the former. */
  readonly collectionId: string;
  readonly item: string;
}

/** Why a job is not done. */
export interface JobError {
  /** A kind of error, or `superseded`, `cancelled`, `died`. */
  readonly kind: string;
  readonly message: string;
}

export interface Job {
  /** ULID of the save. */
  readonly job: string;
  /** ULID of the call that saved it with others. */
  readonly operationId: string;
  readonly operation: Operation;
  readonly priority: Priority;
  readonly status: Status;
  /** Runs that failed for a reason that repeating may not help; those that only had to wait are not counted. */
  readonly attempts: number;
  readonly attemptsMax: number;
  /** Runs of which nothing more was heard. */
  readonly deaths: number;
  readonly createdAtMs: number;
  /** Not before. */
  readonly scheduledAtMs: number;
  readonly startedAtMs: number | null;
  readonly completedAtMs: number | null;
  readonly error: JobError | null;
  /** sha256 of the text, in hex; null for a delete. */
  readonly contentHash: string | null;
  readonly embeddingVersion: string;
  /** Who works on it, until when; null while nobody does. */
  readonly lease: { readonly owner: string; readonly untilMs: number } | null;
  /** Of whom or what the item is, as the saver says. */
  readonly source: string | null;
}

export interface Item extends ItemKey, Job {
  readonly collection: string;
  /** ULID of the last change of this record. */
  readonly stamp: string;
  /** Counts the saves. */
  readonly revision: number;
  /** The save's place in the order of writes: every row of its chunks carries it, whenever they are written. */
  readonly version: number;
  /** A text of up to `inlineBytesMax`; `spilled` is one on S3; null for a delete. */
  readonly text: { readonly inline: string } | { readonly spilled: true } | null;
  readonly textBytes: number;
  readonly metadata: Metadata | null;
  /** Chunks from this index on were never written. Recorded before they are, and never lowered. */
  readonly highWater: number;
  /** Of the revision that was finished last. */
  readonly chunks: number | null;
  /** While it is pending: when it is woken again, if nothing has been heard of it. */
  readonly wakeAtMs: number;
}

export const isActive = ({ status }: Pick<Job, "status">): boolean =>
  status === "pending" || status === "processing";

/** Where an item stands among those of its status: when something is due, or was done. */
export function timeOf(item: Item): number {
  if (item.status === "pending") return Math.max(item.wakeAtMs, item.scheduledAtMs);
  if (item.status === "processing") return item.lease?.untilMs ?? 0;
  return item.completedAtMs ?? item.createdAtMs;
}

/** What is kept of a job that has ended, for a while. */
export type EndedJob = Job & ItemKey & Pick<Item, "collection" | "revision" | "version" | "chunks">;

export const endedJob = ({
  stamp: _stamp,
  text: _text,
  metadata: _metadata,
  textBytes: _bytes,
  highWater: _highWater,
  wakeAtMs: _wake,
  ...job
}: Item): EndedJob => job;

/** When the record may go. Null while chunks may be there: without it nothing would know which ones to remove. */
export function expiryMs(item: Item): number | null {
  if (isActive(item) || item.completedAtMs === null) return null;
  const isGone = item.operation === "delete" && item.status === "completed";
  return isGone || item.highWater === 0 ? item.completedAtMs + deletedItemKeptMs : null;
}

export const encodeItem = (item: Item): string => JSON.stringify(item);

/** Chunks of one text have sixteen bytes and more: each above the high-water that is not there any more is a row to write. */
const highWaterMax = 262_144;

const isText = (value: unknown): boolean => typeof value === "string";
const isTime = (value: unknown): boolean => Number.isFinite(value);
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const isHighWater = (value: unknown): boolean => isCount(value) && (value as number) <= highWaterMax;
const orNull =
  (is: (value: unknown) => boolean) =>
  (value: unknown): boolean =>
    value === null || is(value);
const isOneOf =
  (names: readonly string[]) =>
  (value: unknown): boolean =>
    names.includes(value as string);
const holds =
  (parts: Readonly<Record<string, (value: unknown) => boolean>>) =>
  (value: unknown): boolean =>
    isPlainObject(value) && Object.entries(parts).every(([name, is]) => is(value[name]));

/** What each part of a record is: the table is written by others too, and an item that is read wrongly would stop a run of many. */
const parts: Readonly<Record<keyof Item, (value: unknown) => boolean>> = {
  ...{ collection: isText, collectionId: isText, item: isText, stamp: isText, job: isText },
  ...{ operationId: isText, embeddingVersion: isText, source: orNull(isText), contentHash: orNull(isText) },
  ...{ status: isOneOf(statuses), priority: isOneOf(priorities), operation: isOneOf(operations) },
  ...{ version: isCount, revision: isCount, attempts: isCount, attemptsMax: isCount, deaths: isCount },
  ...{ textBytes: isCount, chunks: orNull(isCount), highWater: isHighWater },
  ...{ createdAtMs: isTime, scheduledAtMs: isTime, wakeAtMs: isTime },
  ...{ startedAtMs: orNull(isTime), completedAtMs: orNull(isTime) },
  error: orNull(holds({ kind: isText, message: isText })),
  lease: orNull(holds({ owner: isText, untilMs: isTime })),
  text: orNull((value) => holds({ inline: isText })(value) || holds({ spilled: (is) => is === true })(value)),
  metadata: orNull((value) => metadataProblems({}, value).length === 0),
};

/** `key` is what it was read by. Throws `corrupt`. */
export function decodeItem(text: string, key: ItemKey, where: string): Item {
  let value: unknown;
  try {
    value = parseExactly(text);
  } catch (error) {
    throw corrupt(where, "it is not JSON", error);
  }
  if (!isPlainObject(value)) throw corrupt(where, "it is not an object");
  const wrong = Object.entries(parts).find(([name, is]) => !is(value[name]));
  if (wrong !== undefined)
    throw corrupt(
      where,
      `it is no item's record: its ${wrong[0]} is none; save the item again after deleting it`,
    );
  const item = value as unknown as Item;
  if (item.collectionId !== key.collectionId || item.item !== key.item)
    throw corrupt(where, "it is another item's record; save the item again after deleting it");
  return item;
}
