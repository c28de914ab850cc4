/**
 * M, efConstruction and ef against build time, recall@10 and latency, on real embeddings where they are beside the
 * checkout; a generated set of other dims otherwise. Latency and recall are of the graph alone, in turns over ef.
 */
import hnswlib from "#hnswlib";
import type { Metric } from "../../lib/core/model/collection.ts";
import { normalised } from "../../lib/core/model/vector.ts";
import { hasDataset, readDataset } from "../../test/support/datasets.ts";
import { gaussianMixture, recallOf, truthOf, type Vectors } from "./data.ts";
import { interleaved, median, queryPasses, round, timed } from "./measure.ts";
import type { Cell, Log, Scenario } from "./scenario.ts";

interface Size {
  /** Size of the generated sets. */
  readonly rows: number;
  readonly queries: number;
  readonly dims: readonly number[];
  readonly real: readonly { readonly name: string; readonly metric: Metric }[];
  readonly M: readonly number[];
  readonly efConstruction: readonly number[];
  readonly ef: readonly number[];
}

const topK = 10;

export const parameters: Scenario<Size> = {
  name: "parameters",
  about: "M, efConstruction and ef: build time, recall, latency",
  full: {
    rows: 30_000,
    queries: 200,
    dims: [128, 1024],
    real: [
      { name: "aimath-bgemicro384", metric: "cosine" },
      { name: "sift5k-128", metric: "l2" },
    ],
    M: [12, 16, 24],
    efConstruction: [64, 100, 200],
    ef: [50, 100, 200],
  },
  tiny: { rows: 300, queries: 4, dims: [8], real: [], M: [8], efConstruction: [16], ef: [10, 20] },
  async run(size, log) {
    const rows: Cell[][] = [];
    for (const { name, metric } of size.real) {
      if (hasDataset(name))
        rows.push(...(await sweep(realSet(name, size.queries), { name, metric }, size, log)));
      else log(`${name} is not beside this checkout`);
    }
    for (const dims of size.dims) {
      const set = gaussianMixture({ rows: size.rows, dims, queries: size.queries });
      rows.push(...(await sweep(set, { name: `generated, ${dims}`, metric: "cosine" }, size, log)));
    }
    const columns = [
      "set",
      "M",
      "efConstruction",
      "rows/s of processor time",
      "B/row",
      "ef",
      "recall@10",
      "ms",
    ];
    return { tables: [{ title: "Index parameters", columns, rows }], checks: [] };
  },
};

function realSet(name: string, queries: number): Vectors {
  const { dims, rows, base, queries: held } = readDataset(name);
  const packed = new Float32Array(rows * dims);
  // Source order puts similar rows side by side; a merge shuffles them, and so does this.
  for (let row = 0; row < rows; row++) packed.set(base[(row * 7919) % rows]!, row * dims);
  return { dims, rows, base: packed, queries: held.slice(0, queries) };
}

async function sweep(
  set: Vectors,
  { name, metric }: { name: string; metric: Metric },
  size: Size,
  log: Log,
): Promise<Cell[][]> {
  const rows: Cell[][] = [];
  const truth = truthOf(set, metric, topK);
  const queries = set.queries.map((query) => (metric === "cosine" ? normalised(query) : query));
  const [labels, distances] = [new Uint32Array(topK), new Float32Array(topK)];
  for (const M of size.M) {
    for (const efConstruction of size.efConstruction) {
      log(`${name}: M ${M}, efConstruction ${efConstruction}`);
      const graph = new hnswlib.Graph(metric, set.dims);
      graph.create(set.rows, M, efConstruction);
      const built = await timed(() => graph.append(set.base, 1));
      const found = new Map(size.ef.map((ef) => [ef, [] as number[][]]));
      const cases = size.ef.map((ef) => [
        String(ef),
        (turn: number) => {
          const count = graph.search(queries[turn]!, labels, distances, ef);
          found.get(ef)![turn] = [...labels.subarray(0, count)];
        },
      ]);
      const samples = await interleaved(Object.fromEntries(cases), {
        turns: queries.length,
        passes: queryPasses,
      });
      for (const ef of size.ef) {
        rows.push([
          name,
          M,
          efConstruction,
          Math.round((set.rows / built.cpuMs) * 1000),
          Math.round(set.dims * 4 + M * 8 + 12 + (M * 4 + 4) / (M - 1)),
          ef,
          round(recallOf(found.get(ef)!, truth), 4),
          round(median(samples[String(ef)]!)),
        ]);
      }
      graph.close();
    }
  }
  return rows;
}
