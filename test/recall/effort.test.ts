/**
 * How thoroughly several graphs are searched together, and a search to a recall target: floors on data that the test makes
 * itself, and on real embeddings where they are.
 */
import { FanOut } from "../../lib/engine/read/fan-out.ts";
import type { Question } from "../../lib/engine/read/read-request.ts";
import type { Reader } from "../../lib/engine/read/reader.ts";
import { efOfAll, efOfShare } from "../../lib/segment/search-cost.ts";
import {
  gaussian,
  gaussianMixture,
  recallOf,
  rowOf,
  truthOf,
  type Vectors,
} from "../../scripts/bench/data.ts";
import {
  compactAll,
  emptyStore,
  produceRows,
  readerOf,
  rowOfId,
  withSegments,
} from "../../scripts/bench/store.ts";
import { hasDataset, readDataset } from "../support/datasets.ts";

const graphs = 8;
const inGraphs = (vectors: Vectors, count: number) =>
  withSegments(
    vectors,
    Array.from({ length: count }, () => ({ rows: vectors.rows / count, kind: "hnsw" as const })),
  );

async function recall(
  reader: Pick<Reader, "query">,
  vectors: Vectors,
  { topK = 10, ...question }: Question,
): Promise<number> {
  const found: number[][] = [];
  for (const vector of vectors.queries) {
    const { results, recall } = await reader.query({
      collection: "bench",
      include: [],
      vector: [...vector],
      topK,
      ...question,
    });
    expect(results).toHaveLength(topK);
    if (recall?.ef !== undefined && recall.ef < 2_000)
      expect(recall.estimated).toBeGreaterThanOrEqual(question.recallTarget!);
    found.push(results.map(({ id }) => rowOfId(id)));
  }
  return recallOf(found, truthOf(vectors, "cosine", topK));
}

