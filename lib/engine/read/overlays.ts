/**
 * Views of a shard with the backlog laid over them, for reads that promise writes.
 *
 * Strong reads LIST the deltas first and read the pointer second: a delta that vanished before the LIST was committed
 * before it, so the pointer read later covers it.
 */

import pLimit from "p-limit";
import { type ShardRef, shardName } from "../../core/format/keys.ts";
import { bounds } from "../../core/model/bounds.ts";
import type { Collection } from "../../core/model/collection.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import { type DeltaId, segmentId } from "../../core/model/ids.ts";
import type { Row } from "../../core/model/row.ts";
import type { OpenSegment } from "../../segment/open-segment.ts";
import type { World } from "../ports.ts";
import { backlogOf, isCut, listDeltas, readDeltas } from "../shard/deltas.ts";
import { whereabouts } from "../shard/quarantine.ts";
import type { NewestVersion } from "./newest-version.ts";
import { heldBytes, laidOverBytes } from "./open-segments.ts";
import type { ShardViews } from "./shard-views.ts";
import type { SnapshotView } from "./snapshot-view.ts";
import type { View } from "./view.ts";

/** Bytes of the deltas that a strong read lays over its view; bounds.overlaidDeltas bounds their number. */
export const overlayBytesMax = 64 * 1024 * 1024;
/** A reader that is overtaken by a compactor or a collector looks again this often. */
const attemptsMax = 5;
/** Deltas looked for at a time, where they are no longer in the backlog. */
const looksAtOnce = 16;
/** Times that one delta was put aside and put back. */
const retriesMax = 32;
/**
 * A delta that was seen in the backlog, and is not among the applied ones of a version this much newer, may be taken back:
 * ingested, forgotten in `applied` by a later ingest, and undone by a rollback. So it is looked for again.
 */
const outrunVersions = 3;

/** By delta, what one read has read of the backlog. */
type KnownRows = Map<DeltaId, readonly Row[]>;

/** The backlog as a segment, for reads of the same view with the same backlog. */
interface Overlay {
  readonly view: View;
  readonly key: string;
  readonly segment: OpenSegment;
}

export class Overlays {
  readonly #world: World;
  readonly #collection: Collection;
  readonly #ref: ShardRef;
  readonly #views: ShardViews;
  readonly #newest: NewestVersion;
  #overlay: Overlay | null = null;
  /** Bytes of the backlog's rows that are becoming a segment. */
  #comingBytes = 0;
  /** Views with deltas laid over them: while these were read, another call may have refreshed the reader. */
  readonly #laidOverAtMs = new WeakMap<SnapshotView, number>();

  constructor(
    world: World,
    collection: Collection,
    { shard, views, newest }: { shard: number; views: ShardViews; newest: NewestVersion },
  ) {
    this.#world = world;
    this.#collection = collection;
    this.#ref = { collection: collection.name, shard };
    this.#views = views;
    this.#newest = newest;
  }

