/**
 * One run of the compactor over every collection and shard.
 *
 *  1. Messages are received, a bounded number; what is no notification goes to the dead-letter queue with its reason
 *     (lib/engine/inbox.ts). A run of one collection leaves the queue alone: its messages name all of them.
 *  2. Every shard is swept by a LIST of its deltas, which finds those whose message was lost; the shards that messages
 *     name come first. A shard without deltas costs that one request.
 *  3. Each shard with deltas is ingested (lib/engine/ingest.ts).
 *  4. A message is deleted only when its delta is not in the backlog any more.
 *  5. Again from 1, while messages come or deltas are left, and there is time.
 *  6. On request: merging and garbage collection.
 *
 * Whatever fails concerns itself alone: a shard, a collection whose configuration is damaged, the queue, the dead-letter
 * queue. The others are compacted, it is reported, and the run fails at its end.
 */
import type { Collection } from "../core/collection.ts";
import type { Room } from "../core/compactor-need.ts";
import { isKind, SiltstoneError } from "../core/errors.ts";
import { type ShardRef, shardName } from "../core/keys.ts";
import type { Notification } from "../core/notification.ts";
import { type CollectReport, collectGarbage } from "./collect-garbage.ts";
import { listCollections } from "./collections.ts";
import { type Fault, Faults } from "./faults.ts";
import { readCollection } from "./head.ts";
import { type Fate, Inbox } from "./inbox.ts";
import { type IngestReport, ingest } from "./ingest.ts";
import { type MergeProgress, type MergeReport, merge } from "./merge.ts";
import type { World } from "./ports.ts";

const roundsMax = 1_000;

export interface CompactRequest {
  /** Only this collection, and only this shard of it; by default all. */
  readonly collection?: string;
  readonly shard?: number;
  readonly ingest: boolean;
  readonly upkeep: boolean;
  /** No new batch or merge begins after this. */
  readonly deadlineMs: number;
  readonly onProgress?: (progress: MergeProgress) => void;
  /** No batch is read and no merge begins that is estimated to need more than this. @default no bound */
  readonly room?: Room;
}

export interface ShardReport {
  readonly collection: string;
  readonly shard: number;
  /** Time spent on this shard. */
  readonly milliseconds: number;
  readonly ingest?: IngestReport;
  readonly merge?: MergeReport;
  readonly collect?: CollectReport;
  /** Why this shard failed, where it did. */
  readonly error?: { readonly kind: string; readonly message: string };
}

export interface CompactReport {
  readonly shards: readonly ShardReport[];
  /** What failed beside shards. */
  readonly faults: readonly Fault[];
  readonly messages: { readonly settled: number; readonly deadLettered: number; readonly left: number };
  /** Unmerged deltas that are left for the next run. */
  readonly pending: number;
}

export async function compact(world: World, request: CompactRequest): Promise<CompactReport> {
  const run = new Run(world, request);
  if (request.ingest) await run.ingestAll();
  if (request.upkeep) await run.upkeepAll();
  return run.report();
}

class Run {
  readonly #world: World;
  readonly #request: CompactRequest;
  readonly #shards = new Map<string, ShardReport>();
  readonly #faults = new Faults();
  readonly #inbox: Inbox;

  constructor(world: World, request: CompactRequest) {
    this.#world = world;
    this.#request = request;
    this.#inbox = new Inbox(world.queue, this.#faults);
  }

