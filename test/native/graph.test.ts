/**
 * The addon's own Graph: it agrees with hnswlib-node where both can answer, and whatever it is given, it throws rather
 * than harms the process.
 */
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import hnswlib from "#hnswlib";
import { gaussian, gaussianMixture } from "../../scripts/bench/data.ts";

const dims = 20; // Neither a multiple of 8 nor of 32: the kernel's tail has work.
const vectors = gaussianMixture({ rows: 700, dims, queries: 20 });
const folder = mkdtempSync(join(tmpdir(), "graph-test-"));
const path = join(folder, "index.hnsw");
afterAll(() => rmSync(folder, { recursive: true }));

type Metric = "cosine" | "l2" | "ip";
const [M, efConstruction] = [16, 100];
function graphOf(metric: Metric, rows: Float32Array, threads = 1) {
  const graph = new hnswlib.Graph(metric, dims);
  graph.create(rows.length / dims, M, efConstruction);
  graph.appendSync(rows, threads);
  return graph;
}
const built = (metric: Metric, threads = 1) => graphOf(metric, vectors.base, threads);
async function readBack(metric: Metric) {
  const graph = new hnswlib.Graph(metric, dims);
  await graph.read(path, M, efConstruction, 2);
  return graph;
}
/** Row by row of unit length. */
function units(rows: Float32Array): Float32Array {
  const all = new Float32Array(rows.length);
  for (let at = 0; at < rows.length; at += dims) all.set(unit(rows.slice(at, at + dims)), at);
  return all;
}
function nearest(k: number, search: (labels: Uint32Array, distances: Float32Array) => number) {
  const labels = new Uint32Array(k);
  const distances = new Float32Array(k);
  const found = search(labels, distances);
  return { labels: [...labels.subarray(0, found)], distances: [...distances.subarray(0, found)] };
}
const unit = (vector: Float32Array): Float32Array => {
  const norm = Math.hypot(...vector);
  return vector.map((x) => x / norm);
};

test.each(["cosine", "l2", "ip"] as const)(
  "%s: hnswlib-node reads its file and answers the same",
  async (metric) => {
    const graph = graphOf(metric, metric === "ip" ? units(vectors.base) : vectors.base);
    await graph.write(path);
    const other = new hnswlib.HierarchicalNSW(metric, dims);
    other.readIndexSync(path);
    other.setEf(50);
    for (const query of vectors.queries) {
      const given = metric === "cosine" ? unit(query) : query;
      const ours = nearest(5, (labels, distances) => graph.search(given, labels, distances, 50));
      const theirs = other.searchKnn([...given], 5);
      expect(ours.labels).toEqual(theirs.neighbors);
      for (const [i, distance] of theirs.distances.entries())
        expect(ours.distances[i]).toBeCloseTo(distance, 4);
    }
    graph.close();
  },
);

test("rows that several threads inserted are found under their own labels, also after reading the file", async () => {
  const graph = built("cosine", 4);
  await graph.write(path);
  const read = await readBack("cosine");
  expect(read.count).toBe(vectors.rows);
  const [row, again] = [new Float32Array(dims), new Float32Array(dims)];
  for (let label = 0; label < vectors.rows; label++) {
    graph.row(label, row);
    read.row(label, again);
    expect(again).toEqual(row);
    const expected = unit(vectors.base.slice(label * dims, (label + 1) * dims));
    for (let i = 0; i < dims; i++) expect(row[i]).toBeCloseTo(expected[i]!, 5);
  }
  await read.append(vectors.base.slice(0, 10 * dims), 2);
  expect(read.count).toBe(vectors.rows + 10);
  graph.close();
  read.close();
});

