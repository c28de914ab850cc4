/**
 * One batch of a shard's deltas: read, folded, written as one segment, proved, published, and deleted.
 *
 * A delta that cannot be ingested concerns itself alone. One that does not prove itself is put aside; one that this run can do
 * nothing about is left. When the segment itself cannot be made, or does not hold what came in, the batch says so without
 * anything having happened: its deltas are tried again in smaller batches, until one of them is the only one
 * (lib/engine/compact/attempts.ts).
 */

import { deltaKey, type ShardRef, shardName } from "../../core/format/keys.ts";
import type { Segment } from "../../core/format/manifest.ts";
import { addSums, equalSums, type RowSum, sumOf } from "../../core/format/row-checksum.ts";
import type { Collection } from "../../core/model/collection.ts";
import { corrupt, SiltstoneError } from "../../core/model/errors.ts";
import { fold } from "../../core/model/fold.ts";
import { type DeltaId, deltaId, type Epoch, segmentId } from "../../core/model/ids.ts";
import type { Row } from "../../core/model/row.ts";
import { ulidFloor, ulidTimeMs } from "../../core/model/ulid.ts";
import { watermarkLagMs } from "../../core/policy/time-bounds.ts";
import { withFolder } from "../../segment/files.ts";
import { machineErrors } from "../../segment/records-db.ts";
import { writeFlatSegment } from "../../segment/write-flat.ts";
import type { World } from "../ports.ts";
import { endOf, entryProblem, type ListedDelta, type ReadDelta, readDeltas } from "../shard/deltas.ts";
import { type Head, readPointer } from "../shard/head.ts";
import type { HeldLease } from "../shard/lease.ts";
import { type Change, publish } from "../shard/publish.ts";
import { quarantine } from "../shard/quarantine.ts";
import { uploadSegment } from "../shard/segment-transfer.ts";
import { checkConservation } from "./conservation.ts";

/** Deltas read between two looks at the lease: a slow S3 must not cost it. */
const readsPerCheck = 128;
/**
 * A batch that is not published this long after its LIST is given up. What it read may be judged otherwise by now: the
 * horizon has moved on, and tombstones that it would have met may be dropped (docs/protocol.md, "Horizon").
 */
const batchMsMax = 15 * 60_000;
/** Why a run leaves a delta in the backlog, by delta. */
export type LeftDeltas = Map<DeltaId, SiltstoneError>;

export interface Batch {
  readonly head: Head;
  readonly lease: HeldLease;
  readonly listed: readonly ListedDelta[];
  /** When that LIST began. */
  readonly listedAtMs: number;
  /** The deltas to read, oldest first. */
  readonly taken: readonly ListedDelta[];
  /** Those that this run does not take again are added. */
  readonly left: LeftDeltas;
}

export interface BatchDone {
  readonly head: Head;
  readonly deltas: number;
  readonly rows: number;
  readonly quarantined: number;
  /** The readable deltas make no segment together, in any run: nothing was published. */
  readonly fault: { readonly deltas: readonly DeltaId[]; readonly error: Error } | null;
}

export async function ingestBatch(
  world: World,
  collection: Collection,
  shard: ShardRef,
  batch: Batch,
): Promise<BatchDone> {
  const read = await readBatch(world, collection, shard, batch);
  let quarantined = 0;
  for (const one of read) {
    if (one.kind === "left") batch.left.set(one.delta, one.error);
    if (one.kind === "unreadable") quarantined += await setAside(world, collection, shard, batch, one);
  }
  const good = read.filter((delta) => delta.kind === "rows");
  const nothing = { head: batch.head, deltas: 0, rows: 0, quarantined, fault: null };
  if (good.length === 0) return nothing;
  const deltas = good.map(({ delta }) => delta);
  const rows = good.flatMap((delta) => delta.rows);
  return withFolder(async (folder) => {
    const made = await makeSegment(folder, world, collection, shard, rows).catch(faultOf);
    if (made instanceof Error) return { ...nothing, fault: { deltas, error: made } };
    await uploadSegment(world, shard, made.segment, folder);
    await batch.lease.check();
    const { head } = await publish(world, collection, batch.head, (head) =>
      ingestChange(head, {
        ...made,
        ingested: addSums(made.segment.sum, made.retired),
        deltas,
        epoch: batch.lease.epoch,
        batch,
        nowMs: world.clock.nowMs(),
      }),
    );
    await world.store.delete(deltas.map((delta) => deltaKey(shard, delta)));
    return { head, deltas: deltas.length, rows: rows.length, quarantined, fault: null };
  });
}

