/**
 * Saving items: their texts are embedded later, by workers.
 *
 *  1. Every item is checked; a call with a bad one is refused whole.
 *  2. A text that is too large for the table is put on S3.
 *  3. Each item's record is written (`saved`). From then on the item is saved: nothing that comes after can lose it.
 *  4. The text of the save before is removed from S3, and the job before is history where it had not ended.
 *  5. The queues are told. When that fails nothing is lost: the sweep wakes what nobody has begun. A collection whose items are embedded in the
 *     call (embed-all/rollback.ts) has no workers: the embedder is called, and the answer waits for it (in-call.ts).
 */
import pLimit from "p-limit";
import { idProblem, newIdProblem } from "../core/model/check-records.ts";
import { type Collection, checkEmbeddingVersion } from "../core/model/collection.ts";
import { contentHash } from "../core/model/derived-id.ts";
import { invalid, type Problem, SiltstoneError } from "../core/model/errors.ts";
import { grouped } from "../core/model/grouped.ts";
import { isPlainObject, metadataProblems, shown } from "../core/model/metadata.ts";
import type { Metadata } from "../core/model/row.ts";
import type { Clock, ObjectStore } from "../engine/ports.ts";
import { readCollection } from "../engine/shard/head.ts";
import { change, keepEnded } from "./change.ts";
import { chunkKeys, chunkMetadata } from "./chunk-rows.ts";
import { readSettings } from "./control.ts";
import { checkEmbedder, embedInCall, embedsInCall } from "./in-call.ts";
import { type Item, isActive, type Operation, operations, type Priority, priorities } from "./item.ts";
import type { EmbedderCall, JobTable, WakeQueues } from "./ports.ts";
import { inlineBytesMax, removeText, spill, textBytesMax } from "./spilled-texts.ts";
import { type Save, saved } from "./transitions.ts";
import { encodeWake } from "./wake.ts";

/** Items of one call. */
export const itemsMax = 1_000;
const savesAtOnce = 16;
const sourceBytesMax = 256;

export interface JobWorld {
  readonly table: JobTable;
  readonly wake: WakeQueues;
  readonly store: ObjectStore;
  readonly clock: Clock;
  /** Null where the embedder cannot be called: then no save of a collection that embeds in the call goes through. */
  readonly embedder: EmbedderCall | null;
}

export interface SaveCall {
  readonly collection: string;
  /** Items, of which nothing is trusted. */
  readonly items: unknown;
  /** Of those that name none. @default "normal" */
  readonly priority?: unknown;
  readonly embeddingVersion?: string | undefined;
}

export interface SaveAnswer {
  /** ULID: `silt jobs list --operation` shows what became of it. */
  readonly operationId: string;
  /** In the order of the call. */
  readonly items: readonly {
    readonly id: string;
    /** `unchanged`: the newest save has the same content; `stale`: a newer version was saved before. */
    readonly outcome: "saved" | "unchanged" | "stale";
    /** ULID of the job; null where there is no new one. */
    readonly job: string | null;
  }[];
  /** False when a queue could not be told: the items are saved, and embedded some minutes later. */
  readonly notified: boolean;
}

/**
 * Throws `invalid` with what is wrong with each item; after `unavailable` and `uncertain` some items may be saved: repeat the call, what
 * is saved already is `unchanged`.
 */
export async function saveItems(world: JobWorld, call: SaveCall): Promise<SaveAnswer> {
  // The request to S3 is also what judges the clock that the versions are taken from (docs/protocol.md, "Clocks").
  const collection = await readCollection(world.store, call.collection);
  checkEmbeddingVersion(collection, call.embeddingVersion);
  if (collection.embedder === null)
    throw invalid(
      `items: collection ${collection.name} has no embedder; write records with vectors, or make a collection with an embedding profile`,
    );
  const settings = await readSettings(world.table);
  if (settings.inCall.includes(collection.id)) checkEmbedder(world, collection);
  const operationId = world.clock.ulid();
  const checked = checkItems(collection, call);
  const limit = pLimit(savesAtOnce);
  const outcomes = await Promise.allSettled(
    checked.map((item) =>
      limit(() =>
        saveItem(world, collection, {
          ...item,
          operationId,
          job: world.clock.ulid(),
          ...settings,
        }),
      ),
    ),
  );
  const ended = outcomes.flatMap((one) => (one.status === "fulfilled" ? (one.value.superseded ?? []) : []));
  const fresh = outcomes.flatMap((one) => (one.status === "fulfilled" ? (one.value.after ?? []) : []));
  const isInCall = await embedsInCall(world.table, collection);
  const notified = isInCall || (await tell(world.wake, fresh));
  await keepEnded(world.table, ended, { nowMs: world.clock.nowMs(), keepDays: settings.keepDays });
  if (fresh.length > 0) await world.table.addCounts(collection.id, { saved: fresh.length }).catch(() => {});
  const items = outcomes.map((one, i) => {
    if (one.status === "rejected") throw partly(one.reason, fresh.length, outcomes.length);
    const { outcome, after } = one.value;
    return { id: checked[i]!.item, outcome, job: after?.job ?? null };
  });
  if (isInCall) await embedInCall(world, collection, items);
  return { operationId, items, notified };
}

