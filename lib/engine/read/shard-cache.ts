/**
 * The collections and shards that a reader has looked at, bounded in bytes: the least recently used shard goes first, with its
 * views, which it keeps by version (shard-views.ts). A collection that was deleted is forgotten with all its shards.
 *
 * Views, with the deltas laid over them, take at most `bytesMax` together, those of a read in progress included. All that
 * is open takes at most twice that (`openFactor`): a new view beside the old one, old ones that are still read, heads of
 * clusters. What does not fit is refused before it is fetched.
 */
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Collection,
  checkCollectionName,
  checkEmbeddingVersion,
  isOfSpace,
} from "../../core/model/collection.ts";
import { isKind, isNewerFormat, SiltstoneError } from "../../core/model/errors.ts";
import { refreshHoldMs } from "../../core/policy/time-bounds.ts";
import { SegmentThread } from "../../segment/segment-thread.ts";
import { workHere } from "../../segment/segment-work.ts";
import type { World } from "../ports.ts";
import { readCollection } from "../shard/head.ts";
import { Descriptors } from "./descriptors.ts";
import { type Freshness, madeAgain, refreshSecondsMax } from "./read-request.ts";
import { ShardReader } from "./shard-reader.ts";
import type { Wanted } from "./shard-views.ts";

/** A function has twice the memory and twice the disk of its cache (lib/constructs/query.ts). */
const openFactor = 2;

/**
 * A configuration that was looked at longer ago is looked at again, a few beside a call: of a collection that was deleted
 * no call may ever come again, and what is open of it would stay so.
 */
const lookAgainMs = refreshSecondsMax * 1_000;
const looksAtOnce = 4;

/** Refused calls have a configuration looked at so often: a caller that sends many pays for few requests. */
export const refusalsMs = 1_000;

/** Which collection of a name a call means. */
type Meant = Pick<Freshness, "part" | "embeddingVersion">;

export class ShardCache {
  readonly #world: World;
  readonly #bytesMax: number;
  readonly #descriptors: Descriptors;
  readonly #thread: SegmentThread | null;
  readonly folder = mkdtempSync(join(tmpdir(), "siltstone-cache-"));
  readonly #collections = new Map<string, Collection>();
  /** When each was looked at, or is being. */
  readonly #lookedAtMs = new Map<string, number>();
  /** When a refused call last had one looked at. */
  readonly #refusedAtMs = new Map<string, number>();
  readonly #shards = new Map<string, ShardReader>();
  /** What has been closed, or will be when its last read has ended, until nothing of it is open. */
  readonly #leaving = new Set<ShardReader>();

  constructor(
    world: World,
    limits: { bytesMax: number; descriptorsMax: number; threadScript: string | null },
  ) {
    this.#world = world;
    this.#bytesMax = limits.bytesMax;
    this.#descriptors = new Descriptors(limits.descriptorsMax);
    this.#thread = limits.threadScript === null ? null : new SegmentThread(limits.threadScript);
  }

  get shards(): Iterable<ShardReader> {
    return this.#shards.values();
  }

