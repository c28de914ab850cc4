/**
 * Producing: one call's writes become one immutable delta per shard.
 *
 *  1. Every record is checked; a call with a bad one is refused whole (or, when asked, the good ones are kept).
 *  2. All of it is encoded, one delta per shard or several: what cannot be written is refused before anything is.
 *  3. Each delta is written, create-if-absent, under a new ULID, those of several shards side by side. The last PUT's answer
 *     acknowledges the call.
 *  4. The queue is told of all that were written. When that fails nothing is lost: the compactor finds the delta by its LIST.
 *
 * A crash or a failure before the last PUT was answered acknowledges nothing; the caller repeats the call, and repeated
 * rows change nothing. Through an alias it is acknowledged when that has been looked at again (produce-through.ts).
 */

import pLimit from "p-limit";
import { encodeDelta } from "../../core/format/delta.ts";
import { type DeltaPart, deltaParts } from "../../core/format/delta-parts.ts";
import type { ShardRef } from "../../core/format/keys.ts";
import { encodeNotification } from "../../core/format/notification.ts";
import { encodeToken } from "../../core/format/token.ts";
import type { LedBy } from "../../core/model/alias.ts";
import { type CheckedRecords, checkRecords, type RecordsCall } from "../../core/model/check-records.ts";
import { type Collection, checkEmbeddingVersion } from "../../core/model/collection.ts";
import { invalid, isKind, type Problem, SiltstoneError } from "../../core/model/errors.ts";
import { grouped } from "../../core/model/grouped.ts";
import { type DeltaId, deltaId } from "../../core/model/ids.ts";
import { isPlainObject, shown } from "../../core/model/metadata.ts";
import type { DeltaRow } from "../../core/model/row.ts";
import { ulidTimeMs } from "../../core/model/ulid.ts";
import { readNamed } from "../catalog/aliases.ts";
import type { Clock, DeltaQueue, ObjectStore } from "../ports.ts";
import { putDelta } from "../shard/put-delta.ts";
import { produceThrough } from "./produce-through.ts";

export interface ProduceCall extends RecordsCall {
  /** Name of the collection, or of an alias. */
  readonly collection: string;
  /** When given, it must be the collection's: vectors of another embedding space are refused. */
  readonly embeddingVersion?: string | undefined;
  /** Free text that names the writer in the delta. */
  readonly producer?: string;
}

/** All of the world that producing needs: an upstream function that bundles it carries no more. */
export interface ProduceWorld {
  readonly store: ObjectStore;
  readonly queue: Pick<DeltaQueue, "send">;
  readonly clock: Clock;
}

export interface ProduceAnswer {
  /** Give it to a query as `atLeast` to see this write; null when nothing was written. */
  readonly token: string | null;
  /** Distinct records, of the ids that are not deleted by the same call. */
  readonly written: number;
  /** Distinct ids. */
  readonly deleted: number;
  readonly rejected: readonly Problem[];
  readonly deltas: readonly { readonly shard: number; readonly delta: DeltaId; readonly bytes: number }[];
  /** False when the queue could not be told: the write is durable, and seen by the compactor's next LIST. */
  readonly notified: boolean;
  /** Where the call named an alias: what it led to. */
  readonly alias?: LedBy;
}

/** The call must not change meanwhile. */
export async function produce(world: ProduceWorld, call: ProduceCall): Promise<ProduceAnswer> {
  if (!isPlainObject(call)) throw invalid(`the call must be an object, got ${shown(call)}`);
  const named = await readNamed(world.store, call.collection).catch((error: unknown) => {
    if (!isKind(error, "notFound")) throw error;
    // A producer's role is not told the one from the other.
    throw new SiltstoneError("notFound", `${error.message}; or this caller may not write to it`);
  });
  if ("known" in named) return produceThrough(world, call, named.known);
  const { collection } = named;
  const checked = checkCall(collection, call, world.clock.nowMs());
  const deltas = encodeRows(world, collection, checked.rows, call.producer ?? "");
  const notified = await putDeltas(world, deltas);
  return answerOf(collection, checked, deltas, notified);
}

export function checkCall(collection: Collection, call: ProduceCall, nowMs: number): CheckedRecords {
  checkEmbeddingVersion(collection, call.embeddingVersion);
  return checkRecords(collection, call, nowMs);
}

export const answerOf = (
  collection: Collection,
  { rows, rejected }: CheckedRecords,
  deltas: readonly EncodedDelta[],
  notified: boolean,
  alias?: LedBy,
): ProduceAnswer => ({
  token:
    deltas.length === 0
      ? null
      : encodeToken({
          ...{ alias: alias?.name ?? null, collection: collection.name, collectionId: collection.id, deltas },
        }),
  ...outcome(rows),
  rejected,
  deltas: deltas.map(({ shard, delta, body }) => ({ shard, delta, bytes: body.length })),
  notified,
  ...(alias === undefined ? {} : { alias }),
});

/** Distinct ids that the call leaves as records and as deleted: of several rows of one id, the last of the highest version. */
function outcome(rows: readonly DeltaRow[]): { written: number; deleted: number } {
  const winners = new Map<string, DeltaRow>();
  for (const row of rows) if (row.version >= (winners.get(row.id)?.version ?? 0)) winners.set(row.id, row);
  const deleted = [...winners.values()].filter(({ vector }) => vector === null).length;
  return { written: winners.size - deleted, deleted };
}

