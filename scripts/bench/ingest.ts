/**
 * What it costs to take in 1,000 rows, by the size of the collection that they come to: bytes and requests of the
 * compactor's run, and of a warm reader that then sees them. The collection is synthesised: one graph of narrow vectors
 * with few links, since ingestion never reads what is there.
 */
import { gaussianMixture } from "./data.ts";
import { round, timed } from "./measure.ts";
import type { Cell, Scenario } from "./scenario.ts";
import { compactAll, produceRows, readerOf, withSegments } from "./store.ts";

interface Size {
  readonly rows: number;
  readonly dims: number;
  /** Collection sizes, as shares of `rows`, smallest first. */
  readonly shares: readonly number[];
  readonly deltaRows: number;
}

const growthMax = 1.5;

export const ingest: Scenario<Size> = {
  name: "ingest",
  about: "1,000 rows into collections of 10k, 100k and 1M: bytes, requests, time",
  full: { rows: 1_000_000, dims: 16, shares: [0.01, 0.1, 1], deltaRows: 1000 },
  tiny: { rows: 1000, dims: 8, shares: [0.1, 1], deltaRows: 10 },
  async run(size, log) {
    const vectors = gaussianMixture({ rows: size.rows + size.deltaRows, dims: size.dims, queries: 1 });
    const rows: Cell[][] = [];
    for (const share of size.shares) {
      const there = Math.round(size.rows * share);
      log(`${there} rows: building`);
      const store = await withSegments(vectors, [{ rows: there, kind: "hnsw" }], {
        index: { M: 4, efConstruction: 16 },
      });
      const reader = readerOf(store, 0);
      const ask = () => reader.query({ collection: "bench", vector: vectors.queries[0] });
      await ask();
      await produceRows(store, vectors, { start: size.rows, limit: size.rows + size.deltaRows });
      const before = store.world.traffic.snapshot();
      const run = await timed(() => compactAll(store, { upkeep: false }));
      const { requests, bytesRead, bytesWritten } = store.world.traffic.since(before);
      const seen = await timed(ask);
      rows.push([
        there,
        requests,
        bytesRead,
        bytesWritten,
        round(run.ms),
        seen.value.requests,
        seen.value.bytesRead,
        round(seen.ms),
      ]);
      await reader.close();
    }
    const ratioOf = (column: number) => {
      const values = rows.map((row) => row[column] as number);
      return Math.max(...values) / Math.min(...values);
    };
    const measures = {
      requests: 1,
      "bytes read": 2,
      "bytes written": 3,
      "reader's requests": 5,
      "reader's bytes": 6,
    };
    return {
      tables: [
        {
          title: `${size.deltaRows} rows × ${size.dims} dims ingested, by rows that are there already`,
          columns: [
            "rows",
            "requests",
            "read",
            "written",
            "ms",
            "reader requests",
            "reader bytes",
            "reader ms",
          ],
          rows,
        },
      ],
      checks: Object.entries(measures).map(([what, column]) => ({
        target: `${what}: largest within ${growthMax} × smallest`,
        measured: round(ratioOf(column), 4),
        met: ratioOf(column) <= growthMax,
        counted: true,
      })),
    };
  },
};