  async close(): Promise<void> {
    for (const shard of this.#shards.values()) await shard.close();
    this.#shards.clear();
    await this.#thread?.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  /**
   * Throws `notFound`, `conflict` when a part is asked of another collection of that name, and `invalid` when another
   * embedding space is. The collection may have been made again since it was cached, so that it is looked up before.
   */
  async collection(name: unknown, { part, embeddingVersion }: Meant = {}): Promise<Collection> {
    const checked = checkCollectionName(name);
    this.#lookAgain();
    const known = this.#collections.get(checked);
    const isMeant = ({ id }: Collection) => part === undefined || id === part.collectionId;
    if (known && isMeant(known) && isOfSpace(known, embeddingVersion)) return known;
    const collection = await readCollection(this.#world.store, checked);
    if (known && known.id !== collection.id) await this.#forget(known);
    this.#collections.set(checked, collection);
    this.#lookedAtMs.set(checked, this.#world.clock.nowMs());
    if (!isMeant(collection)) throw madeAgain(checked);
    checkEmbeddingVersion(collection, embeddingVersion);
    return collection;
  }

  shard(collection: Collection, shard: number): ShardReader {
    const key = shardKey(collection.id, shard);
    const known = this.#shards.get(key);
    if (known) return known;
    const folder = join(this.folder, collection.id, String(shard));
    const reader = new ShardReader(this.#world, collection, shard, {
      folder,
      descriptors: this.#descriptors,
      work: this.#thread ?? workHere,
      makeSpace: (self, wanted) => this.#makeSpace(self, wanted),
    });
    this.#shards.set(key, reader);
    return reader;
  }

  /** A collection that was deleted (and perhaps made again) since it was cached is looked up anew. */
  async forgettingDeleted<T>(collection: Collection, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!isKind(error, "corrupt")) throw error;
      throw (await this.#goneWhy(collection)) ?? error;
    }
  }

  /** Null while the collection is there, or cannot be looked at. One that is gone is forgotten; why is answered. */
  async #goneWhy(collection: Collection): Promise<Error | null> {
    const current = await readCollection(this.#world.store, collection.name).catch((cause: unknown) => cause);
    // A configuration never changes: one of a newer format is another's.
    const isGone =
      current instanceof Error
        ? isKind(current, "notFound") || isNewerFormat(current)
        : (current as Collection).id !== collection.id;
    if (!isGone) return null;
    await this.#forget(collection);
    return current instanceof Error ? current : madeAgain(collection.name);
  }

  /**
   * Whether what a call was refused by is the configuration of a collection that was deleted, and another one has its name by
   * now; false where that was asked a moment ago. Throws `notFound` when no collection has.
   */
  async isMadeAgain(name: string): Promise<boolean> {
    const known = this.#collections.get(name);
    const nowMs = this.#world.clock.nowMs();
    const agoMs = nowMs - (this.#refusedAtMs.get(name) ?? Number.NEGATIVE_INFINITY);
    if (known === undefined || (agoMs >= 0 && agoMs < refusalsMs)) return false;
    this.#refusedAtMs.set(name, nowMs);
    const found = await this.#world.clock.atMost(refreshHoldMs, this.#goneWhy(known));
    const why = found?.value ?? null;
    if (why !== null && !isKind(why, "conflict")) throw why;
    return why !== null;
  }

  #lookAgain(): void {
    const nowMs = this.#world.clock.nowMs();
    const isDue = (name: string) => nowMs - this.#lookedAtMs.get(name)! > lookAgainMs;
    const due = [...this.#collections.values()].filter(({ name }) => isDue(name)).slice(0, looksAtOnce);
    for (const collection of due) {
      // Where it is behind the others, for the next call.
      this.#lookedAtMs.set(collection.name, nowMs);
      void this.#goneWhy(collection);
    }
  }

  async #forget(collection: Collection): Promise<void> {
    const { id, name } = collection;
    if (this.#collections.get(name)?.id === id) this.#collections.delete(name);
    for (let shard = 0; shard < collection.shards; shard++) {
      const reader = this.#shards.get(shardKey(id, shard));
      if (reader !== undefined) await this.#letGo(reader);
    }
  }

  /**
   * Closes the least recently used shards without readers, until what a shard wants fits. What a read in progress uses is
   * not closed: where that leaves no space, the shard is refused before anything of it is fetched.
   */
  #makeSpace(self: ShardReader, { viewBytes, addedBytes }: Wanted): Promise<unknown> | null {
    const others = [...this.#shards.values()].filter((reader) => reader !== self);
    const idle = others.filter(({ isIdle }) => isIdle).sort((a, b) => a.usedAtMs - b.usedAtMs);
    let views = sumOf(others, (reader) => reader.viewBytes);
    const open = sumOf([...others, self, ...this.#leaving], (reader) => reader.openBytes);
    const idleViews = sumOf(idle, (reader) => reader.viewBytes);
    const inUse = views - idleViews;
    // What holds nothing always fits: a shard without a version, beside one whose versions change.
    if (viewBytes > 0 && inUse + viewBytes > this.#bytesMax)
      throw tooLarge(self.name, { viewBytes, inUse, bytesMax: this.#bytesMax });
    const openMax = this.#bytesMax * openFactor;
    let left = 0;
    for (const reader of idle) {
      if (views + viewBytes <= this.#bytesMax && open - left + addedBytes <= openMax) break;
      views -= reader.viewBytes;
      left += reader.openBytes;
      void this.#letGo(reader);
    }
    if (open + addedBytes <= openMax) return null;
    const closing = [...this.#leaving].filter(({ isIdle }) => isIdle);
    if (closing.length === 0) throw tooMuchOpen(self.name, { addedBytes, open, openMax });
    return Promise.race(closing.map(({ gone }) => gone));
  }

  /** It is closed at once, or when the last read of it has ended. */
  #letGo(reader: ShardReader): Promise<void> {
    this.#shards.delete(shardKey(reader.collectionId, reader.shard));
    this.#leaving.add(reader);
    void reader.gone.then(() => this.#leaving.delete(reader));
    return reader.close().catch(() => {}); // Only its own files are at stake.
  }
}

/** A name may be that of several collections, one after the other. */
const shardKey = (collectionId: string, shard: number): string => `${collectionId}/${shard}`;

const sumOf = (readers: readonly ShardReader[], bytesOf: (reader: ShardReader) => number): number =>
  readers.reduce((sum, reader) => sum + bytesOf(reader), 0);

const tooLarge = (
  name: string,
  { viewBytes, inUse, bytesMax }: { viewBytes: number; inUse: number; bytesMax: number },
): SiltstoneError =>
  new SiltstoneError(
    "unavailable",
    `${name} needs ${viewBytes} bytes of cache beside ${inUse} that are in use, this function has ${bytesMax}: ` +
      "raise its memory and its cache (query.memoryMiB, query.cacheMiB), or spread the shards over query groups (query.groups)",
  );

const tooMuchOpen = (
  name: string,
  { addedBytes, open, openMax }: { addedBytes: number; open: number; openMax: number },
): SiltstoneError =>
  new SiltstoneError(
    "unavailable",
    `${name} needs ${addedBytes} bytes beside ${open} that are open, this function has ${openMax} for old views beside ` +
      "new ones: repeat the call when reads of old views have ended, or raise its cache (query.cacheMiB)",
  );
