/**
 * Which version of a shard serves its reads: the newest; where that is damaged, the newest whole one before it (fallback.ts),
 * or the one that there was, and the fault is reported.
 *
 * Refresh: conditional GET of the pointer; when it moved, the manifest, and the view of its version (shard-views.ts), which
 * then serves instead of the old one. One refresh at a time, however many wait.
 *
 * The first view of a shard takes seconds when its graphs are large. Meanwhile queries that can do without them get a
 * cold view (lib/engine/read/cold-view.ts); the graphs are fetched from when the first of those queries was answered, so that
 * it has the network for itself.
 */

import { type ShardRef, shardName } from "../../core/format/keys.ts";
import type { Manifest } from "../../core/format/manifest.ts";
import type { Pointer } from "../../core/format/pointer.ts";
import type { Collection } from "../../core/model/collection.ts";
import { corrupt, isKind, isUnreadable, SiltstoneError } from "../../core/model/errors.ts";
import type { World } from "../ports.ts";
import { readManifestOf, readPointer } from "../shard/head.ts";
import { type ColdOffer, ColdStart } from "./cold-start.ts";
import { versionsBefore } from "./fallback.ts";
import type { ShardViews } from "./shard-views.ts";
import type { SnapshotView } from "./snapshot-view.ts";
import type { View } from "./view.ts";

/** A reader that is overtaken by the collector looks again this often. */
const attemptsMax = 5;

export interface Readers {
  readonly hasReaders: () => boolean;
  /** Called at the end of each refresh, when there may be no readers. */
  readonly closeUnread: () => Promise<void>;
}

export class NewestVersion {
  readonly #world: World;
  readonly #collection: Collection;
  readonly #ref: ShardRef;
  readonly #views: ShardViews;
  readonly #readers: Readers;
  readonly cold = new ColdStart();
  /** The etag is that of the pointer that names the view's version; null when the newest is another, which is damaged. */
  #current: { readonly view: View; readonly etag: string | null } | null = null;
  #checkedAtMs = Number.NEGATIVE_INFINITY;
  /** By view: a call may still answer from one while another call's refresh makes a newer one current. */
  readonly #asOfMs = new WeakMap<SnapshotView, number>();
  #failedAtMs = Number.NEGATIVE_INFINITY;
  #refreshing: Promise<void> | null = null;
  /** The newest version that any call was answered from. */
  #newest = 0;
  /** Why the newest version is not the one that serves; null when it is. */
  fault: SiltstoneError | null = null;

  constructor(
    world: World,
    collection: Collection,
    { shard, views, readers }: { shard: number; views: ShardViews; readers: Readers },
  ) {
    this.#world = world;
    this.#collection = collection;
    this.#ref = { collection: collection.name, shard };
    this.#views = views;
    this.#readers = readers;
  }

  /** The view that serves. */
  get current(): View | null {
    return this.#current?.view ?? null;
  }
  /** When the newest version was last found to be the one that serves. */
  get checkedAtMs(): number {
    return this.#checkedAtMs;
  }
  /** When what this view shows was last known to be the newest. */
  asOfMsOf(view: SnapshotView): number {
    return this.#asOfMs.get(view) ?? Number.NEGATIVE_INFINITY;
  }
  /** When a refresh last failed. */
  get failedAtMs(): number {
    return this.#failedAtMs;
  }
  /** Under way. */
  get refreshing(): Promise<void> | null {
    return this.#refreshing;
  }

  /**
   * One at a time. A refresh that is under way may have read the pointer before the caller's question: it waits for
   * that one to end, and shares the next.
   */
  async refresh(needsGraphs = true): Promise<void> {
    if (needsGraphs) this.cold.needGraphs();
    if (this.#refreshing !== null) {
      await this.#refreshing.catch(() => {});
      if (needsGraphs) this.cold.needGraphs();
    }
    this.#refreshing ??= this.#refreshAlone();
    return this.#refreshing;
  }

  /** The newest view; for reads that promise something about writes, a fault must be an error. */
  async refreshed(): Promise<View> {
    await this.refresh();
    return this.current!;
  }

