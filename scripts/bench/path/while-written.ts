/** Eventual queries while the next view, after an ingestion or a merge, is fetched and built. */
import { join } from "node:path";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import type { Vectors } from "../data.ts";
import { percentile, round, timed } from "../measure.ts";
import type { Check } from "../scenario.ts";
import { cacheBytes, compactAll, emptyStore, produceRows } from "../store.ts";
import { counted, type Part, type Size, slow } from "./part.ts";

/** As the query function's bundle has it beside itself. */
const threadScript = join(import.meta.dirname, "../../../lambdas/query/segment-thread.ts");

/**
 * Eventual queries one after the other while a new version is fetched, verified and opened, beside as many of the same version
 * while nothing happens: the two in turns, round by round, since a machine wavers.
 */
export const whileWritten: Part = async (size, vectors) => {
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
