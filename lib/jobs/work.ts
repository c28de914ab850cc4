/**
 * One run of a worker: the items that it was woken for.
 *
 *  1. Each is claimed, if it is due. What is not (done already, waiting, another's) is left.
 *  2. Of a collection as many as the settings say are embedded together, texts that fail each for itself.
 *  3. Leases that have less than half of their time left are extended before each such batch.
 *  4. A ULID is made; then each item's high-water is recorded. Who does not hold the newest revision any more is left out.
 *  5. The rows of the others become deltas: chunks, and tombstones of the chunks that older revisions may have. Deltas that are
 *     named more than 15 minutes after 4 are not put: the world may have moved on while this process slept.
 *  6. They are put, and the jobs finished.
 *
 * A run that dies leaves claims, which run out, and perhaps rows, which carry the save's version: they lose against those of any
 * newer save (docs/protocol.md, "Items"). A message says nothing: it is forgotten whatever happens, and the table wakes again.
 */
import pLimit from "p-limit";
import type { Collection } from "../core/model/collection.ts";
import { isKind, SiltstoneError } from "../core/model/errors.ts";
import type { DeltaRow } from "../core/model/row.ts";
import { ulidTimeMs } from "../core/model/ulid.ts";
import { clockSkewMaxMs, deltaPutMaxMs } from "../core/policy/time-bounds.ts";
import type { Chunk } from "../embedding/chunks.ts";
import type { EmbedDocuments } from "../embedding/each-text.ts";
import type { DeltaQueue } from "../engine/ports.ts";
import { readCollection } from "../engine/shard/head.ts";
import { encodeRows, putDeltas } from "../engine/write/produce.ts";
import { change, keepEnded } from "./change.ts";
import { chunkRow, itemChunks, tombstones } from "./chunk-rows.ts";
import type { Item, ItemKey, JobError } from "./item.ts";
import { type Reason, reasonOf } from "./reason.ts";
import type { JobWorld } from "./save.ts";
import type { JobSettings } from "./settings.ts";
import { readText } from "./spilled-texts.ts";
import {
  type Claim,
  cancelled,
  claimed,
  extended,
  failed,
  finished,
  isHeld,
  postponed,
  recorded,
} from "./transitions.ts";

export interface WorkWorld extends JobWorld {
  readonly queue: Pick<DeltaQueue, "send">;
  readonly embed: EmbedDocuments;
  /** As they are now, or were some seconds ago. */
  readonly settings: () => Promise<JobSettings>;
  /** At least 0 and below 1. */
  random(): number;
}

export interface WorkOptions {
  /** Unique to this run. */
  readonly owner: string;
  /** Nothing is begun after it. */
  readonly untilMs: number;
}

/** What became of the items, each counted once. */
export interface WorkReport {
  readonly completed: number;
  readonly failed: number;
  readonly postponed: number;
  /** A newer save, a delete or a cancel came while it was worked on. */
  readonly superseded: number;
  /** Not due, done, or another's. */
  readonly left: number;
  readonly chunks: number;
  readonly tokens: number;
  /** From the save to the finish, of the slowest. */
  readonly waitedMsMax: number;
  readonly errors: readonly JobError[];
}

const claimsAtOnce = 16;
/** How long a batch's texts may take: then it is the next run's. */
const embedMsMax = 60_000;
/** What has to be left of the time to begin a batch: a request that hangs, and the writing. */
const batchMsLeast = 10_000;

export async function work(
  world: WorkWorld,
  keys: readonly ItemKey[],
  options: WorkOptions,
): Promise<WorkReport> {
  const run = new Run(world, options);
  const settings = await world.settings();
  if (settings.state !== "running") return { ...run.report(), left: keys.length };
  const claims = await run.claimAll(keys, settings);
  const byCollection = Map.groupBy(claims, ({ collectionId }) => collectionId);
  for (const items of byCollection.values()) await run.workOn(items);
  await keepEnded(world.table, run.ended, { nowMs: world.clock.nowMs(), keepDays: settings.keepDays });
  return run.report();
}

