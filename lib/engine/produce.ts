/**
 * Producing: one call's writes become one immutable delta per shard.
 *
 *  1. Every record is checked; a call with a bad one is refused whole (or, when asked, the good ones are kept).
 *  2. One delta per shard is written, create-if-absent, under a new ULID. This is what acknowledges the write.
 *  3. The queue is told. When that fails nothing is lost: the compactor finds the delta by its LIST.
 *
 * A crash before the last PUT was answered acknowledges nothing; the caller repeats the call, and repeated rows change
 * nothing.
 */
import { type Collection, checkEmbeddingVersion } from "../core/collection.ts";
import { type DeltaRow, encodeDelta } from "../core/delta.ts";
import { isKind, type Problem } from "../core/errors.ts";
import { type ShardRef, ulidTimeMs } from "../core/keys.ts";
import { encodeNotification } from "../core/notification.ts";
import { checkRecords, type RecordsCall } from "../core/records.ts";
import { shardOf } from "../core/shard-of.ts";
import { encodeToken } from "../core/token.ts";
import { readCollection } from "./head.ts";
import type { Clock, DeltaQueue, ObjectStore } from "./ports.ts";
import { putDelta } from "./put-delta.ts";

export interface ProduceCall extends RecordsCall {
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
  readonly written: number;
  readonly deleted: number;
  readonly rejected: readonly Problem[];
  readonly deltas: readonly { readonly shard: number; readonly delta: string; readonly bytes: number }[];
  /** False when the queue could not be told: the write is durable, and seen by the compactor's next LIST. */
  readonly notified: boolean;
}

/** Rows of one delta; a larger call makes several. 4,000 rows of 1,024 dims are 16 MB. */
export const deltaRowsTarget = 4_000;
const deltaComponentsTarget = 8_000_000;

export async function produce(world: ProduceWorld, call: ProduceCall): Promise<ProduceAnswer> {
  const collection = await readCollection(world.store, call.collection);
  checkEmbeddingVersion(collection, call.embeddingVersion);
  const { rows, rejected } = checkRecords(collection, call, world.clock.nowMs());
  const deltas: { shard: number; delta: string; bytes: number }[] = [];
  let notified = true;
  for (const { shard, rows: part } of partition(collection, rows)) {
    const ref = { collection: collection.name, shard };
    const { delta, bytes } = await writeDelta(world, collection, ref, part, call.producer ?? "");
    deltas.push({ shard, delta, bytes });
    notified = (await notify(world, ref, delta)) && notified;
  }
  const deleted = rows.filter((row) => row.vector === null).length;
  return {
    token: deltas.length === 0 ? null : encodeToken({ collection: collection.name, deltas }),
    written: rows.length - deleted,
    deleted,
    rejected,
    deltas,
    notified,
  };
}

/** Rows by shard, in the order of the call, cut into deltas of a bounded size. */
function* partition(
  collection: Collection,
  rows: readonly DeltaRow[],
): Generator<{ shard: number; rows: DeltaRow[] }> {
  const byShard = new Map<number, DeltaRow[]>();
  for (const row of rows) {
    const shard = shardOf(row.id, collection.shards);
    const part = byShard.get(shard);
    if (part) part.push(row);
    else byShard.set(shard, [row]);
  }
  const rowsMax = Math.max(1, Math.min(deltaRowsTarget, Math.floor(deltaComponentsTarget / collection.dims)));
  for (const [shard, part] of [...byShard].sort(([a], [b]) => a - b)) {
    for (let start = 0; start < part.length; start += rowsMax)
      yield { shard, rows: part.slice(start, start + rowsMax) };
  }
}

async function writeDelta(
  world: ProduceWorld,
  collection: Collection,
  shard: ShardRef,
  rows: readonly DeltaRow[],
  producer: string,
) {
  const delta = world.clock.ulid();
  const header = {
    collection: collection.name,
    collectionId: collection.id,
    shard: shard.shard,
    embeddingVersion: collection.embeddingVersion,
    dims: collection.dims,
    producer,
    createdAtMs: ulidTimeMs(delta),
  };
  const body = encodeDelta(header, rows);
  await putDelta(world, shard, { delta, body });
  return { delta, bytes: body.length };
}

async function notify(world: ProduceWorld, { collection, shard }: ShardRef, delta: string): Promise<boolean> {
  try {
    await world.queue.send(encodeNotification({ collection, shard, delta }));
    return true;
  } catch (error) {
    if (isKind(error, "unavailable") || isKind(error, "uncertain")) return false;
    throw error;
  }
}
