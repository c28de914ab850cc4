/**
 * The views of one shard: the one that serves, the one that comes beside it, and a cold one while the first is fetched.
 *
 * Refresh: conditional GET of the pointer; when it moved, the manifest, and the files of the segments that are not open
 * yet, verified; the new view is built beside the old one and swapped in. One refresh at a time, however many wait. When the
 * new version is damaged, the newest whole one before it serves (fallback.ts), or the view that there was, and the fault is
 * reported.
 *
 * The first view of a shard takes seconds when its graphs are large. Meanwhile queries that can do without them get a
 * cold view (lib/engine/read/cold-view.ts); the graphs are fetched from when the first of those queries was answered, so that
 * it has the wire for itself.
 */

import { type ShardRef, shardName } from "../../core/format/keys.ts";
import { isClustered, type Manifest, type Segment } from "../../core/format/manifest.ts";
import type { Pointer } from "../../core/format/pointer.ts";
import type { Collection } from "../../core/model/collection.ts";
import { corrupt, isKind, isNewerFormat, SiltstoneError } from "../../core/model/errors.ts";
import type { OpenSegment } from "../../segment/open-segment.ts";
import type { World } from "../ports.ts";
import { readManifestOf, readPointer } from "../shard/head.ts";
import { type ColdOffer, ColdStart } from "./cold-start.ts";
import { ColdView } from "./cold-view.ts";
import type { Descriptors } from "./descriptors.ts";
import { versionsBefore } from "./fallback.ts";
import { heldBytes, OpenSegments } from "./open-segments.ts";
import { View } from "./view.ts";

/** A reader that is overtaken by the collector looks again this often. */
const attemptsMax = 5;

export interface Surroundings {
  /** Folder for segment files. */
  readonly folder: string;
  readonly descriptors: Descriptors;
  /**
   * Asked before anything is fetched. Null when there is space; else what to wait for before it is asked again. Throws when
   * there is none.
   */
  readonly makeSpace: (wanted: Wanted) => Promise<unknown> | null;
  readonly hasReaders: () => boolean;
  /** Called at the end of each refresh, when there may be no readers. */
  readonly closeUnread: () => Promise<void>;
}
export interface Wanted {
  /** What the shard's view will hold. */
  readonly viewBytes: number;
  /** What of it is not here yet: it comes beside whatever the shard has open. */
  readonly addedBytes: number;
}

export class ShardViews {
  readonly #world: World;
  readonly #collection: Collection;
  readonly #ref: ShardRef;
  readonly #surroundings: Surroundings;
  readonly segments: OpenSegments;
  readonly cold = new ColdStart();
  /** The etag is that of the pointer that names the view's version; null when the newest is another, which is damaged. */
  #current: { readonly view: View; readonly etag: string | null } | null = null;
  #checkedAtMs = Number.NEGATIVE_INFINITY;
  #asOfMs = Number.NEGATIVE_INFINITY;
  #failedAtMs = Number.NEGATIVE_INFINITY;
  #refreshing: Promise<void> | null = null;
  /** What a load under way will hold. */
  #coming: readonly Segment[] = [];
  /** The newest version that any call was answered from. */
  #newest = 0;
  readonly #left = Promise.withResolvers<void>();
  #isLeft = false;
  /** Why the newest version is not the one that serves; null when it is. */
  fault: SiltstoneError | null = null;

  constructor(world: World, collection: Collection, shard: number, surroundings: Surroundings) {
    this.#world = world;
    this.#collection = collection;
    this.#ref = { collection: collection.name, shard };
    this.#surroundings = surroundings;
    this.segments = new OpenSegments(world.store, collection, shard, surroundings);
  }