export interface EncodedDelta extends ShardRef {
  readonly collectionId: string;
  readonly delta: DeltaId;
  readonly body: Uint8Array;
  readonly rows: readonly DeltaRow[];
}

/** Rows that were checked, as deltas that have their names; `writtenAs`: in the place of the delta that they were put as before. Nothing is written. */
export const encodeRows = (
  world: Pick<ProduceWorld, "clock">,
  collection: Collection,
  rows: readonly DeltaRow[],
  producer: string,
  writtenAs?: DeltaId,
): EncodedDelta[] =>
  deltaParts(collection, rows).map((part) => encoded(world, collection, part, { producer, writtenAs }));

function encoded(
  world: Pick<ProduceWorld, "clock">,
  collection: Collection,
  { shard, rows }: DeltaPart,
  { producer, writtenAs }: { producer: string; writtenAs: DeltaId | undefined },
): EncodedDelta {
  const delta = deltaId(world.clock.ulid());
  const header = {
    collection: collection.name,
    collectionId: collection.id,
    shard,
    embeddingVersion: collection.embeddingVersion,
    dims: collection.dims,
    producer,
    createdAtMs: ulidTimeMs(delta),
    ...(writtenAs === undefined ? {} : { writtenAs }),
  };
  const body = encodeDelta(header, rows);
  const { name, id: collectionId } = collection;
  return { collection: name, collectionId, shard, delta, body, rows };
}

/** Shards that are written side by side: a quarter of the client's connections to S3. */
const shardsAtOnce = 16;

/** What became of a delta: null where it was written, "not begun" where another of its shard failed before. */
type Outcome = null | "not begun" | SiltstoneError;

/**
 * Writes the shards side by side, and of each one delta after the other; answers whether the queue was told of all. Throws as `produce`
 * does after its checks.
 */
export async function putDeltas(world: ProduceWorld, deltas: readonly EncodedDelta[]): Promise<boolean> {
  const outcomes = new Map<EncodedDelta, Outcome>(deltas.map((delta) => [delta, "not begun"]));
  const limit = pLimit(shardsAtOnce);
  const shards = [...grouped(deltas, ({ shard }) => shard).values()];
  await Promise.all(
    shards.map((ofShard) =>
      limit(async () => {
        for (const delta of ofShard) {
          const outcome = await outcomeOf(putDelta(world, delta, delta));
          outcomes.set(delta, outcome);
          if (outcome !== null) return;
        }
      }),
    ),
  );
  const written = deltas.filter((delta) => outcomes.get(delta) === null);
  const isTold = await notify(world, written);
  if (written.length < deltas.length) throw failureOf(deltas, outcomes);
  return isTold;
}

const outcomeOf = (put: Promise<void>): Promise<Outcome> =>
  put.then(
    () => null,
    (error: unknown) => {
      if (error instanceof SiltstoneError) return error;
      throw error;
    },
  );

/** Deltas and their rows that an error names one by one. */
const namedMax = 10;

/**
 * What a call has done that failed in part. Once something of it is written, or may be, it is `uncertain` whatever the
 * reason: to be repeated, never to be taken for something that did not happen.
 */
function failureOf(
  deltas: readonly EncodedDelta[],
  outcomes: ReadonlyMap<EncodedDelta, Outcome>,
): SiltstoneError {
  const errors = [...outcomes.values()].filter((outcome) => outcome instanceof SiltstoneError);
  const unsure = deltas.filter((delta) => isKind(outcomes.get(delta), "uncertain"));
  const written = deltas.filter((delta) => outcomes.get(delta) === null);
  const error = errors.find(({ kind }) => kind === "uncertain") ?? errors[0]!;
  if (deltas.length === 1 || written.length + unsure.length === 0) return error;
  const rows = written.reduce((sum, delta) => sum + delta.rows.length, 0);
  return new SiltstoneError(
    "uncertain",
    `${written.length} of ${deltas.length} deltas were written with ${rows} rows${written.length > 0 ? `: ${listOf(written)}` : ""}; ` +
      `${unsure.length > 0 ? `${listOf(unsure)} may have been; ` : ""}${deltas.length - written.length - unsure.length} were not; ` +
      `repeat the call, rows that are there already change nothing. ${error.message}`,
    { cause: error },
  );
}

const listOf = (deltas: readonly EncodedDelta[]): string =>
  [
    ...deltas
      .slice(0, namedMax)
      .map(({ shard, delta, rows }) => `shard ${shard} ${delta} (${rows.length} rows)`),
    ...(deltas.length > namedMax ? [`and ${deltas.length - namedMax} more`] : []),
  ].join(", ");

/** Told or not, the write is durable: a queue that does not take the message is no failure of the call. */
async function notify(world: ProduceWorld, deltas: readonly EncodedDelta[]): Promise<boolean> {
  if (deltas.length === 0) return true;
  try {
    await world.queue.send(...deltas.map(encodeNotification));
    return true;
  } catch (error) {
    if (error instanceof SiltstoneError) return false;
    throw error;
  }
}