function partly(error: unknown, done: number, of: number): unknown {
  if (!(error instanceof SiltstoneError) || done === 0) return error;
  const { message } = error;
  return new SiltstoneError("uncertain", `${done} of ${of} items were saved; repeat the call. ${message}`, {
    cause: error,
  });
}

type CheckedItem = Omit<Save, "job" | "operationId" | "attemptsMax" | "text" | "again"> & {
  readonly text: string | null;
};

interface Outcome {
  readonly outcome: "saved" | "unchanged" | "stale";
  readonly after?: Item;
  readonly superseded?: Item;
}

/** One item, whose text is checked. `again`: that revision is made once more, if it is the newest and nothing works on it. */
export async function saveItem(
  world: JobWorld,
  collection: Collection,
  {
    text,
    intervalSeconds,
    again = null,
    ...item
  }: CheckedItem &
    Pick<Save, "job" | "operationId" | "attemptsMax"> & { intervalSeconds: number; again?: number | null },
): Promise<Outcome> {
  const { table, store, clock } = world;
  const named = { collection: collection.name, job: item.job };
  const isSpilled = text !== null && item.textBytes > inlineBytesMax;
  if (isSpilled) await spill(store, named, text);
  const kept = text === null ? null : isSpilled ? ({ spilled: true } as const) : { inline: text };
  let kind: Outcome["outcome"] = "saved";
  const changed = await change(
    { table, clock },
    { collectionId: collection.id, item: item.item },
    (before) => {
      const nowMs = clock.nowMs();
      const at = { collection, stamp: clock.ulid(), nowMs, wakeAtMs: nowMs + intervalSeconds * 1_000 };
      const outcome = saved(before, { ...item, text: kept, again }, at);
      kind = outcome.kind;
      return outcome.kind === "saved" ? outcome.next : null;
    },
  );
  if (changed === null) {
    // The record names another save's text.
    await removeText(store, { ...named, text: kept });
    return { outcome: kind };
  }
  const { before, after } = changed;
  if (before === null) return { outcome: "saved", after };
  // An orphan that a crash leaves here is removed by `silt jobs cleanup`.
  await removeText(store, before).catch(() => {});
  if (!isActive(before)) return { outcome: "saved", after };
  const error = { kind: "superseded", message: `a newer save took its place: job ${after.job}` };
  const superseded: Item = { ...before, status: "cancelled", error, completedAtMs: clock.nowMs() };
  return { outcome: "saved", after, superseded };
}

/** Whether all queues were told: the items are saved all the same. */
export async function tell(wake: WakeQueues, items: readonly Item[]): Promise<boolean> {
  const sent = [...grouped(items, ({ priority }) => priority)].map(([priority, those]) =>
    wake.send(priority, those.map(encodeWake)),
  );
  const outcomes = await Promise.allSettled(sent);
  for (const one of outcomes)
    if (one.status === "rejected" && !(one.reason instanceof SiltstoneError)) throw one.reason;
  return outcomes.every(({ status }) => status === "fulfilled");
}

const itemKeys = ["id", "text", "metadata", "operation", "priority", "version", "source"];

