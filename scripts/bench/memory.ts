/**
 * Resident memory of a warm query process: after opening and after 50 refreshes that each bring new rows, with the
 * merges between them. Allowed are 1.25 × the bytes of the open version's files + 150 MB.
 */
import { gaussianMixture } from "./data.ts";
import { round } from "./measure.ts";
import { serving } from "./reader-client.ts";
import type { Cell, Check, Scenario } from "./scenario.ts";
import { compactAll, produceRows, withSegments } from "./store.ts";

interface Size {
  readonly rows: number;
  readonly sets: readonly { readonly share: number; readonly dims: number }[];
  readonly refreshes: number;
  readonly rowsPerRefresh: number;
}

const allowedFactor = 1.25;
const allowedBytes = 150e6;

export const memory: Scenario<Size> = {
  name: "memory",
  about: "resident memory of a query process, also after 50 refreshes",
  full: {
    rows: 100_000,
    sets: [
      { share: 1, dims: 384 },
      { share: 1, dims: 1024 },
      { share: 0.7, dims: 1536 },
    ],
    refreshes: 50,
    rowsPerRefresh: 200,
  },
  tiny: { rows: 300, sets: [{ share: 1, dims: 16 }], refreshes: 2, rowsPerRefresh: 5 },
  async run(size, log) {
    const rows: Cell[][] = [];
    const checks: Check[] = [];
    for (const { share, dims } of size.sets) {
      const set = `${Math.round(size.rows * share)} × ${dims}`;
      log(`${set}: building`);
      for (const { step, rss, bytes } of await steps({
        ...size,
        rows: Math.round(size.rows * share),
        dims,
      })) {
        const allowed = allowedFactor * bytes + allowedBytes;
        rows.push([set, step, ...[rss, bytes, allowed].map((n) => Math.round(n / 1e6))]);
        const measured = `${round(rss / 1e6)} of ${round(allowed / 1e6)} MB`;
        checks.push({
          target: `${set}, ${step}: RSS ≤ 1.25 × index + 150 MB`,
          measured,
          met: rss <= allowed,
        });
      }
    }
    const columns = ["set", "after", "RSS", "index files", "allowed"];
    return { tables: [{ title: "Resident memory of a query process, MB", columns, rows }], checks };
  },
};

async function steps(size: { rows: number; dims: number; refreshes: number; rowsPerRefresh: number }) {
  const { rows, dims, refreshes, rowsPerRefresh } = size;
  const vectors = gaussianMixture({ rows: rows + refreshes * rowsPerRefresh, dims, queries: 1 });
  // Cheap to build; the graph's size depends on M alone.
  const store = await withSegments(vectors, [{ rows, kind: "hnsw" }], { index: { efConstruction: 20 } });
  const vector = [...vectors.queries[0]!];
  return serving(store, async (served) => {
    const reader = served.startReader();
    const measured: { step: string; rss: number; bytes: number }[] = [];
    const measure = async (step: string) => {
      const { rss, bytes } = await reader.ask({ op: "memory" });
      measured.push({ step, rss, bytes });
    };
    await reader.ask({ op: "query", vector });
    await measure("opening");
    for (let i = 0; i < refreshes; i++) {
      await produceRows(store, vectors, {
        start: rows + i * rowsPerRefresh,
        limit: rows + (i + 1) * rowsPerRefresh,
      });
      await compactAll(store);
      await served.sync();
      await reader.ask({ op: "query", vector });
    }
    await measure(`${refreshes} refreshes`);
    await reader.stop();
    return measured;
  });
}
