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
import type { Collection } from "../core/model/collection.ts";
import { isKind, SiltstoneError } from "../core/model/errors.ts";
import type { DeltaRow } from "../core/model/row.ts";
import { ulidTimeMs } from "../core/model/ulid.ts";
import { clockSkewMaxMs, deltaPutMaxMs } from "../core/policy/time-bounds.ts";
import type { Chunk } from "../embedding/chunks.ts";
import type { EmbedDocuments } from "../embedding/document-embedder.ts";
import type { DeltaQueue } from "../engine/ports.ts";
import { readCollection } from "../engine/shard/head.ts";
import { encodeRows, putDeltas } from "../engine/write/produce.ts";
import { type Embedded, keepEnded } from "./change.ts";
import { chunkRow, itemChunks, tombstones } from "./chunk-rows.ts";
import { HeldJobs } from "./held-jobs.ts";
import type { Item, ItemKey, JobError } from "./item.ts";
import type { JobWorld } from "./save.ts";
import type { JobSettings } from "./settings.ts";
import { readText } from "./spilled-texts.ts";

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
  /** The run of a save that waits for it: of a collection whose items are embedded in the call (embed-all/rollback.ts). */
  readonly inCall?: boolean;
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
  const own = keys.filter((key) => isOwn(settings, key, options));
  run.jobs.leave(keys.length - own.length);
  const claims = await run.jobs.claimAll(own, settings);
  const byCollection = Map.groupBy(claims, ({ collectionId }) => collectionId);
  for (const items of byCollection.values()) await run.workOn(items);
  const at = { nowMs: world.clock.nowMs(), keepDays: settings.keepDays };
  await keepEnded(world.table, run.jobs.ended, at, run.embedded);
  return run.report();
}

/** Items that are embedded in the call are no worker's. */
const isOwn = (
  { inCall }: JobSettings,
  { collectionId }: Pick<ItemKey, "collectionId">,
  options: WorkOptions,
): boolean => options.inCall === true || !inCall.includes(collectionId);

class Run {
  readonly jobs: HeldJobs;
  /** What was embedded, by collection. */
  readonly embedded = new Map<string, Embedded>();
  readonly #world: WorkWorld;
  readonly #options: WorkOptions;

  constructor(world: WorkWorld, options: WorkOptions) {
    this.#world = world;
    this.#options = options;
    this.jobs = new HeldJobs(world, options);
  }

  report(): WorkReport {
    const tokens = [...this.embedded.values()].reduce((sum, one) => sum + one.tokens, 0);
    return { ...this.jobs.report(), tokens };
  }

  /** Items of one collection that are claimed. */
  async workOn(items: readonly Item[]): Promise<void> {
    let collection: Collection | null;
    try {
      collection = await this.#collectionOf(items[0]!);
    } catch (error) {
      await this.jobs.each(items, (item) => this.jobs.fail(item, error, "shared"));
      return;
    }
    if (collection === null) {
      const message = "its collection was deleted";
      await this.jobs.each(items, (item) => this.jobs.cancel(item, { kind: "notFound", message }));
      return;
    }
    let waiting: readonly Item[] = items;
    while (waiting.length > 0) {
      const settings = await this.#world.settings();
      const isOver = this.#world.clock.nowMs() + batchMsLeast > this.#options.untilMs;
      if (isOver || settings.state === "stopped" || !isOwn(settings, waiting[0]!, this.#options)) {
        await this.jobs.each(waiting, (item) => this.jobs.postpone(item, 0, null));
        return;
      }
      waiting = await this.jobs.extendAll(waiting, settings);
      const batch = waiting.slice(0, settings.batchItems);
      waiting = waiting.slice(settings.batchItems);
      try {
        await this.#embedBatch(collection, batch, settings);
      } catch (error) {
        await this.jobs.each(batch, (item) => this.jobs.fail(item, error, "shared"));
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
    const prepared = (await this.jobs.each(batch, (item) => this.#prepare(collection, item))).filter(
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
    this.#count(collection.id, texts, outcomes, tokens);
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
    await this.jobs.each(refused, ([item, error]) => this.jobs.fail(item, error));
    if (ready.length > 0) await this.#write(collection, ready);
  }

  /** Its chunks; null when it cannot be embedded now, which is settled then. */
  async #prepare(collection: Collection, item: Item): Promise<{ item: Item; chunks: Chunk[] } | null> {
    try {
      const aheadMs = item.version - this.#world.clock.nowMs();
      // A row from the future is put aside, where arrival orders: the save's clock was ahead of this one, and is waited for.
      if (collection.ordering === "arrival" && aheadMs > clockSkewMaxMs) {
        await this.jobs.postpone(item, aheadMs, null);
        return null;
      }
      if (item.operation === "delete") return { item, chunks: [] };
      const text = await readText(this.#world.store, item);
      if (text === null) {
        this.jobs.lose(1);
        return null;
      }
      return { item, chunks: itemChunks(collection, text) };
    } catch (error) {
      await this.jobs.fail(item, error);
      return null;
    }
  }

  async #write(collection: Collection, ready: readonly Ready[]): Promise<void> {
    const { clock } = this.#world;
    const before = clock.ulid();
    const recordedItems = await this.jobs.each(ready, async ({ item, chunks, vectors }) => {
      const after = await this.jobs.record(item, chunks.length);
      return after === null ? null : { item: after, chunks, vectors };
    });
    const held = recordedItems.filter((one) => one !== null);
    this.jobs.lose(ready.length - held.length);
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
      await this.jobs.each(held, ({ item }) => this.jobs.fail(item, error, "shared"));
      return;
    }
    await this.jobs.each(held, ({ item, chunks }) => this.jobs.finish(item, chunks.length));
  }

  /** Tokens are learned from what the provider counts, of texts that it took. */
  #count(
    collectionId: string,
    texts: readonly string[],
    outcomes: readonly (Float32Array | SiltstoneError)[],
    tokens: number | null,
  ): void {
    if (tokens === null) return;
    const taken = texts.filter((_, i) => outcomes[i] instanceof Float32Array);
    const bytes = taken.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
    const before = this.embedded.get(collectionId) ?? { tokens: 0, tokenBytes: 0 };
    this.embedded.set(collectionId, {
      tokens: before.tokens + tokens,
      tokenBytes: before.tokenBytes + bytes,
    });
  }
}

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