  /** Throws what no report can say. */
  report(): CompactReport {
    this.#faults.throwUnexpected();
    const shards = [...this.#shards.values()];
    const pending = shards.reduce((sum, shard) => sum + (shard.ingest?.pending.length ?? 0), 0);
    return { shards, faults: this.#faults.list, messages: this.#inbox.counts, pending };
  }

  async ingestAll(): Promise<void> {
    for (let round = 0; round < roundsMax; round++) {
      const hints = this.#request.collection === undefined ? await this.#inbox.receive() : [];
      const targets = await this.#targets(new Set(hints.map(({ notice }) => shardName(notice))));
      for (const target of targets) await this.#ingestShard(target.collection, target.shard);
      const settled = await this.#inbox.settle(hints, (notice) => this.#fateOf(notice));
      // A round that settled nothing has nothing that another round could change now.
      if (settled === 0 || this.#outOfTime()) return;
    }
  }

  /** Merging that fails keeps no space from being given back. */
  async upkeepAll(): Promise<void> {
    const { deadlineMs, onProgress, room } = this.#request;
    for (const { collection, shard } of await this.#targets(new Set())) {
      await this.#attempt(collection, shard, async () => {
        const merged = await merge(this.#world, collection, shard, {
          deadlineMs,
          ...(onProgress ? { onProgress } : {}),
          ...(room ? { room } : {}),
        });
        this.#note(collection, shard, { merge: merged });
        if (merged.shortage !== undefined) throw new SiltstoneError("unavailable", merged.shortage);
      });
      if (this.#outOfTime()) continue;
      await this.#attempt(collection, shard, async () => {
        this.#note(collection, shard, { collect: await collectGarbage(this.#world, collection, shard) });
      });
    }
  }

  #outOfTime(): boolean {
    return this.#world.clock.nowMs() >= this.#request.deadlineMs;
  }

  /** Every shard in question, those named first in front. */
  async #targets(named: ReadonlySet<string>): Promise<{ collection: Collection; shard: number }[]> {
    const { collection: only, shard: onlyShard } = this.#request;
    const collections =
      only === undefined ? await this.#listCollections() : [await readCollection(this.#world.store, only)];
    const targets = collections.flatMap((collection) =>
      Array.from({ length: collection.shards }, (_, shard) => ({ collection, shard })),
    );
    const wanted = targets.filter(({ shard }) => onlyShard === undefined || shard === onlyShard);
    if (only !== undefined && wanted.length === 0)
      throw new SiltstoneError("notFound", `collection ${only} has no shard ${onlyShard}`);
    const rank = ({ collection, shard }: (typeof targets)[number]) =>
      named.has(`${collection.name}/${shard}`) ? 0 : 1;
    return wanted.sort((a, b) => rank(a) - rank(b));
  }

  async #listCollections(): Promise<readonly Collection[]> {
    const found = await this.#faults.attempt(listing, () => listCollections(this.#world.store));
    for (const { name, error } of found?.unreadable ?? []) this.#faults.note(collectionPart(name), error);
    return found?.collections ?? [];
  }

  async #ingestShard(collection: Collection, shard: number): Promise<void> {
    await this.#attempt(collection, shard, async () => {
      const report = await ingest(this.#world, collection, shard, {
        outOfTime: () => this.#outOfTime(),
        room: this.#request.room,
      });
      // A round that succeeded makes up for an earlier one that did not.
      const { error: _mended, ...known } = this.#reportOf(collection, shard);
      this.#shards.set(shardName(known), {
        ...known,
        ingest: known.ingest ? addReports(known.ingest, report) : report,
      });
      if (report.shortage !== undefined) throw new SiltstoneError("unavailable", report.shortage);
    });
  }

  async #attempt(collection: Collection, shard: number, work: () => Promise<void>): Promise<void> {
    const startMs = this.#world.clock.nowMs();
    try {
      await work();
    } catch (error) {
      if (!(error instanceof SiltstoneError)) this.#faults.unexpected(error);
      else this.#note(collection, shard, { error: { kind: error.kind, message: error.message } });
    } finally {
      const spentMs = this.#world.clock.nowMs() - startMs;
      this.#note(collection, shard, {
        milliseconds: this.#reportOf(collection, shard).milliseconds + spentMs,
      });
    }
  }

  #reportOf(collection: Collection, shard: number): ShardReport {
    const ref: ShardRef = { collection: collection.name, shard };
    return this.#shards.get(shardName(ref)) ?? { ...ref, milliseconds: 0 };
  }

  /** The first error of a shard stays: what follows from it says less. */
  #note(collection: Collection, shard: number, part: Partial<ShardReport>): void {
    const known = this.#reportOf(collection, shard);
    const { error } = known;
    this.#shards.set(shardName(known), { ...known, ...part, ...(error ? { error } : {}) });
  }

  /** A message is done with when its delta is merged or put aside: when the backlog, as far as it was looked at, lacks it. */
  async #fateOf(notice: Notification): Promise<Fate> {
    const swept = this.#shards.get(shardName(notice));
    if (swept?.ingest && !swept.error) {
      const { pending, unseenAfter } = swept.ingest;
      const isSeen = unseenAfter === null || notice.delta <= unseenAfter;
      if (isSeen && !pending.includes(notice.delta)) return { kind: "merged" };
    }
    if (swept !== undefined || (await this.#mayExist(notice))) return { kind: "left" };
    return { kind: "senseless", reason: "its collection or shard does not exist" };
  }

  /** False only when it is known. */
  async #mayExist({ collection, shard }: Notification): Promise<boolean> {
    const part = collectionPart(collection);
    if (this.#faults.has(listing) || this.#faults.has(part)) return true;
    try {
      return shard < (await readCollection(this.#world.store, collection)).shards;
    } catch (error) {
      if (isKind(error, "notFound")) return false;
      this.#faults.note(part, error);
      return true;
    }
  }
}

const listing = "collections";
const collectionPart = (name: string): string => `collection ${name}`;

const addReports = (a: IngestReport, b: IngestReport): IngestReport => ({
  ...b,
  deltas: a.deltas + b.deltas,
  rows: a.rows + b.rows,
  quarantined: a.quarantined + b.quarantined,
});
