/**
 * Ingesting: a shard's backlog becomes one new flat segment. What a run costs depends on the deltas alone.
 *
 *  1. The head is read and the deltas are listed (lib/engine/compact/listing.ts). With none, nothing is done.
 *  2. The shard's lease is taken; its epoch fences older holders, at publication. Where another may have held it since, the
 *     head is read again, and where it is another, the deltas are listed again.
 *  3. The deltas are read, oldest first, up to a bounded batch (choose-batch.ts,
 *     ingest-batch.ts). What cannot be read goes to quarantine/. What the batch is made of is noted before (attempts.ts).
 *  4. They are folded, and written as one segment.
 *  5. Conservation: the checksum of all rows that came in must equal that of the rows read back from the segment's
 *     files plus those that the fold superseded. A batch that fails it, or makes no segment at all, is halved; a delta
 *     that fails alone goes to quarantine/.
 *  6. The next manifest is published (lib/engine/shard/publish.ts).
 *  7. Only now the delta objects are deleted.
 *  8. When flat segments have piled up, the smallest are merged (lib/engine/compact/fold-piled.ts).
 *  9. Again from 3, while there are deltas and time; where all that was listed is ingested, what has come since waits for the
 *     message that names it.
 *
 * A crash anywhere leaves garbage: unnamed segment files, or delta objects that the manifest names as applied, which
 * the next run deletes.
 */

import { deltaKey, type ShardRef, shardName } from "../../core/format/keys.ts";
import { bounds } from "../../core/model/bounds.ts";
import type { Collection } from "../../core/model/collection.ts";
import { corrupt, isKind, isNewerFormat } from "../../core/model/errors.ts";
import type { DeltaId } from "../../core/model/ids.ts";
import type { World } from "../ports.ts";
import { backlogOf, isCut, type ListedDelta, listDeltas } from "../shard/deltas.ts";
import { type Head, readHead, readHeadAgain, readHeadIfPlaced } from "../shard/head.ts";
import { HeldLease, ingestLease } from "../shard/lease.ts";
import type { OnStranger } from "../shard/strangers.ts";
import { Attempts } from "./attempts.ts";
import { type Choice, chooseBatch, Shortage } from "./choose-batch.ts";
import { foldPiled } from "./fold-piled.ts";
import { type Batch, canMakeSegments, ingestBatch, type LeftDeltas, setAside } from "./ingest-batch.ts";
import { type IngestReport, noCounts, reportOf } from "./ingest-report.ts";
import { deleteApplied, type Listing, listNow } from "./listing.ts";
import { SharedBudget } from "./shared-budget.ts";

/** Batches of one run that are begun again because of a collector. */
const conflictsMax = 3;
/** Batches of one run of one shard. */
const batchesMax = 10_000;
/** Characters that a quarantined delta's reason takes from an error. */
const reasonCharsMax = 1_000;

export interface IngestOptions {
  /** Asked before every batch; a batch that began is finished. */
  readonly outOfTime: () => boolean;
  /** Batches are kept so small that they are estimated to fit into what others leave of it. @default no bound */
  readonly budget?: SharedBudget | undefined;
  /** The shard's head, where the caller has just read it. */
  readonly head?: Head | null | undefined;
  readonly onStranger?: OnStranger | undefined;
}

export async function ingest(
  world: World,
  collection: Collection,
  shard: number,
  options: IngestOptions,
): Promise<IngestReport> {
  const ref: ShardRef = { collection: collection.name, shard };
  const first = options.head ?? (await firstHead(world, collection, ref));
  if (first === null) return reportOf("done", noCounts, [], []);
  const listed = await listNow(world, ref, first, options.onStranger);
  const { version, segments } = first.manifest;
  const nothing = { ...noCounts, version, segments: segments.length };
  if (listed.deltas.length === 0) return reportOf("done", nothing, listed.deltas, []);
  const lease = await HeldLease.acquire(world, ingestLease(shardName(ref)), first.pointer.epoch);
  if (lease === null)
    return reportOf("busy", nothing, listed.deltas, backlogOf(listed.deltas, first.manifest));
  try {
    // The head's own epoch is the one before this: nobody had the lease in between.
    const isNext = lease.epoch === first.pointer.epoch + 1;
    const head = isNext ? first : await readHeadAgain(world.store, collection, shard, first);
    // `applied` may only forget what a LIST after the reading of the head does not find.
    const isSame = head.manifest.commit === first.manifest.commit;
    const fresh = isSame ? listed : await listNow(world, ref, head);
    return await new Run(world, collection, ref, { lease, options, head, listed: fresh }).run();
  } finally {
    await lease.release().catch(() => {}); // It runs out by itself; the run's own outcome matters more.
  }
}

