/** Siltstone's own query path, as the query function runs it, from files on the disk. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decodeCollection, encodeCollection } from "../../../lib/core/collection.ts";
import { collectionKey } from "../../../lib/core/keys.ts";
import type { MemoryWorld } from "../../../test/support/memory/world.ts";
import { memoryWorld } from "../../../test/support/memory/world.ts";
import { compactAll, emptyStore, produceRows, readerOf, rowOfId } from "../store.ts";
import type { Peer } from "./peer.ts";

const collection = "bench";

export const siltstone: Peer = {
  name: "Siltstone",
  efforts: [16, 32, 50, 100, 200],
  filters: true,
  async build(folder, vectors) {
    const store = await emptyStore(vectors);
    await produceRows(store, vectors, { start: 0, limit: vectors.rows });
    await compactAll(store);
    mkdirSync(join(folder, "objects"));
    for (const key of store.world.store.keys())
      writeFileSync(join(folder, "objects", encodeURIComponent(key)), store.world.store.bytes(key)!);
  },
  async open(folder) {
    const world = memoryWorld();
    await restore(world, join(folder, "objects"));
    let reader = readerOf({ world });
    return {
      // efSearch belongs to a collection's configuration.
      async tune(effort) {
        const key = collectionKey(collection);
        const configured = decodeCollection(world.store.bytes(key)!, key);
        const index = { ...configured.index, efSearch: effort };
        await world.store.put(key, encodeCollection({ ...configured, index }));
        await reader.close();
        reader = readerOf({ world });
      },
      async query(vector, k, below) {
        const filter = below === null ? undefined : { bucket: { $lt: below } };
        const { results } = await reader.query({ collection, vector, topK: k, filter });
        return results.map(({ id }) => rowOfId(id));
      },
      close: () => reader.close(),
    };
  },
};

async function restore(world: MemoryWorld, folder: string): Promise<void> {
  for (const name of readdirSync(folder))
    await world.store.put(decodeURIComponent(name), readFileSync(join(folder, name)));
}