test("what a graph is searched for goes with its share of the rows", () => {
  const efOf = (topK: number, share: number, efSearch = 100) =>
    efOfShare(topK, efOfAll(topK, efSearch), { rows: share * 1e6, among: 1e6 });
  expect(efOf(10, 1)).toBe(100);
  expect(efOf(10, 1 / 2)).toBe(95);
  expect(efOf(10, 1 / 16)).toBe(24);
  expect(efOf(1_000, 1 / 16)).toBe(Math.ceil(3 * (62.5 + 2 * Math.sqrt(62.5))));
  expect(efOf(10, 1 / 16, 10)).toBe(20);
  expect(efOf(10, 1 / 16, Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY);
  // A graph of few rows is searched exactly, as it would be alone.
  expect(efOf(10, 1_399 / 1e6)).toBe(100);
  // Sixteen graphs together take a quarter of what sixteen single ones would.
  expect(efOf(10, 1 / 16) / efOf(10, 1)).toBeLessThanOrEqual(1 / 4);
});

test("rows that are spread over eight graphs are found as in one", async () => {
  const vectors = gaussianMixture({ rows: graphs * 1_500, dims: 16, queries: 40 });
  const [one, many] = [await inGraphs(vectors, 1), await inGraphs(vectors, graphs)].map((store) =>
    readerOf(store),
  ) as [Reader, Reader];
  for (const topK of [10, 40]) {
    const single = await recall(one, vectors, { topK });
    expect(await recall(many, vectors, { topK })).toBeGreaterThanOrEqual(Math.max(0.99, single - 0.002));
  }
  await one.close();
  await many.close();
});

test("the nearest are found where all of them lie in one of eight graphs", async () => {
  const [rows, dims, queries] = [graphs * 1_500, 8, 24];
  const normal = gaussian(3);
  const centres = Array.from({ length: graphs }, () => Float32Array.from({ length: dims }, normal));
  // One cloud a graph, without any structure of its own.
  const drawn = (graph: number) => centres[graph]!.map((value) => value + normal() / 3);
  const base = new Float32Array(rows * dims);
  for (let row = 0; row < rows; row++) base.set(drawn(Math.floor((row * graphs) / rows)), row * dims);
  const vectors = {
    rows,
    dims,
    base,
    queries: Array.from({ length: queries }, (_, i) => drawn(i % graphs)),
  };
  const reader = readerOf(await inGraphs(vectors, graphs));
  expect(await recall(reader, vectors, { topK: 30 })).toBeGreaterThanOrEqual(0.99);
  await reader.close();
});

test("a recall target is reached on rows without any structure, by a reader and by query groups", async () => {
  const normal = gaussian(5);
  const dims = 24;
  const drawn = (rows: number) => Float32Array.from({ length: rows * dims }, normal);
  const queries = Array.from({ length: 40 }, () => drawn(1));
  const vectors = { rows: 6_000, dims, base: drawn(6_000), queries };
  const store = await emptyStore(vectors, { shards: 2 });
  await produceRows(store, vectors, { start: 0, limit: vectors.rows });
  await compactAll(store);
  const reader = readerOf(store);
  const fan = new FanOut({
    store: store.world.store,
    groups: 2,
    ask: async (_group, event) => {
      const { op: _, ...call } = JSON.parse(JSON.stringify(event));
      return JSON.parse(JSON.stringify(await reader.query(call)));
    },
  });
  const spread = { query: (call: Parameters<Reader["query"]>[0]) => fan.query(call, 60_000) };
  for (const recallTarget of [0.8, 0.9, 0.95, 0.99])
    for (const [asked, topK] of [
      [reader, 1],
      [reader, 10],
      [spread, 10],
    ] as const)
      expect(await recall(asked, vectors, { recallTarget, topK })).toBeGreaterThanOrEqual(recallTarget);
  expect(await recall(reader, vectors, { recallTarget: 1 })).toBe(1);
  const ask = async (question: Question) => {
    const call = { collection: "bench", vector: [...rowOf(vectors, 3)], include: [], ...question };
    return (await reader.query(call)).recall;
  };
  expect(await ask({})).toBeUndefined();
  expect(await ask({ recallTarget: 1 })).toEqual({ target: 1, estimated: 1 });
  const { target, estimated, ef } = (await ask({ recallTarget: 0.9 }))!;
  expect([target, estimated >= 0.9, ef! >= 96]).toEqual([0.9, true, true]);
  const call = { collection: "bench", vector: [...rowOf(vectors, 3)], recallTarget: 0.9 };
  expect((await fan.query(call, 60_000)).recall).toMatchObject({ target: 0.9 });
  await reader.close();
});

test("a target that is none is refused", async () => {
  const vectors = gaussianMixture({ rows: 10, dims: 4, queries: 1 });
  const store = await emptyStore(vectors);
  await produceRows(store, vectors, { start: 0, limit: 10 });
  await compactAll(store);
  const reader = readerOf(store);
  for (const [question, says] of [
    [{ recallTarget: 0.49 }, "recallTarget: must be a number from 0.5 to 1, got 0.49"],
    [{ recallTarget: 1.01 }, "recallTarget: must be a number from 0.5 to 1, got 1.01"],
    [{ recallTarget: "1" }, 'recallTarget: must be a number from 0.5 to 1, got "1"'],
    [{ recallTarget: Number.NaN }, "recallTarget: must be a number from 0.5 to 1, got null"],
    [{ recallTarget: 0.9, ef: 100 }, "recallTarget: give it or ef, not both"],
  ] as const) {
    const call = { collection: "bench", vector: vectors.queries[0], ...(question as Question) };
    await expect(reader.query(call)).rejects.toMatchObject({ kind: "invalid", message: says });
  }
  const few = await reader.query({ collection: "bench", vector: vectors.queries[0], recallTarget: 0.9 });
  expect(few.results).toHaveLength(10);
  await reader.close();
});

const real = hasDataset("sift5k-128") ? test : test.skip;
real(
  "real rows (skipped where the dataset sift5k-128 is not there): targets, and shares of eight graphs",
  async () => {
    const { dims, base, queries } = readDataset("sift5k-128");
    const rows = 4_800;
    const packed = new Float32Array(rows * dims);
    for (let row = 0; row < rows; row++) packed.set(base[(row * 7919) % base.length]!, row * dims);
    const vectors = { dims, rows, base: packed, queries: queries.slice(0, 100) };
    const [one, many] = [await inGraphs(vectors, 1), await inGraphs(vectors, graphs)].map((store) =>
      readerOf(store),
    ) as [Reader, Reader];
    for (const recallTarget of [0.9, 0.95, 0.99])
      expect(await recall(one, vectors, { recallTarget })).toBeGreaterThanOrEqual(recallTarget);
    expect(await recall(many, vectors, {})).toBeGreaterThanOrEqual(await recall(one, vectors, {}));
    await one.close();
    await many.close();
  },
);
