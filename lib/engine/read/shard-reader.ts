/**
 * Reading one shard, as fresh as a call wants it: who reads gets the view of the version that serves (newest-version.ts), for as
 * long as it says that it is fresh enough, with the backlog laid over it where writes are promised (overlays.ts).
 */

import { type ShardRef, shardName } from "../../core/format/keys.ts";
import type { Collection } from "../../core/model/collection.ts";
import { isKind, isNewerFormat, SiltstoneError } from "../../core/model/errors.ts";
import type { DeltaId } from "../../core/model/ids.ts";
import { graphsHoldMs, loadBehindMs, refreshBehindMs, refreshHoldMs } from "../../core/policy/time-bounds.ts";
import type { OpenSegment } from "../../segment/open-segment.ts";
import type { SegmentWork } from "../../segment/segment-work.ts";
import type { World } from "../ports.ts";
import { readCollection } from "../shard/head.ts";
import type { ColdOffer } from "./cold-start.ts";
import type { Descriptors } from "./descriptors.ts";
import { NewestVersion } from "./newest-version.ts";
import { Overlays } from "./overlays.ts";
import { ShardViews, type Wanted } from "./shard-views.ts";
import type { SnapshotView } from "./snapshot-view.ts";
import type { View } from "./view.ts";

export interface ShardReaderOptions {
  /** Folder for segment files; emptied by close(). */
  readonly folder: string;
  readonly descriptors: Descriptors;
  readonly work: SegmentWork;
  /**
   * Asked before anything is fetched or laid over a view. Null when there is space; else what to wait for before it is asked
   * again. Throws when there is none.
   */
  readonly makeSpace: (shard: ShardReader, wanted: Wanted) => Promise<unknown> | null;
}

export class ShardReader {
  readonly #world: World;
  readonly #collection: Collection;
  readonly #ref: ShardRef;
  readonly #views: ShardViews;
  readonly #newest: NewestVersion;
  readonly #overlays: Overlays;
  /** When it could not be found out whether what serves is the newest. */
  #failedAtMs = Number.NEGATIVE_INFINITY;
  /** A refresh that no answer waits for. */
  #behind: Promise<void> | null = null;
  /** The last such refresh met what no older view excuses: the next call meets it itself. */
  #isRefused = false;
  /** When graphs were last waited for in vain. */
  #waitedAtMs = Number.NEGATIVE_INFINITY;
  #readers = 0;
  #closing = false;
  readonly #gone = Promise.withResolvers<void>();
  usedAtMs = 0;

