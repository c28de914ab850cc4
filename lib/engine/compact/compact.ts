/**
 * One run of the compactor over every collection and shard.
 *
 *  1. Messages are received, a bounded number; a message that is not a notification goes to the dead-letter queue with its reason
 *     (lib/engine/compact/inbox.ts). A run of one collection leaves the queue alone: its messages name all of them.
 *  2. The shards whose turn it is are looked at by a LIST of their deltas, which finds those whose message was lost
 *     (lib/engine/compact/sweep.ts). A shard without deltas costs that one request. Where it is nobody's turn, and no message came, the run asks S3
 *     nothing.
 *  3. Each shard that a message names, or where something waits, is ingested (lib/engine/compact/ingest.ts), a bounded number
 *     side by side, each under its own lease; they share the run's memory and disk (shared-budget.ts).
 *  4. A message is deleted only when its delta is not in the backlog any more.
 *  5. Again from 1 for the shards that messages name, while messages come and there is time. Where they come fast, the run waits for
 *     more of them, so that what waits stays below what strong reads lay over.
 *  6. On request: merging and garbage collection, in turns as well.
 *
 * Whatever fails concerns itself alone: a shard, a collection whose configuration is damaged, the queue, the dead-letter
 * queue. The others are compacted, it is reported, and the run fails at its end.
 */
import pLimit from "p-limit";
import { type ShardRef, shardName } from "../../core/format/keys.ts";
import type { Notification } from "../../core/format/notification.ts";
import { bounds } from "../../core/model/bounds.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import type { MergeLimits } from "../../core/policy/merge-plan.ts";
import type { ResourceBudget } from "../../core/policy/resource-estimate.ts";
import { busyPollMs, busyRunMs } from "../../core/policy/time-bounds.ts";
import type { Turns } from "../../core/policy/turns.ts";
import { type Fault, Faults } from "../faults.ts";
import type { World } from "../ports.ts";
import type { Head } from "../shard/head.ts";
import { Strangers, type StrangersFound } from "../shard/strangers.ts";
import { collectGarbage } from "./collect-garbage.ts";
import { type Fate, type Hint, Inbox, type MessageCounts, receiving } from "./inbox.ts";
import { ingest } from "./ingest.ts";
import { type MergeProgress, merge } from "./merge.ts";
import { RunShards } from "./run-shards.ts";
import { type ShardReport, ShardReports } from "./shard-reports.ts";
import { SharedBudget } from "./shared-budget.ts";
import { Sweep } from "./sweep.ts";

const roundsMax = 1_000;
/** Of the deltas that a strong read lays over a shard: one that gets so many in a minute gets too many before some later run. */
const busyShare = 1 / 4;
/** Shards that are looked at, or ingested, side by side: most of the time each waits for an answer. */
const shardsAtOnce = 16;

export interface CompactRequest {
  /** Only this collection, and only this shard of it; by default all. */
  readonly collection?: string;
  readonly shard?: number;
  readonly ingest: boolean;
  readonly upkeep: boolean;
  /** By which upkeep merges. @default the product's */
  readonly mergeLimits?: MergeLimits;
  /** No new batch or merge begins after this. */
  readonly deadlineMs: number;
  /** So long from its beginning a run stays on while messages come fast for a shard. @default 0: it ends when none is left */
  readonly busyMs?: number;
  readonly onProgress?: (progress: MergeProgress) => void;
  /** No batch is read and no merge begins that is estimated to need more than this. @default no bound */
  readonly budget?: ResourceBudget;
  /** What earlier runs of this process have seen; they and this one are of all collections. @default nothing: every shard is looked at */
  readonly sweep?: Sweep;
}

export interface CompactReport {
  /** Those that were looked at, or that the run had no time for. */
  readonly shards: readonly ShardReport[];
  /** Shards whose turn it was not. */
  readonly resting: number;
  /** What failed beside shards. */
  readonly faults: readonly Fault[];
  /** Objects that its LISTs met and that are not the product's. */
  readonly strangers: StrangersFound;
  readonly messages: MessageCounts;
  /** Deltas of the backlog that are left for the next run. */
  readonly pending: number;
}

export async function compact(world: World, request: CompactRequest): Promise<CompactReport> {
  const run = new Run(world, request);
  await run.readShards();
  if (request.ingest) await run.ingestAll();
  if (request.upkeep) await run.upkeepAll();
  return run.report();
}

/** Whether it could be asked if a shard has changed since its last survey, and its pointer's etag then. */
interface Changed {
  readonly isKnown: boolean;
  readonly etag: string | null;
}

class Run {
  readonly #world: World;
  readonly #request: CompactRequest;
  readonly #startMs: number;
  readonly #sweep: Sweep;
  readonly #budget: SharedBudget;
  readonly #faults = new Faults();
  readonly #strangers = new Strangers();
  readonly #inbox: Inbox;
  readonly #reports: ShardReports;
  readonly #shards: RunShards;