  /** Of the deltas that are laid over a view, or will be. */
  get bytes(): number {
    return (this.#overlay === null ? 0 : heldBytes([this.#overlay.segment.segment])) + this.#comingBytes;
  }
  /** Of those that are not open yet. */
  get comingBytes(): number {
    return this.#comingBytes;
  }
  /** When what lies under the deltas of a view was last known to be the newest; null of a view without any. */
  asOfMsOf(view: SnapshotView): number | null {
    return this.#laidOverAtMs.get(view) ?? null;
  }

  /** Retires the deltas that lie over another view than this one: they are most likely ingested by now. */
  keepOver(view: View | null): void {
    if (this.#overlay?.view !== view) this.#dropOverlay();
  }

  /** A view that holds every write that was acknowledged before the call. */
  async strong(): Promise<View> {
    const known: KnownRows = new Map();
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      // A LIST from the very beginning would walk over the delete markers of all that was ever ingested.
      const { watermark, version } = (this.#newest.current ?? (await this.#newest.refreshed())).manifest;
      const listed = await listDeltas(this.#world.store, this.#ref, watermark);
      const view = await this.#newest.refreshed();
      const pending = backlogOf(listed, view.manifest);
      const bytes = pending.reduce((sum, delta) => sum + delta.bytes, 0);
      if (pending.length > bounds.overlaidDeltas || bytes > overlayBytesMax)
        throw this.#tooMuch(pending.length, bytes);
      // What it saw is ingested by now; of what lay behind its end it says nothing.
      if (isCut(listed)) continue;
      if (pending.length > 0 && view.manifest.version >= version + outrunVersions) continue;
      const asOfMs = this.#newest.asOfMs;
      const over = await this.#overlaid(
        view,
        pending.map(({ delta }) => delta),
        known,
      );
      if (over !== null) return this.#remembered(over, view, asOfMs);
    }
    throw this.#outrun();
  }

  /** A view that holds exactly the given deltas, ingested or laid over. Of the rest of it holds what `fresh` says. */
  async including(deltas: readonly DeltaId[], fresh: () => Promise<View>): Promise<View> {
    const read: KnownRows = new Map();
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const { applied, version } = (this.#newest.current ?? (await this.#newest.refreshed())).manifest;
      // The deltas are read first, the pointer second: one that is gone by then was committed before.
      const known = new Set(applied);
      const missing = deltas.filter((delta) => !known.has(delta));
      if (missing.length === 0) return fresh();
      const there = await this.#locate(missing, read);
      const view = await this.#newest.refreshed();
      const ingested = new Set(view.manifest.applied);
      const waiting = there.filter((delta) => !ingested.has(delta));
      if (waiting.length > 0 && view.manifest.version >= version + outrunVersions) continue;
      const asOfMs = this.#newest.asOfMs;
      const over = await this.#overlaid(view, waiting, read);
      if (over !== null) return this.#remembered(over, view, asOfMs);
    }
    throw this.#outrun();
  }

  #remembered(over: View, base: View, asOfMs: number): View {
    if (over !== base) this.#laidOverAtMs.set(over, asOfMs);
    return over;
  }

  /**
   * The view with the deltas over it; null when one of them is gone by now and the caller has to look again. What was read
   * by then is in `known`: looking again is quick, however small the batches are that a compactor takes meanwhile.
   */
  async #overlaid(view: View, deltas: readonly DeltaId[], known: KnownRows): Promise<View | null> {
    if (deltas.length === 0) return view;
    const key = deltas.join();
    if (this.#overlay?.key !== key || this.#overlay.view !== view) {
      const unread = deltas.filter((delta) => !known.has(delta));
      for (const read of await readDeltas(this.#world, this.#collection, this.#ref, unread)) {
        if ("error" in read) throw read.error;
        if (read.kind === "rows") known.set(read.delta, read.rows);
      }
      if (!deltas.every((delta) => known.has(delta))) return null;
      const rows = deltas.flatMap((delta) => known.get(delta)!);
      const segment = await this.#layOver(view, rows);
      this.#dropOverlay();
      this.#overlay = { view, key, segment };
    }
    return view.over(this.#overlay.segment, deltas);
  }

  async #layOver(view: View, rows: readonly Row[]): Promise<OpenSegment> {
    const addedBytes = laidOverBytes(rows);
    const viewBytes = heldBytes(view.manifest.segments) + addedBytes;
    await this.#views.takeSpace({ viewBytes, addedBytes }, () => {
      this.#comingBytes += addedBytes;
    });
    try {
      return await this.#views.segments.openRows(segmentId(this.#world.clock.ulid()), rows);
    } finally {
      this.#comingBytes -= addedBytes;
    }
  }

  #dropOverlay(): void {
    if (this.#overlay !== null) this.#views.segments.retire(this.#overlay.segment);
    this.#overlay = null;
  }

  /** Which of the deltas, or of the names under which they were put again, are in the backlog; throws for one in quarantine. */
  async #locate(deltas: readonly DeltaId[], known: KnownRows): Promise<DeltaId[]> {
    const there: DeltaId[] = [];
    let wanted = deltas;
    for (let hop = 0; wanted.length > 0 && hop < retriesMax; hop++) {
      const gone: DeltaId[] = [];
      for (const one of await readDeltas(this.#world, this.#collection, this.#ref, wanted)) {
        if ("error" in one) throw one.error;
        (one.kind === "rows" ? there : gone).push(one.delta);
        if (one.kind === "rows") known.set(one.delta, one.rows);
      }
      const limit = pLimit(looksAtOnce);
      const found = gone.map((delta) => limit(() => whereabouts(this.#world.store, this.#ref, delta)));
      wanted = (await Promise.all(found)).filter((name) => name !== null);
    }
    if (wanted.length === 0) return there;
    throw new SiltstoneError(
      "unavailable",
      `${shardName(this.#ref)}: delta ${wanted[0]} was put back more than ${retriesMax} times; ` +
        "look why with `silt quarantine list`",
    );
  }

  #outrun(): SiltstoneError {
    return new SiltstoneError(
      "unavailable",
      `${shardName(this.#ref)}: deltas are ingested faster than they can be read; try again`,
    );
  }

  #tooMuch(deltas: number, bytes: number): SiltstoneError {
    return new SiltstoneError(
      "unavailable",
      `${shardName(this.#ref)}: ${deltas} deltas of the backlog (${bytes} bytes) are more than a strong read lays over ` +
        `(${bounds.overlaidDeltas} deltas, ${overlayBytesMax} bytes): wait for the compactor, or read with consistency eventual`,
    );
  }
}
