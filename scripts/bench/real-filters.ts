/**
 * The seven filters of the aimath set, whose matches hang together with where they lie in space, as real filters' do:
 * recall against the exact answers that came with the set, and latency. Says so where the set is not beside the checkout.
 */
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { hasDataset, readDataset } from "../../test/support/datasets.ts";
import { memoryWorld } from "../../test/support/memory/world.ts";
import { recallOf } from "./data.ts";
import { interleaved, percentile, queryPasses, round } from "./measure.ts";
import type { Cell, Scenario } from "./scenario.ts";
import { compactAll, readerOf } from "./store.ts";

interface Size {
  /** Rows taken of the set. */
  readonly rows: number;
  readonly queries: number;
}

const set = "aimath-bgemicro384";
const topK = 10;
const fields = { kind: "string", top: "string", sub: "string", tokens: "number" } as const;
const filters: Readonly<Record<string, object>> = {
  tok_ge400: { tokens: { $gte: 400 } },
  not_maths: { top: { $ne: "01.Maths" } },
  sub_probability: { sub: "01.Maths/Probability" },
  top_ml: { top: "04.ML" },
  and_range: { top: "01.Maths", tokens: { $gte: 50, $lt: 120 } },
  kind_note: { kind: "note" },
  rare_python_short: { top: "02.Python", tokens: { $lt: 60 } },
};

export const realFilters: Scenario<Size> = {
  name: "real-filters",
  about: "recall and latency of the aimath set's seven filters",
  full: { rows: 26_008, queries: 500 },
  tiny: { rows: 2_100, queries: 3 },
  async run(size, log) {
    const columns = ["filter", "rows", "recall@10", "p50 ms", "p95 ms"];
    const title = `${set}, topK ${topK}`;
    if (!hasDataset(set)) {
      log(`${set} is not beside this checkout`);
      return {
        tables: [{ title, columns, rows: [["not measured: the set is missing", 0, 0, 0, 0]] }],
        checks: [],
      };
    }
    const data = readDataset(set);
    const world = memoryWorld();
    const { collection } = await createCollection(world, {
      name: "bench",
      dims: data.dims,
      metric: "cosine",
      fields,
    });
    const idOf = (row: number) => String(data.lines[row]!.id);
    log("building");
    for (let start = 0; start < size.rows; start += 1000) {
      const records = data.base.slice(start, Math.min(size.rows, start + 1000)).map((vector, i) => {
        const { kind, top, sub, tokens, text } = data.lines[start + i] as Record<string, string>;
        return { id: idOf(start + i), vector, document: text ?? null, metadata: { kind, top, sub, tokens } };
      });
      await produce(world, { collection: "bench", records } as Parameters<typeof produce>[1]);
    }
    await compactAll({ world, collection });
    const reader = readerOf({ world });
    const rowOfId = new Map(data.lines.map(({ id }, row) => [String(id), row]));
    const queries = data.queries.slice(0, size.queries);
    const rows: Cell[][] = [];
    for (const [name, filter] of [["no filter", undefined] as const, ...Object.entries(filters)]) {
      const truth = name === "no filter" ? data.truth : data.filterTruth(name);
      const found: number[][] = [];
      const { ms } = await interleaved(
        {
          ms: async (turn) => {
            const { results } = await reader.query({
              collection: "bench",
              vector: queries[turn],
              topK,
              filter,
            });
            found[turn] = results.map(({ id }) => rowOfId.get(id)!);
          },
        },
        { turns: queries.length, passes: queryPasses, warmups: 1 },
      );
      const wanted = queries.map((_, q) => [...truth[q]!].filter((row) => row >= 0).slice(0, topK));
      const { count } = await reader.count({ collection: "bench", filter });
      const times = [0.5, 0.95].map((share) => round(percentile(ms, share)));
      rows.push([name, count, round(recallOf(found, wanted), 4), ...times]);
    }
    await reader.close();
    return { tables: [{ title, columns, rows }], checks: [] };
  },
};
