/**
 * Warm queries: Reader.query in process (what the query handler calls), documents and metadata returned, beside a bare
 * hnswlib searchKnn on the same index file at the same ef, in turns. Then by segments, and under strong consistency by
 * the backlog's deltas.
 */
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { HierarchicalNSW } from "hnswlib-node";
import hnswlib from "#hnswlib";
import { type SegmentFile, segmentKey } from "../../lib/core/format/keys.ts";
import { normalised } from "../../lib/core/model/vector.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import { withFolder } from "../../lib/segment/files.ts";
import { openRecords, storedRows } from "../../lib/segment/records-db.ts";
import { gaussianMixture, recallOf, truthOf, type Vectors } from "./data.ts";
import { interleaved, percentile, queryPasses, round } from "./measure.ts";
import type { Cell, Check, Scenario } from "./scenario.ts";
import { produceRows, readerOf, rowOfId, type Store, withSegments } from "./store.ts";

interface Size {
  readonly rows: number;
  readonly queries: number;
  readonly dims: readonly number[];
  readonly segments: readonly number[];
  readonly deltas: readonly number[];
}

const topK = 10;
const deltaRows = 10;

export const warmQuery: Scenario<Size> = {
  name: "warm-query",
  about: "Reader.query beside bare hnswlib; dims, segments, deltas of the backlog",
  full: {
    rows: 100_000,
    queries: 500,
    dims: [384, 128, 1024],
    segments: [2, 4, 8],
    deltas: [0, 1, 10, 100],
  },
  tiny: { rows: 600, queries: 5, dims: [16], segments: [2], deltas: [0, 2] },
  async run(size, log) {
    const latency: Cell[][] = [];
    const overlays: Cell[][] = [];
    const checks: Check[] = [];
    for (const [i, dims] of size.dims.entries()) {
      const vectors = gaussianMixture({ rows: size.rows, dims, queries: size.queries });
      for (const segments of i === 0 ? [1, ...size.segments] : [1]) {
        log(`${size.rows} × ${dims} in ${segments} segments: building`);
        const store = await withSegments(vectors, layout(size.rows, segments));
        const measured = await besideBare(store, vectors);
        latency.push([dims, segments, ...measured.cells]);
        if (segments === 1) checks.push(ratioCheck(`${size.rows} × ${dims}`, measured.ratio));
        if (segments === 1 && i === 0) overlays.push(...(await underDeltas(store, vectors, size.deltas)));
      }
    }
    return {
      tables: [
        {
          title: `Warm query, ${size.rows} rows, topK ${topK}, ms`,
          columns: [
            "dims",
            "segments",
            "p50",
            "p95",
            "p99",
            "bare p50",
            "bare p99",
            "ratio p50",
            "recall@10",
            "bare",
            "best build p50",
            "ratio to it",
          ],
          rows: latency,
        },
        {
          title: `Strong reads by the backlog's deltas of ${deltaRows} rows, ms (store in memory)`,
          columns: ["deltas", "p50", "p95", "p99", "first read", "requests"],
          rows: overlays,
        },
      ],
      checks,
    };
  },
};

const layout = (rows: number, segments: number) =>
  Array.from({ length: segments }, (_, i) => ({
    rows: Math.floor(((i + 1) * rows) / segments) - Math.floor((i * rows) / segments),
    kind: "hnsw" as const,
  }));

const ratioCheck = (what: string, ratio: number): Check => ({
  target: `${what}: within 1.3 × bare hnswlib searchKnn at the same ef`,
  measured: round(ratio),
  met: ratio <= 1.3,
});