class Run {
  readonly #world: WorkWorld;
  readonly #options: WorkOptions;
  readonly #counts = { completed: 0, failed: 0, postponed: 0, superseded: 0, left: 0, chunks: 0, tokens: 0 };
  readonly #errors: JobError[] = [];
  #waitedMsMax = 0;
  /** Jobs that this run has ended. */
  readonly ended: Item[] = [];

  constructor(world: WorkWorld, options: WorkOptions) {
    this.#world = world;
    this.#options = options;
  }

  report(): WorkReport {
    return { ...this.#counts, waitedMsMax: this.#waitedMsMax, errors: this.#errors };
  }

  async claimAll(keys: readonly ItemKey[], { leaseSeconds }: JobSettings): Promise<Item[]> {
    const limit = pLimit(claimsAtOnce);
    const distinct = new Map(keys.map((key) => [JSON.stringify([key.collectionId, key.item]), key]));
    const claims = await Promise.all(
      [...distinct.values()].map((key) => limit(() => this.#claim(key, leaseSeconds * 1_000))),
    );
    return claims.filter((item) => item !== null);
  }

  /** Null when it is not this run's. */
  async #claim(key: ItemKey, leaseMs: number): Promise<Item | null> {
    const { clock } = this.#world;
    const changed = await change(this.#world, key, (item) => {
      if (item === null) return null;
      const at = { owner: this.#options.owner, nowMs: clock.nowMs(), leaseMs, stamp: clock.ulid() };
      const outcome = claimed(item, at);
      return outcome.kind === "notDue" ? null : outcome.next;
    });
    if (changed?.after.status === "processing") return changed.after;
    if (changed === null) this.#counts.left++;
    else this.#end(changed.after);
    return null;
  }

  /** Items of one collection that are claimed. */
  async workOn(items: readonly Item[]): Promise<void> {
    let collection: Collection | null;
    try {
      collection = await this.#collectionOf(items[0]!);
    } catch (error) {
      await this.#each(items, (item) => this.#fail(item, error, "shared"));
      return;
    }
    if (collection === null) {
      const message = "its collection was deleted";
      await this.#each(items, (item) => this.#cancel(item, { kind: "notFound", message }));
      return;
    }
    let waiting: readonly Item[] = items;
    while (waiting.length > 0) {
      const settings = await this.#world.settings();
      const isOver = this.#world.clock.nowMs() + batchMsLeast > this.#options.untilMs;
      if (isOver || settings.state === "stopped") {
        await this.#each(waiting, (item) => this.#postpone(item, 0, null));
        return;
      }
      waiting = await this.#extendAll(waiting, settings);
      const batch = waiting.slice(0, settings.batchItems);
      waiting = waiting.slice(settings.batchItems);
      try {
        await this.#embedBatch(collection, batch, settings);
      } catch (error) {
        await this.#each(batch, (item) => this.#fail(item, error, "shared"));
      }
    }
  }

  /** Null when it was deleted, or made again: the one of its name is another's. */
  async #collectionOf({ collection, collectionId }: Item): Promise<Collection | null> {
    try {
      const found = await readCollection(this.#world.store, collection);
      return found.id === collectionId ? found : null;
    } catch (error) {
      if (isKind(error, "notFound")) return null;
      throw error;
    }
  }

  async #embedBatch(collection: Collection, batch: readonly Item[], settings: JobSettings): Promise<void> {
    const { clock, embed } = this.#world;
    const prepared = (await this.#each(batch, (item) => this.#prepare(collection, item))).filter(
      (one) => one !== null,
    );
    const texts = prepared.flatMap(({ chunks }) => chunks.map(({ text }) => text));
    const waitMs = Math.min(
      embedMsMax,
      settings.leaseSeconds * 500,
      this.#options.untilMs - clock.nowMs() - batchMsLeast / 2,
    );
    const urgent = batch.some(({ priority }) => priority === "high");
    const { outcomes, tokens } =
      texts.length === 0
        ? { outcomes: [], tokens: null }
        : await embed(collection, texts, { waitMs, urgent });
    this.#counts.tokens += tokens ?? 0;
    let at = 0;
    const ready: Ready[] = [];
    const refused: [Item, SiltstoneError][] = [];
    for (const { item, chunks } of prepared) {
      const own = outcomes.slice(at, at + chunks.length);
      at += chunks.length;
      const error = worstOf(own);
      if (error === null) ready.push({ item, chunks, vectors: own as Float32Array[] });
      else refused.push([item, error]);
    }
    await this.#each(refused, ([item, error]) => this.#fail(item, error));
    if (ready.length > 0) await this.#write(collection, ready);
  }

  /** Its chunks; null when it cannot be embedded now, which is settled then. */
  async #prepare(collection: Collection, item: Item): Promise<{ item: Item; chunks: Chunk[] } | null> {
    try {
      const aheadMs = item.version - this.#world.clock.nowMs();
      // A row from the future is put aside, where arrival orders: the save's clock was ahead of this one, and is waited for.
      if (collection.ordering === "arrival" && aheadMs > clockSkewMaxMs) {
        await this.#postpone(item, aheadMs, null);
        return null;
      }
      if (item.operation === "delete") return { item, chunks: [] };
      const text = await readText(this.#world.store, item);
      if (text === null) {
        this.#counts.superseded++;
        return null;
      }
      return { item, chunks: itemChunks(collection, text) };
    } catch (error) {
      await this.#fail(item, error);
      return null;
    }
  }

  async #write(collection: Collection, ready: readonly Ready[]): Promise<void> {
    const { clock } = this.#world;
    const before = clock.ulid();
    const recordedItems = await this.#each(ready, async ({ item, chunks, vectors }) => {
      const after = await this.#change(item, (now, claim) =>
        recorded(now, claim, chunks.length, clock.ulid()),
      );
      return after === null ? null : { item: after, chunks, vectors };
    });
    const held = recordedItems.filter((one) => one !== null);
    this.#counts.superseded += ready.length - held.length;
    const rows = held.flatMap(({ item, chunks, vectors }): DeltaRow[] => [
      ...chunks.map((chunk, i) => chunkRow(item, chunk, vectors[i]!)),
      ...tombstones(item, chunks.length),
    ]);
    try {
      if (rows.length > 0) {
        const deltas = encodeRows(this.#world, collection, rows, "embedder");
        const sleptMs = Math.max(...deltas.map(({ delta }) => ulidTimeMs(delta) - ulidTimeMs(before)));
        if (sleptMs > deltaPutMaxMs)
          throw new SiltstoneError("unavailable", "the process slept for over 15 minutes before it wrote");
        await putDeltas(this.#world, deltas);
      }
    } catch (error) {
      await this.#each(held, ({ item }) => this.#fail(item, error, "shared"));
      return;
    }
    await this.#each(held, ({ item, chunks }) => this.#finish(item, chunks.length));
  }

  async #finish(item: Item, chunks: number): Promise<void> {
    const { clock } = this.#world;
    const after = await this.#change(item, (now, claim) =>
      finished(now, claim, { chunks, nowMs: clock.nowMs(), stamp: clock.ulid() }),
    );
    if (after === null) {
      this.#counts.superseded++;
      return;
    }
    this.#counts.chunks += chunks;
    this.#waitedMsMax = Math.max(this.#waitedMsMax, after.completedAtMs! - after.createdAtMs);
    this.#end(after);
  }

  /** What went wrong decides: it waits, it is tried again, or it has failed. What all share is no refusal of this one's text. */
  async #fail(item: Item, error: unknown, of: "own" | "shared" = "own"): Promise<void> {
    const reason = reasonOf(error);
    this.#note(reason);
    if (reason.kind === "wait") return this.#postpone(item, reason.waitMs, reason.error);
    const { clock, random } = this.#world;
    const { backoffSeconds } = await this.#world.settings();
    const backoffMs = backoffSeconds * 1_000 * 2 ** item.attempts * (0.5 + random() / 2);
    const after = await this.#change(item, (now, claim) => {
      const nowMs = clock.nowMs();
      return failed(now, claim, {
        ...{ error: reason.error, isFinal: reason.kind === "refused" && of === "own" },
        ...{ nowMs, notBeforeMs: nowMs + backoffMs, stamp: clock.ulid() },
      });
    });
    if (after === null) this.#counts.superseded++;
    else if (after.status === "failed") this.#end(after);
    else this.#counts.postponed++;
  }

  async #postpone(item: Item, waitMs: number, error: JobError | null): Promise<void> {
    const { clock, random } = this.#world;
    const jittered = waitMs * (1 + random() / 4);
    const after = await this.#change(item, (now, claim) =>
      postponed(now, claim, { notBeforeMs: clock.nowMs() + jittered, error, stamp: clock.ulid() }),
    );
    this.#counts[after === null ? "superseded" : "postponed"]++;
  }

  async #cancel(item: Item, error: JobError): Promise<void> {
    const { clock } = this.#world;
    const after = await this.#change(item, (now, claim) =>
      isHeld(now, claim) ? cancelled(now, { error, nowMs: clock.nowMs(), stamp: clock.ulid() }) : null,
    );
    if (after === null) this.#counts.superseded++;
    else this.#end(after);
  }

  /** Those that are still this run's. */
  async #extendAll(items: readonly Item[], { leaseSeconds }: JobSettings): Promise<Item[]> {
    const { clock } = this.#world;
    const leaseMs = leaseSeconds * 1_000;
    const all = await this.#each(items, async (item) => {
      const nowMs = clock.nowMs();
      if (item.lease!.untilMs - nowMs >= leaseMs / 2) return item;
      const after = await this.#change(item, (now, claim) =>
        extended(now, claim, clock.nowMs() + leaseMs, clock.ulid()),
      );
      if (after === null) this.#counts.superseded++;
      return after;
    });
    return all.filter((item) => item !== null);
  }

  /** Null when the claim does not hold any more. */
  async #change(item: Item, next: (now: Item, claim: Claim) => Item | null): Promise<Item | null> {
    const claim = { job: item.job, owner: this.#options.owner };
    const changed = await change(this.#world, item, (now) => (now === null ? null : next(now, claim)));
    return changed?.after ?? null;
  }

  async #each<T, R>(all: readonly T[], one: (each: T) => Promise<R>): Promise<R[]> {
    const limit = pLimit(claimsAtOnce);
    const outcomes = await Promise.allSettled(all.map((each) => limit(() => one(each))));
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
    return outcomes.map((outcome) => (outcome as PromiseFulfilledResult<R>).value);
  }

  #end(item: Item): void {
    this.ended.push(item);
    if (item.status === "completed") this.#counts.completed++;
    if (item.status === "failed") {
      this.#counts.failed++;
      if (item.error !== null) this.#note({ error: item.error });
    }
    if (item.status === "cancelled") this.#counts.superseded++;
  }

  #note({ error }: Pick<Reason, "error">): void {
    if (this.#errors.length < errorsMax && !this.#errors.some(({ message }) => message === error.message))
      this.#errors.push(error);
  }
}

const errorsMax = 5;

interface Ready {
  readonly item: Item;
  readonly chunks: readonly Chunk[];
  readonly vectors: readonly Float32Array[];
}

/** Of an item's chunks: a refusal counts before a wait, since it will not go away. Null when each has its vector. */
function worstOf(outcomes: readonly (Float32Array | SiltstoneError)[]): SiltstoneError | null {
  const errors = outcomes.filter((one) => one instanceof SiltstoneError);
  return errors.find(({ kind }) => kind === "invalid") ?? errors[0] ?? null;
}
