/**
 * Reading one shard, as fresh as a call wants it: who reads gets the view of the version that serves (newest-version.ts), for as
 * long as it is fresh enough (aged-views.ts), with the backlog laid over it where writes are promised (overlays.ts).
 */
import { type ShardRef, shardName } from "../../core/format/keys.ts";
import type { Collection } from "../../core/model/collection.ts";
import type { SiltstoneError } from "../../core/model/errors.ts";
import type { DeltaId } from "../../core/model/ids.ts";
import type { OpenSegment } from "../../segment/open-segment.ts";
import type { SegmentWork } from "../../segment/segment-work.ts";
import type { World } from "../ports.ts";
import { AgedViews } from "./aged-views.ts";
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
  /** For reads that say how old what they read may be. */
  readonly aged: AgedViews;
  readonly #world: World;
  readonly #collection: Collection;
  readonly #ref: ShardRef;
  readonly #views: ShardViews;
  readonly #newest: NewestVersion;
  readonly #overlays: Overlays;
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
    this.aged = new AgedViews(world, collection, { name: this.name, newest: this.#newest });
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

  /** A view that holds every write that was acknowledged before the call. */
  strong(): Promise<View> {
    return this.#overlays.strong();
  }

  /** A view that holds exactly the given deltas, ingested or laid over. Of the rest it holds what `aged.fresh` says. */
  including(deltas: readonly DeltaId[], maxAgeMs: number, tolerant: boolean): Promise<View> {
    return this.#overlays.including(deltas, () => this.aged.fresh(maxAgeMs, tolerant));
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
