/**
 * Cold start: a fresh process with an empty cache, over an S3 slowed down to what a Lambda gets.
 *
 * - To the first answer, which comes from clusters.bin before the graphs are there, and its recall over many queries.
 * - To the first answer of a read that waits for the graphs. The yardstick is measured in the same processes: the same
 *   bytes fetched by parallel ranged GETs and thrown away, plus hnswlib-node's reading of the graph files.
 */
import { SiltstoneError } from "../../lib/core/errors.ts";
import { segmentRowsMax } from "../../lib/core/merge-plan.ts";
import { Reader } from "../../lib/engine/reader.ts";
import { effects } from "../../test/support/effects.ts";
import { gaussianMixture, recallOf, truthOf, type Vectors } from "./data.ts";
import { median, round } from "./measure.ts";
import { serving } from "./reader-client.ts";
import type { Scenario } from "./scenario.ts";
import { cacheBytes, rowOfId, type Store, withSegments } from "./store.ts";

interface Size {
  readonly rows: number;
  readonly dims: number;
  readonly rounds: number;
  /** Queries whose cold answers are compared with exact search. */
  readonly queries: number;
}

const throttle = { streamBytesPerSecond: 75e6, totalBytesPerSecond: 300e6, firstByteMs: 30 };
/** turbopuffer's published cold p50 at one million vectors. */
const markMs = 874;

export const cold: Scenario<Size> = {
  name: "cold",
  about: "fresh process to first answer over a throttled S3",
  full: { rows: 100_000, dims: 384, rounds: 7, queries: 100 },
  tiny: { rows: 300, dims: 16, rounds: 1, queries: 4 },
  async run(size, log) {
    const vectors = gaussianMixture(size);
    log("building");
    const store = await withSegments(vectors, segmentsOf(size), { index: { efConstruction: 20 } });
    const recall = await coldRecall(store, vectors);
    const vector = [...vectors.queries[0]!];
    const samples = {
      process: [] as number[],
      first: [] as number[],
      graphs: [] as number[],
      transfer: [] as number[],
      read: [] as number[],
    };
    const counted = { first: { bytes: 0, requests: 0 }, graphs: { bytes: 0, requests: 0 } };
    await serving(store, async (served) => {
      served.setThrottle(throttle);
      for (let turn = 0; turn < size.rounds; turn++) {
        log(`round ${turn + 1}`);
        const startedMs = performance.now();
        const one = served.startReader();
        const first = await one.ask({ op: "cold", vector });
        samples.process.push(performance.now() - startedMs);
        if (!first.cold) throw new Error("the first answer was to come from clusters.bin");
        samples.first.push(first.ms);
        counted.first = first;
        await one.kill();
        const other = served.startReader();
        const graphs = await other.ask({ op: "coldGraphs", vector });
        samples.graphs.push(graphs.ms);
        counted.graphs = graphs;
        await other.kill();
        const yardstick = served.startReader();
        samples.transfer.push((await yardstick.ask({ op: "transfer" })).ms);
        samples.read.push((await yardstick.ask({ op: "read" })).ms);
        await yardstick.kill();
      }
    });
    const ms = Object.fromEntries(Object.entries(samples).map(([name, values]) => [name, median(values)]));
    const ratio = ms.graphs! / (ms.transfer! + ms.read!);
    const row = (what: string, time: number, { bytes, requests }: { bytes: number; requests: number }) => [
      ...[what, Math.round(time), round(bytes / 1e6, 4), requests],
    ];
    return {
      tables: [
        {
          title: `Cold start, ${size.rows} × ${size.dims}; 75 MB/s a stream, 300 MB/s in all, 30 ms to the first byte`,
          columns: ["what", "ms", "MB", "requests"],
          rows: [
            ["first answer, from the start of the process", Math.round(ms.process!), "", ""],
            row("first answer (from clusters)", ms.first!, counted.first),
            row("answer of a read that waits for the graphs", ms.graphs!, counted.graphs),
            ["the same bytes, fetched and thrown away", Math.round(ms.transfer!), "", ""],
            ["hnswlib-node reading the graphs", Math.round(ms.read!), "", ""],
          ],
        },
        {
          title: `Recall@10 of cold answers over ${size.queries} queries`,
          columns: ["recall@10"],
          rows: [[round(recall)]],
        },
      ],
      checks: [
        { target: "recall@10 of a cold answer ≥ 0.9", measured: round(recall), met: recall >= 0.9 },
        {
          target: `first answer within ${markMs} ms`,
          measured: Math.round(ms.first!),
          met: ms.first! <= markMs,
        },
        { target: "graphs within 1.25 × (transfer + read)", measured: round(ratio), met: ratio <= 1.25 },
      ],
    };
  },
};

/** As large as a merge lets segments become. */
function segmentsOf({ rows, dims }: Size) {
  const largest = segmentRowsMax(dims);
  return Array.from({ length: Math.ceil(rows / largest) }, (_, i) => ({
    rows: Math.min(largest, rows - i * largest),
    kind: "hnsw" as const,
    clustered: true,
  }));
}

/** Of a reader whose graphs never arrive. */
async function coldRecall({ world }: Store, vectors: Vectors): Promise<number> {
  const without = effects(world, ({ key }) => {
    if (key.endsWith("index.hnsw")) throw new SiltstoneError("unavailable", `${key} never arrives`);
    return undefined;
  });
  const options = { refreshSeconds: 300, cacheBytesMax: cacheBytes, traffic: world.traffic };
  const reader = new Reader(without, options);
  const found: number[][] = [];
  for (const query of vectors.queries) {
    const { results } = await reader.query({ collection: "bench", vector: query, topK: 10 });
    found.push(results.map(({ id }) => rowOfId(id)));
  }
  await reader.close();
  return recallOf(found, truthOf(vectors, "cosine", 10));
}
