/** What is deleted from a store in memory from now on, as a bucket keeps it that has versions. */
import type { ByteRange, DeletedObject, DeletedObjects } from "../../../lib/engine/ports.ts";
import type { MemoryObjectStore } from "./object-store.ts";

export class MemoryDeletedObjects implements DeletedObjects {
  readonly #store: MemoryObjectStore;
  readonly #bodies = new Map<string, Buffer>();

  constructor(store: MemoryObjectStore) {
    this.#store = store;
    const remove = store.delete.bind(store);
    store.delete = async (keys) => {
      for (const key of keys) {
        const body = store.bytes(key);
        if (body !== null) this.#bodies.set(key, body);
      }
      await remove(keys);
    };
  }

  async *list(
    prefix: string,
    { startAfter }: { startAfter: string },
  ): AsyncIterable<readonly DeletedObject[]> {
    yield [...this.#bodies]
      .filter(([key]) => key.startsWith(prefix) && key > startAfter && this.#store.bytes(key) === null)
      .map(([key, body]) => ({ key, bytes: body.length, versionId: "only" }))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  async get({ key }: DeletedObject, range?: ByteRange): Promise<Buffer | null> {
    return this.#bodies.get(key)?.subarray(range?.start, range?.limit) ?? null;
  }

  /** As the bucket's lifecycle rule does. */
  forget(key: string): void {
    this.#bodies.delete(key);
  }
}
