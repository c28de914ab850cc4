/**
 * Ingesting: a shard's unmerged deltas become one new flat segment. What a run costs depends on the deltas alone.
 *
 *  1. The shard's lease is taken; its epoch fences older holders.
 *  2. The head is read. A newer epoch there: fenced, stop.
 *  3. The deltas are listed and read, oldest first, up to a bounded batch. What cannot be read goes to quarantine/.
 *  4. They are folded, and written as one segment.
 *  5. Conservation: the checksum of all rows that came in must equal that of the rows read back from the segment's
 *     files plus those that the fold superseded.
 *  6. The next manifest is published (lib/engine/publish.ts).
 *  7. Only now the delta objects are deleted.
 *  8. Again from 3, while there are deltas and time.
 *
 * A crash anywhere leaves garbage: unnamed segment files, or delta objects that the manifest names as applied, which
 * the next run deletes.
 */
import { bounds } from "../core/bounds.ts";
import { addSums, Checksum, equalSums, type RowSum, sumOf } from "../core/checksum.ts";
import type { Collection } from "../core/collection.ts";
import { ingestNeed, type Room, shortageOf } from "../core/compactor-need.ts";
import { deltaBytesMax } from "../core/delta-header.ts";
import { corrupt, isKind, SiltstoneError } from "../core/errors.ts";
import { fold } from "../core/fold.ts";
import {
  deltaKey,
  type SegmentFile,
  type ShardRef,
  segmentKey,
  shardName,
  ulidFloor,
  ulidTimeMs,
} from "../core/keys.ts";
import type { Segment } from "../core/manifest.ts";
import type { Row } from "../core/record.ts";
import { withFolder } from "../segment/files.ts";
import { writeFlatSegment } from "../segment/write-flat.ts";
import {
  isCut,
  type ListedDelta,
  listDeltas,
  type ReadDelta,
  readDeltas,
  tooLarge,
  unmerged,
} from "./deltas.ts";
import { type Head, readHead, readHeadIfPlaced } from "./head.ts";
import { HeldLease, ingestLease } from "./lease.ts";
import type { World } from "./ports.ts";
import { type Change, publish } from "./publish.ts";
import { quarantine } from "./quarantine.ts";

/** One batch is held in memory whole: its Arrow bytes, its rows, and the segment being written. */
const batchBytesMax = 96 * 1024 * 1024;
/** Deltas read between two looks at the lease: a slow S3 must not cost it. */
const readsPerCheck = 128;
/**
 * A batch that is not published this long after its LIST is given up. What it read may be judged otherwise by now: the
 * horizon has moved on, and tombstones that it would have met may be dropped (docs/protocol.md, "Horizon").
 */
const batchMsMax = 15 * 60_000;
/** Batches of one run that are begun again because of a collector. */
const conflictsMax = 3;
/** Batches of one run of one shard. */
const batchesMax = 10_000;
/**
 * How far the low watermark stays behind the present. A delta appears at most 30 minutes of S3's time after its ULID
 * was made (lib/engine/produce.ts), and the compactor's own clock is at most 15 minutes off.
 */
export const watermarkLagMs = 60 * 60_000;

export interface IngestReport {
  /**
   * `locked`: another compactor holds the shard. `fenced`: it was taken over. `outOfTime`: some deltas are left. `outOfRoom`:
   * the oldest that is left needs more memory or disk than there is.
   */
  readonly outcome: "done" | "locked" | "fenced" | "outOfTime" | "outOfRoom";
  /** With `outOfRoom`: what is missing, and what to do about it. */
  readonly shortage?: string;
  readonly version: number;
  readonly deltas: number;
  readonly rows: number;
  readonly quarantined: number;
  /** Deltas that are still unmerged. */
  readonly pending: readonly string[];
  /** Where the backlog is longer than one LIST: what is newer than this delta was not looked at. */
  readonly unseenAfter: string | null;
  /** Those of them that this run can do nothing about, and why; others are merged past them. */
  readonly left: readonly { readonly delta: string; readonly reason: string }[];
  readonly oldestPendingMs: number | null;
}

export interface IngestOptions {
  /** Asked before every batch; a batch that began is finished. */
  readonly outOfTime: () => boolean;
  /** Batches are kept so small that they are estimated to fit. @default no bound */
  readonly room?: Room | undefined;
  /** The shard's head, where the caller has just read it. */
  readonly head?: Head | null | undefined;
}

