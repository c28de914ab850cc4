/**
 * A bulk import end to end (records checked, Arrow deltas, compaction, merge, published) beside the bare build of an
 * hnswlib index of the same rows with the same parameters: by hnswlib-node on its one thread, and by the addon's own
 * graph on every processor. Where the time goes is in the table.
 */
import hnswlib from "#hnswlib";
import { gaussianMixture } from "./data.ts";
import { round, timed } from "./measure.ts";
import type { Scenario } from "./scenario.ts";
import { compactAll, emptyStore, produceRows } from "./store.ts";

interface Size {
  readonly rows: number;
  readonly dims: number;
  readonly threads: number;
}

export const importing: Scenario<Size> = {
  name: "import",
  about: "a bulk import end to end beside the bare build of its index",
  full: { rows: 100_000, dims: 384, threads: 2 },
  tiny: { rows: 2_500, dims: 16, threads: 2 },
  async run(size, log) {
    const vectors = gaussianMixture({ ...size, queries: 0 });
    const store = await emptyStore(vectors);
    const { M, efConstruction } = store.collection.index;
    log("bare build, hnswlib-node");
    const bare = await timed(() => {
      const index = new hnswlib.HierarchicalNSW("cosine", size.dims);
      index.initIndex({ maxElements: size.rows, m: M, efConstruction });
      for (let row = 0; row < size.rows; row++)
        index.addPoint(Array.from(vectors.base.subarray(row * size.dims, (row + 1) * size.dims)), row);
    });
    log("bare build, all processors");
    const native = await timed(async () => {
      const graph = new hnswlib.Graph("cosine", size.dims);
      graph.create(size.rows, M, efConstruction);
      await graph.append(vectors.base, size.threads);
      graph.close();
    });
    log("import");
    const produced = await timed(() => produceRows(store, vectors, { start: 0, limit: size.rows }));
    const ingested = await timed(() => compactAll(store, { upkeep: false }));
    const merged = await timed(() => compactAll(store, { ingest: false }));
    const steps = { produced, ingested, merged };
    const sum = (of: "ms" | "cpuMs") => Object.values(steps).reduce((total, step) => total + step[of], 0);
    const whole = { ms: sum("ms"), cpuMs: sum("cpuMs") };
    const row = (what: string, { ms, cpuMs }: typeof whole) => [
      what,
      round(ms / 1000),
      Math.round((size.rows / ms) * 1000),
      round(cpuMs / 1000),
    ];
    const { requests, bytesWritten } = store.world.traffic.snapshot();
    const ratio = bare.ms / whole.ms;
    const ratioNative = native.ms / whole.ms;
    return {
      tables: [
        {
          title: `Import of ${size.rows} × ${size.dims}, M ${M}, efConstruction ${efConstruction}`,
          columns: ["step", "seconds", "rows/s", "processor seconds"],
          rows: [
            row("bare build, hnswlib-node, one thread", bare),
            row(`bare build, the addon's graph, ${size.threads} threads`, native),
            row("produce: check, encode, put", produced),
            row("ingest: read, fold, write flat, publish", ingested),
            row("merge: fetch, fold, build, publish", merged),
            row("import, whole", whole),
          ],
        },
        {
          title: "What the import moved",
          columns: ["requests per 1,000 rows", "bytes written per row", "bytes of a row's vector"],
          rows: [[round((requests / size.rows) * 1000), Math.round(bytesWritten / size.rows), size.dims * 4]],
        },
      ],
      checks: [
        {
          target: "at least 80 % of the rate of a bare hnswlib-node build, which has one thread",
          measured: `${round(ratio * 100)} %`,
          met: ratio >= 0.8,
        },
        {
          target: "at least 80 % of the rate of the addon's own bare build on every processor",
          measured: `${round(ratioNative * 100)} %`,
          met: ratioNative >= 0.8,
        },
      ],
    };
  },
};