/**
 * Null for a shard of a collection that is being created, unless a producer has written already: then the head is read once
 * more, which throws and says why, unless the pointer has come meanwhile, and then what waits is ingested.
 */
async function firstHead(world: World, collection: Collection, ref: ShardRef): Promise<Head | null> {
  const head = await readHeadIfPlaced(world.store, collection, ref.shard);
  if (head !== null || (await listDeltas(world.store, ref, null)).length === 0) return head;
  return readHead(world.store, collection, ref.shard);
}

/** One run under the lease, from when it is taken to its end. */
class Run {
  readonly #world: World;
  readonly #collection: Collection;
  readonly #ref: ShardRef;
  readonly #lease: HeldLease;
  readonly #options: IngestOptions;
  readonly #budget: SharedBudget;
  #head: Head;
  #listed: Listing;
  readonly #counts = { deltas: 0, rows: 0, quarantined: 0 };
  readonly #left: LeftDeltas = new Map();
  #conflicts = 0;

  constructor(
    world: World,
    collection: Collection,
    ref: ShardRef,
    start: { lease: HeldLease; options: IngestOptions; head: Head; listed: Listing },
  ) {
    this.#world = world;
    this.#collection = collection;
    this.#ref = ref;
    this.#lease = start.lease;
    this.#options = start.options;
    this.#budget = start.options.budget ?? new SharedBudget(undefined);
    this.#head = start.head;
    this.#listed = start.listed;
  }