export async function ingest(
  world: World,
  collection: Collection,
  shard: number,
  { outOfTime, room, head: known }: IngestOptions,
): Promise<IngestReport> {
  const ref: ShardRef = { collection: collection.name, shard };
  const first = known ?? (await readHeadIfPlaced(world.store, collection, shard));
  if (first === null) return notPlaced(world, collection, ref);
  let listedAtMs = world.clock.nowMs();
  let listed = await listDeltas(world.store, ref, first.manifest.watermark);
  const report = { version: first.manifest.version, deltas: 0, rows: 0, quarantined: 0 };
  const left: LeftDeltas = new Map();
  const end = (outcome: IngestReport["outcome"], pending: readonly ListedDelta[]): IngestReport => ({
    outcome,
    ...report,
    pending: pending.map(({ delta }) => delta),
    unseenAfter: endOf(listed),
    left: pending.flatMap(({ delta }) => (left.has(delta) ? [{ delta, reason: left.get(delta)! }] : [])),
    oldestPendingMs: pending.length === 0 ? null : ulidTimeMs(pending[0]!.delta),
  });
  if (listed.length === 0) return end("done", []);

  const lease = await HeldLease.acquire(world, ingestLease(shardName(ref)), first.pointer.epoch);
  if (lease === null) return end("locked", unmerged(listed, first.manifest));
  try {
    let head = await readHead(world.store, collection, shard);
    // `applied` may only forget what a LIST after the reading of the head does not find.
    if (head.manifest.commit !== first.manifest.commit) {
      listedAtMs = world.clock.nowMs();
      listed = await listDeltas(world.store, ref, head.manifest.watermark);
    }
    let conflicts = 0;
    for (let batch = 0; batch < batchesMax; batch++) {
      await deleteApplied(world, ref, head, listed);
      const pending = unmerged(listed, head.manifest);
      const ready = pending.filter(({ delta }) => !left.has(delta));
      if (ready.length === 0) {
        if (!isCut(listed) || listed.length === pending.length) return end("done", pending);
      } else {
        if (outOfTime()) return end("outOfTime", pending);
        const { taken, shortage } = takeBatch(collection, ready, room);
        if (shortage !== null)
          return { ...end("outOfRoom", pending), shortage: refusal(ref, ready[0]!, shortage) };
        try {
          const done = await ingestBatch(world, collection, ref, {
            head,
            lease,
            listed,
            listedAtMs,
            taken,
            left,
          });
          head = done.head;
          report.deltas += done.deltas;
          report.rows += done.rows;
          report.quarantined += done.quarantined;
        } catch (error) {
          // Garbage was collected between two attempts to publish: the batch is taken again, from the new head.
          conflicts += 1;
          if (!isKind(error, "conflict") || conflicts > conflictsMax) throw error;
          head = await readHead(world.store, collection, shard);
        }
        report.version = head.manifest.version;
      }
      listedAtMs = world.clock.nowMs();
      listed = await listDeltas(world.store, ref, head.manifest.watermark);
    }
    return end("outOfTime", unmerged(listed, head.manifest));
  } catch (error) {
    if (error instanceof SiltstoneError && error.kind === "fenced") return end("fenced", listed);
    throw error;
  } finally {
    await lease.release().catch(() => {}); // It runs out by itself; the run's own outcome matters more.
  }
}

/** A shard of a collection that is being created: nothing to do, unless somebody has written already. */
async function notPlaced(world: World, collection: Collection, ref: ShardRef): Promise<IngestReport> {
  const waiting = await listDeltas(world.store, ref, "");
  if (waiting.length > 0) await readHead(world.store, collection, ref.shard); // Throws, and says why.
  return {
    outcome: "done",
    version: 0,
    deltas: 0,
    rows: 0,
    quarantined: 0,
    pending: [],
    unseenAfter: null,
    left: [],
    oldestPendingMs: null,
  };
}

/** Deltas that a published manifest includes: left by a crash between the commit and their deletion. */
async function deleteApplied(
  world: World,
  shard: ShardRef,
  head: Head,
  listed: readonly ListedDelta[],
): Promise<void> {
  const applied = new Set(head.manifest.applied);
  const keys = listed.filter(({ delta }) => applied.has(delta)).map(({ delta }) => deltaKey(shard, delta));
  if (keys.length > 0) await world.store.delete(keys);
}

/** By delta, why this run leaves it in the backlog. */
type LeftDeltas = Map<string, string>;

interface Batch {
  readonly head: Head;
  readonly lease: HeldLease;
  readonly listed: readonly ListedDelta[];
  /** When that LIST began. */
  readonly listedAtMs: number;
  /** The deltas to read, oldest first. */
  readonly taken: readonly ListedDelta[];
  readonly left: LeftDeltas;
}

async function ingestBatch(world: World, collection: Collection, shard: ShardRef, batch: Batch) {
  const read = await readBatch(world, collection, shard, batch);
  let quarantined = 0;
  for (const delta of read) {
    if (delta.kind !== "unreadable") continue;
    await batch.lease.check();
    const outcome = await quarantine(world, shard, delta);
    if (outcome === "moved") quarantined += 1;
    else if (outcome !== "gone") batch.left.set(delta.delta, outcome.left);
  }
  const good = read.filter((delta) => delta.kind === "rows");
  if (good.length === 0) return { head: batch.head, deltas: 0, rows: 0, quarantined };

  const rows = good.flatMap((delta) => delta.rows);
  const { segment, retired } = await writeSegment(world, collection, shard, rows);
  await batch.lease.check();
  const deltas = good.map(({ delta }) => delta);
  const { head } = await publish(world, collection, batch.head, (head) =>
    ingestChange(head, {
      segment,
      retired,
      ingested: addSums(segment.sum, retired),
      deltas,
      epoch: batch.lease.epoch,
      batch,
      nowMs: world.clock.nowMs(),
    }),
  );
  await world.store.delete(deltas.map((delta) => deltaKey(shard, delta)));
  return { head, deltas: deltas.length, rows: rows.length, quarantined };
}

