/**
 * The path that users take: eventual queries while the next view, after an ingestion or a merge, is fetched and built; strong reads one delta after
 * the other; a call over sixteen shards; many collections with a delta each; vectors in an answer. Requests
 * to the store take `requestMs`, as S3's do, where a table says so.
 */
import { join } from "node:path";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import type { World } from "../../lib/engine/ports.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
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
  /** Of writing and reading. */
  readonly rounds: number;
  readonly deltas: number;
  readonly collections: number;
  readonly requestMs: number;
}
type Part = (size: Size, vectors: Vectors) => Promise<{ table: Table; checks: readonly Check[] }>;

export const path: Scenario<Size> = {
  name: "path",
  about:
    "queries during ingestion and merging, strong reads, shards and collections side by side, vectors out",
  full: { rows: 30_000, dims: 384, rounds: 5, deltas: 5_000, collections: 200, requestMs: 30 },
  tiny: { rows: 300, dims: 8, rounds: 2, deltas: 60, collections: 20, requestMs: 2 },
  async run(size, log) {
    const vectors = gaussianMixture({ rows: size.rows, dims: size.dims, queries: 1 });
    const done: Awaited<ReturnType<Part>>[] = [];
    for (const [name, part] of Object.entries(parts).slice(0, Number(process.env.PARTS ?? 9))) {
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

/** As the query function's bundle has it beside itself. */
const threadScript = join(import.meta.dirname, "../../lambdas/query/segment-thread.ts");

/**
 * Eventual queries one after the other while a new version is fetched, verified and opened, beside as many of the same version
 * while nothing happens: the two in turns, round by round, since a machine wavers.
 */
const whileWritten: Part = async (size, vectors) => {
  const rows: (string | number)[][] = [];
  const checks: Check[] = [];
  for (const script of [undefined, threadScript]) {
    const { ingested, merged, published, seen } = await writtenRounds(size, vectors, script);
    const who = script === undefined ? "the thread that answers opens" : "another thread opens";
    for (const [what, { quiet, busy }] of Object.entries({ ingested, merged })) {
      if (busy.length === 0) continue; // Too few rows to merge.
      const shares = [0.5, 0.95, 0.99, 1];
      const of = (samples: readonly number[]) => shares.map((share) => round(percentile(samples, share)));
      const ratio = round(percentile(busy, 0.99) / percentile(quiet, 0.99));
      rows.push([`${what}: ${who}`, busy.length, ...of(quiet), ...of(busy), ratio]);
      if (script !== undefined)
        checks.push({ target: `${what}: p99 ≤ 1.2 × without`, measured: ratio, met: ratio <= 1.2 });
    }
    if (script !== undefined)
      checks.push(counted("each version that was published answered", seen, seen === published && seen > 0));
  }
  const columns = ["p50", "p95", "p99", "most"];
  return {
    table: {
      title: `Eventual queries while a view with ${Math.floor(size.rows / 2 / size.rounds)} rows more, ingested or merged, is fetched and built, ${size.requestMs} ms a request, ms`,
      columns: ["", "queries", ...columns.map((name) => `without: ${name}`), ...columns, "p99 ratio"],
      rows,
    },
    checks,
  };
};

interface Compared {
  readonly quiet: number[];
  readonly busy: number[];
}

async function writtenRounds(
  { rows, rounds, requestMs }: Size,
  vectors: Vectors,
  script: string | undefined,
) {
  const store = await emptyStore(vectors);
  const half = Math.floor(rows / 2);
  await produceRows(store, vectors, { start: 0, limit: half });
  await compactAll(store);
  const { world } = slow(store.world, requestMs);
  const reader = new Reader(world, {
    refreshSeconds: 5,
    cacheBytesMax: cacheBytes,
    traffic: store.world.traffic,
    ...(script === undefined ? {} : { threadScript: script }),
  });
  // What an answer keeps others waiting for is a part of its time.
  const ask = () =>
    timed(async () => {
      const { snapshotVersion } = await reader.query({
        collection: "bench",
        vector: vectors.queries[0],
        topK: 10,
      });
      await new Promise(setImmediate);
      return snapshotVersion;
    });
  let version = (await ask()).value;
  let [published, seen] = [0, 0];
  /** Until the next version answers; and before that as many while nothing is due. */
  const compare = async ({ quiet, busy }: Compared, queries: number) => {
    const { manifest } = await readHead(store.world.store, store.collection, 0);
    if (manifest.version === version) return;
    published += 1;
    for (let i = 0; i < queries; i++) quiet.push((await ask()).ms);
    store.world.clock.advance(5_001);
    const giveUpMs = performance.now() + 60_000;
    while (version !== manifest.version) {
      const { value, ms } = await ask();
      busy.push(ms);
      if (value !== version) seen += 1;
      version = value;
      if (performance.now() > giveUpMs) throw new Error("the new version never answered");
    }
  };
  const [ingested, merged]: Compared[] = [
    { quiet: [], busy: [] },
    { quiet: [], busy: [] },
  ];
  for (let i = 0; i < 300; i++) await ask();
  for (let round = 0; round < rounds; round++) {
    const step = Math.floor(half / rounds);
    await produceRows(store, vectors, { start: half + round * step, limit: half + (round + 1) * step });
    await compactAll(store, { upkeep: false });
    await compare(ingested!, round === 0 ? 300 : Math.ceil(ingested!.busy.length / round));
    await compactAll(store);
    await compare(merged!, round === 0 ? 300 : Math.ceil(merged!.busy.length / round));
  }
  await reader.close();
  return { ingested: ingested!, merged: merged!, published, seen };
}

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
