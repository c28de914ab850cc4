/**
 * Views of a shard with the backlog laid over them, for reads that promise writes.
 *
 * Strong reads LIST the deltas first and read the pointer second: a delta that vanished before the LIST was committed
 * before it, so the pointer read later covers it. What they have read of the backlog is kept while it is listed: the next one
 * reads only what is new, and lays only that over its view anew (laid-over.ts).
 */

import pLimit from "p-limit";
import { type ShardRef, shardName } from "../../core/format/keys.ts";
import { bounds } from "../../core/model/bounds.ts";
import type { Collection } from "../../core/model/collection.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import type { DeltaId } from "../../core/model/ids.ts";
import type { World } from "../ports.ts";
import { backlogOf, type DeltaRows, isCut, isInBacklogOf, listDeltas, readDeltas } from "../shard/deltas.ts";
import { whereabouts } from "../shard/quarantine.ts";
import { LaidOver } from "./laid-over.ts";
import type { NewestVersion } from "./newest-version.ts";
import { laidOverBytes } from "./open-segments.ts";
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

/** By delta, what was read of the backlog. */
type KnownRows = Map<DeltaId, DeltaRows>;

export class Overlays {
  readonly #world: World;
  readonly #collection: Collection;
  readonly #ref: ShardRef;
  readonly #newest: NewestVersion;
  /** What strong reads have read of the backlog: a delta never changes, so that the next one reads only what is new. */
  readonly #backlog: KnownRows = new Map();
  #backlogBytes = 0;
  /** The backlog, and the deltas of tokens, laid over a view. */
  readonly #whole: LaidOver;
  readonly #named: LaidOver;
  /** The view under which they were last looked through. */
  #keptOver: View | null = null;
  /** Strong reads take turns: those that wait for the one under way share the next. */
  #running: Promise<unknown> = Promise.resolve();
  #waiting: Promise<View> | null = null;
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
    this.#newest = newest;
    this.#whole = new LaidOver(views, world.clock);
    this.#named = new LaidOver(views, world.clock);
  }

  /** Of the deltas that are laid over a view, or will be. */
  get bytes(): number {
    return this.#whole.bytes + this.#named.bytes + this.#backlogBytes;
  }
  /** Of those that are no open segments: rows in memory. */
  get rowBytes(): number {
    return this.#whole.comingBytes + this.#named.comingBytes + this.#backlogBytes;
  }
  /** When what lies under the deltas of a view was last known to be the newest; null of a view without any. */
  asOfMsOf(view: SnapshotView): number | null {
    return this.#laidOverAtMs.get(view) ?? null;
  }

  /** Lets go of the deltas that are part of this view; of all, where there is none. */
  keepOver(view: View | null): void {
    if (view !== null && this.#keptOver === view) return;
    this.#keptOver = view;
    const isWaiting = view === null ? () => false : isInBacklogOf(view.manifest);
    this.#forget(isWaiting);
    this.#named.keepOnly(isWaiting);
    this.#whole.leaveView();
    this.#named.leaveView();
  }

  #forget(isWanted: (delta: DeltaId) => boolean): void {
    this.#whole.keepOnly(isWanted);
    for (const [delta, { rows }] of this.#backlog) {
      if (isWanted(delta)) continue;
      this.#backlog.delete(delta);
      this.#backlogBytes -= laidOverBytes(rows);
    }
  }

  /** A view that holds every write that was acknowledged before the call. */
  strong(): Promise<View> {
    if (this.#waiting === null) {
      const turn = this.#running.then(() => {
        this.#waiting = null;
        return this.#strong();
      });
      this.#waiting = turn;
      this.#running = turn.catch(() => {});
    }
    return this.#waiting;
  }

  async #strong(): Promise<View> {
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
      const asOfMs = this.#newest.asOfMsOf(view);
      const over = await this.#overBacklog(
        view,
        pending.map(({ delta }) => delta),
      );
      if (over !== null) return this.#remembered(over, view, asOfMs);
    }
    throw this.#outrun();
  }

  /** What is not listed any more, or too old by now to be applied, is forgotten; the latter is read again, and judged. */
  #overBacklog(view: View, deltas: readonly DeltaId[]): Promise<View | null> {
    const listed = new Set(deltas);
    const nowMs = this.#world.clock.nowMs();
    this.#forget((delta) => listed.has(delta) && nowMs <= (this.#backlog.get(delta)?.goodUntilMs ?? nowMs));
    return this.#overlaid(view, deltas, this.#backlog, this.#whole);
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
      const asOfMs = this.#newest.asOfMsOf(view);
      const over = await this.#overlaid(view, waiting, read, this.#named);
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
  async #overlaid(
    view: View,
    deltas: readonly DeltaId[],
    known: KnownRows,
    laidOver: LaidOver,
  ): Promise<View | null> {
    if (deltas.length === 0) return view;
    const unread = deltas.filter((delta) => !known.has(delta));
    for (const read of await readDeltas(this.#world, this.#collection, this.#ref, unread)) {
      if ("error" in read) throw read.error;
      if (read.kind !== "rows") continue;
      known.set(read.delta, read);
      if (known === this.#backlog) this.#backlogBytes += laidOverBytes(read.rows);
    }
    if (!deltas.every((delta) => known.has(delta))) return null;
    return laidOver.over(view, deltas, (delta) => known.get(delta)!.rows);
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
        if (one.kind === "rows") known.set(one.delta, one);
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
