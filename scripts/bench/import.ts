/**
 * A bulk import end to end (records checked, Arrow deltas, compaction, merge, published) beside the bare build of an
 * hnswlib index of the same rows with the same parameters. hnswlib-node builds on one thread: its time divided by the
 * processors is what hnswlib would take on all of them, were it to scale perfectly. The addon's own graph, which takes rows
 * as they come, shows what of the difference is the graph's. Rounds are interleaved; what is shown are medians.
 */
import { availableParallelism } from "node:os";
import hnswlib from "#hnswlib";
import { normalised } from "../../lib/core/model/vector.ts";
import { gaussianMixture, recallOf, truthOf, type Vectors } from "./data.ts";
import { median, round, timed } from "./measure.ts";
import type { Log, Scenario } from "./scenario.ts";
import { compactAll, emptyStore, produceRows, readerOf, rowOfId } from "./store.ts";

interface Size {
  readonly rows: number;
  readonly dims: number;
  readonly queries: number;
  readonly rounds: number;
}

const topK = 10;
/** Threads, as many as a merge uses. */
const processors = availableParallelism();
const parts = {
  bare: "bare build, hnswlib-node, one thread",
  graph: "bare build, the addon's graph",
  produced: "produce: check, encode, put",
  ingested: "ingest: read, fold, write flat, publish",
  merged: "merge: fetch, fold, order, build, publish",
} as const;
type Part = keyof typeof parts;
type Times = Record<Part, { readonly ms: number; readonly cpuMs: number }>;

export const importing: Scenario<Size> = {
  name: "import",
  about: "a bulk import end to end beside the bare build of its index",
  full: { rows: 100_000, dims: 384, queries: 500, rounds: 3 },
  tiny: { rows: 2_500, dims: 16, queries: 20, rounds: 1 },
  async run(size, log) {
    const vectors = gaussianMixture(size);
    const truth = truthOf(vectors, "cosine", topK);
    const rounds: Awaited<ReturnType<typeof oneRound>>[] = [];
    for (let turn = 1; turn <= size.rounds; turn++)
      rounds.push(await oneRound(vectors, truth, (text) => log(`round ${turn}: ${text}`)));

    const { index, traffic } = rounds[0]!;
    const of = (part: Part, unit: "ms" | "cpuMs") => median(rounds.map(({ times }) => times[part][unit]));
    const whole = (unit: "ms" | "cpuMs") =>
      median(rounds.map(({ times }) => times.produced[unit] + times.ingested[unit] + times.merged[unit]));
    const row = (what: string, ms: number, cpuMs: number) => [
      what,
      round(ms / 1000),
      Math.round((size.rows / ms) * 1000),
      round(cpuMs / 1000),
    ];
    const { requests, bytesWritten } = traffic;
    const recall = (of: "bare" | "imported") => round(median(rounds.map((one) => one.recall[of])), 4);
    const ratio = of("bare", "ms") / processors / whole("ms");
    return {
      tables: [
        {
          title: `Import of ${size.rows} × ${size.dims}, M ${index.M}, efConstruction ${index.efConstruction}, ${processors} processors`,
          columns: ["step", "seconds", "rows/s", "processor seconds"],
          rows: [
            ...(Object.keys(parts) as Part[]).map((part) =>
              row(parts[part], of(part, "ms"), of(part, "cpuMs")),
            ),
            row("import, whole", whole("ms"), whole("cpuMs")),
          ],
        },
        {
          title: `Recall@${topK} at ef ${index.efSearch}`,
          columns: ["bare build, hnswlib-node", "import"],
          rows: [[recall("bare"), recall("imported")]],
        },
        {
          title: "What the import moved",
          columns: ["requests per 1,000 rows", "bytes written per row", "bytes of a row's vector"],
          rows: [[round((requests / size.rows) * 1000), Math.round(bytesWritten / size.rows), size.dims * 4]],
        },
      ],
      checks: [
        {
          target: `at least 80 % of the rate of a bare hnswlib build on ${processors} processors (hnswlib-node's, times ${processors})`,
          measured: `${round(ratio * 100)} %`,
          met: ratio >= 0.8,
        },
      ],
    };
  },
};

async function oneRound(vectors: Vectors, truth: readonly number[][], log: Log) {
  const { base, rows, dims, queries } = vectors;
  const store = await emptyStore(vectors);
  const { M, efConstruction } = store.collection.index;
  log(parts.bare);
  const index = new hnswlib.HierarchicalNSW("cosine", dims);
  const bare = await timed(() => {
    index.initIndex({ maxElements: rows, m: M, efConstruction });
    for (let row = 0; row < rows; row++)
      index.addPoint(Array.from(base.subarray(row * dims, (row + 1) * dims)), row);
  });
  index.setEf(store.collection.index.efSearch);
  const found = queries.map((query) => index.searchKnn(Array.from(normalised(query)), topK).neighbors);
  log(parts.graph);
  const graph = await timed(async () => {
    const own = new hnswlib.Graph("cosine", dims);
    own.create(rows, M, efConstruction);
    await own.append(base, processors);
    own.close();
  });
  log("import");
  const produced = await timed(() => produceRows(store, vectors, { start: 0, limit: rows }));
  const ingested = await timed(() => compactAll(store, { upkeep: false }));
  const merged = await timed(() => compactAll(store, { ingest: false }));
  const traffic = store.world.traffic.snapshot();
  const reader = readerOf(store);
  const answered: number[][] = [];
  for (const vector of queries) {
    const { results } = await reader.query({
      ...{ collection: store.collection.name, vector, topK },
      // Not from clusters.bin: the graph is what was built.
      ...{ consistency: "bounded", maxAgeSeconds: 300 },
    });
    answered.push(results.map(({ id }) => rowOfId(id)));
  }
  await reader.close();
  return {
    times: { bare, graph, produced, ingested, merged } satisfies Times,
    recall: { bare: recallOf(found, truth), imported: recallOf(answered, truth) },
    index: store.collection.index,
    traffic,
  };
}
