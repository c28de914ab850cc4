/**
 * The views of one shard, each kept under its version; which versions those are is chosen elsewhere
 * (newest-version.ts). A view is built beside those that are kept, from whose segments it takes what it has in common with
 * them: only the files of the others are fetched, and verified.
 */

import { type ShardRef, shardName } from "../../core/format/keys.ts";
import { isClustered, type Manifest, type Segment } from "../../core/format/manifest.ts";
import type { Collection } from "../../core/model/collection.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import type { OpenSegment } from "../../segment/open-segment.ts";
import type { SegmentWork } from "../../segment/segment-work.ts";
import type { World } from "../ports.ts";
import { type ManifestName, nameOf } from "../shard/history.ts";
import { ColdView } from "./cold-view.ts";
import type { Descriptors } from "./descriptors.ts";
import { heldBytes, OpenSegments } from "./open-segments.ts";
import { View } from "./view.ts";

export interface Surroundings {
  /** Folder for segment files. */
  readonly folder: string;
  readonly descriptors: Descriptors;
  /** Who does what of opening segments takes long. */
  readonly work: SegmentWork;
  /**
   * Asked before anything is fetched. Null when there is space; else what to wait for before it is asked again. Throws when
   * there is none.
   */
  readonly makeSpace: (wanted: Wanted) => Promise<unknown> | null;
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
  /** By version and commit: of a version that was taken back another may have the number. */
  readonly #kept = new Map<string, View>();
  /** What a load under way will hold. */
  #coming: readonly Segment[] = [];
  readonly #left = Promise.withResolvers<void>();
  #isLeft = false;

  constructor(world: World, collection: Collection, shard: number, surroundings: Surroundings) {
    this.#world = world;
    this.#collection = collection;
    this.#ref = { collection: collection.name, shard };
    this.#surroundings = surroundings;
    this.segments = new OpenSegments(world.store, collection, shard, surroundings);
  }

  /** Bytes of the files of the views that are kept, or of the one that comes: about what is in memory and on disk. */
  get bytes(): number {
    return Math.max(heldBytes(this.#segmentsKept()), heldBytes(this.#coming));
  }
  /** Of everything that is open or on its way: old views, too, for as long as they have readers. */
  get openBytes(): number {
    return this.segments.bytes + this.segments.bytesToOpen(this.#coming);
  }

  /** The view that is kept of a version; null where it is not. */
  of(version: ManifestName): View | null {
    return this.#kept.get(nameOf(version)) ?? null;
  }

  /**
   * Builds the view of a version, one at a time, and keeps it. `meanwhile`, which is waited for, runs when there is space for it
   * and before anything is fetched.
   */
  async open(manifest: Manifest, meanwhile: () => Promise<void>): Promise<View> {
    const viewBytes = heldBytes(manifest.segments);
    const addedBytes = this.segments.bytesToOpen(manifest.segments);
    await this.takeSpace({ viewBytes, addedBytes }, () => {
      this.#coming = manifest.segments;
    });
    try {
      await meanwhile();
      const opened = await this.#openAll(manifest.segments);
      const before = [...this.#kept.values()].at(-1) ?? null;
      await View.prepare(opened, before, this.#surroundings.work);
      const view = new View(manifest, opened, { before });
      this.#kept.set(nameOf(manifest), view);
      return view;
    } finally {
      this.#coming = [];
    }
  }

  /** A cold view of a version, which is not kept; null where its segments have no clusters, or none need them. */
  async openCold(manifest: Manifest): Promise<ColdView | null> {
    const graphs = manifest.segments.filter(({ kind }) => kind === "hnsw");
    if (graphs.length === 0 || !graphs.every(isClustered)) return null;
    const opened = await this.#openAll(manifest.segments.filter(({ kind }) => kind === "flat"));
    return ColdView.open(this.#world.store, this.#collection, manifest, opened);
  }

  /** Forgets the views of all other versions, and retires what only they have open. */
  keepOnly(versions: readonly ManifestName[]): void {
    const named = new Set(versions.map(nameOf));
    for (const name of this.#kept.keys()) if (!named.has(name)) this.#kept.delete(name);
    this.segments.keepOnly(this.#segmentsKept());
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

  /** From here on nothing is opened. */
  leave(): void {
    this.#isLeft = true;
    this.#left.resolve();
  }

  /** Once each, however many of the views have it. */
  #segmentsKept(): Segment[] {
    const all = [...this.#kept.values()].flatMap(({ manifest }) => manifest.segments);
    return [...new Map(all.map((segment) => [segment.id, segment])).values()];
  }

  async #openAll(segments: readonly Segment[]): Promise<OpenSegment[]> {
    this.#checkOpen();
    return this.segments.open(segments);
  }

  #checkOpen(): void {
    if (this.#isLeft)
      throw new SiltstoneError(
        "unavailable",
        `${shardName(this.#ref)}: its reader was closed; repeat the call`,
      );
  }
}
