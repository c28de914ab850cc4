/**
 * The path that users take: eventual queries while the next view, after an ingestion or a merge, is fetched and built; strong reads one delta after
 * the other; a call over sixteen shards; many collections with a delta each; vectors in an answer. Requests
 * to the store take `requestMs`, as S3's do, where a table says so.
 */
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import type { World } from "../../lib/engine/ports.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { type EffectHook, effects } from "../../test/support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../test/support/memory/world.ts";
import { gaussianMixture, rowOf, type Vectors } from "./data.ts";
import { percentile, round, timed } from "./measure.ts";
import type { Check, Scenario, Table } from "./scenario.ts";
import { cacheBytes, compactAll, emptyStore, far, produceRows, readerOf } from "./store.ts";

interface Size {
  readonly rows: number;
  readonly dims: number;
  readonly queries: number;
  readonly deltas: number;
  readonly collections: number;
  readonly requestMs: number;
}
type Part = (size: Size, vectors: Vectors) => Promise<{ table: Table; checks: readonly Check[] }>;

export const path: Scenario<Size> = {
  name: "path",
  about:
    "queries during ingestion and merging, strong reads, shards and collections side by side, vectors out",
  full: { rows: 20_000, dims: 384, queries: 2_000, deltas: 5_000, collections: 200, requestMs: 30 },
  tiny: { rows: 300, dims: 8, queries: 40, deltas: 60, collections: 20, requestMs: 2 },
  async run(size, log) {
    const vectors = gaussianMixture({ rows: size.rows, dims: size.dims, queries: 1 });
    const done: Awaited<ReturnType<Part>>[] = [];
    for (const [name, part] of Object.entries(parts)) {
      log(name);
      done.push(await part(size, vectors));
    }
    return { tables: done.map(({ table }) => table), checks: done.flatMap(({ checks }) => checks) };
  },
};

const isRequest = ({ port }: { readonly port: string }): boolean => port !== "clock";
/** A world whose requests take their time, and how many are under way at once. */
function slow(world: World, requestMs: number) {
  let [underWay, most, all] = [0, 0, 0];
  const hook: EffectHook = async (effect, moment) => {
    if (!isRequest(effect)) return undefined;
    if (moment === "after") {
      underWay -= 1;
      return undefined;
    }
    all += 1;
    underWay += 1;
    most = Math.max(most, underWay);
    await new Promise((resolve) => setTimeout(resolve, requestMs));
    return undefined;
  };
  return { world: effects(world, hook), counts: () => ({ most, all }) };
}

/** Eventual queries one after the other, while nothing happens and while rows are ingested and merged. */
const whileWritten: Part = async ({ rows, queries, requestMs }, vectors) => {
  const store = await emptyStore(vectors);
  const half = Math.floor(rows / 2);
  await produceRows(store, vectors, { start: 0, limit: half });
  await compactAll(store);
  const { world } = slow(store.world, requestMs);
  const reader = new Reader(world, {
    refreshSeconds: 5,
    cacheBytesMax: cacheBytes,
    traffic: store.world.traffic,
  });
  const ask = () => reader.query({ collection: "bench", vector: vectors.queries[0], topK: 10 });
  await ask();
  const versions = new Set<number>();
  const sample = async (isDue: boolean) => {
    const samples: number[] = [];
    for (let i = 0; i < queries; i++) {
      // A check is due ten times; the view is never so old that it must be waited for.
      if (isDue && i % Math.ceil(queries / 10) === 0) store.world.clock.advance(5_001);
      const { value, ms } = await timed(ask);
      samples.push(ms);
      versions.add(value.snapshotVersion);
      await new Promise(setImmediate);
    }
    return samples;
  };
  const quiet = await sample(false);
  await produceRows(store, vectors, { start: half, limit: rows });
  await compactAll(store, { upkeep: false });
  const ingested = await sample(true);
  await compactAll(store);
  const merged = await sample(true);
  await reader.close();
  const row = (name: string, samples: readonly number[]) => [
    name,
    ...[0.5, 0.95, 0.99, 1].map((share) => round(percentile(samples, share))),
  ];
  const p99 = (samples: readonly number[]) => percentile(samples, 0.99);
  const ratio = Math.max(p99(ingested), p99(merged)) / p99(quiet);
  return {
    table: {
      title: `Eventual queries while a view with ${rows - half} rows more, ingested or merged, is fetched and built, ${requestMs} ms a request, ms`,
      columns: ["", "p50", "p95", "p99", "most"],
      rows: [row("nothing happens", quiet), row("ingested", ingested), row("merged", merged)],
    },
    checks: [
      {
        target: "p99 while the next view is built ≤ 1.2 × without",
        measured: round(ratio),
        met: ratio <= 1.2,
      },
      counted("versions seen while it went on ≥ 2", versions.size, versions.size >= 2),
    ],
  };
};