async function readBatch(
  world: World,
  collection: Collection,
  shard: ShardRef,
  { taken, lease }: Batch,
): Promise<ReadDelta[]> {
  const fits = taken.filter(({ bytes }) => bytes <= deltaBytesMax).map(({ delta }) => delta);
  const read: ReadDelta[] = [];
  for (let start = 0; start < fits.length; start += readsPerCheck) {
    await lease.check();
    read.push(...(await readDeltas(world, collection, shard, fits.slice(start, start + readsPerCheck))));
  }
  const rest = taken.filter(({ bytes }) => bytes > deltaBytesMax);
  return [
    ...read,
    ...rest.map(({ delta, bytes }): ReadDelta => {
      return { kind: "unreadable", delta, error: tooLarge(deltaKey(shard, delta), bytes) };
    }),
  ];
}

/** The oldest deltas within a batch's bounds and what there is room for; `shortage` when not even one fits. */
function takeBatch(
  collection: Collection,
  pending: readonly ListedDelta[],
  room: Room | undefined,
): { taken: ListedDelta[]; shortage: string | null } {
  const taken: ListedDelta[] = [];
  let bytes = 0;
  for (const delta of pending.slice(0, bounds.batchDeltas)) {
    // What is too large is not read.
    if (delta.bytes <= deltaBytesMax) bytes += delta.bytes;
    const shortage = room ? shortageOf(ingestNeed(taken.length + 1, bytes, collection), room) : null;
    if (taken.length === 0 && shortage !== null) return { taken, shortage };
    if (taken.length > 0 && (bytes > batchBytesMax || shortage !== null)) break;
    taken.push(delta);
  }
  return { taken, shortage: null };
}

/** For people: the oldest delta does not fit. */
const refusal = (shard: ShardRef, { delta, bytes }: ListedDelta, shortage: string): string =>
  `${deltaKey(shard, delta)} has ${bytes} bytes; to ingest it would need about ${shortage}; ` +
  "raise compactorMemoryMiB or compactorStorageMiB";

/** Folds, writes, proves and uploads one segment. */
async function writeSegment(world: World, collection: Collection, shard: ShardRef, rows: readonly Row[]) {
  const { kept, superseded } = fold(rows);
  const id = world.clock.ulid();
  return withFolder(async (folder) => {
    const segment = await writeFlatSegment(folder, collection, id, kept);
    const retired = sumOf(superseded);
    checkConservation(shard, { cameIn: sumOf(rows), kept: segment.sum, retired });
    await uploadSegment(world, shard, segment, folder);
    return { segment, retired };
  });
}

/** What came in is what is kept plus what is retired, to the last bit; a mismatch stops the run before anything shows. */
export function checkConservation(
  shard: ShardRef,
  sums: { cameIn: RowSum; kept: RowSum; retired: RowSum },
): void {
  const accounted = new Checksum().addSum(sums.kept).addSum(sums.retired).sum();
  if (equalSums(sums.cameIn, accounted)) return;
  throw corrupt(
    shardName(shard),
    `conservation check failed: ${sums.cameIn.rows} rows came in, ${sums.kept.rows} were kept and ${sums.retired.rows} ` +
      "retired, and the checksums differ; nothing was published",
  );
}

export async function uploadSegment(
  world: World,
  shard: ShardRef,
  segment: Segment,
  folder: string,
): Promise<void> {
  const files = Object.keys(segment.files) as SegmentFile[];
  await Promise.all(
    files.map((file) => world.store.putFile(segmentKey(shard, segment.id, file), `${folder}/${file}`)),
  );
}

function ingestChange(
  head: Head,
  run: {
    segment: Segment;
    retired: RowSum;
    ingested: RowSum;
    deltas: readonly string[];
    epoch: number;
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
    throw new SiltstoneError("fenced", `${shardName(manifest)}: another run has merged some of these deltas`);
  const listed = new Set(run.batch.listed.map(({ delta }) => delta));
  const end = endOf(run.batch.listed);
  const mayBeThere = (delta: string) => listed.has(delta) || (end !== null && delta > end);
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

/** Where a cut LIST ends: what is newer was not looked at. Null when it was all. */
const endOf = (listed: readonly ListedDelta[]): string | null =>
  isCut(listed) ? listed[listed.length - 1]!.delta : null;

/**
 * Below every delta object that may still be there, merged or not, and well below the time of the LIST: a new delta
 * cannot appear under it. A merged one counts as well: were its deletion lost to a crash, no LIST would find it again.
 */
function nextWatermark(current: string, { listed, listedAtMs }: Batch): string {
  const oldest = listed[0]?.delta;
  const lagged = ulidFloor(listedAtMs - watermarkLagMs);
  const wanted = oldest === undefined ? lagged : min(lagged, ulidFloor(ulidTimeMs(oldest)));
  return wanted > current ? wanted : current;
}

const min = (a: string, b: string): string => (a < b ? a : b);
