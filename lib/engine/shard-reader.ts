/**
 * Reading one shard: keeps the newest view, refreshes it, and lays unmerged deltas over it when asked.
 *
 * Refresh: conditional GET of the pointer; when it moved, the manifest, and the files of the segments that are not open
 * yet, verified; the new view is built beside the old one and swapped in. One refresh at a time, whoever waits. When the
 * new version is damaged, the newest whole one before it serves (fallback.ts), or the view that there was, and the fault is
 * reported.
 *
 * The first view of a shard takes seconds when its graphs are large. Meanwhile queries that can do without them get a
 * cold view (lib/engine/cold-view.ts); the graphs are fetched from when the first of those queries was answered, so that
 * it has the wire for itself.
 *
 * Strong reads LIST the deltas first and read the pointer second: a delta that vanished before the LIST was committed
 * before it, so the pointer read later covers it.
 */

import pLimit from "p-limit";
import { bounds } from "../core/bounds.ts";
import type { Collection } from "../core/collection.ts";
import { corrupt, isKind, isNewerFormat, SiltstoneError } from "../core/errors.ts";
import { quarantinedDeltaKey, type ShardRef, shardName } from "../core/keys.ts";
import { isClustered, type Manifest, type Segment } from "../core/manifest.ts";
import type { Pointer } from "../core/pointer.ts";
import type { Row } from "../core/record.ts";
import { refreshHoldMs } from "../core/time-bounds.ts";
import type { OpenSegment } from "../segment/open-segment.ts";
import { type ColdOffer, ColdStart } from "./cold-start.ts";
import { ColdView } from "./cold-view.ts";
import { isCut, listDeltas, readDeltas, unmerged } from "./deltas.ts";
import { versionsBefore } from "./fallback.ts";
import { readCollection, readManifestOf, readPointer } from "./head.ts";
import { heldBytes, OpenSegments } from "./open-segments.ts";
import type { World } from "./ports.ts";
import { View } from "./view.ts";

/** Likewise of the deltas that a strong read lays over its view (bounds.overlaidDeltas), their bytes. */
export const overlayBytesMax = 64 * 1024 * 1024;
/** A reader that is overtaken by a compactor or a collector looks again this often. */
const attemptsMax = 5;
const headsAtOnce = 16;
/**
 * A delta that was seen in the backlog, and is not among the applied ones of a version this much newer, may be taken back:
 * merged, forgotten in `applied` by a later ingest, and undone by a rollback. So it is looked for again.
 */
const outrunVersions = 3;

/** By delta, what one read has read of the backlog. */
type KnownRows = Map<string, readonly Row[]>;

export interface ShardReaderOptions {
  /** Folder for segment files; emptied by close(). */
  readonly folder: string;
  /** Called before segments are fetched, with the bytes that will be held; throws when they do not fit. */
  readonly makeRoom: (shard: ShardReader, bytes: number) => void;
}

export class ShardReader {
  readonly #world: World;
  readonly #collection: Collection;
  readonly #ref: ShardRef;
  readonly #options: ShardReaderOptions;
  readonly #segments: OpenSegments;
  /** The etag is that of the pointer that names the view's version; null when the newest is another, which is damaged. */
  #current: { readonly view: View; readonly etag: string | null } | null = null;
  /** When the newest version was last found to be the one that serves, and when that was last tried. */
  #checkedAtMs = Number.NEGATIVE_INFINITY;
  #triedAtMs = Number.NEGATIVE_INFINITY;
  #asOfMs = Number.NEGATIVE_INFINITY;
  /** Views with deltas laid over them: while these were read, another call may have refreshed the reader. */
  readonly #laidOverAtMs = new WeakMap<View | ColdView, number>();
  #refreshing: Promise<void> | null = null;
  readonly #cold = new ColdStart();
  #failedAtMs = Number.NEGATIVE_INFINITY;
  /** Bytes that a load under way will hold. */
  #reserved = 0;
  /** The newest version that anybody was answered from. */
  #newest = 0;
  #overlay: { readonly key: string; readonly segment: OpenSegment } | null = null;
  #readers = 0;
  #closing = false;
  /** Why the newest version is not the one that serves; null when it is. */
  fault: SiltstoneError | null = null;
  usedAtMs = 0;

