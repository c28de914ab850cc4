/**
 * Filtered queries by selectivity: recall against exact search under the same filter, latency beside the unfiltered
 * query in turns, and what a filter costs the first time, before its labels are cached. Beside it the costs from which
 * lib/segment/search-cost.ts takes its constant, and those of hnswlib's own filtered search, which it does without.
 */
import hnswlib from "#hnswlib";
import { normalised } from "../../lib/core/model/vector.ts";
import type { Reader } from "../../lib/engine/read/reader.ts";
import { gaussianMixture, recallOf, truthOf, type Vectors } from "./data.ts";
import { interleaved, median, percentile, queryPasses, round, timed } from "./measure.ts";
import type { Cell, Check, Scenario, Table } from "./scenario.ts";
import { bucketOf, readerOf, rowOfId, withSegments } from "./store.ts";

interface Size {
  readonly rows: number;
  readonly queries: number;
  readonly dims: number;
  /** Shares of the rows that the filters select. */
  readonly shares: readonly number[];
}

const topK = 10;

export const filters: Scenario<Size> = {
  name: "filters",
  about: "recall and latency at 50 to 0.01 % selectivity",
  full: { rows: 100_000, queries: 300, dims: 384, shares: [0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0001] },
  tiny: { rows: 500, queries: 3, dims: 16, shares: [0.5, 0.01] },
  async run(size, log) {
    const vectors = gaussianMixture(size);
    log(`${size.rows} × ${size.dims}: building`);
    const store = await withSegments(vectors, [{ rows: size.rows, kind: "hnsw" }]);
    const reader = readerOf(store);
    const ask: Ask = async (turn, limit) => {
      const filter = limit === null ? undefined : { bucket: { $lt: limit } };
      const query = { collection: "bench", vector: vectors.queries[turn]!, topK, filter };
      return (await reader.query(query)).results.map(({ id }) => rowOfId(id));
    };
    await ask(0, null);
    const rows: Cell[][] = [];
    const checks: Check[] = [];
    for (const share of size.shares) {
      const measured = await measureShare(vectors, share, ask);
      rows.push(measured.row);
      checks.push(...measured.checks);
    }
    const fresh = await freshFilters(reader, size.rows);
    await reader.close();
    log("costs of graph and exact search");
    return {
      tables: [
        {
          title: `Filters, ${size.rows} × ${size.dims}, topK ${topK}, ms`,
          columns: [
            "selects",
            "rows",
            "p50",
            "p95",
            "all p50",
            "all p95",
            "p95 ratio",
            "first use",
            "recall@10",
          ],
          rows,
        },
        fresh.table,
        await searchCosts(vectors, size.shares),
      ],
      checks: [...checks, ...fresh.checks],
    };
  },
};

/** Filters that no call has used before, by their number. */
const freshOnes: Readonly<Record<string, (n: number) => Record<string, unknown>>> = {
  "equality, 0.01 %": (n) => ({ bucket: n }),
  "equality of texts, 14 %": (n) => ({ kind: `kind-${n % 7}`, bucket: { $ne: -n } }),
  "range, 50 %": (n) => ({ bucket: { $gte: n, $lt: n + 5_000 } }),
  "three nested": (n) => ({
    kind: { $ne: "kind-3" },
    $or: [
      { bucket: { $lt: 2_000 + n } },
      { $and: [{ bucket: { $gte: 5_000 + n } }, { kind: { $in: ["kind-1", "kind-2"] } }] },
    ],
  }),
  "$in of 1,000": (n) => ({ bucket: { $in: Array.from({ length: 1_000 }, (_, i) => n + i * 7) } }),
};
const freshTurns = 15;
const freshMsMax = 1;

/** What a filter costs that is not kept: a count with it, beside the same count again. */
async function freshFilters(reader: Reader, rows: number): Promise<{ table: Table; checks: Check[] }> {
  const cells: Cell[][] = [];
  const checks: Check[] = [];
  for (const [name, filterOf] of Object.entries(freshOnes)) {
    const [fresh, kept]: number[][] = [[], []];
    let count = 0;
    for (let turn = 1; turn <= freshTurns; turn++) {
      const ask = () => timed(() => reader.count({ collection: "bench", filter: filterOf(turn) }));
      const { value, ms } = await ask();
      count = value.count;
      fresh!.push(ms);
      kept!.push((await ask()).ms);
    }
    const ms = median(fresh!) - median(kept!);
    cells.push([
      name,
      count,
      ...[Math.min(...fresh!), median(fresh!), median(kept!)].map((one) => round(one)),
    ]);
    checks.push({ target: `fresh, ${name} ≤ ${freshMsMax} ms`, measured: round(ms), met: ms <= freshMsMax });
  }
  return {
    table: {
      title: `A count by a filter, ${rows} rows, ms`,
      columns: ["filter", "rows", "fresh: least", "median", "kept: median"],
      rows: cells,
    },
    checks,
  };
}