  async run(): Promise<IngestReport> {
    const waiting = backlogOf(this.#listed.deltas, this.#head.manifest).map(({ delta }) => delta);
    const attempts = await Attempts.open(this.#world.leases, this.#ref, waiting);
    try {
      if (attempts.culprit !== null) {
        await this.#setAside(attempts.culprit, killed);
        this.#listed = await listNow(this.#world, this.#ref, this.#head);
      }
      const report = await this.#ingestAll(attempts);
      await attempts.close();
      return report;
    } catch (error) {
      // A run that was fenced changes nothing any more, its notes included.
      if (isKind(error, "fenced")) return this.#report("fenced", this.#listed.deltas);
      await attempts.close();
      throw error;
    }
  }

  async #ingestAll(attempts: Attempts): Promise<IngestReport> {
    for (let batch = 0; batch < batchesMax; batch++) {
      await deleteApplied(this.#world, this.#ref, this.#head, this.#listed.deltas);
      const pending = backlogOf(this.#listed.deltas, this.#head.manifest);
      const ready = pending.filter(({ delta }) => !this.#left.has(delta));
      if (ready.length > 0) {
        if (this.#options.outOfTime()) return this.#report("outOfTime", pending);
        await this.#ingestSome(ready, attempts);
        const { outOfTime } = this.#options;
        const run = { head: this.#head, lease: this.#lease, budget: this.#budget, outOfTime };
        this.#head = await foldPiled(this.#world, this.#collection, this.#ref, run);
      }
      const { deltas } = this.#listed;
      const waiting = backlogOf(deltas, this.#head.manifest);
      // What has come since that LIST is named by messages that are yet to be received, or found in its turn.
      if (waiting.length === 0 && !isCut(deltas)) return this.#end(waiting);
      if (ready.length === 0 && (!isCut(deltas) || deltas.length === pending.length))
        return this.#end(pending);
      this.#listed = await listNow(this.#world, this.#ref, this.#head);
    }
    return this.#report("outOfTime", backlogOf(this.#listed.deltas, this.#head.manifest));
  }

  /** One batch of the oldest. */
  async #ingestSome(ready: readonly ListedDelta[], attempts: Attempts): Promise<void> {
    const [first] = ready;
    const chosen = attempts.choose(ready, bounds.batchDeltas);
    await this.#budget.use(
      (free) => chooseBatch(this.#collection, chosen, free),
      (choice) => this.#ingestChosen(choice, ready, attempts),
      { alone: attempts.isDeadly(first!.delta) },
    );
  }

  async #ingestChosen(
    { taken, shortage }: Choice,
    ready: readonly ListedDelta[],
    attempts: Attempts,
  ): Promise<void> {
    const [first] = ready;
    if (shortage !== null) {
      // The oldest does not fit, and so does none that is as large.
      for (const one of ready.filter(({ bytes }) => bytes >= first!.bytes))
        this.#left.set(one.delta, new Shortage(this.#ref, one, shortage));
      return;
    }
    // Others may have had their turn first, and the run's time be over.
    if (this.#options.outOfTime()) return;
    await this.#lease.check();
    await attempts.begin(taken.map(({ delta }) => delta));
    try {
      const done = await ingestBatch(this.#world, this.#collection, this.#ref, this.#batchOf(taken));
      this.#head = done.head;
      this.#counts.deltas += done.deltas;
      this.#counts.rows += done.rows;
      this.#counts.quarantined += done.quarantined;
      if (done.fault !== null) await this.#blame(done.fault, attempts);
    } catch (error) {
      // Garbage was collected between two attempts to publish: the batch is taken again, from the new head.
      this.#conflicts += 1;
      if (!isKind(error, "conflict") || this.#conflicts > conflictsMax) throw error;
      this.#head = await readHead(this.#world.store, this.#collection, this.#ref.shard);
    }
  }

  #batchOf(taken: readonly ListedDelta[]): Batch {
    const { deltas: listed, atMs: listedAtMs } = this.#listed;
    return { head: this.#head, lease: this.#lease, listed, listedAtMs, taken, left: this.#left };
  }

  /** Deltas that make no segment together are halved; one that makes none alone is put aside. */
  async #blame(
    { deltas, error }: { readonly deltas: readonly DeltaId[]; readonly error: Error },
    attempts: Attempts,
  ): Promise<void> {
    if (deltas.length > 1) return attempts.halve(deltas);
    if (!(await canMakeSegments(this.#world, this.#collection, this.#ref))) throw error;
    await this.#setAside(deltas[0]!, `its rows make no segment (${error.message.slice(0, reasonCharsMax)})`);
  }

  async #setAside(delta: DeltaId, reason: string): Promise<void> {
    const error = corrupt(deltaKey(this.#ref, delta), reason);
    const batch = { head: this.#head, lease: this.#lease, left: this.#left };
    this.#counts.quarantined += await setAside(this.#world, this.#collection, this.#ref, batch, {
      delta,
      error,
    });
  }

  /**
   * Nothing is left that this run could do. One that did nothing else fails by what it could not read; what newer code wrote
   * waits for a newer run, and is no failure.
   */
  #end(pending: readonly ListedDelta[]): IngestReport {
    const errors = [...this.#left.values()];
    const shortage = errors.find((error) => error instanceof Shortage);
    if (shortage) return { ...this.#report("overBudget", pending), shortage: shortage.message };
    const { deltas, quarantined } = this.#counts;
    const failure = errors.find((error) => !isNewerFormat(error));
    if (failure && deltas + quarantined === 0) throw failure;
    return this.#report("done", pending);
  }

  #report(outcome: IngestReport["outcome"], pending: readonly ListedDelta[]): IngestReport {
    const { version, segments } = this.#head.manifest;
    const counts = { version, segments: segments.length, ...this.#counts };
    return reportOf(outcome, counts, this.#listed.deltas, pending, this.#left);
  }
}

/** Two runs have died of it; it is not read a third time. */
const killed =
  "two runs of the compactor died while they were ingesting this delta, the second with no other delta: it was not read again";