  constructor(world: World, collection: Collection, shard: number, options: ShardReaderOptions) {
    this.#world = world;
    this.#collection = collection;
    this.#ref = { collection: collection.name, shard };
    this.#options = options;
    this.#segments = new OpenSegments(world.store, collection, shard, options.folder);
  }

  /** Bytes of the open version's files, which is about what it holds in memory and on disk. */
  get bytes(): number {
    return Math.max(this.#segments.bytes, this.#reserved);
  }
  /** When what serves was last known to be the newest version. */
  get asOfMs(): number {
    return this.#asOfMs;
  }
  /** The same of one view of this reader. */
  asOfMsOf(view: View | ColdView): number {
    return this.#laidOverAtMs.get(view) ?? this.#asOfMs;
  }
  get view(): View | null {
    return this.#current?.view ?? null;
  }

  /** Runs `work`; every segment of the views that it gets from here stays open until it ends. */
  async holding<T>(work: () => Promise<T>): Promise<T> {
    this.#readers += 1;
    this.usedAtMs = this.#world.clock.nowMs();
    try {
      return await work();
    } finally {
      this.#readers -= 1;
      this.#cold.release();
      await this.#closeUnread();
    }
  }

  /**
   * The view, known to be the newest at most `maxAgeMs` ago. `tolerant`: when that cannot be found out, or the newest
   * version is damaged, the view that there is serves; otherwise the failure is thrown.
   */
  async fresh(maxAgeMs: number, tolerant: boolean): Promise<View> {
    // Who tolerates an older view waits before he tries again what failed; a bound is kept by success alone.
    const sinceMs = tolerant ? this.#triedAtMs : this.#checkedAtMs;
    if (this.#current !== null && this.#isWithin(sinceMs, maxAgeMs)) return this.#current.view;
    if (tolerant) return this.#current === null ? this.#newestOrOlder() : this.#soonOrOlder();
    return this.#refreshed();
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
    return this.#current!.view;
  }

  /** What is looked for goes on being looked for; who tolerates an older view is not held up by it. */
  #hold(what: string): void {
    this.fault = new SiltstoneError(
      "unavailable",
      `${shardName(this.#ref)}: ${what} within ${refreshHoldMs} ms: S3 is slow or silent, or the version is large`,
    );
    this.#triedAtMs = this.#world.clock.nowMs();
  }

  /** The older view that serves where the newest version cannot; throws the reason where none may. */
  async #instead(error: unknown): Promise<View> {
    if (!(error instanceof SiltstoneError) || this.#current === null) throw error;
    const { view } = this.#current;
    // Where damage, or a newer format, hides whatever was published, nothing is no answer.
    const mayServe =
      error.kind === "corrupt" || error.isOfNewerFormat
        ? view.manifest.version > 0 && (await this.#isOurs())
        : error.kind === "unavailable";
    if (!mayServe) throw error;
    this.fault = error;
    this.#triedAtMs = this.#world.clock.nowMs();
    return this.#current.view;
  }

  /** As `fresh`, for a query that can do without graphs: while the first view is being fetched, a cold one. */
  async soon(maxAgeMs: number): Promise<View | ColdView> {
    if (this.#current !== null) return this.fresh(maxAgeMs, true);
    let offer: ColdOffer | null;
    try {
      offer = await this.#coldOffer(maxAgeMs);
    } catch (error) {
      return this.#instead(error);
    }
    if (offer === null) return this.fresh(maxAgeMs, true);
    return (await this.#isStillNewest(offer, maxAgeMs)) ? offer.view : this.fresh(maxAgeMs, true);
  }

  /** False when the pointer has moved; an offer that cannot be checked serves, as a view would. */
  async #isStillNewest(offer: ColdOffer, maxAgeMs: number): Promise<boolean> {
    const askedAtMs = this.#world.clock.nowMs();
    const lookedAtMs = Math.max(this.#checkedAtMs, this.#triedAtMs);
    if (askedAtMs === lookedAtMs || this.#isWithin(lookedAtMs, maxAgeMs)) return true;
    try {
      const moved = await this.#world.clock.atMost(refreshHoldMs, this.#moved(offer.etag));
      if (moved === null) this.#hold("its pointer was not answered");
      else if (moved.value) return false;
      else this.#foundNewest(askedAtMs);
    } catch (error) {
      if (!isKind(error, "unavailable")) throw error;
      this.fault = error;
      this.#triedAtMs = this.#world.clock.nowMs();
    }
    return true;
  }

  /** Null when the graphs came first. */
  async #coldOffer(maxAgeMs: number): Promise<ColdOffer | null> {
    const isRecent = this.#world.clock.nowMs() - this.#failedAtMs < maxAgeMs;
    const { offer } = this.#cold;
    if (offer !== null && (this.#refreshing !== null || isRecent)) return offer;
    return this.#cold.wait(() => this.#refreshing ?? this.#refresh(false));
  }

  /**
   * False when the collection was deleted, or another has its name by now: then its old views serve nobody. A configuration
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
      // A LIST from the very beginning would walk over the delete markers of all that was ever merged.
      if (this.#current === null) await this.#refresh();
      const { watermark, version } = this.#current!.view.manifest;
      const listed = await listDeltas(this.#world.store, this.#ref, watermark);
      const view = await this.#refreshed();
      const pending = unmerged(listed, view.manifest);
      const bytes = pending.reduce((sum, delta) => sum + delta.bytes, 0);
      if (pending.length > bounds.overlaidDeltas || bytes > overlayBytesMax)
        throw this.#tooMuch(pending.length, bytes);
      // What it saw is merged by now; of what lay behind its end it says nothing.
      if (isCut(listed)) continue;
      if (pending.length > 0 && view.manifest.version >= version + outrunVersions) continue;
      const asOfMs = this.#asOfMs;
      const over = await this.#overlaid(
        view,
        pending.map(({ delta }) => delta),
        known,
      );
      if (over !== null) return this.#laidOver(over, view, asOfMs);
    }
    throw new SiltstoneError(
      "unavailable",
      `${shardName(this.#ref)}: deltas are merged faster than they can be read; try again`,
    );
  }

  /** A view that holds exactly the given deltas, merged or laid over. Of the rest of it holds what `fresh` says. */
  async including(deltas: readonly string[], maxAgeMs: number, tolerant: boolean): Promise<View> {
    const read: KnownRows = new Map();
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      if (this.#current === null) await this.#refresh();
      const { applied, version } = this.#current!.view.manifest;
      // The deltas are read first, the pointer second: one that is gone by then was committed before.
      const known = new Set(applied);
      const missing = deltas.filter((delta) => !known.has(delta));
      if (missing.length === 0) return this.fresh(maxAgeMs, tolerant);
      const there: string[] = [];
      const gone: string[] = [];
      for (const one of await readDeltas(this.#world, this.#collection, this.#ref, missing)) {
        if ("error" in one) throw one.error;
        (one.kind === "rows" ? there : gone).push(one.delta);
        if (one.kind === "rows") read.set(one.delta, one.rows);
      }
      const limit = pLimit(headsAtOnce);
      await Promise.all(gone.map((delta) => limit(() => this.#refuseQuarantined(delta))));
      const view = await this.#refreshed();
      const merged = new Set(view.manifest.applied);
      const waiting = there.filter((delta) => !merged.has(delta));
      if (waiting.length > 0 && view.manifest.version >= version + outrunVersions) continue;
      const asOfMs = this.#asOfMs;
      const over = await this.#overlaid(view, waiting, read);
      if (over !== null) return this.#laidOver(over, view, asOfMs);
    }
    throw new SiltstoneError(
      "unavailable",
      `${shardName(this.#ref)}: deltas are merged faster than they can be read; try again`,
    );
  }

  fetchGivenVectors(segment: OpenSegment): Promise<void> {
    return this.#segments.fetchGivenVectors(segment);
  }

  /** Takes effect when the last read has ended: one that is under way may be in the middle of a refresh. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#cold.release();
    // The graphs that follow a cold answer are fetched while nobody reads.
    if (this.#readers === 0) await this.#refreshing?.catch(() => {});
    await this.#closeUnread();
  }

  /** The newest view; for reads that promise something about writes, a fault must be an error. */
  async #refreshed(): Promise<View> {
    await this.#refresh();
    return this.#current!.view;
  }

  #laidOver(over: View, base: View, asOfMs: number): View {
    if (over !== base) this.#laidOverAtMs.set(over, asOfMs);
    return over;
  }

  /**
   * One at a time. A refresh that is under way may have read the pointer before the caller's question: it waits for
   * that one to end, and shares the next.
   */
  async #refresh(needsGraphs = true): Promise<void> {
    if (needsGraphs) this.#cold.needGraphs();
    if (this.#refreshing !== null) {
      await this.#refreshing.catch(() => {});
      if (needsGraphs) this.#cold.needGraphs();
    }
    this.#refreshing ??= this.#refreshAlone();
    return this.#refreshing;
  }

  async #refreshAlone(): Promise<void> {
    try {
      await this.#refreshOnce();
      this.#cold.offer = null;
    } catch (error) {
      this.#failedAtMs = this.#world.clock.nowMs();
      if (error instanceof SiltstoneError && (error.kind === "corrupt" || this.#cold.offer !== null))
        this.fault = error;
      throw error;
    } finally {
      this.#refreshing = null;
      this.#cold.end();
      this.#reserved = 0;
      await this.#closeUnread(); // After a cold answer nobody may be reading.
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
          if (attempt < attemptsMax && (await this.#moved(read.etag))) continue;
          await this.#fallBack(read.pointer, manifest);
          throw error;
        }
      }
      this.fault = null;
      this.#foundNewest(askedAtMs);
      this.#triedAtMs = askedAtMs;
      return;
    }
  }

  #foundNewest(askedAtMs: number): void {
    this.#checkedAtMs = askedAtMs;
    this.#asOfMs = askedAtMs;
  }

  /** Makes the newest whole version before a damaged one current; where none is newer than the view, nothing. */
  async #fallBack(pointer: Pointer, damaged: Manifest | null): Promise<void> {
    const above = this.#current?.view.manifest.version ?? 0;
    const older = versionsBefore(this.#world.store, this.#collection, pointer, { damaged, above });
    for await (const { manifest, newestUntilMs } of older) {
      if (!this.#segments.mayBeWhole(manifest.segments)) continue;
      try {
        await this.#swap(manifest, null);
      } catch (error) {
        if (!isKind(error, "corrupt") && !isNewerFormat(error)) throw error;
        continue;
      }
      // What a cold answer found to be the newest is damaged: no bound may count from there.
      this.#checkedAtMs = Number.NEGATIVE_INFINITY;
      this.#asOfMs = newestUntilMs;
      this.#cold.offer = null;
      return;
    }
  }

  async #moved(etag: string): Promise<boolean> {
    return (await readPointer(this.#world.store, this.#collection, this.#ref.shard, etag)) !== null;
  }

  /** Opens what is new, builds the view beside the old one, and makes it current. Meanwhile a cold view of the newest may serve. */
  async #swap(manifest: Manifest, etag: string | null, askedAtMs = 0): Promise<void> {
    if (this.#current?.view.manifest.commit === manifest.commit) {
      this.#current = { view: this.#current.view, etag };
      return;
    }
    const bytes = heldBytes(manifest.segments);
    this.#options.makeRoom(this, bytes);
    this.#reserved = bytes;
    if (this.#cold.isWanted && etag !== null) {
      await this.#cold.answer(
        () => this.#coldOf(manifest, etag, askedAtMs),
        () => this.#readers > 0,
      );
    }
    const view = new View(manifest, await this.#openAll(manifest.segments));
    this.#current = { view, etag };
    this.#newest = Math.max(this.#newest, manifest.version);
    this.#segments.keepOnly(manifest.segments);
  }

  /** A cold view of this version; null where its segments have none, or it is damaged. */
  async #coldOf(manifest: Manifest, etag: string, askedAtMs: number): Promise<ColdOffer | null> {
    const graphs = manifest.segments.filter(({ kind }) => kind === "hnsw");
    if (graphs.length === 0 || !graphs.every(isClustered)) return null;
    const flats = manifest.segments.filter(({ kind }) => kind === "flat");
    try {
      const opened = await this.#openAll(flats);
      const view = await ColdView.open(this.#world.store, this.#collection, manifest, opened);
      this.#foundNewest(askedAtMs);
      this.#newest = manifest.version;
      return { view, etag };
    } catch (error) {
      if (!(error instanceof SiltstoneError)) throw error;
      return null; // The graphs may be in order; where they are not, their opening says so.
    }
  }

  async #openAll(segments: readonly Segment[]): Promise<OpenSegment[]> {
    if (this.#closing && this.#readers === 0)
      throw new SiltstoneError("unavailable", `${shardName(this.#ref)}: its reader was closed`);
    return this.#segments.open(segments);
  }

  /**
   * The view with the deltas over it; null when one of them is gone by now and the caller has to look again. What was read
   * by then is in `known`: looking again is quick, however small the batches are that a compactor takes meanwhile.
   */
  async #overlaid(view: View, deltas: readonly string[], known: KnownRows): Promise<View | null> {
    if (deltas.length === 0) return view;
    const key = deltas.join();
    if (this.#overlay?.key !== key) {
      const unread = deltas.filter((delta) => !known.has(delta));
      for (const read of await readDeltas(this.#world, this.#collection, this.#ref, unread)) {
        if ("error" in read) throw read.error;
        if (read.kind === "rows") known.set(read.delta, read.rows);
      }
      if (!deltas.every((delta) => known.has(delta))) return null;
      const rows = deltas.flatMap((delta) => known.get(delta)!);
      const segment = await this.#segments.openRows(this.#world.clock.ulid(), rows);
      if (this.#overlay) this.#segments.retire(this.#overlay.segment);
      this.#overlay = { key, segment };
    }
    return view.over(this.#overlay.segment, deltas);
  }

  async #refuseQuarantined(delta: string): Promise<void> {
    if ((await this.#world.store.head(quarantinedDeltaKey(this.#ref, delta))) === null) return;
    throw corrupt(
      shardName(this.#ref),
      `delta ${delta} could not be read and is in quarantine (\`silt quarantine list\`)`,
    );
  }

  #tooMuch(deltas: number, bytes: number): SiltstoneError {
    return new SiltstoneError(
      "unavailable",
      `${shardName(this.#ref)}: ${deltas} unmerged deltas (${bytes} bytes) are more than a strong read lays over ` +
        `(${bounds.overlaidDeltas} deltas, ${overlayBytesMax} bytes): wait for the compactor, or read with consistency eventual`,
    );
  }

  /** Closes what no read can need any more. */
  async #closeUnread(): Promise<void> {
    if (this.#readers > 0) return;
    if (this.#closing) {
      this.#segments.keepOnly([]);
      if (this.#overlay) this.#segments.retire(this.#overlay.segment);
      this.#overlay = null;
      this.#current = null;
    }
    await this.#segments.closeRetired();
  }
}