  constructor(world: World, request: CompactRequest) {
    this.#world = world;
    this.#request = request;
    this.#startMs = world.clock.nowMs();
    this.#sweep = request.sweep ?? new Sweep();
    this.#budget = new SharedBudget(request.budget);
    this.#inbox = new Inbox(world.queue, this.#faults);
    this.#reports = new ShardReports(world.clock, this.#faults);
    const [sweep, faults, reports] = [this.#sweep, this.#faults, this.#reports];
    this.#shards = new RunShards(world, { sweep, faults, reports });
  }

  /** Throws what no report can say. */
  report(): CompactReport {
    this.#faults.throwUnexpected();
    const shards = this.#reports.list.toSorted(
      (a, b) =>
        Number(a.collection > b.collection) - Number(a.collection < b.collection) || a.shard - b.shard,
    );
    return {
      shards,
      resting: this.#shards.count - shards.length,
      faults: this.#faults.list,
      strangers: this.#strangers.found,
      messages: this.#inbox.counts,
      pending: shards.reduce((sum, shard) => sum + (shard.ingest?.pending.length ?? 0), 0),
    };
  }

  readShards(): Promise<void> {
    const { collection, shard } = this.#request;
    if (collection !== undefined) return this.#shards.readOne(collection, shard);
    return this.#shards.readAll(this.#request.ingest ? "ingest" : "upkeep", this.#strangers.see);
  }