const counted = (target: string, measured: number, met: boolean): Check => ({
  target,
  measured: round(measured),
  met,
  counted: true,
});

/** A backlog, and one more delta. */
const strongReads: Part = async ({ deltas }, vectors) => {
  const store = await emptyStore(vectors);
  const reader = readerOf(store);
  const ask = () => timed(() => reader.count({ collection: "bench", consistency: "strong" }));
  const rows: (string | number)[][] = [];
  let most = 0;
  let there = 0;
  for (const share of [0.02, 1]) {
    const wanted = Math.round(deltas * share);
    await produceRows(store, vectors, { start: 0, limit: wanted - there, callRows: 1 });
    const first = await ask();
    await produceRows(store, vectors, { start: 0, limit: 1 });
    const next = await ask();
    there = wanted + 1;
    const pages = Math.floor(there / 1_000);
    most = Math.max(most, next.value.requests - pages);
    rows.push([there, first.value.requests, round(first.ms), next.value.requests, round(next.ms)]);
  }
  await reader.close();
  return {
    table: {
      title: "Strong reads of a backlog, and after one more delta (store in memory)",
      columns: ["deltas", "requests", "ms", "after one more: requests", "ms"],
      rows,
    },
    checks: [counted("after one more delta ≤ 4 requests, beside further pages of the LIST", most, most <= 4)],
  };
};

/** One call over sixteen shards. */
const sixteenShards: Part = async ({ dims, requestMs }, vectors) => {
  const shards = 16;
  const store = await emptyStore(vectors, { shards });
  const { world, counts } = slow(store.world, requestMs);
  const records = Array.from({ length: 200 }, (_, i) => ({ id: `r${i}`, vector: rowOf(vectors, i) }));
  // A batch of messages is one request.
  const send = async (...bodies: readonly string[]): Promise<void> => {
    await new Promise((resolve) => setTimeout(resolve, requestMs));
    await store.world.queue.send(...bodies);
  };
  const { ms } = await timed(() => produce({ ...world, queue: { send } }, { collection: "bench", records }));
  const { most, all } = counts();
  return {
    table: {
      title: `A call of 200 records × ${dims} over ${shards} shards, ${requestMs} ms a request`,
      columns: ["requests to S3", "at once", "ms"],
      rows: [[all, most, round(ms)]],
    },
    checks: [counted("all PUTs are under way at once", most, most === shards)],
  };
};

/** A delta in each of many collections. */
const manyCollections: Part = async ({ dims, collections, requestMs }, vectors) => {
  const world: MemoryWorld = memoryWorld();
  for (let i = 0; i < collections; i++) {
    await createCollection(world, { name: `c${i}`, dims, metric: "cosine" });
    await produce(world, { collection: `c${i}`, records: [{ id: "a", vector: rowOf(vectors, i) }] });
  }
  const { world: slowed, counts } = slow(world, requestMs);
  const before = world.traffic.snapshot();
  const { ms } = await timed(() => compact(slowed, { ingest: true, upkeep: false, deadlineMs: far }));
  const each = (world.traffic.since(before).requests - 1 - collections) / collections;
  return {
    table: {
      title: `${collections} collections with a delta each, ${requestMs} ms a request`,
      columns: ["requests to S3 a shard", "at once", "ms"],
      rows: [[round(each), counts().most, round(ms)]],
    },
    checks: [
      counted("≤ 8 requests to S3 a shard, beside its configuration", each, each <= 8),
      counted("sixteen shards side by side", counts().most, counts().most >= 12),
    ],
  };
};

/** An answer with a thousand vectors. */
const vectorsOut: Part = async ({ rows, dims }, vectors) => {
  const store = await emptyStore(vectors);
  const count = Math.min(1_000, rows);
  await produceRows(store, vectors, { start: 0, limit: count });
  await compactAll(store);
  const reader = readerOf(store);
  const ids = Array.from({ length: count }, (_, i) => `record-${i}`);
  const get = (vectorFormat: "list" | "base64") =>
    reader.get({ collection: "bench", ids, include: ["vector"], vectorFormat });
  await get("list");
  const [list, base64] = [await timed(() => get("list")), await timed(() => get("base64"))];
  await reader.close();
  return {
    table: {
      title: `get of ${count} with vectors × ${dims}, ms`,
      columns: ["list", "base64"],
      rows: [[round(list.ms), round(base64.ms)]],
    },
    checks: [],
  };
};

const parts: Readonly<Record<string, Part>> = {
  "queries while it is written": whileWritten,
  "strong reads": strongReads,
  "a call over sixteen shards": sixteenShards,
  "many collections": manyCollections,
  "vectors out": vectorsOut,
};