function checkItems(collection: Collection, { items, priority = "normal" }: SaveCall): CheckedItem[] {
  if (!Array.isArray(items) || items.length < 1 || items.length > itemsMax)
    throw invalid(`items: must be a list of 1 to ${itemsMax}, got ${shown(items)}`);
  if (!priorities.includes(priority as Priority))
    throw invalid(`priority: must be one of ${priorities.join(", ")}, got ${shown(priority)}`);
  const problems: Problem[] = [];
  const seen = new Set<unknown>();
  const checked = items.map((given: unknown, index) => {
    const bad = (field: string, reason: string) => {
      const id = isPlainObject(given) && typeof given.id === "string" ? given.id : undefined;
      problems.push({ ...(id === undefined ? {} : { id }), index, field, reason });
    };
    if (!isPlainObject(given)) {
      bad("item", `must be an object with id and text, got ${shown(given)}`);
      return null;
    }
    if (seen.has(given.id)) bad("id", "comes twice in the call");
    seen.add(given.id);
    return checkItem(collection, given, priority as Priority, bad);
  });
  if (problems.length > 0) {
    const few = problems
      .slice(0, 3)
      .map(({ index, field, reason }) => `${field} of number ${index} ${reason}`);
    throw invalid(
      `${new Set(problems.map(({ index }) => index)).size} of ${items.length} items are bad, nothing was saved: ${few.join("; ")}`,
      problems,
    );
  }
  return checked as CheckedItem[];
}

function checkItem(
  collection: Collection,
  given: Record<string, unknown>,
  priority: Priority,
  bad: (field: string, reason: string) => void,
): CheckedItem {
  const { id, text = null, metadata = null, operation = null, source = null, version = null } = given;
  for (const key of Object.keys(given))
    if (!itemKeys.includes(key))
      bad(key.slice(0, 80).toWellFormed(), `is not known here; allowed are ${itemKeys.join(", ")}`);
  const isDelete = operation === "delete";
  const idReason = isDelete ? idProblem(id) : newIdProblem(id);
  if (idReason !== null) bad("id", idReason);
  if (operation !== null && !operations.includes(operation as Operation))
    bad("operation", `must be one of ${operations.join(", ")}, got ${shown(operation)}`);
  if (!priorities.includes((given.priority ?? priority) as Priority))
    bad("priority", `must be one of ${priorities.join(", ")}, got ${shown(given.priority)}`);
  if (source !== null && !(typeof source === "string" && Buffer.byteLength(source) <= sourceBytesMax))
    bad("source", `must be text of at most ${sourceBytesMax} bytes, got ${shown(source)}`);
  const versionReason = versionProblem(collection, version);
  if (versionReason !== null) bad("version", versionReason);
  const textReason = textProblem(text, isDelete);
  if (textReason !== null) bad("text", textReason);
  const hash = typeof text === "string" && textReason === null ? contentHash(text) : null;
  if (metadata !== null && isDelete) bad("metadata", "is not for a delete");
  else if (metadata !== null) checkMetadata(collection, metadata, bad);
  return {
    item: id as string,
    text: text as string | null,
    textBytes: typeof text === "string" ? Buffer.byteLength(text) : 0,
    contentHash: hash,
    metadata: metadata as Metadata | null,
    operation: operation as Operation | null,
    priority: (given.priority ?? priority) as Priority,
    version: version as number | null,
    source: source as string | null,
  };
}

/** With what the chunks add to it: their records must be ones that the collection takes. */
function checkMetadata(
  { fields }: Collection,
  metadata: unknown,
  bad: (field: string, reason: string) => void,
): void {
  const taken = isPlainObject(metadata) ? chunkKeys.filter((key) => Object.hasOwn(metadata, key)) : [];
  for (const key of taken) bad(`metadata.${key}`, "is the chunk's own; give it another name");
  const place = { index: 0, start: 0, limit: textBytesMax };
  const whole = isPlainObject(metadata)
    ? chunkMetadata({ item: "", contentHash: "0".repeat(64), metadata: metadata as Metadata }, place)
    : metadata;
  for (const { field, reason } of metadataProblems(fields, whole)) bad(field, reason);
}

function textProblem(text: unknown, isDelete: boolean): string | null {
  if (isDelete) return text === null ? null : "is not for a delete";
  if (text === null) return "is missing";
  if (typeof text !== "string") return `must be a string, got ${shown(text)}`;
  if (!text.isWellFormed()) return "is not well-formed Unicode (a lone surrogate)";
  if (text.trim() === "") return "is empty; there is nothing to embed";
  const bytes = Buffer.byteLength(text);
  return bytes <= textBytesMax ? null : `has ${bytes} UTF-8 bytes; at most ${textBytesMax} are allowed`;
}

function versionProblem({ ordering }: Collection, version: unknown): string | null {
  if (ordering === "arrival")
    return version === null
      ? null
      : 'is not allowed: the collection has ordering "arrival", where the time of the save is the version';
  if (version === null) return 'is required: the collection has ordering "source"';
  if (Number.isSafeInteger(version) && (version as number) >= 0) return null;
  return `must be an integer from 0 to ${Number.MAX_SAFE_INTEGER}, got ${shown(version)}`;
}
