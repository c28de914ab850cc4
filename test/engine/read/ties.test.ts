/**
 * Rows that are equally near come in the order of their ids' UTF-8 bytes, before the cut at topK: whatever segments,
 * graphs, shards or parts of clusters.bin a collection happens to lie in, a query has one answer.
 */
import fc from "fast-check";
import hnswlib from "#hnswlib";
import type { Metric } from "../../../lib/core/model/collection.ts";
import { compareIds } from "../../../lib/core/model/top-k.ts";
import { normalised } from "../../../lib/core/model/vector.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { merge } from "../../../lib/engine/compact/merge.ts";
import { coldTopKMax } from "../../../lib/engine/read/cold-view.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { exactRows } from "../../../lib/segment/graph.ts";
import { random } from "../../../scripts/bench/data.ts";
import { effects } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const dims = 6;
const usual = [1, 1, 0, 2, 0, -1];
const name = "docs";
const far = 9e15;
const limits = {
  ...{ flatSegmentsMax: 1, flatRowsMax: 20, growth: 1, deadShareMax: 0.25 },
  ...{ staleMsMax: 1e15, uncountedMsMax: 1e15 },
  ...{ segmentComponentsMax: 1e9, clusteredComponentsMin: 1, segmentWeightMax: 1e9 },
};

interface Row {
  readonly id: string;
  readonly vector: number[];
}

/** Few different vectors, and one that every third row has, so that many are equally near; ids in whose order UTF-8 and UTF-16 differ. */
function rowsOf(seed: number, count: number): Row[] {
  const next = random(seed);
  const pick = <T>(of: readonly T[]): T => of[Math.floor(next() * of.length)]!;
  const prefixes = ["a", "ab", "Z", "ﬁ", "😀", "\u{10fffd}", "\uffef", ""] as const;
  const ids = new Set<string>();
  while (ids.size < count) ids.add(`${pick(prefixes)}${Math.floor(next() * 1e6)}${pick(prefixes)}`);
  const value = () => pick([-1, 0, 1, 2]);
  return [...ids].map((id, i) => ({
    id,
    vector: i % 3 === 0 ? usual : [1, ...Array.from({ length: dims - 1 }, value)],
  }));
}

const isOdd = (id: string): boolean => Number(/\d+/.exec(id)![0]) % 2 === 1;

function expected(metric: Metric, rows: readonly Row[], query: readonly number[]): string[] {
  const unit = (vector: readonly number[]) =>
    metric === "cosine" ? normalised(Float32Array.from(vector)) : Float32Array.from(vector);
  return rows
    .map(({ id, vector }) => {
      const asked = { query: unit(query), k: 1, ranks: null, labels: null };
      return { id, distance: exactRows(unit(vector), metric, asked)[0]!.distance };
    })
    .sort((a, b) => a.distance - b.distance || Buffer.compare(Buffer.from(a.id), Buffer.from(b.id)))
    .map(({ id }) => id);
}

const layouts = ["flat", "flats", "graph", "graph and flats", "shards", "overlay", "cold"] as const;

async function laidOut(layout: (typeof layouts)[number], metric: Metric, rows: readonly Row[]) {
  const world = memoryWorld();
  const shards = layout === "shards" ? 3 : 1;
  const index = { M: 8, efConstruction: 60, efSearch: 60 };
  const { collection } = await createCollection(world, {
    name,
    dims,
    metric,
    shards,
    index,
    fields: { odd: "boolean" },
  });
  const put = async (rows: readonly Row[]) => {
    const records = rows.map((row) => ({ ...row, metadata: { odd: isOdd(row.id) } }));
    for (let start = 0; start < records.length; start += 1_000)
      await produce(world, { collection: name, records: records.slice(start, start + 1_000) });
  };
  const ingest = () => compact(world, { ingest: true, upkeep: false, deadlineMs: far });
  const mergeAll = async () => {
    for (let shard = 0; shard < shards; shard++)
      await merge(world, collection, shard, { deadlineMs: far, limits });
  };
  // What is superseded or deleted later must hide no other row.
  const parts = layout === "flat" ? 1 : 3;
  for (let part = 0; part < parts; part++) {
    const own = rows.filter((_, i) => i % parts === part);
    const gone = { id: `gone ${part}`, vector: own[0]!.vector };
    await put([...own, gone]);
    if (layout !== "overlay") await ingest();
    if (part === 1 && layout === "graph and flats") await mergeAll();
    await produce(world, { collection: name, deletes: [gone.id] });
  }
  if (layout !== "overlay") await ingest();
  if (["graph", "shards", "cold"].includes(layout)) await mergeAll();
  return world;
}