test("a filter's answer is the exact one, and dead rows never come back", () => {
  const graph = built("l2");
  const accepted = new Uint8Array(vectors.rows).map((_, label) => Number(label % 3 === 0));
  const labels = Uint32Array.from(accepted.keys()).filter((label) => accepted[label] === 1);
  graph.markDeleted(3);
  for (const query of vectors.queries) {
    const exact = nearest(6, (out, distances) => graph.exact(query, out, distances, labels)).labels;
    const flat = nearest(6, (out, distances) =>
      hnswlib.exactRows(query, out, distances, labels, vectors.base, "l2"),
    ).labels;
    expect(flat).toEqual(exact);
    const found = nearest(5, (out, distances) =>
      graph.search(query, out, distances, 200, undefined, accepted),
    ).labels;
    expect(found).toEqual(exact.filter((label) => label !== 3).slice(0, 5));
  }
  graph.close();
});

/** 40 rows, each five times, among 300 others. */
function withCopies(): Float32Array {
  const rows = vectors.base.slice(0, 500 * dims);
  for (let copy = 1; copy < 5; copy++) rows.copyWithin((300 + copy * 40) * dims, 300 * dims, 340 * dims);
  return rows;
}
const copiesOf = (label: number) => [0, 1, 2, 3, 4].map((copy) => 300 + copy * 40 + label);

test("copies are found by their vector, in a graph that was built, read, grown and read again", async () => {
  const rows = withCopies();
  const check = (graph: InstanceType<typeof hnswlib.Graph>, more: number) => {
    for (let label = 0; label < 40; label++) {
      const query = rows.slice((300 + label) * dims, (301 + label) * dims);
      const own = [...copiesOf(label), ...(label < more ? [500 + label] : [])];
      const found = nearest(own.length, (labels, distances) => graph.search(query, labels, distances, 10));
      expect(found).toEqual({ labels: own, distances: own.map(() => 0) });
      // Whichever of them are accepted.
      const accepted = new Uint8Array(graph.count).fill(1);
      for (const copy of own.slice(0, -1)) accepted[copy] = 0;
      const [last] = nearest(1, (labels, distances) =>
        graph.search(query, labels, distances, 10, undefined, accepted),
      ).labels;
      expect(last).toBe(own.at(-1));
    }
  };
  const graph = graphOf("l2", rows, 3);
  check(graph, 0);
  await graph.write(path);
  check(graph, 0);
  const read = await readBack("l2");
  check(read, 0);
  read.appendSync(rows.subarray(300 * dims, 320 * dims), 2);
  check(read, 20);
  await read.write(path);
  const again = await readBack("l2");
  check(again, 20);
  for (const one of [graph, read, again]) one.close();
});

test("hnswlib-node, which knows of no copies, finds those of a file", async () => {
  const rows = withCopies();
  const graph = graphOf("l2", rows);
  await graph.write(path);
  const other = new hnswlib.HierarchicalNSW("l2", dims);
  other.readIndexSync(path);
  other.setEf(100);
  for (let label = 0; label < 40; label++) {
    const query = [...rows.slice((300 + label) * dims, (301 + label) * dims)];
    expect(other.searchKnn(query, 5).neighbors.sort((a, b) => a - b)).toEqual(copiesOf(label));
  }
  graph.close();
});

test("rows of the lowest ranks are found among equally near ones, by a graph and exactly", () => {
  // Corners of a cube around the query, some of them several times: all are as near.
  const rows = vectors.base.map((value) => Math.sign(value) || 1);
  rows.copyWithin(600 * dims, 0, 100 * dims);
  const graph = graphOf("l2", rows);
  const origin = new Float32Array(dims);
  const ranks = Uint32Array.from({ length: vectors.rows }, (_, label) => (label * 197) % vectors.rows);
  const wanted = [...ranks.keys()].sort((a, b) => ranks[a]! - ranks[b]!).slice(0, 30);
  const labels = Uint32Array.from(ranks.keys());
  const exact = nearest(30, (out, distances) => graph.exact(origin, out, distances, labels, ranks)).labels;
  const walked = nearest(30, (out, distances) =>
    graph.search(origin, out, distances, 30, undefined, null, ranks),
  ).labels;
  const flat = nearest(30, (out, distances) =>
    hnswlib.exactRows(origin, out, distances, null, rows, "l2", ranks),
  ).labels;
  expect({ exact, flat }).toEqual({ exact: wanted, flat: wanted });
  expect(walked).toEqual(wanted);
  graph.close();
});

