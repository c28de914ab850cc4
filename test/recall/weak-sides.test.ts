/**
 * Recall floors on data that the test makes itself, so that they hold on every machine: what is usual, and what a graph is
 * weak at (vectors that come very often, outliers, inner products of uneven norms, many results, much deleting). Each is
 * published by the compactor as one graph and asked through the reader.
 */
import type { Metric } from "../../lib/core/model/collection.ts";
import { normalised } from "../../lib/core/model/vector.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { exactRows } from "../../lib/segment/graph.ts";
import { gaussian, gaussianMixture, random, rowOf } from "../../scripts/bench/data.ts";
import { hasDataset, readDataset } from "../support/datasets.ts";
import { memoryWorld } from "../support/memory/world.ts";

const far = 9e15;
/** Two distances that differ by rounding alone are a tie: either row is as near. */
const rounding = 1e-5;

interface Rows {
  readonly metric: Metric;
  readonly vectors: readonly Float32Array[];
  /** These rows are deleted after the graph was published. */
  readonly deleted?: ReadonlySet<number>;
}

async function published({ metric, vectors, deleted }: Rows) {
  const world = memoryWorld();
  const fields = { third: "number" } as const;
  await createCollection(world, { name: "rows", dims: vectors[0]!.length, metric, fields });
  const upkeep = () => compact(world, { ingest: true, upkeep: true, deadlineMs: far });
  for (let start = 0; start < vectors.length; start += 2_000) {
    const records = vectors.slice(start, start + 2_000).map((vector, i) => {
      return { id: String(start + i), vector, metadata: { third: (start + i) % 3 } };
    });
    await produce(world, { collection: "rows", records });
  }
  await upkeep();
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 4e9, traffic: world.traffic });
  expect((await reader.count({ collection: "rows" })).segments).toBe(1);
  if (deleted) await produce(world, { collection: "rows", deletes: [...deleted].map(String) });
  if (deleted) await compact(world, { ingest: true, upkeep: false, deadlineMs: far });
  return reader;
}

/** Distances of the nearest rows, ascending. */
function nearest(
  { metric, vectors, deleted }: Rows,
  queries: readonly Float32Array[],
  topK: number,
  third?: number,
) {
  const among = vectors.filter((_, i) => !deleted?.has(i) && (third === undefined || i % 3 === third));
  const unit = (vector: Float32Array) => (metric === "cosine" ? normalised(vector) : vector);
  const packed = new Float32Array(among.length * among[0]!.length);
  for (const [i, vector] of among.entries()) packed.set(unit(vector), i * vector.length);
  const asked = { k: topK, ranks: null, labels: null };
  return queries.map((query) => exactRows(packed, metric, { query: unit(query), ...asked }));
}

/** The mean and the least recall over the queries. */
async function recall(
  reader: Reader,
  rows: Rows,
  queries: readonly Float32Array[],
  topK: number,
  third?: number,
) {
  const truths = nearest(rows, queries, topK, third);
  let sum = 0;
  let worst = 1;
  for (const [i, query] of queries.entries()) {
    const filter = third === undefined ? undefined : { third };
    const { results } = await reader.query({ collection: "rows", vector: query, topK, filter, include: [] });
    expect(results).toHaveLength(truths[i]!.length);
    const last = truths[i]!.at(-1)!.distance;
    const slack = rounding * Math.max(1, Math.abs(last));
    const share = results.filter(({ distance }) => distance <= last + slack).length / results.length;
    sum += share;
    worst = Math.min(worst, share);
  }
  return { mean: sum / queries.length, worst };
}

const of = (count: number, make: () => Float32Array): Float32Array[] => Array.from({ length: count }, make);
function shuffled<T>(items: T[], seed = 5): T[] {
  const next = random(seed);
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
  return items;
}
const mixture = (rows: number, dims: number, queries = 50) => {
  const made = gaussianMixture({ rows, dims, queries });
  return { vectors: Array.from({ length: rows }, (_, i) => rowOf(made, i)), queries: made.queries };
};

test.each(["cosine", "l2", "ip"] as const)(
  "usual rows (%s): recall@10 and @100, unfiltered and of a third",
  async (metric) => {
    const { vectors, queries } = mixture(3_000, 32);
    // For inner products of one norm, as most models' are.
    const unit = (vector: Float32Array) => {
      const norm = Math.hypot(...vector);
      return vector.map((value) => value / norm);
    };
    const rows: Rows = { metric, vectors: metric === "ip" ? vectors.map(unit) : vectors };
    const reader = await published(rows);
    for (const [topK, third] of [[10], [100], [10, 1]] as const)
      expect((await recall(reader, rows, queries, topK, third)).mean).toBeGreaterThanOrEqual(0.99);
    await reader.close();
  },
);

