/**
 * Merging, file by file: whatever order rows enter a graph in, label n is the same row in index.hnsw, vectors.f32 and
 * records.db; and a merge that fails halfway fails with the reason, and leaves nothing behind that still runs.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import hnswlib from "#hnswlib";
import type { Collection, Metric } from "../../lib/core/model/collection.ts";
import { deltaId, segmentId } from "../../lib/core/model/ids.ts";
import type { Row } from "../../lib/core/model/row.ts";
import { ulidFloor } from "../../lib/core/model/ulid.ts";
import { normalised } from "../../lib/core/model/vector.ts";
import { mergeLimits } from "../../lib/core/policy/merge-plan.ts";
import { clusterRows } from "../../lib/segment/clustering.ts";
import { Clusters } from "../../lib/segment/clusters.ts";
import { VectorFile } from "../../lib/segment/files.ts";
import { exactRows } from "../../lib/segment/graph.ts";
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
    ...{ version, delta: deltaId("01J00000000000000000000000"), row: i },
  }));

async function flat(collection: Collection, rows: readonly Row[]): Promise<MergeInput> {
  const path = folder();
  return {
    folder: path,
    segment: await writeFlatSegment(path, collection, segmentId(ulidFloor(folders)), rows),
  };
}

async function merged(
  collection: Collection,
  inputs: readonly MergeInput[],
  options: Partial<MergeOptions> = {},
) {
  const path = folder();
  const { segment, grown } = await mergeSegments(path, collection, inputs, {
    id: segmentId(ulidFloor(folders)),
    limits: { ...mergeLimits, flatRowsMax: 0, clusteredComponentsMin: 0 },
    dropTombstonesBeforeMs: 0,
    checkpoint: async () => {},
    ...options,
  });
  return { input: { folder: path, segment }, grown };
}

/** The number in the id of each label's row; -1 for a dead label. Checked against the files on the way. */
async function rowOfLabels({ folder: path, segment }: MergeInput, metric: Metric): Promise<number[]> {
  const graph = new hnswlib.Graph(metric, dims);
  await graph.read(join(path, "index.hnsw"), 8, 40, 2);
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

/** The inverted list of each label in clusters.bin, -1 for a dead one, each seen to be that of the nearest centroid. */
function listOfLabels({ folder: path, segment }: MergeInput, metric: Metric): number[] {
  const bytes = readFileSync(join(path, "clusters.bin"));
  const head = bytes.subarray(0, segment.files["clusters.bin"]!.head!.bytes);
  const clusters = Clusters.decode(head, "clusters.bin", { dims }, segment);
  const file = new VectorFile(join(path, "vectors.f32"), dims);
  const lists = new Array<number>(segment.slots).fill(-1);
  const grouping = metric === "ip" ? "l2" : metric;
  for (let list = 0; list < clusters.shape.groups; list++) {
    const rows = clusters.listRows[list]!;
    const { start } = clusters.listRange(list);
    for (let row = 0; row < rows; row++) {
      const label = bytes.readUInt32LE(start + rows * 8 + row * 4);
      lists[label] = list;
      const given = file.at(label);
      const query = metric === "cosine" ? normalised(given) : new Float32Array(given);
      const distanceTo = (labels: Uint32Array | null) =>
        exactRows(clusters.centroids, grouping, { query, k: 1, ranks: null, labels })[0]!.distance;
      expect(distanceTo(Uint32Array.of(list))).toBeCloseTo(distanceTo(null), 4);
    }
  }
  file.close();
  return lists;
}
/** How often a row is followed by one of another inverted list. */
const changes = (lists: readonly number[]): number =>
  lists.filter((list, i) => i > 0 && list !== lists[i - 1]).length;

test.each(["cosine", "l2", "ip"] as const)(
  "%s: a large graph takes a fifth of its rows scattered, then cluster by cluster, as clusters.bin lists them",
  async (metric) => {
    const collection = collectionOf(metric);
    const halves = [await flat(collection, rowsOf(0, 500, 1)), await flat(collection, rowsOf(500, 900, 1))];
    const { input, grown } = await merged(collection, halves);
    expect(grown).toBe(false);
    const order = await rowOfLabels(input, metric);
    expect([...order].sort((a, b) => a - b)).toEqual([...Array(900).keys()]);
    // 30 clusters: those that come in turn change 29 times at most, those that come shuffled nearly every time.
    const lists = listOfLabels(input, metric);
    expect(changes(lists.slice(180))).toBeLessThan(30);
    expect(changes(lists.slice(0, 180))).toBeGreaterThan(150);
  },
);

test("a graph that grows keeps the labels of what stays; of what is added a fifth comes scattered, then cluster by cluster", async () => {
  const collection = collectionOf("cosine");
  const { input: base } = await merged(collection, [await flat(collection, rowsOf(0, 700, 1))]);
  const before = await rowOfLabels(base, "cosine");
  const { input, grown } = await merged(collection, [base, await flat(collection, rowsOf(650, 900, 2))]);
  expect(grown).toBe(true);
  expect(input.segment).toMatchObject({ kind: "hnsw", rows: 900, slots: 950 });
  const after = await rowOfLabels(input, "cosine");
  expect(after.slice(0, 700)).toEqual(before.map((row) => (row >= 650 ? -1 : row)));
  const added = after.slice(700);
  expect([...added].sort((a, b) => a - b)).toEqual(Array.from({ length: 250 }, (_, i) => 650 + i));
  const lists = listOfLabels(input, "cosine");
  expect(lists.map((list) => list === -1)).toEqual(after.map((row) => row === -1));
  expect(changes(lists.slice(750))).toBeLessThan(31);
  expect(changes(lists.slice(700, 750))).toBeGreaterThan(40);
});

test.each(["near", "far from"] as const)(
  "l2: rows %s the origin are in the cluster of the nearest centroid",
  async (where) => {
    // More rows than are looked at between two checkpoints.
    const { rows, base } = gaussianMixture({ rows: 5000, dims, queries: 0 });
    const moved = where === "near" ? base : base.map((value) => value + 20_000);
    const view = new Float32Array(dims);
    const vectorOf = (row: number) => {
      view.set(moved.subarray(row * dims, (row + 1) * dims));
      return view;
    };
    const { centroids, clusterOf } = await clusterRows(
      { dims, metric: "l2" },
      rows,
      vectorOf,
      async () => {},
    );
    const nearest = Array.from({ length: rows }, (_, row) => {
      const query = new Float32Array(vectorOf(row));
      return exactRows(centroids, "l2", { query, k: 1, ranks: null, labels: null })[0]!.label;
    });
    const agreeing = nearest.filter((cluster, row) => cluster === clusterOf[row]).length;
    expect(agreeing / rows).toBeGreaterThan(0.99);
    expect(new Set(clusterOf).size).toBeGreaterThan(50);
  },
);

test("no text of a replaced or deleted document is left in the files of a graph that was grown", async () => {
  const collection = collectionOf("cosine");
  const secret = (row: number) => `secret of row ${row}, at some length, as documents are`;
  const rows = rowsOf(0, 800, 1).map((row, i) => ({ ...row, document: secret(i) }));
  const first = await merged(collection, [await flat(collection, rows)]);
  const deleted = { ...rows[7]!, version: 2, vector: null, document: null };
  const newer = [...rowsOf(100, 110, 2), deleted];
  const { input, grown } = await merged(collection, [first.input, await flat(collection, newer)]);
  expect(grown).toBe(true);
  for (const file of Object.keys(input.segment.files)) {
    const bytes = readFileSync(join(input.folder, file));
    for (const row of [7, 100, 109])
      expect([file, row, bytes.includes(secret(row))]).toEqual([file, row, false]);
  }
  expect(readFileSync(join(input.folder, "records.db")).includes(secret(8))).toBe(true);
});

test("an old tombstone stays while a segment beside it holds an older row of its id, and goes when no segment does", async () => {
  const collection = collectionOf("cosine");
  const gone = (row: Row): Row => ({ ...row, version: 2, vector: null, document: null });
  const [held, unheld, ...others] = rowsOf(0, 9, 1);
  const tombstones = await flat(collection, [gone(held!), gone(unheld!)]);
  const beside = await flat(collection, [held!, ...others]);
  async function* neighbours() {
    yield { segment: beside.segment, clusters: null };
  }
  const dropTombstonesBeforeMs = Number.MAX_SAFE_INTEGER;
  const exact = await merged(collection, [tombstones], {
    ...{ against: [beside], neighbours: neighbours(), dropTombstonesBeforeMs },
  });
  expect(exact.input.segment.tombstones).toBe(1);
  // Whose records were not read may hold anything.
  const unknown = await merged(collection, [tombstones], {
    neighbours: neighbours(),
    dropTombstonesBeforeMs,
  });
  expect(unknown.input.segment.tombstones).toBe(2);
  expect((await merged(collection, [tombstones], { dropTombstonesBeforeMs })).input.segment.tombstones).toBe(
    0,
  );
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
  "a merge that is stopped at checkpoint %i fails with the reason, and ends",
  async (last) => {
    const collection = collectionOf("cosine");
    const inputs = [await flat(collection, rowsOf(0, 900, 1))];
    let checkpoints = 0;
    const checkpoint = async () => {
      checkpoints += 1;
      if (checkpoints >= last) throw new Error("the lease is lost");
    };
    await expect(merged(collection, inputs, { checkpoint })).rejects.toThrow("the lease is lost");
    const after = checkpoints;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(checkpoints).toBe(after);
  },
);

test("a failure to write rows is the error, though the graph waits for them", async () => {
  // More than is read ahead at once, so that rows are read when their turn comes.
  const wide = gaussianMixture({ rows: 1500, dims: 256, queries: 0 });
  const collection = { ...collectionOf("cosine"), dims: wide.dims };
  const rows = rowsOf(0, 1500, 1).map((row, i): Row => ({ ...row, vector: rowOf(wide, i) }));
  const input = await flat(collection, rows);
  // The first checkpoint comes when 1,024 of the rows are written.
  const checkpoint = async () => truncateSync(join(input.folder, "vectors.f32"), 100);
  const limits = { ...mergeLimits, flatRowsMax: 0, clusteredComponentsMin: 1500 * wide.dims + 1 };
  await expect(merged(collection, [input], { checkpoint, limits })).rejects.toThrow(
    /^vectors.f32: no row \d+ of 1500$/,
  );
});