/**
 * 1 when the delta was put aside; where it could not be, it is left. It was judged by this collection's rules, and may be
 * another's that was made since under the name: not while the pointer is this one's, since deletion takes that away before
 * the name is free. Throws `corrupt` where it is not.
 */
export async function setAside(
  world: World,
  collection: Collection,
  shard: ShardRef,
  { head, lease, left }: Pick<Batch, "head" | "lease" | "left">,
  one: { readonly delta: DeltaId; readonly error: SiltstoneError },
): Promise<number> {
  await lease.check();
  await readPointer(world.store, collection, shard.shard, head.etag);
  const outcome = await quarantine(world, shard, one);
  if (typeof outcome === "object") left.set(one.delta, outcome.left);
  return outcome === "moved" ? 1 : 0;
}

async function readBatch(
  world: World,
  collection: Collection,
  shard: ShardRef,
  { taken, lease }: Batch,
): Promise<ReadDelta[]> {
  const problems = new Map(taken.map((entry) => [entry.delta, entryProblem(entry)]));
  const wanted = taken.map(({ delta }) => delta).filter((delta) => problems.get(delta) === null);
  const read: ReadDelta[] = [];
  for (let start = 0; start < wanted.length; start += readsPerCheck) {
    await lease.check();
    read.push(...(await readDeltas(world, collection, shard, wanted.slice(start, start + readsPerCheck))));
  }
  for (const [delta, problem] of problems) {
    if (problem === null) continue;
    read.push({ kind: "unreadable", delta, error: corrupt(deltaKey(shard, delta), problem) });
  }
  return read;
}

/** Folds, writes and proves one segment, on local disk alone: from the same rows it is made again, or fails again. */
async function makeSegment(
  folder: string,
  world: World,
  collection: Collection,
  shard: ShardRef,
  rows: readonly Row[],
) {
  const { kept, superseded } = fold(rows);
  const segment = await writeFlatSegment(folder, collection, segmentId(world.clock.ulid()), kept);
  const retired = sumOf(superseded);
  checkConservation(shard, { cameIn: sumOf(rows), kept: segment.sum, retired });
  return { segment, retired };
}

/** The error of rows that make no segment. One that says more of this machine than of the rows is thrown. */
function faultOf(error: unknown): Error {
  if (!(error instanceof Error) || isOfMachine(error)) throw error;
  return error;
}

/** A file that is written may also fail with SQLite's READONLY. */
const machineErrorsOfWriting: readonly number[] = [...machineErrors, 8];

/** A full disk, no descriptor left, an error of the disk: the rows are not to blame. */
function isOfMachine(error: Error): boolean {
  const { code, errcode, cause } = error as { code?: unknown; errcode?: unknown; cause?: unknown };
  if (typeof code === "string" && /^E[A-Z]+$/.test(code)) return true;
  if (typeof errcode === "number" && machineErrorsOfWriting.includes(errcode & 0xff)) return true;
  if (error instanceof SiltstoneError && error.kind !== "corrupt") return true;
  return cause instanceof Error && isOfMachine(cause);
}

/** Ids of the rows that try a segment out. */
const trialIds = 16;