  get current(): View | null {
    return this.#current?.view ?? null;
  }
  /** When the newest version was last found to be the one that serves. */
  get checkedAtMs(): number {
    return this.#checkedAtMs;
  }
  /** When what serves was last known to be the newest. */
  get asOfMs(): number {
    return this.#asOfMs;
  }
  /** When a refresh last failed. */
  get failedAtMs(): number {
    return this.#failedAtMs;
  }
  /** Under way. */
  get refreshing(): Promise<void> | null {
    return this.#refreshing;
  }
  /** Bytes of the files of the view that serves or comes: about what it has in memory and on disk. */
  get bytes(): number {
    return Math.max(heldBytes(this.current?.manifest.segments ?? []), heldBytes(this.#coming));
  }
  /** Of everything that is open or on its way: old views, too, for as long as they have readers. */
  get openBytes(): number {
    const coming = this.segments.bytesToOpen(this.#coming);
    return this.segments.bytes + coming + (this.cold.offer?.view.bytes ?? 0);
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

  /** Whether the pointer is another by now. */
  async moved(etag: string): Promise<boolean> {
    return (await readPointer(this.#world.store, this.#collection, this.#ref.shard, etag)) !== null;
  }

  /** What serves was the newest when the pointer was asked. */
  foundNewest(askedAtMs: number): void {
    this.#checkedAtMs = askedAtMs;
    this.#asOfMs = askedAtMs;
  }

  /** Others that leave for it may take a while to be gone. `take` counts it as ours, before another can ask. */
  async takeSpace(wanted: Wanted, take: () => void): Promise<void> {
    for (;;) {
      this.#checkOpen();
      const leaving = this.#surroundings.makeSpace(wanted);
      if (leaving === null) return take();
      await Promise.race([leaving, this.#left.promise]);
    }
  }

  #checkOpen(): void {
    if (this.#isLeft)
      throw new SiltstoneError(
        "unavailable",
        `${shardName(this.#ref)}: its reader was closed; repeat the call`,
      );
  }

  /** From here on nothing is opened. */
  leave(): void {
    this.#isLeft = true;
    this.#left.resolve();
    this.cold.release();
  }

  /** Of a shard that was left, when it has no readers any more. */
  drop(): void {
    this.segments.keepOnly([]);
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
      this.#coming = [];
      await this.#surroundings.closeUnread();
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
          await this.#swap(manifest, read.etag, askedAtMs);
        } catch (error) {
          if (!isKind(error, "corrupt")) throw error;
          // A slow reader may be overtaken by the collector: then the pointer names a newer version by now.
          if (attempt < attemptsMax && (await this.moved(read.etag))) continue;
          await this.#fallBack(read.pointer, manifest);
          throw error;
        }
      }
      this.fault = null;
      this.foundNewest(askedAtMs);
      return;
    }
  }

  /** Makes the newest whole version before a damaged one current; where none is newer than the view, nothing. */
  async #fallBack(pointer: Pointer, damaged: Manifest | null): Promise<void> {
    const above = this.#current?.view.manifest.version ?? 0;
    const older = versionsBefore(this.#world.store, this.#collection, pointer, { damaged, above });
    for await (const { manifest, newestUntilMs } of older) {
      if (!this.segments.mayBeWhole(manifest.segments)) continue;
      try {
        await this.#swap(manifest, null);
      } catch (error) {
        if (!isKind(error, "corrupt") && !isNewerFormat(error)) throw error;
        continue;
      }
      // What a cold answer found to be the newest is damaged: no bound may count from there.
      this.#checkedAtMs = Number.NEGATIVE_INFINITY;
      this.#asOfMs = newestUntilMs;
      this.cold.offer = null;
      return;
    }
  }

  /** Opens what is new, builds the view beside the old one, and makes it current. Meanwhile a cold view of the newest may serve. */
  async #swap(manifest: Manifest, etag: string | null, askedAtMs = 0): Promise<void> {
    if (this.#current?.view.manifest.commit === manifest.commit) {
      this.#current = { view: this.#current.view, etag };
      return;
    }
    const viewBytes = heldBytes(manifest.segments);
    const addedBytes = this.segments.bytesToOpen(manifest.segments);
    await this.takeSpace({ viewBytes, addedBytes }, () => {
      this.#coming = manifest.segments;
    });
    if (this.cold.isWanted && etag !== null) {
      await this.cold.answer(() => this.#coldOf(manifest, etag, askedAtMs), this.#surroundings.hasReaders);
    }
    const opened = await this.#openAll(manifest.segments);
    const view = new View(manifest, opened, { before: this.#current?.view ?? null });
    this.#current = { view, etag };
    this.#newest = Math.max(this.#newest, manifest.version);
    this.segments.keepOnly(manifest.segments);
  }

  /** A cold view of this version; null where its segments have none, or it is damaged. */
  async #coldOf(manifest: Manifest, etag: string, askedAtMs: number): Promise<ColdOffer | null> {
    const graphs = manifest.segments.filter(({ kind }) => kind === "hnsw");
    if (graphs.length === 0 || !graphs.every(isClustered)) return null;
    const flats = manifest.segments.filter(({ kind }) => kind === "flat");
    try {
      const opened = await this.#openAll(flats);
      const view = await ColdView.open(this.#world.store, this.#collection, manifest, opened);
      this.foundNewest(askedAtMs);
      this.#newest = manifest.version;
      return { view, etag, sinceMs: this.cold.offer?.sinceMs ?? this.#world.clock.nowMs() };
    } catch (error) {
      if (!(error instanceof SiltstoneError)) throw error;
      return null; // The graphs may be in order; where they are not, their opening says so.
    }
  }

  async #openAll(segments: readonly Segment[]): Promise<OpenSegment[]> {
    this.#checkOpen();
    return this.segments.open(segments);
  }
}
