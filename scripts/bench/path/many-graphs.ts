/** Queries over sixteen shards, whose graphs are searched for their shares of the answer. */
import { gaussianMixture, recallOf, truthOf } from "../data.ts";
import { interleaved, percentile, round } from "../measure.ts";
import { compactAll, emptyStore, produceRows, readerOf, rowOfId, withSegments } from "../store.ts";
import type { Part } from "./part.ts";

const shards = 16;
const topK = 10;
const queries = 100;
const msMax = 1.4;

export const manyGraphs: Part = async ({ shardedRows: rows, dims }) => {
  const vectors = gaussianMixture({ rows, dims, queries });
  const sharded = await emptyStore(vectors, { shards });
  await produceRows(sharded, vectors, { start: 0, limit: rows });
  await compactAll(sharded);
  const [one, many] = [readerOf(await withSegments(vectors, [{ rows, kind: "hnsw" }])), readerOf(sharded)];
  const found: Record<"one" | "all" | "each", number[][]> = { one: [], all: [], each: [] };
  const ask = async (reader: typeof one, turn: number, shard?: number) => {
    const part =
      shard === undefined ? {} : { part: { collectionId: sharded.collection.id, shards: [shard] } };
    const question = { collection: "bench", vector: vectors.queries[turn]!, topK, include: [] as const };
    return (await reader.query({ ...question, ...part })).results;
  };
  const rowsOf = (results: Awaited<ReturnType<typeof ask>>) => results.map(({ id }) => rowOfId(id));
  const samples = await interleaved(
    {
      one: async (turn) => (found.one[turn] = rowsOf(await ask(one, turn))),
      all: async (turn) => (found.all[turn] = rowsOf(await ask(many, turn))),
      each: async (turn) => {
        const lists = [];
        for (let shard = 0; shard < shards; shard++) lists.push(await ask(many, turn, shard));
        const best = lists.flat().sort((a, b) => a.distance - b.distance);
        found.each[turn] = rowsOf(best.slice(0, topK));
      },
    },
    { turns: queries, passes: 3, warmups: queries },
  );
  const { segments } = await many.count({ collection: "bench" });
  await one.close();
  await many.close();
  const truth = truthOf(vectors, "cosine", topK);
  const row = (name: string, which: keyof typeof found) => [
    name,
    ...[0.1, 0.5, 0.95].map((share) => round(percentile(samples[which], share))),
    round(recallOf(found[which], truth), 4),
  ];
  const ms = round(percentile(samples.all, 0.5));
  return {
    table: {
      title: `A query over ${shards} shards of ${rows} × ${dims} in one function (${segments} segments), topK ${topK}, ms`,
      columns: ["", "p10", "p50", "p95", "recall@10"],
      rows: [
        row("one graph of all rows", "one"),
        row("sixteen shards in one call", "all"),
        row("each shard in a call of its own, searched in full", "each"),
      ],
    },
    checks: [{ target: `${shards} shards in one function ≤ ${msMax} ms`, measured: ms, met: ms <= msMax }],
  };
};
