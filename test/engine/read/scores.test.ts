/** Scores: the same vector has 1, nothing has more, and `minScore: 1` keeps exactly what is the same. */
import type { Metric } from "../../../lib/core/model/collection.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { mergeResults } from "../../../lib/engine/read/merge-answers.ts";
import { isScoreAtLeast, type QueryRequest } from "../../../lib/engine/read/read-request.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { gaussian } from "../../../scripts/bench/data.ts";
import { memoryWorld } from "../../support/memory/world.ts";

const far = 9e15;
const normal = gaussian(29);
const vectorOf = (dims: number) => Float32Array.from({ length: dims }, normal);
const unit = (vector: Float32Array) => vector.map((value) => value / Math.hypot(...vector));

/** One row that is a graph's, one that is a flat segment's, and one that waits to be ingested, of each of the vectors. */
async function asked(metric: Metric, vectors: readonly Float32Array[], shards: number) {
  const world = memoryWorld();
  await createCollection(world, { name: "docs", dims: vectors[0]!.length, metric, shards });
  const put = (kind: string) =>
    produce(world, {
      collection: "docs",
      records: vectors.map((vector, i) => ({ id: `${kind}-${i}`, vector })),
    });
  const others = Array.from({ length: 2_200 * shards }, () => vectorOf(vectors[0]!.length).map((x) => x / 9));
  await produce(world, {
    collection: "docs",
    records: others.map((vector, i) => ({ id: `other-${i}`, vector })),
  });
  await put("graph");
  await compact(world, { ingest: true, upkeep: true, deadlineMs: far });
  await put("flat");
  await compact(world, { ingest: true, upkeep: false, deadlineMs: far });
  await put("waiting");
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  return {
    ask: async (request: Partial<QueryRequest>) =>
      (await reader.query({ collection: "docs", consistency: "strong", topK: 20, ...request })).results,
    close: () => reader.close(),
  };
}

test.each([
  ["cosine", 1],
  ["cosine", 3],
  ["l2", 1],
  ["ip", 3],
] as const)(
  "%s in %i shards: minScore 1 keeps what is the same as the query, wherever it lies",
  async (metric, shards) => {
    const vectors = Array.from({ length: 40 }, () => (metric === "ip" ? unit(vectorOf(72)) : vectorOf(72)));
    const { ask, close } = await asked(metric, vectors, shards);
    for (const [i, vector] of vectors.entries()) {
      const results = await ask({ vector, minScore: 1 });
      expect(results.map(({ id }) => id)).toEqual([`flat-${i}`, `graph-${i}`, `waiting-${i}`]);
      // An inner product is a number as it is; the others are 1 and 0 to the last bit.
      if (metric !== "ip")
        for (const { score, distance } of results) expect([score, distance]).toEqual([1, 0]);
      if (metric === "cosine") {
        const longer = await ask({ vector: vector.map((value) => value * 3.7), minScore: 1 });
        expect(longer.map(({ id }) => id).sort()).toEqual([`flat-${i}`, `graph-${i}`, `waiting-${i}`]);
        const turned = await ask({
          vector: vector.map((value, at) => (at === 3 ? value + 0.01 : value)),
          minScore: 1,
        });
        expect(turned).toEqual([]);
      }
    }
    await close();
  },
);

test("cosine: no score is above 1 or below -1, and opposite vectors have -1", async () => {
  const vectors = Array.from({ length: 60 }, () => vectorOf(33));
  const { ask, close } = await asked("cosine", vectors, 1);
  for (const [i, vector] of vectors.entries()) {
    const [nearest] = await ask({ vector });
    expect(nearest!.score).toBe(1);
    const all = await ask({ vector: vector.map((value) => -value), topK: 1_000 });
    for (const { score, distance } of all) {
      expect(Math.abs(score)).toBeLessThanOrEqual(1);
      expect(distance).toBeGreaterThanOrEqual(0);
      expect(distance).toBeLessThanOrEqual(2);
    }
    const own = (
      await ask({ vector: vector.map((value) => -value), excludeIds: [], topK: 1_000, minScore: -1 })
    ).length;
    expect(own).toBe(1_000);
    if (i > 4) break;
  }
  await close();
});

test("parts' answers that were held against minScore are merged as they are", () => {
  const hit = (id: string, distance: number) => ({ id, version: 1, score: 1 - distance, distance });
  const merged = mergeResults([{ results: [hit("b", 0)] }, { results: [] }, { results: [hit("a", 0)] }], 5);
  expect(merged.results.map(({ id }) => id)).toEqual(["a", "b"]);
});

test.each([
  ["cosine", 1, 1, true],
  ["cosine", Math.fround(0.8), 0.8, true],
  ["cosine", 0.9999998, 1, false],
  ["l2", 1, 1, true],
  ["l2", 0.9999, 1, false],
  ["ip", 0.9999999, 1, true],
  ["ip", 0.9999, 1, false],
  ["ip", 25_000_000, 25_000_002, true],
  ["ip", 24_999_000, 25_000_000, false],
  ["ip", Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY, true],
] as const)("%s: a score of %f held against %f: %s", (metric, score, minScore, kept) => {
  expect(isScoreAtLeast(metric, score, minScore)).toBe(kept);
});