/** Graphs do not arrive before `release`. */
function withoutGraphs(world: MemoryWorld) {
  const released = Promise.withResolvers<void>();
  const held = effects(world, async ({ key, operation }, moment) => {
    if (moment === "before" && operation === "get" && key.endsWith("index.hnsw")) await released.promise;
    return undefined;
  });
  return { held, release: () => released.resolve() };
}

test.each(["l2", "cosine", "ip"] as const)(
  "%s: every layout gives the same ids",
  async (metric) => {
    // Fewer than a cold query looks at, more than exact search takes from a graph.
    const count = 1_900;
    const rows = rowsOf(metric.length, count);
    const excludeIds = [rows[5]!.id, rows[78]!.id];
    const among = rows.filter(({ id }) => !excludeIds.includes(id));
    const asked = [rows[5]!.vector, usual, [1, 0.5, 0.25, -0.5, 0, 1], [1, 0, 0, 0, 0, 0]].flatMap(
      (vector) => {
        const ids = expected(metric, among, vector);
        return [1, 25, 120].map((topK) => ({ vector, topK, ids: ids.slice(0, topK) }));
      },
    );
    for (const layout of layouts) {
      const world = await laidOut(layout, metric, rows);
      const { held, release } = withoutGraphs(world);
      const options = { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic };
      const reader = new Reader(layout === "cold" ? held : world, options);
      // A cold answer is an eventual one's, and of few rows.
      const consistency = layout === "cold" ? "eventual" : "strong";
      for (const { vector, topK, ids } of asked.filter(
        ({ topK }) => layout !== "cold" || topK <= coldTopKMax,
      )) {
        const { results, cold } = await reader.query({
          collection: name,
          vector,
          topK,
          consistency,
          excludeIds,
        });
        expect({ layout, topK, ids: results.map(({ id }) => id) }).toEqual({ layout, topK, ids });
        expect(cold ?? false).toBe(layout === "cold");
      }
      release();
      await reader.close();
    }
  },
  120_000,
);

test("ids are ordered by their UTF-8 bytes, also where UTF-16 orders otherwise", () => {
  const id = fc.string({ unit: "binary", maxLength: 6 });
  const mixed = fc.string({
    unit: fc.constantFrom("a", "é", "ﬁ", "\uffff", "\ue000", "😀", "\u{10ffff}"),
    maxLength: 5,
  });
  fc.assert(
    fc.property(fc.oneof(id, mixed), fc.oneof(id, mixed), (a, b) => {
      const byBytes = Math.sign(Buffer.compare(Buffer.from(a), Buffer.from(b)));
      expect(Math.sign(compareIds(a, b))).toBe(byBytes);
    }),
    { numRuns: 500 },
  );
});

test.each(["l2", "cosine", "ip"] as const)(
  "%s: a row is as far away to the last bit in a graph's search, by a graph exactly, and in flat rows",
  (metric) => {
    const next = random(3);
    const wide = 75;
    const rows = 400;
    const given = Float32Array.from({ length: rows * wide }, () => next() - 0.5);
    // Some that are nearly the same as others, and some that are the same.
    for (let i = 0; i < 100 * wide; i++) given[i] = given[100 * wide + i]! * (i % wide === 0 ? 1.0001 : 1);
    given.copyWithin(200 * wide, 100 * wide, 150 * wide);
    const searched = new Float32Array(given.length);
    for (let at = 0; at < given.length; at += wide) {
      const row = given.subarray(at, at + wide);
      searched.set(metric === "cosine" ? normalised(row) : row, at);
    }
    const graph = new hnswlib.Graph(metric, wide);
    graph.create(rows, 16, 100);
    graph.appendSync(given, 2);
    const labels = Uint32Array.from({ length: rows }, (_, label) => label);
    const row = new Float32Array(wide);
    for (let label = 0; label < rows; label += 7) {
      const query = searched.slice(label * wide, (label + 1) * wide);
      graph.row(label, row);
      expect(row).toEqual(query);
      const byLabel = (ask: (labels: Uint32Array, distances: Float32Array) => number) => {
        const [found, distances] = [new Uint32Array(rows), new Float32Array(rows)];
        const count = ask(found, distances);
        return new Map(Array.from({ length: count }, (_, i) => [found[i]!, distances[i]!]));
      };
      const flat = byLabel((l, d) => hnswlib.exactRows(query, l, d, null, searched, metric));
      expect(byLabel((l, d) => graph.exact(query, l, d, labels))).toEqual(flat);
      const walked = byLabel((l, d) => graph.search(query, l, d, rows));
      if (metric !== "ip") expect(walked.size).toBe(rows);
      for (const [found, distance] of walked) expect(distance).toBe(flat.get(found));
      if (metric !== "ip") expect(flat.get(label)).toBe(0);
    }
    graph.close();
  },
);