  async ingestAll(): Promise<void> {
    const takesMessages = this.#request.collection === undefined;
    // What a run finds has come since the one before it asked.
    const sinceMs = this.#sweep.askedAtMs;
    const receive = () => {
      if (takesMessages) this.#sweep.askedAtMs = this.#world.clock.nowMs();
      return takesMessages ? this.#inbox.receive() : Promise.resolve([]);
    };
    let hints = await receive();
    let named = await this.#named(hints);
    // Meanwhile, so that neither waits for the other's end.
    const looking = this.#look(this.#inTurn(this.#sweep.deltas).filter((ref) => !named.has(ref)));
    looking.catch(() => {}); // Awaited below; what comes first may throw.
    for (let round = 0; round < roundsMax; round++) {
      const ingested = new Set<string>();
      await sideBySide(named, async (ref) => {
        if (await this.#ingest(ref, null)) ingested.add(shardName(ref));
      });
      if (round === 0) await sideBySide(await looking, ([ref, head]) => this.#ingest(ref, head));
      const settled = await this.#inbox.settle(hints, (notice) => this.#fateOf(notice, ingested));
      if (this.#outOfTime()) return;
      if (this.#staysOn(hints.length, sinceMs)) await this.#world.clock.sleep(busyPollMs);
      // A round that settled nothing has nothing that another round could change now.
      else if (settled === 0) return;
      hints = await receive();
      named = await this.#named(hints);
    }
  }

  /**
   * Whether messages come so fast that a shard's backlog would be more than a strong read lays over before the next run, which
   * is a minute away: then this one asks for more of them, until they end or that minute is over.
   */
  #staysOn(messages: number, sinceMs: number): boolean {
    const { busyMs = 0 } = this.#request;
    const nowMs = this.#world.clock.nowMs();
    if (messages === 0 || nowMs + busyPollMs > this.#startMs + busyMs) return false;
    const passedMs = Math.min(Math.max(nowMs - sinceMs, busyPollMs), busyRunMs);
    const most = bounds.overlaidDeltas * busyShare * (passedMs / busyRunMs);
    return this.#reports.list.some(({ ingest }) => (ingest?.deltas ?? 0) >= most);
  }

  /** Where anything changed, one after the other: a merge takes all processors and most of the memory. */
  async upkeepAll(): Promise<void> {
    const changed = new Map<ShardRef, Changed>();
    const refs = this.#inTurn(this.#sweep.upkeep);
    await sideBySide(refs, async (ref) => {
      if (this.#outOfTime()) return this.#unseen(ref);
      const found = await this.#changed(ref);
      if (found !== null) changed.set(ref, found);
    });
    // In their turn, and not as they answered.
    for (const ref of refs) {
      const found = changed.get(ref);
      if (found === undefined) continue;
      if (this.#outOfTime()) this.#unseen(ref);
      else await this.#upkeep(ref, found);
    }
  }

  #outOfTime(): boolean {
    return this.#world.clock.nowMs() >= this.#request.deadlineMs;
  }

  #unseen(ref: ShardRef): void {
    this.#reports.note(ref, { look: { kind: "unseen" } });
  }

  #named(hints: readonly Hint[]): Promise<Set<ShardRef>> {
    return this.#shards.named(hints.map(({ notice }) => notice));
  }

  /** Those that this run looks at; all of them when no message says which. */
  #inTurn(turns: Turns): ShardRef[] {
    const taken = this.#shards.inTurn(turns);
    return this.#faults.has(receiving) ? this.#shards.all : taken;
  }

  /** Where something waits, with the head where it was read. */
  async #look(shards: readonly ShardRef[]): Promise<Map<ShardRef, Head | null>> {
    const found = new Map<ShardRef, Head | null>();
    const look = async (ref: ShardRef): Promise<void> => {
      if (this.#outOfTime()) return this.#unseen(ref);
      const isDone = await this.#shards.attempt(ref, async (collection) => {
        const { isIdle, head } = await this.#sweep.look(
          this.#world,
          collection,
          ref.shard,
          this.#strangers.see,
        );
        if (!isIdle) found.set(ref, head);
        return isIdle ? { look: { kind: "idle", version: head?.manifest.version ?? null } } : {};
      });
      this.#saw(this.#sweep.deltas, ref, { isRestless: !isDone || found.has(ref) });
    };
    await sideBySide(shards, look);
    return found;
  }

  /** True when its backlog is known now. */
  async #ingest(ref: ShardRef, head: Head | null): Promise<boolean> {
    if (this.#outOfTime()) {
      this.#unseen(ref);
      return false;
    }
    const result = { isKnown: false, isRestless: true };
    await this.#shards.attempt(ref, async (collection) => {
      const report = await ingest(this.#world, collection, ref.shard, {
        outOfTime: () => this.#outOfTime(),
        budget: this.#budget,
        head: head?.pointer.collectionId === collection.id ? head : null,
        onStranger: this.#strangers.see,
      });
      this.#reports.noteIngest(ref, report);
      if (report.shortage !== undefined) throw new SiltstoneError("unavailable", report.shortage);
      result.isKnown = true;
      result.isRestless = report.deltas + report.quarantined + report.pending.length > 0;
      if (report.deltas > 0) this.#saw(this.#sweep.upkeep, ref, { isRestless: true });
      return {};
    });
    this.#saw(this.#sweep.deltas, ref, result);
    return result.isKnown;
  }

  /** Null where nothing changed. */
  async #changed(ref: ShardRef): Promise<Changed | null> {
    let etag: string | null = null;
    const isKnown = await this.#shards.attempt(ref, async (collection) => {
      etag = await this.#sweep.changed(this.#world, collection, ref.shard);
      return {};
    });
    if (!isKnown || etag !== null) return { isKnown, etag };
    this.#saw(this.#sweep.upkeep, ref, { isRestless: false });
    return null;
  }

  /** Merging that fails keeps no space from being given back. */
  async #upkeep(ref: ShardRef, { isKnown, etag }: Changed): Promise<void> {
    const { deadlineMs, onProgress, budget, mergeLimits } = this.#request;
    const { shard } = ref;
    let isQuiet = isKnown;
    await this.#shards.attempt(ref, async (collection) => {
      isQuiet = false;
      const merged = await merge(this.#world, collection, shard, {
        deadlineMs,
        ...(onProgress ? { onProgress } : {}),
        ...(budget ? { budget } : {}),
        ...(mergeLimits ? { limits: mergeLimits } : {}),
      });
      this.#reports.note(ref, { merge: merged });
      if (merged.shortage !== undefined) throw new SiltstoneError("unavailable", merged.shortage);
      isQuiet = isKnown && merged.outcome === "done" && merged.merges.length === 0;
      return {};
    });
    if (this.#outOfTime()) return;
    await this.#shards.attempt(ref, async (collection) => {
      const collect = await collectGarbage(this.#world, collection, shard, {
        onStranger: this.#strangers.see,
      });
      isQuiet &&= collect.outcome === "nothing" && collect.lateDeltas.length === 0;
      if (isQuiet) this.#sweep.surveyed(this.#world, collection, shard, etag!);
      return { collect };
    });
    this.#saw(this.#sweep.upkeep, ref, { isRestless: !isQuiet });
  }

  #saw(turns: Turns, ref: ShardRef, { isRestless }: { isRestless: boolean }): void {
    turns.saw(shardName(ref), this.#world.clock.nowMs(), { isRestless });
  }

  /** A message is done with when its delta is ingested or put aside: when the backlog, as far as it was looked at, lacks it. */
  async #fateOf(notice: Notification, ingested: ReadonlySet<string>): Promise<Fate> {
    const name = shardName(notice);
    if (ingested.has(name)) {
      const { pending, unseenAfter } = this.#reports.of(notice).ingest!;
      const isSeen = unseenAfter === null || notice.delta <= unseenAfter;
      if (isSeen && !pending.includes(notice.delta)) return { kind: "ingested" };
    }
    if (this.#shards.mayExist(notice)) return { kind: "left" };
    if (this.#shards.isGone(notice)) return { kind: "gone" };
    return { kind: "senseless", reason: "its collection or shard does not exist" };
  }
}

async function sideBySide<T>(all: Iterable<T>, work: (one: T) => Promise<unknown>): Promise<void> {
  const limit = pLimit(shardsAtOnce);
  await Promise.all([...all].map((one) => limit(() => work(one))));
}