test("a search leaves to exact search what costs too much, what is far from everything, and products of uneven norms", () => {
  const graph = built("l2");
  const [labels, distances] = [new Uint32Array(10), new Float32Array(10)];
  const query = vectors.queries[0]!;
  expect(graph.search(query, labels, distances, 50, 5)).toBe(-1);
  expect(graph.search(query, labels, distances, 50, 500)).toBe(10);
  const away = query.map((value) => value + 100);
  expect(graph.search(away, labels, distances, 50)).toBe(-1);
  graph.close();
  const uneven = built("ip");
  expect(uneven.search(query, labels, distances, 50)).toBe(-1);
  uneven.close();
  const even = graphOf("ip", units(vectors.base));
  expect(even.search(query, labels, distances, 50)).toBe(10);
  even.close();
});

test("exact search by inner products passes over short rows, and over no row that counts", () => {
  const rows = vectors.base.map((value, i) => value * (1 + (Math.floor(i / dims) % 13) ** 2));
  const graph = graphOf("ip", rows);
  const all = Uint32Array.from({ length: vectors.rows }, (_, label) => label);
  for (const query of vectors.queries) {
    const flat = nearest(25, (out, distances) => hnswlib.exactRows(query, out, distances, null, rows, "ip"));
    expect(nearest(25, (out, distances) => graph.exact(query, out, distances, all))).toEqual(flat);
  }
  graph.close();
});

test("a node that no link leads to is found from the nearest of its neighbours, also in a file", async () => {
  // A thousand that are nearly the same: hnswlib keeps no link to most of them.
  const normal = gaussian(5);
  const rows = Float32Array.from({ length: 1_000 * dims }, (_, i) => (i % dims) + 1e-4 * normal());
  const graph = graphOf("l2", rows);
  await graph.write(path);
  const read = await readBack("l2");
  for (const one of [graph, read]) {
    let lost = 0;
    for (let label = 0; label < 1_000; label++) {
      const query = rows.slice(label * dims, (label + 1) * dims);
      const [found] = nearest(1, (labels, distances) => one.search(query, labels, distances, 100)).labels;
      if (found !== label) lost += 1;
    }
    expect(lost).toBeLessThanOrEqual(10);
    one.close();
  }
});

test.each(["cosine", "l2", "ip"] as const)(
  "%s: the nearest centroid is the one that exact search finds",
  (metric) => {
    const units = Float32Array.from({ length: 37 * dims });
    for (let i = 0; i < 37; i++) {
      const row = vectors.base.slice(i * dims, (i + 1) * dims);
      units.set(metric === "cosine" ? unit(row) : row, i * dims);
    }
    for (const [rows, threads] of [
      [vectors.rows, 1],
      [vectors.rows - 3, 3],
      [5, 2],
      [1, 1],
    ] as const) {
      const found = new Uint32Array(rows);
      hnswlib.assign(vectors.base.subarray(0, rows * dims), units, metric, threads, found);
      for (let row = 0; row < rows; row++) {
        const given = vectors.base.slice(row * dims, (row + 1) * dims);
        const query = metric === "cosine" ? unit(given) : given;
        const [exact] = nearest(1, (labels, distances) =>
          hnswlib.exactRows(query, labels, distances, null, units, metric),
        ).labels;
        expect(found[row]).toBe(exact);
      }
    }
  },
);