async function besideBare(store: Store, vectors: Vectors): Promise<{ cells: Cell[]; ratio: number }> {
  const truth = truthOf(vectors, "cosine", topK);
  const reader = readerOf(store);
  const bare = await bareIndexes(store);
  const found: number[][] = [];
  const foundBare: number[][] = [];
  const queries = vectors.queries.map((query) => Array.from(query));
  const units = vectors.queries.map((query) => Array.from(normalised(query)));
  const [labels, distances] = [new Uint32Array(topK), new Float32Array(topK)];
  const { efSearch } = store.collection.index;
  const samples = await interleaved(
    {
      // hnswlib by the best build of it that we know how to make: typed arrays, large pages, the fastest kernel.
      best: (turn) => {
        const unit = Float32Array.from(units[turn]!);
        for (const { graph } of bare) graph.search(unit, labels, distances, efSearch);
      },
      siltstone: async (turn) => {
        const { results } = await reader.query({ collection: "bench", vector: queries[turn], topK });
        found[turn] = results.map(({ id }) => rowOfId(id));
      },
      bare: (turn) => {
        const answers = bare.map(({ index }) => index.searchKnn(units[turn]!, topK));
        if (bare.length === 1) foundBare[turn] = answers[0]!.neighbors.map((label) => bare[0]!.rowOf(label));
      },
    },
    { turns: vectors.queries.length, passes: queryPasses, warmups: Math.min(50, vectors.queries.length) },
  );
  await reader.close();
  for (const { graph } of bare) graph.close();
  const [p50, bare50] = [percentile(samples.siltstone, 0.5), percentile(samples.bare, 0.5)];
  return {
    ratio: p50 / bare50,
    cells: [
      ...[p50, percentile(samples.siltstone, 0.95), percentile(samples.siltstone, 0.99)].map((ms) =>
        round(ms),
      ),
      round(bare50),
      round(percentile(samples.bare, 0.99)),
      round(p50 / bare50),
      round(recallOf(found, truth), 4),
      bare.length === 1 ? round(recallOf(foundBare, truth), 4) : "",
      round(percentile(samples.best, 0.5)),
      round(p50 / percentile(samples.best, 0.5)),
    ],
  };
}

/** The segments' own files in hnswlib-node, as any program would load them, and in the addon's graph. */
export async function bareIndexes({ world, collection }: Store) {
  const { manifest } = await readHead(world.store, collection, 0);
  const bare: {
    index: HierarchicalNSW;
    graph: InstanceType<typeof hnswlib.Graph>;
    rowOf: (label: number) => number;
  }[] = [];
  await withFolder(async (folder) => {
    for (const segment of manifest.segments) {
      const fileOf = (file: SegmentFile) => {
        const path = join(folder, `${segment.id}-${file}`);
        writeFileSync(path, world.store.bytes(segmentKey(manifest, segment.id, file))!);
        return path;
      };
      const index = new hnswlib.HierarchicalNSW("cosine", collection.dims);
      const file = fileOf("index.hnsw");
      await index.readIndex(file);
      const graph = new hnswlib.Graph("cosine", collection.dims);
      await graph.read(file, collection.index.M, collection.index.efConstruction, availableParallelism());
      index.setEf(collection.index.efSearch);
      const db = openRecords(fileOf("records.db"));
      const rows = [...storedRows(db)].map(({ id }) => rowOfId(id));
      db.close();
      bare.push({ index, graph, rowOf: (label) => rows[label]! });
    }
  });
  return bare;
}

async function underDeltas(store: Store, vectors: Vectors, counts: readonly number[]): Promise<Cell[][]> {
  const rows: Cell[][] = [];
  let there = 0;
  const reader = readerOf(store, 0);
  for (const count of counts) {
    for (; there < count; there++)
      await produceRows(store, vectors, { start: there * deltaRows, limit: (there + 1) * deltaRows });
    const ask = (turn: number) =>
      reader.query({ collection: "bench", vector: vectors.queries[turn]!, topK, consistency: "strong" });
    const startedMs = performance.now();
    await ask(0);
    const firstMs = performance.now() - startedMs;
    let requests = 0;
    const { strong } = await interleaved(
      { strong: async (turn) => (requests = (await ask(turn)).requests) },
      { turns: vectors.queries.length, passes: queryPasses },
    );
    const shown = [0.5, 0.95, 0.99].map((share) => round(percentile(strong, share)));
    rows.push([count, ...shown, round(firstMs), requests]);
  }
  await reader.close();
  return rows;
}
