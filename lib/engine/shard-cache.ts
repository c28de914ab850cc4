/**
 * The collections and shards that a reader has looked at, bounded in bytes: the least recently used shard goes first. A
 * collection that was deleted is forgotten with all its shards.
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
} from "../core/collection.ts";
import { isKind, isNewerFormat, SiltstoneError } from "../core/errors.ts";
import { shardName } from "../core/keys.ts";
import { readCollection } from "./head.ts";
import type { World } from "./ports.ts";
import { type Freshness, madeAgain } from "./read-request.ts";
import { ShardReader } from "./shard-reader.ts";

/** Which collection of a name a call means. */
type Meant = Pick<Freshness, "part" | "embeddingVersion">;

export class ShardCache {
  readonly #world: World;
  readonly #bytesMax: number;
  readonly #folder = mkdtempSync(join(tmpdir(), "siltstone-cache-"));
  readonly #collections = new Map<string, Collection>();
  readonly #shards = new Map<string, ShardReader>();

  constructor(world: World, bytesMax: number) {
    this.#world = world;
    this.#bytesMax = bytesMax;
  }

  /** By name. */
  get shards(): ReadonlyMap<string, ShardReader> {
    return this.#shards;
  }

  async close(): Promise<void> {
    for (const shard of this.#shards.values()) await shard.close();
    this.#shards.clear();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /**
   * Throws `notFound`, `conflict` when a part is asked of another collection of that name, and `invalid` when another
   * embedding space is. The collection may have been made again since it was cached, so that it is looked up before.
   */
  async collection(name: unknown, { part, embeddingVersion }: Meant = {}): Promise<Collection> {
    const checked = checkCollectionName(name);
    const known = this.#collections.get(checked);
    const isMeant = ({ id }: Collection) => part === undefined || id === part.collectionId;
    if (known && isMeant(known) && isOfSpace(known, embeddingVersion)) return known;
    const collection = await readCollection(this.#world.store, checked);
    if (known && known.id !== collection.id) await this.#forget(known);
    this.#collections.set(checked, collection);
    if (!isMeant(collection)) throw madeAgain(checked);
    checkEmbeddingVersion(collection, embeddingVersion);
    return collection;
  }

  shard(collection: Collection, shard: number): ShardReader {
    const name = shardName({ collection: collection.name, shard });
    const known = this.#shards.get(name);
    if (known) return known;
    const folder = join(this.#folder, collection.id, String(shard));
    const reader = new ShardReader(this.#world, collection, shard, {
      folder,
      makeRoom: (self, bytes) => this.#makeRoom(self, bytes, name),
    });
    this.#shards.set(name, reader);
    return reader;
  }

  /** A collection that was deleted (and perhaps made again) since it was cached is looked up anew. */
  async forgettingDeleted<T>(collection: Collection, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!isKind(error, "corrupt")) throw error;
      const current = await readCollection(this.#world.store, collection.name).catch(
        (cause: unknown) => cause,
      );
      // A configuration never changes: one of a newer format is another's.
      const isGone =
        current instanceof Error
          ? isKind(current, "notFound") || isNewerFormat(current)
          : (current as Collection).id !== collection.id;
      if (isGone) {
        await this.#forget(collection);
        if (current instanceof Error) throw current;
        throw madeAgain(collection.name);
      }
      throw error;
    }
  }

  async #forget(collection: Collection): Promise<void> {
    this.#collections.delete(collection.name);
    for (let shard = 0; shard < collection.shards; shard++) {
      const name = shardName({ collection: collection.name, shard });
      const reader = this.#shards.get(name);
      this.#shards.delete(name);
      await reader?.close();
    }
  }

  /** Closes the least recently used other shards until `bytes` more fit. Refuses what can never fit, before fetching it. */
  #makeRoom(self: ShardReader, bytes: number, name: string): void {
    if (bytes > this.#bytesMax) {
      throw new SiltstoneError(
        "unavailable",
        `${name} needs ${bytes} bytes of cache, this function has ${this.#bytesMax}: raise its memory and SILTSTONE_CACHE_BYTES_MAX, or use more shards`,
      );
    }
    const others = [...this.#shards]
      .filter(([, reader]) => reader !== self)
      .sort(([, a], [, b]) => a.usedAtMs - b.usedAtMs);
    let held = others.reduce((sum, [, reader]) => sum + reader.bytes, 0);
    for (const [other, reader] of others) {
      if (held + bytes <= this.#bytesMax) return;
      held -= reader.bytes;
      this.#shards.delete(other);
      void reader.close().catch(() => {}); // Only its own files are at stake.
    }
  }
}
