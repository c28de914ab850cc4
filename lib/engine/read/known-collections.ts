/** The configurations that a process has read. They never change; a collection may be deleted, and made again with another one. */
import {
  type Collection,
  checkCollectionName,
  checkEmbeddingVersion,
  isOfSpace,
} from "../../core/model/collection.ts";
import { httpStatus, SiltstoneError } from "../../core/model/errors.ts";
import type { ObjectStore } from "../ports.ts";
import { readCollection } from "../shard/head.ts";
import type { Freshness } from "./read-request.ts";
import { refusalsMs } from "./shard-cache.ts";

export class KnownCollections {
  readonly #store: ObjectStore;
  readonly #known = new Map<string, Collection>();
  /** When a refused call last had one looked at. */
  readonly #refusedAtMs = new Map<string, number>();

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  /** What is refused by the configuration that is known may be right by that of a collection made again. */
  async ofCurrent<T>(call: Freshness & { collection: string }, work: (collection: Collection) => Promise<T>) {
    const known = await this.#collection(call.collection, call.embeddingVersion);
    try {
      return await work(known);
    } catch (error) {
      if (!(error instanceof SiltstoneError) || httpStatus(error.kind) >= 500) throw error;
      const nowMs = performance.now();
      if (nowMs - (this.#refusedAtMs.get(known.name) ?? Number.NEGATIVE_INFINITY) < refusalsMs) throw error;
      this.#refusedAtMs.set(known.name, nowMs);
      this.#known.delete(known.name);
      const current = await this.#collection(call.collection, call.embeddingVersion);
      if (current.id === known.id) throw error;
      return work(current);
    }
  }

  /** One that seems to be of another embedding space may have been made again since it was cached. */
  async #collection(name: string, embeddingVersion: string | undefined): Promise<Collection> {
    const known = this.#known.get(checkCollectionName(name));
    if (known && isOfSpace(known, embeddingVersion)) return known;
    const collection = await readCollection(this.#store, name);
    this.#known.set(name, collection);
    checkEmbeddingVersion(collection, embeddingVersion);
    return collection;
  }
}
