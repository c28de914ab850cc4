/**
 * Reading one shard: as fresh as a call wants it, with the backlog laid over its view where it promises writes. How views
 * come to be is in lib/engine/read/shard-views.ts.
 *
 * Strong reads LIST the deltas first and read the pointer second: a delta that vanished before the LIST was committed
 * before it, so the pointer read later covers it.
 */

import pLimit from "p-limit";
import { type ShardRef, shardName } from "../../core/format/keys.ts";
import { bounds } from "../../core/model/bounds.ts";
import type { Collection } from "../../core/model/collection.ts";
import { isKind, isNewerFormat, SiltstoneError } from "../../core/model/errors.ts";
import type { Row } from "../../core/model/row.ts";
import { graphsHoldMs, refreshHoldMs } from "../../core/policy/time-bounds.ts";
import type { OpenSegment } from "../../segment/open-segment.ts";
import type { World } from "../ports.ts";
import { backlogOf, isCut, listDeltas, readDeltas } from "../shard/deltas.ts";
import { readCollection } from "../shard/head.ts";
import { whereabouts } from "../shard/quarantine.ts";
import type { ColdOffer } from "./cold-start.ts";
import type { Descriptors } from "./descriptors.ts";
import { heldBytes, laidOverBytes } from "./open-segments.ts";
import { ShardViews, type Wanted } from "./shard-views.ts";
import type { SnapshotView } from "./snapshot-view.ts";
import type { View } from "./view.ts";

/** Likewise of the deltas that a strong read lays over its view (bounds.overlaidDeltas), their bytes. */
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
type KnownRows = Map<string, readonly Row[]>;

export interface ShardReaderOptions {
  /** Folder for segment files; emptied by close(). */
  readonly folder: string;
  readonly descriptors: Descriptors;
  /**
   * Asked before anything is fetched or laid over a view. Null when there is space; else what to wait for before it is asked
   * again. Throws when there is none.
   */
  readonly makeSpace: (shard: ShardReader, wanted: Wanted) => Promise<unknown> | null;
}

/** The backlog as a segment, for reads of the same view with the same backlog. */
interface Overlay {
  readonly view: View;
  readonly key: string;
  readonly segment: OpenSegment;
}

