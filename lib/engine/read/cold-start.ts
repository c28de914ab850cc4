/**
 * What passes between the load of a shard's first view, which takes seconds where graphs are large, and the queries that
 * wait for it. Those that can do without graphs are given a cold view (lib/engine/read/cold-view.ts). The load then
 * pauses until one of them is answered, so that this answer has the network for itself, or until a query needs the graphs.
 *
 * A Lambda is frozen between calls, and the load with it: one that is seldom called would answer from clusters for hours. So
 * when the graphs should have been there, had the process run all the while, calls wait for them (aged-views.ts).
 */
import type { ColdView } from "./cold-view.ts";
import { heldBytes } from "./open-segments.ts";

/**
 * Within what graphs arrive in a process that runs: as fast as one stream of S3's carries, where several are used and a third of
 * that was measured (docs/lab/performance.md, "Cold start").
 */
const loadBytesPerSecond = 75e6;
const loadMsLeast = 2_000;

export interface ColdOffer {
  readonly view: ColdView;
  /** Of the pointer that named its version. */
  readonly etag: string;
  /** Since when there are such offers, and no graphs. */
  readonly sinceMs: number;
}

export class ColdStart {
  /** Of the load under way, or of one that failed: then it goes on serving until the next try. */
  offer: ColdOffer | null = null;
  /** While queries wait: where they are given an offer. */
  #wanted: PromiseWithResolvers<ColdOffer> | null = null;
  /** Settled when the load may go on. */
  #answered: PromiseWithResolvers<void> | null = null;
  #graphsNeeded = false;

  /** Whether the graphs should be there by now. */
  isOverdue(nowMs: number): boolean {
    if (this.offer === null) return false;
    const { view, sinceMs } = this.offer;
    const loadMs = (heldBytes(view.manifest.segments) / loadBytesPerSecond) * 1_000;
    return nowMs - sinceMs > Math.max(loadMs, loadMsLeast);
  }

  /** Waits for the offer of a load, which is started here where none is under way; null when the graphs came first. */
  wait(load: () => Promise<void>): Promise<ColdOffer | null> {
    this.#wanted ??= Promise.withResolvers();
    const { promise } = this.#wanted;
    const loading = load();
    loading.catch(() => {}); // The reader's `fault` tells of it when there is an answer all the same.
    return Promise.race([loading.then(() => null), promise]);
  }

  /** Whether queries wait that have not been given an offer. */
  get isWanted(): boolean {
    return this.#wanted !== null && this.#answered === null;
  }

  /** Called by the load: makes the offer, null where there can be none, and waits until the load may go on. */
  async answer(open: () => Promise<ColdOffer | null>, hasReaders: () => boolean): Promise<void> {
    // From here on, so that no query's need of the graphs is missed.
    this.#answered = Promise.withResolvers();
    const { promise } = this.#answered;
    const offer = await open();
    if (offer === null) {
      this.#answered = null;
      return;
    }
    this.offer = offer;
    this.#wanted?.resolve(offer);
    // A query that is gone, or that waits for the graphs, cannot be waited for.
    if (!this.#graphsNeeded && hasReaders()) await promise;
  }

  /** A query has ended, or the reader is being closed. */
  release(): void {
    this.#answered?.resolve();
  }

  needGraphs(): void {
    this.#graphsNeeded = true;
    this.release();
  }

  /** The load has ended, one way or the other. */
  end(): void {
    this.#wanted = null;
    this.#answered = null;
    this.#graphsNeeded = false;
  }
}
