/**
 * Siltstone: its own query path in process, as the query function runs it, from files on the disk (the store is a folder, so that the
 * process holds what a reader holds and no more); and over HTTP, by the function's URL on the local Lambda runtime. Views are refreshed as
 * deployed.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "../../../lib/aws/system-clock.ts";
import { settings } from "../../../lib/contract/settings.ts";
import { collectGarbage } from "../../../lib/engine/compact/collect-garbage.ts";
import type { ByteRange, GetResult } from "../../../lib/engine/ports.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { memoryWorld } from "../../../test/support/memory/world.ts";
import { withLocalS3 } from "../reader-client.ts";
import { type Called, withFunction } from "../runtime.ts";
import { cacheBytes, compactAll, emptyStore, produceRows, rowOfId } from "../store.ts";
import { effortsFrom, type Peer } from "./peer.ts";

const collection = "bench";
const objectsIn = (folder: string) => join(folder, "objects");
const pathOf = (folder: string, key: string) => join(objectsIn(folder), encodeURIComponent(key));

const common = {
  efforts: effortsFrom(10),
  effortDefault: 100,
  filters: true,
  async build(folder, vectors) {
    const store = await emptyStore(vectors);
    await produceRows(store, vectors, { start: 0, limit: vectors.rows });
    await compactAll(store);
    // The current version alone counts as its size on the disk.
    store.world.clock.advance(1);
    const retention = { versionsKept: 0, keptMs: 0, keptMsMax: 1e15, orphanMs: 0 };
    await collectGarbage(store.world, store.collection, 0, { retention });
    mkdirSync(objectsIn(folder));
    for (const key of store.world.store.keys())
      writeFileSync(pathOf(folder, key), store.world.store.bytes(key)!);
  },
} satisfies Partial<Peer>;

const filterOf = (below: number | null) => (below === null ? {} : { filter: { bucket: { $lt: below } } });

export const siltstone: Peer = {
  ...common,
  name: "Siltstone",
  path: "in process",
  async open(folder) {
    const memory = memoryWorld();
    memory.store.get = (key, options) => getFile(pathOf(folder, key), options?.range);
    const refreshSeconds = settings["query.refreshSeconds"].default;
    const options = { refreshSeconds, cacheBytesMax: cacheBytes, traffic: memory.traffic };
    const reader = new Reader({ ...memory, clock: systemClock() }, options);
    let ef = common.effortDefault;
    return {
      tune(effort) {
        ef = effort;
      },
      async query(vector, topK, below) {
        const { results } = await reader.query({ collection, vector, topK, ef, ...filterOf(below) });
        return results.map(({ id }) => rowOfId(id));
      },
      close: () => reader.close(),
    };
  },
};

export const siltstoneUrl: Peer = {
  ...common,
  name: "Siltstone by its function URL",
  path: "over HTTP",
  async open(folder) {
    const ready = Promise.withResolvers<Called>();
    const ended = Promise.withResolvers<void>();
    const running = withLocalS3(async (s3) => {
      for (const name of readdirSync(objectsIn(folder)))
        await s3.store.put(decodeURIComponent(name), readFileSync(join(objectsIn(folder), name)));
      await withFunction(s3.endpoint, (called) => {
        ready.resolve(called);
        return ended.promise;
      });
    });
    running.catch(ready.reject);
    const { url } = await ready.promise;
    let ef = common.effortDefault;
    return {
      tune(effort) {
        ef = effort;
      },
      async query(vector, topK, below) {
        const event = { collection, vector: Array.from(vector), topK, ef, ...filterOf(below) };
        const { results } = (await url(event)) as { results: { id: string }[] };
        return results.map(({ id }) => rowOfId(id));
      },
      async close() {
        ended.resolve();
        await running;
      },
    };
  },
};

/** A reader only gets. */
async function getFile(path: string, range?: ByteRange): Promise<GetResult> {
  const file = await open(path);
  try {
    const { size, mtimeMs: modifiedMs } = await file.stat();
    const { start, limit } = range ?? { start: 0, limit: size };
    const body = Buffer.alloc(limit - start);
    await file.read(body, 0, body.length, start);
    return { kind: "found", body, etag: path, modifiedMs };
  } finally {
    await file.close();
  }
}