export class ShardReader {
  readonly #world: World;
  readonly #collection: Collection;
  readonly #ref: ShardRef;
  readonly #views: ShardViews;
  #overlay: Overlay | null = null;
  /** Bytes of the backlog's rows that are becoming a segment. */
  #layingOver = 0;
  /** Views with deltas laid over them: while these were read, another call may have refreshed the reader. */
  readonly #laidOverAtMs = new WeakMap<SnapshotView, number>();
  /** When it could not be found out whether what serves is the newest. */
  #failedAtMs = Number.NEGATIVE_INFINITY;
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
      hasReaders: () => this.#readers > 0,
      closeUnread: () => this.#closeUnread(),
    });
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
    return this.#views.current;
  }
  /** When what serves was last known to be the newest version. */
  get asOfMs(): number {
    return this.#views.asOfMs;
  }
  /** The same of one view of this reader. */
  asOfMsOf(view: SnapshotView): number {
    return this.#laidOverAtMs.get(view) ?? this.asOfMs;
  }
  /** Why the newest version is not the one that serves; null when it is. */
  get fault(): SiltstoneError | null {
    return this.#views.fault;
  }
  /** Bytes of the files of the view that serves or comes, deltas laid over it included. */
  get viewBytes(): number {
    const overlayBytes = this.#overlay === null ? 0 : heldBytes([this.#overlay.segment.segment]);
    return this.#views.bytes + overlayBytes + this.#layingOver;
  }
  /** Of everything that is open or on its way. */
  get openBytes(): number {
    return this.#views.openBytes + this.#layingOver;
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
      this.#views.cold.release();
      await this.#closeUnread();
    }
  }

  /**
   * The view, known to be the newest at most `maxAgeMs` ago. `tolerant`: when that cannot be found out, or the newest
   * version is damaged, the view that there is serves; otherwise the failure is thrown.
   */
  async fresh(maxAgeMs: number, tolerant: boolean): Promise<View> {
    // Who tolerates an older view waits before he tries again what failed; a bound is kept by success alone.
    const sinceMs = tolerant ? this.#triedAtMs : this.#views.checkedAtMs;
    const { current } = this.#views;
    if (current !== null && this.#isWithin(sinceMs, maxAgeMs)) return current;
    if (tolerant) return current === null ? this.#newestOrOlder() : this.#soonOrOlder();
    return this.#refreshed();
  }

  /** When what serves was last checked, or could not be. */
  get #triedAtMs(): number {
    return Math.max(this.#views.checkedAtMs, this.#failedAtMs);
  }

  #isWithin(sinceMs: number, maxAgeMs: number): boolean {
    const ageMs = this.#world.clock.nowMs() - sinceMs;
    return ageMs >= 0 && ageMs < maxAgeMs;
  }

  async #newestOrOlder(): Promise<View> {
    try {
      return await this.#refreshed();
    } catch (error) {
      return this.#instead(error);
    }
  }

  /** As above; the view that there is does not wait for long. */
  async #soonOrOlder(): Promise<View> {
    const found = await this.#world.clock.atMost(refreshHoldMs, this.#newestOrOlder());
    if (found !== null) return found.value;
    this.#hold("its newest version was not there");
    return this.#views.current!;
  }

  /** What is looked for goes on being looked for; who tolerates an older view is not held up by it. */
  #hold(what: string): void {
    const why = `${what} within ${refreshHoldMs} ms: S3 is slow or silent, or the version is large`;
    this.#failed(new SiltstoneError("unavailable", `${this.name}: ${why}`));
  }

  /** The older view that serves where the newest version cannot; throws the reason where none may. */
  async #instead(error: unknown): Promise<View> {
    const { current } = this.#views;
    if (!(error instanceof SiltstoneError) || current === null) throw error;
    // Where damage, or a newer format, hides whatever was published, nothing is no answer.
    const mayServe =
      error.kind === "corrupt" || error.isOfNewerFormat
        ? current.manifest.version > 0 && (await this.#isOurs())
        : error.kind === "unavailable";
    if (!mayServe) throw error;
    this.#failed(error);
    return current;
  }

  /** Why the newest version is not the one that serves. Who tolerates that does not try again at once. */
  #failed(error: SiltstoneError): void {
    this.#views.fault = error;
    this.#failedAtMs = this.#world.clock.nowMs();
  }

  /** As `fresh`, for a query that can do without graphs: while the first view is being fetched, a cold one. */
  async soon(maxAgeMs: number): Promise<SnapshotView> {
    if (this.#views.current !== null) return this.fresh(maxAgeMs, true);
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
    const { cold, failedAtMs, fault } = this.#views;
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
      const moved = await this.#world.clock.atMost(refreshHoldMs, this.#views.moved(offer.etag));
      if (moved === null) this.#hold("its pointer was not answered");
      else if (moved.value) return false;
      else this.#views.foundNewest(askedAtMs);
    } catch (error) {
      if (!isKind(error, "unavailable")) throw error;
      this.#failed(error);
    }
    return true;
  }

  /** Null when the graphs came first. */
  async #coldOffer(maxAgeMs: number): Promise<ColdOffer | null> {
    const { cold, refreshing, failedAtMs } = this.#views;
    const isRecent = this.#world.clock.nowMs() - failedAtMs < maxAgeMs;
    if (cold.offer !== null && (refreshing !== null || isRecent)) return cold.offer;
    return cold.wait(() => this.#views.refreshing ?? this.#views.refresh(false));
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
  async strong(): Promise<View> {
    const known: KnownRows = new Map();
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      // A LIST from the very beginning would walk over the delete markers of all that was ever ingested.
      const { watermark, version } = (this.#views.current ?? (await this.#refreshed())).manifest;
      const listed = await listDeltas(this.#world.store, this.#ref, watermark);
      const view = await this.#refreshed();
      const pending = backlogOf(listed, view.manifest);
      const bytes = pending.reduce((sum, delta) => sum + delta.bytes, 0);
      if (pending.length > bounds.overlaidDeltas || bytes > overlayBytesMax)
        throw this.#tooMuch(pending.length, bytes);
      // What it saw is ingested by now; of what lay behind its end it says nothing.
      if (isCut(listed)) continue;
      if (pending.length > 0 && view.manifest.version >= version + outrunVersions) continue;
      const asOfMs = this.asOfMs;
      const over = await this.#overlaid(
        view,
        pending.map(({ delta }) => delta),
        known,
      );
      if (over !== null) return this.#laidOver(over, view, asOfMs);
    }
    throw new SiltstoneError(
      "unavailable",
      `${shardName(this.#ref)}: deltas are ingested faster than they can be read; try again`,
    );
  }

  /** A view that holds exactly the given deltas, ingested or laid over. Of the rest of it holds what `fresh` says. */
  async including(deltas: readonly string[], maxAgeMs: number, tolerant: boolean): Promise<View> {
    const read: KnownRows = new Map();
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const { applied, version } = (this.#views.current ?? (await this.#refreshed())).manifest;
      // The deltas are read first, the pointer second: one that is gone by then was committed before.
      const known = new Set(applied);
      const missing = deltas.filter((delta) => !known.has(delta));
      if (missing.length === 0) return this.fresh(maxAgeMs, tolerant);
      const there = await this.#locate(missing, read);
      const view = await this.#refreshed();
      const ingested = new Set(view.manifest.applied);
      const waiting = there.filter((delta) => !ingested.has(delta));
      if (waiting.length > 0 && view.manifest.version >= version + outrunVersions) continue;
      const asOfMs = this.asOfMs;
      const over = await this.#overlaid(view, waiting, read);
      if (over !== null) return this.#laidOver(over, view, asOfMs);
    }
    throw new SiltstoneError(
      "unavailable",
      `${shardName(this.#ref)}: deltas are ingested faster than they can be read; try again`,
    );
  }

  fetchGivenVectors(segment: OpenSegment): Promise<void> {
    return this.#views.segments.fetchGivenVectors(segment);
  }

  /** Takes effect when the last read has ended: one that is under way may be in the middle of a refresh. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#views.leave();
    // The graphs that follow a cold answer are fetched while there are no readers.
    if (this.#readers === 0) await this.#views.refreshing?.catch(() => {});
    await this.#closeUnread();
  }

  /** The newest view; for reads that promise something about writes, a fault must be an error. */
  async #refreshed(): Promise<View> {
    await this.#views.refresh();
    return this.#views.current!;
  }

  #laidOver(over: View, base: View, asOfMs: number): View {
    if (over !== base) this.#laidOverAtMs.set(over, asOfMs);
    return over;
  }

  /**
   * The view with the deltas over it; null when one of them is gone by now and the caller has to look again. What was read
   * by then is in `known`: looking again is quick, however small the batches are that a compactor takes meanwhile.
   */
  async #overlaid(view: View, deltas: readonly string[], known: KnownRows): Promise<View | null> {
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
      this.#layingOver += addedBytes;
    });
    try {
      return await this.#views.segments.openRows(this.#world.clock.ulid(), rows);
    } finally {
      this.#layingOver -= addedBytes;
    }
  }

  #dropOverlay(): void {
    if (this.#overlay !== null) this.#views.segments.retire(this.#overlay.segment);
    this.#overlay = null;
  }

  /** Which of the deltas, or of the names under which they were put again, are in the backlog; throws for one in quarantine. */
  async #locate(deltas: readonly string[], known: KnownRows): Promise<string[]> {
    const there: string[] = [];
    let wanted = deltas;
    for (let hop = 0; wanted.length > 0 && hop < retriesMax; hop++) {
      const gone: string[] = [];
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

  #tooMuch(deltas: number, bytes: number): SiltstoneError {
    return new SiltstoneError(
      "unavailable",
      `${shardName(this.#ref)}: ${deltas} deltas of the backlog (${bytes} bytes) are more than a strong read lays over ` +
        `(${bounds.overlaidDeltas} deltas, ${overlayBytesMax} bytes): wait for the compactor, or read with consistency eventual`,
    );
  }

  /** Closes what no read can need any more. */
  async #closeUnread(): Promise<void> {
    if (this.#readers > 0) return;
    const isClosing = this.#closing;
    if (isClosing) this.#views.drop();
    // Of another view, its deltas are most likely ingested by now.
    if (this.#overlay?.view !== this.#views.current) this.#dropOverlay();
    await this.#views.segments.closeRetired().finally(() => isClosing && this.#gone.resolve());
  }
}