  constructor(world: World, collection: Collection, shard: number, options: ShardReaderOptions) {
    this.#world = world;
    this.#collection = collection;
    this.#ref = { collection: collection.name, shard };
    this.#views = new ShardViews(world, collection, shard, {
      ...options,
      makeSpace: (wanted) => options.makeSpace(this, wanted),
    });
    const readers = { hasReaders: () => this.#readers > 0, closeUnread: () => this.#closeUnread() };
    this.#newest = new NewestVersion(world, collection, { shard, views: this.#views, readers });
    this.#overlays = new Overlays(world, collection, { shard, views: this.#views, newest: this.#newest });
  }

  get name(): string {
    return shardName(this.#ref);
  }
  get collectionId(): string {
    return this.#collection.id;
  }
  get shard(): number {
    return this.#ref.shard;
  }
  get view(): View | null {
    return this.#newest.current;
  }
  /** When what one of its views shows was last known to be the newest version. */
  asOfMsOf(view: SnapshotView): number {
    return this.#overlays.asOfMsOf(view) ?? this.#newest.asOfMsOf(view);
  }
  /** Why the newest version is not the one that serves; null when it is. */
  get fault(): SiltstoneError | null {
    return this.#newest.fault;
  }
  /** Bytes of the files of the view that serves or comes, deltas laid over it included. */
  get viewBytes(): number {
    return this.#views.bytes + this.#overlays.bytes;
  }
  /** Of everything that is open or on its way. */
  get openBytes(): number {
    const coldBytes = this.#newest.cold.offer?.view.bytes ?? 0;
    return this.#views.openBytes + coldBytes + this.#overlays.rowBytes;
  }
  get isIdle(): boolean {
    return this.#readers === 0;
  }
  /** Settled when it was closed and nothing of it is open any more. */
  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  /** Runs `work`; every segment of the views that it gets from here stays open until it ends. */
  async holding<T>(work: () => Promise<T>): Promise<T> {
    this.#readers += 1;
    this.usedAtMs = this.#world.clock.nowMs();
    try {
      return await work();
    } finally {
      this.#readers -= 1;
      this.#newest.cold.release();
      await this.#closeUnread();
    }
  }

  /**
   * The view, known to be the newest at most `maxAgeMs` ago. `tolerant`: when that cannot be found out, or the newest
   * version is damaged, the view that there is serves; otherwise the failure is thrown.
   */
  async fresh(maxAgeMs: number, tolerant: boolean): Promise<View> {
    // Who tolerates an older view waits before he tries again what failed; a bound is kept by success alone.
    const sinceMs = tolerant ? this.#triedAtMs : this.#newest.checkedAtMs;
    const { current } = this.#newest;
    if (current !== null && this.#isWithin(sinceMs, maxAgeMs)) return current;
    if (tolerant) return current === null ? this.#newestOrOlder() : this.#soonOrOlder();
    return this.#newest.refreshed();
  }

  /**
   * The view for an eventual read. One older than the refresh interval still answers at once, while it is refreshed behind the
   * answer, up to the bounds that refreshBehindMs and loadBehindMs state; then it is waited for as `fresh` does. The age is
   * judged when the call comes: a refresh that was frozen with its process renews nothing.
   */
  async eventual(refreshMs: number): Promise<View> {
    const { current, checkedAtMs, fault, refreshing } = this.#newest;
    if (current === null || this.#isWithin(this.#triedAtMs, refreshMs)) return this.fresh(refreshMs, true);
    const isComing = refreshing !== null && fault === null;
    const boundMs = isComing ? loadBehindMs(refreshMs) : refreshBehindMs(refreshMs);
    if (this.#isRefused || !this.#isWithin(checkedAtMs, boundMs)) {
      this.#isRefused = false;
      return this.fresh(refreshMs, true);
    }
    this.#refreshBehind();
    return current;
  }

  #refreshBehind(): void {
    if (this.#behind !== null || this.#newest.refreshing !== null) return;
    this.#behind = this.#newestOrOlder().then(
      () => {
        this.#behind = null;
      },
      () => {
        this.#behind = null;
        this.#isRefused = true;
      },
    );
  }

  /** When what serves was last checked, or could not be. */
  get #triedAtMs(): number {
    return Math.max(this.#newest.checkedAtMs, this.#failedAtMs);
  }

  #isWithin(sinceMs: number, maxAgeMs: number): boolean {
    const ageMs = this.#world.clock.nowMs() - sinceMs;
    return ageMs >= 0 && ageMs < maxAgeMs;
  }

  async #newestOrOlder(): Promise<View> {
    try {
      return await this.#newest.refreshed();
    } catch (error) {
      return this.#instead(error);
    }
  }

  /** As above; the view that there is does not wait for long. */
  async #soonOrOlder(): Promise<View> {
    const found = await this.#world.clock.atMost(refreshHoldMs, this.#newestOrOlder());
    if (found !== null) return found.value;
    this.#hold("its newest version was not there");
    return this.#newest.current!;
  }

  /** What is looked for goes on being looked for; who tolerates an older view is not held up by it. */
  #hold(what: string): void {
    const why = `${what} within ${refreshHoldMs} ms: S3 is slow or silent, or the version is large`;
    this.#failed(new SiltstoneError("unavailable", `${this.name}: ${why}`));
  }

  /** The older view that serves where the newest version cannot; throws the reason where none may. */
  async #instead(error: unknown): Promise<View> {
    const older = this.#newest.current;
    if (!(error instanceof SiltstoneError) || older === null) throw error;
    // Where damage, or a newer format, hides whatever was published, nothing is no answer.
    const mayServe =
      error.kind === "corrupt" || error.isOfNewerFormat
        ? older.manifest.version > 0 && (await this.#isOurs())
        : error.kind === "unavailable";
    if (!mayServe) throw error;
    // While the configuration was looked at, another call may have found a newer version that is whole.
    const current = this.#newest.current ?? older;
    if (current === older) this.#failed(error);
    return current;
  }

  /** Why the newest version is not the one that serves. Who tolerates that does not try again at once. */
  #failed(error: SiltstoneError): void {
    this.#newest.fault = error;
    this.#failedAtMs = this.#world.clock.nowMs();
  }

  /** As `fresh`, for a query that can do without graphs: while the first view is being fetched, a cold one. */
  async soon(maxAgeMs: number): Promise<SnapshotView> {
    if (this.#newest.current !== null) return this.eventual(maxAgeMs);
    const overdue = await this.#overdue(maxAgeMs);
    if (overdue !== null) return overdue;
    let offer: ColdOffer | null;
    try {
      offer = await this.#coldOffer(maxAgeMs);
    } catch (error) {
      return this.#instead(error);
    }
    if (offer === null) return this.fresh(maxAgeMs, true);
    return (await this.#isStillNewest(offer, maxAgeMs)) ? offer.view : this.fresh(maxAgeMs, true);
  }

  /** The view with the graphs that should be there by now, when they come within a bound; null otherwise. */
  async #overdue(maxAgeMs: number): Promise<View | null> {
    const { cold, failedAtMs, fault } = this.#newest;
    const nowMs = this.#world.clock.nowMs();
    const inVainAtMs = Math.max(failedAtMs, this.#waitedAtMs);
    if (isKind(fault, "corrupt") || nowMs - inVainAtMs < maxAgeMs || !cold.isOverdue(nowMs)) return null;
    const coming = this.fresh(maxAgeMs, true).catch((error: unknown) => {
      if (error instanceof SiltstoneError) return null; // Clusters may answer all the same.
      throw error;
    });
    const found = await this.#world.clock.atMost(graphsHoldMs, coming);
    if (found === null) this.#waitedAtMs = this.#world.clock.nowMs();
    return found?.value ?? null;
  }

  /** False when the pointer has moved; an offer that cannot be checked serves, as a view would. */
  async #isStillNewest(offer: ColdOffer, maxAgeMs: number): Promise<boolean> {
    const askedAtMs = this.#world.clock.nowMs();
    if (askedAtMs === this.#triedAtMs || this.#isWithin(this.#triedAtMs, maxAgeMs)) return true;
    try {
      const moved = await this.#world.clock.atMost(refreshHoldMs, this.#newest.moved(offer.etag));
      if (this.#newest.current !== null) return false; // The graphs came meanwhile.
      if (moved === null) this.#hold("its pointer was not answered");
      else if (moved.value) return false;
      else this.#newest.foundNewest(offer.view, askedAtMs);
    } catch (error) {
      if (!isKind(error, "unavailable")) throw error;
      if (this.#newest.current !== null) return false;
      this.#failed(error);
    }
    return true;
  }

  /** Null when the graphs came first. */
  async #coldOffer(maxAgeMs: number): Promise<ColdOffer | null> {
    const { cold, refreshing, failedAtMs } = this.#newest;
    const isRecent = this.#world.clock.nowMs() - failedAtMs < maxAgeMs;
    if (cold.offer !== null && (refreshing !== null || isRecent)) return cold.offer;
    return cold.wait(() => this.#newest.refreshing ?? this.#newest.refresh(false));
  }

  /**
   * False when the collection was deleted, or another has its name by now: then its old views serve no read. A configuration
   * never changes, so one of a newer format is another's.
   */
  async #isOurs(): Promise<boolean> {
    try {
      return (await readCollection(this.#world.store, this.#collection.name)).id === this.#collection.id;
    } catch (error) {
      return !isKind(error, "notFound") && !isNewerFormat(error);
    }
  }

  /** A view that holds every write that was acknowledged before the call. */
  strong(): Promise<View> {
    return this.#overlays.strong();
  }

  /** A view that holds exactly the given deltas, ingested or laid over. Of the rest of it holds what `fresh` says. */
  including(deltas: readonly DeltaId[], maxAgeMs: number, tolerant: boolean): Promise<View> {
    return this.#overlays.including(deltas, () => this.fresh(maxAgeMs, tolerant));
  }

  fetchGivenVectors(segment: OpenSegment): Promise<void> {
    return this.#views.segments.fetchGivenVectors(segment);
  }

  /** Takes effect when the last read has ended: one that is under way may be in the middle of a refresh. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#views.leave();
    this.#newest.cold.release();
    // The graphs that follow a cold answer are fetched while there are no readers.
    if (this.#readers === 0) await this.#newest.refreshing?.catch(() => {});
    await this.#closeUnread();
  }

  /** Closes what no read can need any more. */
  async #closeUnread(): Promise<void> {
    if (this.#readers > 0) return;
    const isClosing = this.#closing;
    if (isClosing) this.#newest.drop();
    this.#overlays.keepOver(this.view);
    await this.#views.segments.closeRetired().finally(() => isClosing && this.#gone.resolve());
  }
}