/** Rows of the answer to a query of its number, under a filter by bucket or none. */
type Ask = (turn: number, limit: number | null) => Promise<number[]>;

const limitOf = (share: number): number => Math.max(1, Math.round(share * 10_000));

async function measureShare(
  vectors: Vectors,
  share: number,
  ask: Ask,
): Promise<{ row: Cell[]; checks: Check[] }> {
  const limit = limitOf(share);
  const matches = matching(vectors, limit);
  const startedMs = performance.now();
  await ask(0, limit);
  const firstMs = performance.now() - startedMs;
  const found: number[][] = [];
  const samples = await interleaved(
    { filtered: async (turn) => (found[turn] = await ask(turn, limit)), all: (turn) => ask(turn, null) },
    { turns: vectors.queries.length, passes: queryPasses, warmups: Math.min(20, vectors.queries.length) },
  );
  const recall = recallOf(found, truthOf(vectors, "cosine", topK, matches));
  const [p50, p95] = [percentile(samples.filtered, 0.5), percentile(samples.filtered, 0.95)];
  const [all50, all95] = [percentile(samples.all, 0.5), percentile(samples.all, 0.95)];
  const name = `${share * 100} %`;
  const times = [p50, p95, all50, all95, p95 / all95, firstMs].map((value) => round(value));
  return {
    row: [name, matches.length, ...times, round(recall, 4)],
    checks: [
      { target: `${name}: recall@10 ≥ 0.95`, measured: round(recall, 4), met: recall >= 0.95 },
      { target: `${name}: p95 ≤ 3 × unfiltered`, measured: round(p95 / all95), met: p95 <= 3 * all95 },
    ],
  };
}

const matching = ({ rows }: Vectors, limit: number): Uint32Array =>
  Uint32Array.from({ length: rows }, (_, row) => row).filter((row) => bucketOf(row) < limit);

/** Below this, hnswlib's own filtered search visits all of the graph. */
const graphShareMin = 0.01;

/** hnswlib's own filtered search beside exact search, on a graph of its own. */
async function searchCosts(vectors: Vectors, shares: readonly number[]) {
  const graph = new hnswlib.Graph("cosine", vectors.dims);
  graph.create(vectors.rows, 16, 100);
  await graph.append(vectors.base, 1);
  const units = vectors.queries.map(normalised);
  const out = { labels: new Uint32Array(topK), distances: new Float32Array(topK) };
  const rows: Cell[][] = [];
  for (const share of shares.filter((share) => share >= graphShareMin)) {
    const labels = matching(vectors, limitOf(share));
    const accepted = new Uint8Array(vectors.rows);
    for (const label of labels) accepted[label] = 1;
    const exactly: number[][] = [];
    const byGraph: number[][] = [];
    const taken = (found: number) => [...out.labels.subarray(0, found)];
    const { graphMs, exactMs } = await interleaved(
      {
        graphMs: (turn) => {
          byGraph[turn] = taken(
            graph.search(units[turn]!, out.labels, out.distances, 100, undefined, accepted),
          );
        },
        exactMs: (turn) => {
          exactly[turn] = taken(graph.exact(units[turn]!, out.labels, out.distances, labels));
        },
      },
      { turns: units.length, passes: queryPasses },
    );
    const [graph50, exact50] = [median(graphMs), median(exactMs)];
    rows.push([
      `${share * 100} %`,
      labels.length,
      round(graph50),
      round(percentile(graphMs, 0.95)),
      round(exact50),
      round(percentile(exactMs, 0.95)),
      Math.round((exact50 * 1e6) / labels.length),
      Math.round((graph50 * 1e6 * share) / 100),
      round(recallOf(byGraph, exactly), 4),
    ]);
  }
  graph.close();
  return {
    title: "hnswlib's filtered search (ef 100) beside exact search of the matching rows, ms",
    columns: [
      "selects",
      "rows",
      "graph p50",
      "p95",
      "exact p50",
      "p95",
      "ns/row",
      "graph ns × s / ef",
      "graph recall",
    ],
    rows,
  };
}
