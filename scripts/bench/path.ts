/**
 * The path that users take: eventual queries while the next view, after an ingestion or a merge, is fetched and built; strong reads one delta after
 * the other; a call over sixteen shards; many collections with a delta each; vectors in an answer. Requests
 * to the store take `requestMs`, as S3's do, where a table says so.
 */
import { join } from "node:path";
import { answerBytesMax } from "../../lib/core/model/answer-size.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import type { World } from "../../lib/engine/ports.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { type MemoryWorld, memoryWorld } from "../../test/support/memory/world.ts";
import { gaussianMixture, rowOf, type Vectors } from "./data.ts";
import { interleaved, median, percentile, round, timed } from "./measure.ts";
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
    for (const [name, part] of Object.entries(parts)) {
      log(name);
      done.push(await part(size, vectors));
    }
    return { tables: done.map(({ table }) => table), checks: done.flatMap(({ checks }) => checks) };
  },
};

/** A world whose requests take their time; a batch of messages, and a page of a LIST, are one. */
function slow(world: World, requestMs: number) {
  let [underWay, most] = [0, 0];
  const request = async () => {
    underWay += 1;
    most = Math.max(most, underWay);
    await new Promise((resolve) => setTimeout(resolve, requestMs));
    underWay -= 1;
  };
  const slowed = <Port extends object>(port: Port): Port =>
    new Proxy(port, {
      get(target, name) {
        const method = Reflect.get(target, name) as (...given: unknown[]) => unknown;
        if (name === "list")
          return async function* (...given: unknown[]) {
            for await (const page of method.apply(target, given) as AsyncIterable<unknown>) {
              await request();
              yield page;
            }
          };
        return async (...given: unknown[]) => {
          await request();
          return method.apply(target, given);
        };
      },
    });
  const { store, queue, leases } = world;
  return {
    world: { ...world, store: slowed(store), queue: slowed(queue), leases: slowed(leases) },
    /** The most that were under way at once. */
    most: () => most,
  };
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

const callTurns = 7;
/** One call over sixteen shards. */
const sixteenShards: Part = async ({ dims, requestMs }, vectors) => {
  const shards = 16;
  const store = await emptyStore(vectors, { shards });
  const { world, most } = slow(store.world, requestMs);
  const records = Array.from({ length: 200 }, (_, i) => ({ id: `r${i}`, vector: rowOf(vectors, i) }));
  const before = store.world.traffic.snapshot();
  const { call } = await interleaved(
    { call: () => produce(world, { collection: "bench", records }) },
    { turns: callTurns },
  );
  const requests = store.world.traffic.since(before).requests / callTurns;
  return {
    table: {
      title: `A call of 200 records × ${dims} over ${shards} shards, ${requestMs} ms a request`,
      columns: ["requests to S3", "at once", "ms: least", "median"],
      rows: [[requests, most(), round(Math.min(...call)), round(median(call))]],
    },
    checks: [
      counted("all PUTs are under way at once", most(), most() === shards),
      { target: "≤ 120 ms", measured: round(median(call)), met: median(call) <= 120 },
    ],
  };
};

/** A delta in each of many collections. */
const manyCollections: Part = async ({ dims, collections, requestMs }, vectors) => {
  const world: MemoryWorld = memoryWorld();
  for (let i = 0; i < collections; i++) {
    await createCollection(world, { name: `c${i}`, dims, metric: "cosine" });
    await produce(world, { collection: `c${i}`, records: [{ id: "a", vector: rowOf(vectors, i) }] });
  }
  const { world: slowed, most } = slow(world, requestMs);
  const before = world.traffic.snapshot();
  const { ms, cpuMs } = await timed(() => compact(slowed, { ingest: true, upkeep: false, deadlineMs: far }));
  const each = (world.traffic.since(before).requests - 1 - collections) / collections;
  return {
    table: {
      title: `${collections} collections with a delta each, ${requestMs} ms a request`,
      columns: ["requests to S3 a shard", "at once", "ms", "processor ms"],
      rows: [[round(each), most(), round(ms), round(cpuMs)]],
    },
    checks: [
      counted("≤ 8 requests to S3 a shard, beside its configuration", each, each <= 8),
      counted("sixteen shards side by side", most(), most() >= 12),
      { target: "200 collections ≤ 12 s", measured: `${round(ms / 1000)} s`, met: ms <= 12_000 },
    ],
  };
};

const vectorTurns = 11;
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
  const answers = { list: await get("list"), base64: await get("base64") };
  const before = store.world.traffic.snapshot();
  const samples = await interleaved(
    {
      list: () => get("list"),
      base64: () => get("base64"),
      listJson: () => JSON.stringify(answers.list),
      base64Json: () => JSON.stringify(answers.base64),
    },
    { turns: vectorTurns, warmups: 2 },
  );
  const { requests } = store.world.traffic.since(before);
  await reader.close();
  const row = (format: "list" | "base64") => {
    const [reading, json] = [samples[format], samples[`${format}Json`]];
    const bytes = Buffer.byteLength(JSON.stringify(answers[format]));
    return [format, ...[reading, json].flatMap((ms) => [round(Math.min(...ms)), round(median(ms))]), bytes];
  };
  const check = (format: "list" | "base64"): Check => {
    const ms = median(samples[format]);
    return {
      target: `get of ${count} with vectors as ${format} ≤ 40 ms`,
      measured: round(ms),
      met: ms <= 40,
    };
  };
  return {
    table: {
      title: `get of ${count} with vectors × ${dims}, ms; an answer has at most ${answerBytesMax} bytes`,
      columns: ["as", "read: least", "median", "made JSON: least", "median", "bytes"],
      rows: [row("list"), row("base64")],
    },
    checks: [
      check("list"),
      check("base64"),
      counted("requests of later answers with vectors", requests, requests === 0),
    ],
  };
};

const parts: Readonly<Record<string, Part>> = {
  "queries while it is written": whileWritten,
  "strong reads": strongReads,
  "a call over sixteen shards": sixteenShards,
  "many collections": manyCollections,
  "vectors out": vectorsOut,
};