  /** Whether the pointer is another by now. */
  async moved(etag: string): Promise<boolean> {
    return (await readPointer(this.#world.store, this.#collection, this.#ref.shard, etag)) !== null;
  }

  /** What this view shows was the newest when the pointer was asked. */
  foundNewest(view: SnapshotView, askedAtMs: number): void {
    this.#checkedAtMs = askedAtMs;
    this.#asOfMs.set(view, askedAtMs);
  }

  /** Of a shard that was left, when it has no readers any more. */
  drop(): void {
    this.#views.keepOnly([]);
    this.#current = null;
    this.cold.offer = null;
  }

  async #refreshAlone(): Promise<void> {
    try {
      await this.#refreshOnce();
      this.cold.offer = null;
    } catch (error) {
      this.#failedAtMs = this.#world.clock.nowMs();
      // Damage concerns readers that have a view as well; any other failure, those that have no view.
      if (error instanceof SiltstoneError && (error.kind === "corrupt" || this.#current === null))
        this.fault = error;
      throw error;
    } finally {
      this.#refreshing = null;
      this.cold.end();
      await this.#readers.closeUnread();
    }
  }

  async #refreshOnce(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const askedAtMs = this.#world.clock.nowMs();
      const read = await readPointer(
        this.#world.store,
        this.#collection,
        this.#ref.shard,
        this.#current?.etag ?? undefined,
      );
      if (read !== null) {
        if (read.pointer.version < this.#newest) {
          throw corrupt(
            shardName(this.#ref),
            `its pointer went back from version ${this.#newest} to ${read.pointer.version}`,
          );
        }
        let manifest: Manifest | null = null;
        try {
          manifest = await readManifestOf(this.#world.store, this.#collection, read.pointer);
          await this.#serve(manifest, read.etag, askedAtMs);
        } catch (error) {
          if (!isKind(error, "corrupt")) throw error;
          // A slow reader may be overtaken by the collector: then the pointer names a newer version by now.
          if (attempt < attemptsMax && (await this.moved(read.etag))) continue;
          await this.#fallBack(read.pointer, manifest);
          throw error;
        }
      }
      this.fault = null;
      this.foundNewest(this.#current!.view, askedAtMs);
      return;
    }
  }

  /** Makes the newest whole version before a damaged one current; where none is newer than the view, nothing. */
  async #fallBack(pointer: Pointer, damaged: Manifest | null): Promise<void> {
    const above = this.#current?.view.manifest.version ?? 0;
    const older = versionsBefore(this.#world.store, this.#collection, pointer, { damaged, above });
    for await (const { manifest, newestUntilMs } of older) {
      if (!this.#views.segments.mayBeWhole(manifest.segments)) continue;
      try {
        const view = await this.#serve(manifest, null);
        this.#asOfMs.set(view, newestUntilMs);
      } catch (error) {
        if (!isUnreadable(error)) throw error;
        continue;
      }
      // What a cold answer found to be the newest is damaged: no bound may count from there.
      this.#checkedAtMs = Number.NEGATIVE_INFINITY;
      this.cold.offer = null;
      return;
    }
  }

  /** Makes a version the one that serves. While it is being opened, a cold view of the newest may answer. */
  async #serve(manifest: Manifest, etag: string | null, askedAtMs = 0): Promise<View> {
    const coldFirst = async () => {
      if (!this.cold.isWanted || etag === null) return;
      await this.cold.answer(() => this.#coldOffer(manifest, etag, askedAtMs), this.#readers.hasReaders);
    };
    const view = this.#views.of(manifest) ?? (await this.#views.open(manifest, coldFirst));
    this.#current = { view, etag };
    this.#newest = Math.max(this.#newest, manifest.version);
    this.#views.keepOnly([manifest]);
    return view;
  }

  /** A cold view of this version; null where there can be none, or it is damaged. */
  async #coldOffer(manifest: Manifest, etag: string, askedAtMs: number): Promise<ColdOffer | null> {
    try {
      const view = await this.#views.openCold(manifest);
      if (view === null) return null;
      this.foundNewest(view, askedAtMs);
      this.#newest = manifest.version;
      return { view, etag, sinceMs: this.cold.offer?.sinceMs ?? this.#world.clock.nowMs() };
    } catch (error) {
      if (!(error instanceof SiltstoneError)) throw error;
      return null; // The graphs may be in order; where they are not, their opening says so.
    }
  }
}