/**
 * Whether rows can be made a segment here at all: asked before a delta is blamed for that its own cannot. A defect of the
 * code, or of the machine, must not put one acknowledged delta after the other aside.
 */
export async function canMakeSegments(
  world: World,
  collection: Collection,
  shard: ShardRef,
): Promise<boolean> {
  const delta = deltaId(world.clock.ulid());
  // Each id has an older row and a newer one, every fourth a delete as well.
  const rows = Array.from({ length: trialIds * 3 }, (_, row): Row => {
    const id = `trial ${row % trialIds}`;
    const order = { version: 1 + Math.floor(row / trialIds), delta, row };
    if (order.version === 3 && row % 4 === 0)
      return { id, ...order, vector: null, document: null, metadata: null };
    const vector = new Float32Array(collection.dims).fill(1 + row);
    return { id, ...order, vector, document: `document ${row}`, metadata: '{"trial":true}' };
  });
  return withFolder((folder) => makeSegment(folder, world, collection, shard, rows)).then(
    () => true,
    () => false,
  );
}

function ingestChange(
  head: Head,
  run: {
    segment: Segment;
    retired: RowSum;
    ingested: RowSum;
    deltas: readonly DeltaId[];
    epoch: Epoch;
    batch: Batch;
    nowMs: number;
  },
): Change | null {
  const { manifest } = head;
  if (manifest.epoch > run.epoch) {
    throw new SiltstoneError(
      "fenced",
      `${shardName(manifest)}: epoch ${manifest.epoch} has taken over from ${run.epoch}`,
    );
  }
  const applied = new Set(manifest.applied);
  const already = run.deltas.filter((delta) => applied.has(delta));
  if (already.length === run.deltas.length) return null;
  if (run.nowMs - run.batch.listedAtMs > batchMsMax) {
    throw new SiltstoneError(
      "fenced",
      `${shardName(manifest)}: this run slept; what it read may be out of date`,
    );
  }
  // Rebasing over a merge is all right. Over another ingestion or a rollback it is not: `applied` may have forgotten
  // these very deltas by now, and they would be counted, or a rollback undone, a second time.
  if (!equalSums(manifest.ledger.ingested, run.batch.head.manifest.ledger.ingested)) {
    throw new SiltstoneError(
      "fenced",
      `${shardName(manifest)}: another writer was faster; the next run goes on`,
    );
  }
  if (already.length > 0)
    throw new SiltstoneError(
      "fenced",
      `${shardName(manifest)}: another run has ingested some of these deltas`,
    );
  const listed = new Set(run.batch.listed.map(({ delta }) => delta));
  const end = endOf(run.batch.listed);
  const mayBeThere = (delta: DeltaId) => listed.has(delta) || (end !== null && delta > end);
  const next = [...manifest.applied.filter(mayBeThere), ...run.deltas].sort();
  return {
    cause: "ingest",
    epoch: run.epoch,
    segments: [...manifest.segments, run.segment],
    applied: next,
    watermark: nextWatermark(manifest.watermark, run.batch),
    ledger: {
      ingested: addSums(manifest.ledger.ingested, run.ingested),
      retired: addSums(manifest.ledger.retired, run.retired),
    },
  };
}

/**
 * Below every delta object that may still be there, ingested or not, and well below the time of the LIST: a new delta
 * cannot appear under it. An ingested one counts as well: were its deletion lost to a crash, no LIST would find it again.
 */
function nextWatermark(current: DeltaId, { listed, listedAtMs }: Batch): DeltaId {
  const oldest = listed[0]?.delta;
  const lagged = ulidFloor(listedAtMs - watermarkLagMs);
  // A name may be the first of its millisecond.
  const wanted = oldest === undefined ? lagged : min(lagged, ulidFloor(ulidTimeMs(oldest) - 1));
  return wanted > current ? deltaId(wanted) : current;
}

const min = (a: string, b: string): string => (a < b ? a : b);
