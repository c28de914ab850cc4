/**
 * Siltstone's own query path, as the query function runs it, from files on the disk: the store is a folder, so that the
 * process holds what a reader holds and no more.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { decodeCollection, encodeCollection } from "../../../lib/core/format/collection-json.ts";
import { collectionKey } from "../../../lib/core/format/keys.ts";
import { collectGarbage } from "../../../lib/engine/compact/collect-garbage.ts";
import type { ByteRange, GetResult } from "../../../lib/engine/ports.ts";
import { memoryWorld } from "../../../test/support/memory/world.ts";
import { compactAll, emptyStore, produceRows, readerOf, rowOfId } from "../store.ts";
import type { Peer } from "./peer.ts";

const collection = "bench";
const pathOf = (folder: string, key: string) => join(folder, "objects", encodeURIComponent(key));

export const siltstone: Peer = {
  name: "Siltstone",
  efforts: [16, 32, 50, 100, 200],
  filters: true,
  async build(folder, vectors) {
    const store = await emptyStore(vectors);
    await produceRows(store, vectors, { start: 0, limit: vectors.rows });
    await compactAll(store);
    // The current version alone counts as its size on the disk.
    store.world.clock.advance(1);
    const retention = { versionsKept: 0, keptMs: 0, keptMsMax: 1e15, orphanMs: 0 };
    await collectGarbage(store.world, store.collection, 0, { retention });
    mkdirSync(join(folder, "objects"));
    for (const key of store.world.store.keys())
      writeFileSync(pathOf(folder, key), store.world.store.bytes(key)!);
  },
  async open(folder) {
    const world = memoryWorld();
    world.store.get = (key, options) => getFile(pathOf(folder, key), options?.range);
    let reader = readerOf({ world });
    return {
      // efSearch belongs to a collection's configuration.
      async tune(effort) {
        const key = collectionKey(collection);
        const path = pathOf(folder, key);
        const configured = decodeCollection(readFileSync(path), key);
        const index = { ...configured.index, efSearch: effort };
        writeFileSync(path, encodeCollection({ ...configured, index }));
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

/** A reader only gets. */
async function getFile(path: string, range?: ByteRange): Promise<GetResult> {
  const file = await open(path);
  try {
    const { start, limit } = range ?? { start: 0, limit: (await file.stat()).size };
    const body = Buffer.alloc(limit - start);
    await file.read(body, 0, body.length, start);
    return { kind: "found", body, etag: path, modifiedMs: 0 };
  } finally {
    await file.close();
  }
}