test("nonsense is an error, never the end of the process", async () => {
  const graph = built("cosine");
  const [query, labels, distances] = [vectors.queries[0]!, new Uint32Array(3), new Float32Array(3)];
  const none = undefined as never;
  expect(() => new hnswlib.Graph("dot" as never, 3)).toThrow("metric");
  expect(() => new hnswlib.Graph("l2", 0)).toThrow("dims");
  expect(() => graph.search(new Float32Array(3), labels, distances, 10)).toThrow("dims");
  expect(() => graph.search([...query] as never, labels, distances, 10)).toThrow("dims");
  expect(() => graph.search(query, labels, new Float32Array(2), 10)).toThrow("outputs");
  expect(() => graph.search(query, labels, distances, 10, undefined, new Uint8Array(5))).toThrow("accepted");
  expect(() => graph.exact(query, labels, distances, Uint32Array.of(vectors.rows))).toThrow("label");
  expect(() => graph.exact(query, labels, distances, none)).not.toThrow();
  expect(() => graph.row(vectors.rows, new Float32Array(dims))).toThrow("row");
  expect(() => graph.row(Number.NaN, new Float32Array(dims))).toThrow("row");
  expect(() => graph.markDeleted(-1)).toThrow("label");
  expect(() => graph.appendSync(new Float32Array(dims + 1), 1)).toThrow("rows");
  expect(() => graph.create(10, 16, 100)).toThrow("in use");
  expect(() => hnswlib.exactRows(query, labels, distances, null, none, "l2")).toThrow("rows");
  const out = new Uint32Array(2);
  expect(() => hnswlib.assign(query, query, "l2", 1, out.subarray(0, 1))).not.toThrow();
  expect(() => hnswlib.assign(new Float32Array(dims * 2 - 1), query, "l2", 1, out)).toThrow("rows");
  expect(() => hnswlib.assign(query, new Float32Array(0), "l2", 1, out)).toThrow("centroids");
  expect(() => hnswlib.assign(query, query, "dot" as never, 1, out)).toThrow("metric");
  expect(() => hnswlib.assign(query, query, "l2", 1, none)).toThrow("output");
  const writing = graph.write(path);
  expect(() => graph.search(query, labels, distances, 10)).toThrow("busy");
  expect(() => graph.close()).toThrow("busy");
  await writing;
  graph.close();
  graph.close();
  expect(() => graph.search(query, labels, distances, 10)).toThrow("closed");
});

test.each([700, 10, 3000])("memory made ready for %i nodes serves a file of 700", async (count) => {
  const graph = built("cosine");
  await graph.write(path);
  const read = new hnswlib.Graph("cosine", dims);
  const reserving = read.reserve(count, 16);
  expect(() => read.readSync(path, M, efConstruction, 2)).toThrow("busy");
  await reserving;
  await read.reserve(count, 16);
  expect(read.count).toBe(0);
  await read.read(path, M, efConstruction, 2);
  const [row, again] = [new Float32Array(dims), new Float32Array(dims)];
  for (let label = 0; label < vectors.rows; label++) {
    graph.row(label, row);
    read.row(label, again);
    expect(again).toEqual(row);
  }
  expect(() => read.reserveSync(count, 16)).toThrow("in use");
  read.close();
  read.reserveSync(count, 16);
  read.close();
  graph.close();
});

test("a file that is torn, too long, of other dims or missing is refused", async () => {
  const graph = built("cosine");
  await graph.write(path);
  graph.close();
  const whole = readFileSync(path);
  const refused = async (bytes: Buffer, width = dims) => {
    writeFileSync(path, bytes);
    await expect(new hnswlib.Graph("cosine", width).read(path, M, efConstruction, 2)).rejects.toThrow();
  };
  for (const share of [0, 0.001, 0.3, 0.9, 0.9999])
    await refused(whole.subarray(0, Math.floor(whole.length * share)));
  await refused(Buffer.concat([whole, Buffer.alloc(4)]));
  await refused(whole, dims + 1);
  await refused(Buffer.alloc(5000, 0xff));
  truncateSync(path, 0);
  expect(statSync(path).size).toBe(0);
  await expect(
    new hnswlib.Graph("cosine", dims).read(join(folder, "none"), M, efConstruction, 2),
  ).rejects.toThrow("cannot open");
});
