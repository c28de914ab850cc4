/**
 * One run of the compactor over every collection and shard.
 *
 *  1. Messages are received, a bounded number; what is no notification goes to the dead-letter queue with its reason.
 *  2. Every shard is swept by a LIST of its deltas, which finds those whose message was lost; the shards that messages
 *     name come first. A shard without deltas costs that one request.
 *  3. Each shard with deltas is ingested (lib/engine/ingest.ts).
 *  4. A message is deleted only when its delta is not in the backlog any more.
 *  5. Again from 1, while messages come or deltas are left, and there is time.
 *  6. On request: merging and garbage collection.
 *
 * One shard's failure does not keep the others from being compacted: it is reported, and the run fails at its end.
 */
import type { Collection } from "../core/collection.ts";
import type { Room } from "../core/compactor-need.ts";
import { isKind, SiltstoneError } from "../core/errors.ts";
import { type ShardRef, shardName } from "../core/keys.ts";
import { decodeNotification, type Notification } from "../core/notification.ts";
import { type CollectReport, collectGarbage } from "./collect-garbage.ts";
import { listCollections } from "./collections.ts";
import { readCollection } from "./head.ts";
import { type IngestReport, ingest } from "./ingest.ts";
import { type MergeProgress, type MergeReport, merge } from "./merge.ts";
import type { QueueMessage, World } from "./ports.ts";

/** Messages held at a time; the queue hides them from others meanwhile. */
const messagesMax = 1_000;
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
  readonly #messages = { settled: 0, deadLettered: 0, left: 0 };
  #unexpected: unknown = null;

  constructor(world: World, request: CompactRequest) {
    this.#world = world;
    this.#request = request;
  }

  /** Throws what no shard's report can say. */
  report(): CompactReport {
    if (this.#unexpected !== null) throw this.#unexpected;
    const shards = [...this.#shards.values()];
    const pending = shards.reduce((sum, shard) => sum + (shard.ingest?.pending.length ?? 0), 0);
    return { shards, messages: this.#messages, pending };
  }

  async ingestAll(): Promise<void> {
    for (let round = 0; round < roundsMax; round++) {
      const inbox = await this.#receive();
      const targets = await this.#targets(new Set(inbox.map(({ notice }) => shardName(notice))));
      for (const target of targets) await this.#ingestShard(target.collection, target.shard);
      const settled = await this.#settle(inbox);
      // A round that settled nothing has nothing that another round could change now.
      if (settled === 0 || this.#outOfTime()) return;
    }
  }

  async upkeepAll(): Promise<void> {
    for (const { collection, shard } of await this.#targets(new Set())) {
      await this.#attempt(collection, shard, async () => {
        const { deadlineMs, onProgress, room } = this.#request;
        const merged = await merge(this.#world, collection, shard, {
          deadlineMs,
          ...(onProgress ? { onProgress } : {}),
          ...(room ? { room } : {}),
        });
        this.#note(collection, shard, { merge: merged });
        if (merged.shortage !== undefined)
          this.#note(collection, shard, { error: { kind: "unavailable", message: merged.shortage } });
        if (!this.#outOfTime())
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
      only === undefined
        ? await listCollections(this.#world.store)
        : [await readCollection(this.#world.store, only)];
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

  async #ingestShard(collection: Collection, shard: number): Promise<void> {
    await this.#attempt(collection, shard, async () => {
      const report = await ingest(this.#world, collection, shard, {
        outOfTime: () => this.#outOfTime(),
        room: this.#request.room,
      });
      const name = shardName({ collection: collection.name, shard });
      // A round that succeeded makes up for an earlier one that did not.
      const { error: _mended, ...known } = this.#shards.get(name) ?? {
        collection: collection.name,
        shard,
        milliseconds: 0,
      };
      this.#shards.set(name, { ...known, ingest: known.ingest ? addReports(known.ingest, report) : report });
      if (report.shortage !== undefined)
        this.#note(collection, shard, { error: { kind: "unavailable", message: report.shortage } });
    });
  }

  async #attempt(collection: Collection, shard: number, work: () => Promise<void>): Promise<void> {
    const startMs = this.#world.clock.nowMs();
    try {
      await work();
    } catch (error) {
      // What the engine does not know (a full disk, a defect) must not starve the other shards either; it fails the run.
      if (!(error instanceof SiltstoneError)) this.#unexpected ??= error;
      else this.#note(collection, shard, { error: { kind: error.kind, message: error.message } });
    } finally {
      const before = this.#shards.get(shardName({ collection: collection.name, shard }))?.milliseconds ?? 0;
      this.#note(collection, shard, { milliseconds: before + this.#world.clock.nowMs() - startMs });
    }
  }

  #note(collection: Collection, shard: number, part: Partial<ShardReport>): void {
    const ref: ShardRef = { collection: collection.name, shard };
    this.#shards.set(shardName(ref), {
      ...ref,
      milliseconds: 0,
      ...this.#shards.get(shardName(ref)),
      ...part,
    });
  }

  async #receive(): Promise<{ message: QueueMessage; notice: Notification }[]> {
    const inbox: { message: QueueMessage; notice: Notification }[] = [];
    while (inbox.length < messagesMax) {
      const messages = await this.#world.queue.receive();
      if (messages.length === 0) break;
      for (const message of messages) {
        const notice = decodeNotification(message.body);
        if (!("reason" in notice)) inbox.push({ message, notice });
        else await this.#deadLetter(message, notice.reason);
      }
    }
    return inbox;
  }

  async #deadLetter(message: QueueMessage, reason: string): Promise<void> {
    await this.#world.queue.deadLetter(message, reason);
    await this.#world.queue.delete([message]);
    this.#messages.deadLettered += 1;
  }

  /** Deletes the messages whose deltas are merged or put aside; the others come back by themselves. */
  async #settle(inbox: readonly { message: QueueMessage; notice: Notification }[]): Promise<number> {
    const done: QueueMessage[] = [];
    for (const { message, notice } of inbox) {
      const swept = this.#shards.get(shardName(notice));
      if (swept?.ingest && !swept.error && !swept.ingest.pending.includes(notice.delta)) done.push(message);
      else if (swept === undefined && !(await this.#exists(notice)))
        await this.#deadLetter(message, "its collection or shard does not exist");
    }
    for (let start = 0; start < done.length; start += 10)
      await this.#world.queue.delete(done.slice(start, start + 10));
    this.#messages.settled += done.length;
    this.#messages.left += inbox.length - done.length;
    return done.length;
  }

  async #exists({ collection, shard }: Notification): Promise<boolean> {
    try {
      return shard < (await readCollection(this.#world.store, collection)).shards;
    } catch (error) {
      if (isKind(error, "notFound")) return false;
      throw error;
    }
  }
}

const addReports = (a: IngestReport, b: IngestReport): IngestReport => ({
  ...b,
  deltas: a.deltas + b.deltas,
  rows: a.rows + b.rows,
  quarantined: a.quarantined + b.quarantined,
});
