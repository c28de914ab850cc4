/**
 * Resident memory of a warm query process: after opening and after 50 refreshes that each bring new rows, with the
 * merges between them. Allowed are 1.25 × the bytes of the open version's files + 150 MB. Then memory and disk of a batch's
 * ingestion and of merges, each in a process of its own, beside what lib/core/policy/resource-estimate.ts estimates.
 */

import type { Taken } from "./compactor-process.ts";
import { gaussianMixture } from "./data.ts";
import { round } from "./measure.ts";
import { serving } from "./reader-client.ts";
import type { Cell, Check, Scenario } from "./scenario.ts";
import { compactAll, emptyStore, produceRows, withSegments } from "./store.ts";

interface Size {
  readonly rows: number;
  readonly sets: readonly { readonly share: number; readonly dims: number }[];
  readonly refreshes: number;
  readonly rowsPerRefresh: number;
}

const allowedFactor = 1.25;
const allowedBytes = 150e6;
/** An estimate may be this much above what was measured. */
const estimateFactorMax = 1.5;
const flatSegments = 10;

export const memory: Scenario<Size> = {
  name: "memory",
  about: "resident memory of a query process, also after 50 refreshes; memory and disk of the compactor",
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
    const runsTaken: Cell[][] = [];
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
      const setRows = Math.round(size.rows * share);
      const runs = {
        "a batch of deltas": () => ingestOf({ rows: Math.min(setRows, batchRows(dims)), dims }),
        "a graph built": () => mergeOf({ rows: setRows, dims, graphShare: 0 }),
        "a graph grown by a fifth": () => mergeOf({ rows: setRows, dims, graphShare: 0.8 }),
      };
      for (const [what, run] of Object.entries(runs)) {
        log(`${set}: ${what}`);
        const taken = await run();
        for (const need of ["memoryBytes", "diskBytes"] as const) {
          const [estimated, measured] = [taken.estimated[need], taken.measured[need]];
          const mb = [measured, estimated].map((bytes) => Math.round(bytes / 1e6));
          runsTaken.push([set, what, need.replace("Bytes", ""), ...mb, round(estimated / measured)]);
          checks.push({
            target: `${set}, ${what}: ${need} estimated at 1 to ${estimateFactorMax} × what is taken`,
            measured: round(estimated / measured),
            met: estimated >= measured && estimated <= estimateFactorMax * measured,
          });
        }
      }
    }
    const columns = ["set", "after", "RSS", "index files", "allowed"];
    return {
      tables: [
        { title: "Resident memory of a query process, MB", columns, rows },
        {
          title: "What the compactor takes, at its peak, MB",
          columns: ["set", "work", "of", "taken", "estimated", "ratio"],
          rows: runsTaken,
        },
      ],
      checks,
    };
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

/** Rows whose deltas fill a batch of lib/engine/compact/ingest.ts nearly. */
const batchRows = (dims: number): number => Math.floor(90e6 / (dims * 4 + 500));

async function ingestOf({ rows, dims }: { rows: number; dims: number }): Promise<Taken> {
  const vectors = gaussianMixture({ rows, dims, queries: 0 });
  const store = await emptyStore(vectors);
  await produceRows(store, vectors, { start: 0, limit: rows });
  return serving(store, (served) => served.compactor("ingest"));
}

/** The merge of flat segments, or of flat segments into the graph that has `graphShare` of the rows. */
async function mergeOf(size: { rows: number; dims: number; graphShare: number }): Promise<Taken> {
  const { rows, dims, graphShare } = size;
  const vectors = gaussianMixture({ rows, dims, queries: 0 });
  const graphRows = Math.round(rows * graphShare);
  const flatRows = Math.floor((rows - graphRows) / flatSegments);
  const segments = [
    ...(graphRows > 0 ? [{ rows: graphRows, kind: "hnsw" as const }] : []),
    ...Array.from({ length: flatSegments }, () => ({ rows: flatRows, kind: "flat" as const })),
  ];
  const store = await withSegments(vectors, segments, { index: { efConstruction: 20 } });
  return serving(store, (served) => served.compactor("merge"));
}
