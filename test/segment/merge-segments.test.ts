/**
 * Merging, file by file: whatever order rows enter a graph in, label n is the same row in index.hnsw, vectors.f32 and
 * records.db; and a merge that fails halfway fails with the reason, and leaves nothing behind that still runs.
 */
import { mkdirSync, mkdtempSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import hnswlib from "#hnswlib";
import type { Collection, Metric } from "../../lib/core/collection.ts";
import { mergeLimits } from "../../lib/core/merge-plan.ts";
import type { Row } from "../../lib/core/record.ts";
import { normalised } from "../../lib/core/vector.ts";
import { clusterRows } from "../../lib/segment/clustering.ts";
import { VectorFile } from "../../lib/segment/files.ts";
import { nearestCentroids } from "../../lib/segment/graph.ts";
import type { MergeInput } from "../../lib/segment/merge-inputs.ts";
import { type MergeOptions, mergeSegments } from "../../lib/segment/merge-segments.ts";
import { openRecords, storedRows } from "../../lib/segment/records-db.ts";
import { writeFlatSegment } from "../../lib/segment/write-flat.ts";
import { gaussianMixture, rowOf } from "../../scripts/bench/data.ts";

const dims = 12;
const vectors = gaussianMixture({ rows: 900, dims, queries: 0 });
const root = mkdtempSync(join(tmpdir(), "merge-test-"));
afterAll(() => rmSync(root, { recursive: true }));
let folders = 0;
const folder = (): string => {
  const path = join(root, String(folders++));
  mkdirSync(path);
  return path;
};

const collectionOf = (metric: Metric) =>
  ({ dims, metric, fields: {}, index: { M: 8, efConstruction: 40, efSearch: 40 } }) as unknown as Collection;
const rowsOf = (first: number, limit: number, version: number): Row[] =>
  Array.from({ length: limit - first }, (_, i) => ({
    ...{
      id: `id-${first + i}`,
      vector: rowOf(vectors, first + i),
      document: `row ${first + i}`,
      metadata: null,
    },
    ...{ version, delta: "01J00000000000000000000000", row: i },
  }));

async function flat(collection: Collection, rows: readonly Row[]): Promise<MergeInput> {
  const path = folder();
  return { folder: path, segment: await writeFlatSegment(path, collection, `flat-${folders}`, rows) };
}

async function merged(
  collection: Collection,
  inputs: readonly MergeInput[],
  options: Partial<MergeOptions> = {},
) {
  const path = folder();
  const { segment, grown } = await mergeSegments(path, collection, inputs, {
    id: `merged-${folders}`,
    limits: { ...mergeLimits, flatRowsMax: 0, clusteredComponentsMin: 0 },
    dropTombstonesBeforeMs: 0,
    breathe: async () => {},
    ...options,
  });
  return { input: { folder: path, segment }, grown };
}

/** The number in the id of each label's row; -1 for a dead label. Checked against the files on the way. */
async function rowOfLabels({ folder: path, segment }: MergeInput, metric: Metric): Promise<number[]> {
  const graph = new hnswlib.Graph(metric, dims);
  await graph.read(join(path, "index.hnsw"));
  const db = openRecords(join(path, "records.db"));
  const file = new VectorFile(join(path, "vectors.f32"), dims);
  try {
    const row = new Float32Array(dims);
    const rows = new Array<number>(segment.slots).fill(-1);
    expect(graph.count).toBe(segment.slots);
    for (const { label, id, document } of storedRows(db)) {
      rows[label] = Number(id.slice("id-".length));
      expect(document).toBe(`row ${rows[label]}`);
      const given = rowOf(vectors, rows[label]);
      expect(file.at(label)).toEqual(given);
      graph.row(label, row);
      const searched = metric === "cosine" ? normalised(given) : given;
      for (let i = 0; i < dims; i++) expect(row[i]).toBeCloseTo(searched[i]!, 5);
    }
    return rows;
  } finally {
    graph.close();
    file.close();
    db.close();
  }
}

test.each(["cosine", "l2", "ip"] as const)(
  "%s: a large graph takes a fifth of its rows scattered, then cluster by cluster",
  async (metric) => {
    const collection = collectionOf(metric);
    const halves = [await flat(collection, rowsOf(0, 500, 1)), await flat(collection, rowsOf(500, 900, 1))];
    const { input, grown } = await merged(collection, halves);
    expect(grown).toBe(false);
    const order = await rowOfLabels(input, metric);
    expect([...order].sort((a, b) => a - b)).toEqual([...Array(900).keys()]);

    const { centroids, clusterOf } = await clusterRows(
      collection,
      900,
      (row) => rowOf(vectors, row),
      async () => {},
    );
    const grouping = metric === "ip" ? "l2" : metric;
    expect(clusterOf).toEqual(nearestCentroids(vectors.base, centroids, { dims, metric: grouping }));
    const changes = (rows: readonly number[]) =>
      rows.filter((row, i) => i > 0 && clusterOf[row] !== clusterOf[rows[i - 1]!]).length;
    // 30 clusters: those that come in turn change 29 times at most, those that come shuffled nearly every time.
    expect(changes(order.slice(180))).toBeLessThan(30);
    expect(changes(order.slice(0, 180))).toBeGreaterThan(150);
  },
);

test("a graph that grows keeps the labels of what stays, and takes the others cluster by cluster", async () => {
  const collection = collectionOf("cosine");
  const { input: base } = await merged(collection, [await flat(collection, rowsOf(0, 700, 1))]);
  const before = await rowOfLabels(base, "cosine");
  const { input, grown } = await merged(collection, [base, await flat(collection, rowsOf(650, 900, 2))]);
  expect(grown).toBe(true);
  expect(input.segment).toMatchObject({ kind: "hnsw", rows: 900, slots: 950 });
  const after = await rowOfLabels(input, "cosine");
  expect(after.slice(0, 700)).toEqual(before.map((row) => (row >= 650 ? -1 : row)));
  expect(after.slice(700).sort((a, b) => a - b)).toEqual(Array.from({ length: 250 }, (_, i) => 650 + i));
});

test("a graph that is not large takes its rows shuffled", async () => {
  const collection = collectionOf("cosine");
  const { input } = await merged(collection, [await flat(collection, rowsOf(0, 900, 1))], {
    limits: { ...mergeLimits, flatRowsMax: 0, clusteredComponentsMin: 900 * dims + 1 },
  });
  expect(Object.keys(input.segment.files)).toEqual(["index.hnsw", "vectors.f32", "records.db"]);
  const order = await rowOfLabels(input, "cosine");
  expect(order.filter((row, i) => i > 0 && row === order[i - 1]! + 1).length).toBeLessThan(20);
});

test.each([1, 2, 3, 5, 8])(
  "a merge that is stopped at breath %i fails with the reason, and ends",
  async (breath) => {
    const collection = collectionOf("cosine");
    const inputs = [await flat(collection, rowsOf(0, 900, 1))];
    let breaths = 0;
    const breathe = async () => {
      breaths += 1;
      if (breaths >= breath) throw new Error("the lease is lost");
    };
    await expect(merged(collection, inputs, { breathe })).rejects.toThrow("the lease is lost");
    const after = breaths;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(breaths).toBe(after);
  },
);

test("what keeps rows from being written is the error, though the graph waits for them", async () => {
  // More than is read ahead at once, so that rows are read when their turn comes.
  const wide = gaussianMixture({ rows: 1500, dims: 256, queries: 0 });
  const collection = { ...collectionOf("cosine"), dims: wide.dims };
  const rows = rowsOf(0, 1500, 1).map((row, i): Row => ({ ...row, vector: rowOf(wide, i) }));
  const input = await flat(collection, rows);
  // The first breath comes when 1,024 of the rows are written.
  const breathe = async () => truncateSync(join(input.folder, "vectors.f32"), 100);
  const limits = { ...mergeLimits, flatRowsMax: 0, clusteredComponentsMin: 1500 * wide.dims + 1 };
  await expect(merged(collection, [input], { breathe, limits })).rejects.toThrow("vectors.f32: no row");
});