test("a thousand copies of one row among four thousand others hide no other row", async () => {
  const { vectors, queries } = mixture(4_000, 32, 100);
  const rows: Rows = {
    metric: "cosine",
    vectors: shuffled([...vectors, ...of(1_000, () => vectors[17]!)]),
  };
  const reader = await published(rows);
  expect(await recall(reader, rows, queries, 10)).toEqual({
    mean: expect.closeTo(1, 2),
    worst: expect.closeTo(1, 1),
  });
  const own = vectors.filter((_, i) => i % 20 === 0);
  expect(await recall(reader, rows, own, 1)).toEqual({ mean: 1, worst: 1 });
  await reader.close();
});

test("five times a thousand copies, and five hundred others: each is found by its own vector", async () => {
  const normal = gaussian(11);
  const vector = () => Float32Array.from({ length: 16 }, normal);
  const others = of(500, vector);
  const copies = of(5, vector).flatMap((one) => of(1_000, () => one));
  const rows: Rows = { metric: "l2", vectors: shuffled([...others, ...copies]) };
  const reader = await published(rows);
  expect(await recall(reader, rows, others.slice(0, 100), 1)).toEqual({ mean: 1, worst: 1 });
  expect((await recall(reader, rows, of(100, vector), 10)).mean).toBeGreaterThanOrEqual(0.99);
  expect((await recall(reader, rows, of(20, vector), 1_000)).mean).toBeGreaterThanOrEqual(0.99);
  await reader.close();
});

test.each(["l2", "cosine"] as const)(
  "outliers (%s) are found, and what is nearest to them",
  async (metric) => {
    const normal = gaussian(13);
    const centre = Float32Array.from({ length: 32 }, () => normal() * 3);
    const bulk = of(4_000, () => centre.map((value) => value + normal()));
    const outliers = of(80, () => Float32Array.from({ length: 32 }, () => normal() * 30));
    const rows: Rows = { metric, vectors: shuffled([...bulk, ...outliers]) };
    const reader = await published(rows);
    expect(await recall(reader, rows, outliers, 1)).toEqual({ mean: 1, worst: 1 });
    expect((await recall(reader, rows, outliers, 10)).mean).toBeGreaterThanOrEqual(0.99);
    await reader.close();
  },
);

test.each([0.1, 1])(
  "inner products of norms that differ (by e^%f): any number of results",
  async (spread) => {
    const normal = gaussian(19);
    const vectors = of(4_000, () => {
      const norm = Math.exp(spread * normal());
      return Float32Array.from({ length: 32 }, () => norm * normal());
    });
    const rows: Rows = { metric: "ip", vectors };
    const reader = await published(rows);
    const queries = of(30, () => Float32Array.from({ length: 32 }, normal));
    for (const topK of [10, 100, 900])
      expect((await recall(reader, rows, queries, topK)).mean).toBeGreaterThanOrEqual(0.99);
    await reader.close();
  },
);

test("the rows beside deleted ones are found, whether those were deleted at random or all lay together", async () => {
  const { vectors, queries } = mixture(3_000, 16, 20);
  const next = random(3);
  const near = nearest({ metric: "l2", vectors }, queries, 600)[0]!.map(({ label }) => label);
  for (const deleted of [new Set(near), new Set(vectors.keys().filter(() => next() < 0.8))]) {
    const rows: Rows = { metric: "l2", vectors, deleted };
    const reader = await published(rows);
    for (const topK of [10, 200])
      expect((await recall(reader, rows, queries, topK)).mean).toBeGreaterThanOrEqual(0.99);
    await reader.close();
  }
});

const real = hasDataset("aimath-bgemicro384") ? test : test.skip;
real(
  "real rows (skipped where the dataset aimath-bgemicro384 is not there): a thousand copies of one hide no other row",
  async () => {
    const { base, queries } = readDataset("aimath-bgemicro384");
    const some = shuffled([...base]).slice(0, 4_000);
    const rows: Rows = { metric: "cosine", vectors: shuffled([...some, ...of(1_000, () => some[3]!)]) };
    const reader = await published(rows);
    expect((await recall(reader, rows, queries.slice(0, 100), 10)).mean).toBeGreaterThanOrEqual(0.99);
    expect(
      await recall(
        reader,
        rows,
        some.filter((_, i) => i % 20 === 0),
        1,
      ),
    ).toEqual({ mean: 1, worst: 1 });
    await reader.close();
  },
);
