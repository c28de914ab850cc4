/**
 * The jobs that one run holds: claimed, extended, recorded, and settled one way or another. Each change is made where the claim still holds; a
 * job that is lost to a newer save, a cancel or another run is counted, and left.
 */
import pLimit from "p-limit";
import { isKind } from "../core/model/errors.ts";
import { change } from "./change.ts";
import type { Item, ItemKey, JobError } from "./item.ts";
import { type Reason, reasonOf } from "./reason.ts";
import type { JobSettings } from "./settings.ts";
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
import type { WorkOptions, WorkReport, WorkWorld } from "./work.ts";

const claimsAtOnce = 16;
const errorsMax = 5;

export class HeldJobs {
  readonly #world: WorkWorld;
  readonly #options: WorkOptions;
  readonly #counts = { completed: 0, failed: 0, postponed: 0, superseded: 0, left: 0, chunks: 0 };
  readonly #errors: JobError[] = [];
  #waitedMsMax = 0;
  /** Jobs that this run has ended. */
  readonly ended: Item[] = [];

  constructor(world: WorkWorld, options: WorkOptions) {
    this.#world = world;
    this.#options = options;
  }

  report(): Omit<WorkReport, "tokens"> {
    return { ...this.#counts, waitedMsMax: this.#waitedMsMax, errors: this.#errors };
  }

  /** Items that are not this run's to claim. */
  leave(count: number): void {
    this.#counts.left += count;
  }
  /** Another save, a cancel or another run came. */
  lose(count: number): void {
    this.#counts.superseded += count;
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
    const claiming = change(this.#world, key, (item) => {
      if (item === null) return null;
      const at = { owner: this.#options.owner, nowMs: clock.nowMs(), leaseMs, stamp: clock.ulid() };
      const outcome = claimed(item, at);
      return outcome.kind === "notDue" ? null : outcome.next;
    });
    const changed = await claiming.catch((error: unknown) => {
      if (!isKind(error, "corrupt")) throw error;
      // The others of the message's batch are not to wait for it.
      this.#note(reasonOf(error));
      return "damaged" as const;
    });
    if (changed === "damaged") {
      this.#counts.failed++;
      return null;
    }
    if (changed?.after.status === "processing") return changed.after;
    if (changed === null) this.#counts.left++;
    else this.#end(changed.after);
    return null;
  }

  /** Those that are still this run's. */
  async extendAll(items: readonly Item[], { leaseSeconds }: JobSettings): Promise<Item[]> {
    const { clock } = this.#world;
    const leaseMs = leaseSeconds * 1_000;
    const all = await this.each(items, async (item) => {
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

  /** With the high-water that it needs; null when it is not this run's any more. */
  record(item: Item, chunks: number): Promise<Item | null> {
    return this.#change(item, (now, claim) => recorded(now, claim, chunks, this.#world.clock.ulid()));
  }

  async finish(item: Item, chunks: number): Promise<void> {
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
  async fail(item: Item, error: unknown, of: "own" | "shared" = "own"): Promise<void> {
    const reason = reasonOf(error);
    this.#note(reason);
    if (reason.kind === "wait") return this.postpone(item, reason.waitMs, reason.error);
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

  async postpone(item: Item, waitMs: number, error: JobError | null): Promise<void> {
    const { clock, random } = this.#world;
    const jittered = waitMs * (1 + random() / 4);
    const after = await this.#change(item, (now, claim) =>
      postponed(now, claim, { notBeforeMs: clock.nowMs() + jittered, error, stamp: clock.ulid() }),
    );
    this.#counts[after === null ? "superseded" : "postponed"]++;
  }

  async cancel(item: Item, error: JobError): Promise<void> {
    const { clock } = this.#world;
    const after = await this.#change(item, (now, claim) =>
      isHeld(now, claim) ? cancelled(now, { error, nowMs: clock.nowMs(), stamp: clock.ulid() }) : null,
    );
    if (after === null) this.#counts.superseded++;
    else this.#end(after);
  }

  /** All of them, some at a time; what the first threw, when all have ended. */
  async each<T, R>(all: readonly T[], one: (each: T) => Promise<R>): Promise<R[]> {
    const limit = pLimit(claimsAtOnce);
    const outcomes = await Promise.allSettled(all.map((each) => limit(() => one(each))));
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
    return outcomes.map((outcome) => (outcome as PromiseFulfilledResult<R>).value);
  }

  /** Null when the claim does not hold any more. */
  async #change(item: Item, next: (now: Item, claim: Claim) => Item | null): Promise<Item | null> {
    const claim = { job: item.job, owner: this.#options.owner };
    const changed = await change(this.#world, item, (now) => (now === null ? null : next(now, claim)));
    return changed?.after ?? null;
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
