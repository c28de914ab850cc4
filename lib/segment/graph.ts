/**
 * The one place that touches hnswlib. Its rules here (shared knowledge of what crashes or corrupts it):
 * - labels are dense, 0 to n − 1, given in insertion order, so that a label is also the node's place in the file;
 * - an index is loaded only from bytes whose sha256 was checked, only into a fresh object, given up when loading fails;
 * - vectors are finite before they come here (lib/core/records.ts, lib/core/delta.ts);
 * - what was written is looked at again: hnswlib reports success on a full disk.
 */
import { closeSync, openSync, readSync, statSync } from "node:fs";
import type { HierarchicalNSW } from "hnswlib-node";
import hnswlib from "#hnswlib";
import type { Collection } from "../core/collection.ts";
import { corrupt } from "../core/errors.ts";
import type { RowFile } from "./exact.ts";
import type { Hit } from "./nearest.ts";

export type GraphParameters = Pick<Collection, "dims" | "metric"> & {
  readonly index: Pick<Collection["index"], "M" | "efConstruction">;
};
/** Rows inserted between two breaths of the event loop, so that leases are extended and deadlines seen. */
const insertSlice = 64;

export class Graph {
  readonly #index: HierarchicalNSW;
  readonly #dims: number;

  private constructor(index: HierarchicalNSW, dims: number) {
    this.#index = index;
    this.#dims = dims;
  }

  static create({ dims, metric, index: { M, efConstruction } }: GraphParameters, capacity: number): Graph {
    const index = new hnswlib.HierarchicalNSW(metric, dims);
    index.initIndex({ maxElements: Math.max(1, capacity), m: M, efConstruction, randomSeed: 100 });
    return new Graph(index, dims);
  }

  /** Loads a verified file of `slots` nodes. Throws `corrupt` when it holds another number of them. */
  static async load(
    path: string,
    { dims, metric }: Pick<GraphParameters, "dims" | "metric">,
    slots: number,
  ): Promise<Graph> {
    const header = readGraphHeader(path, dims);
    if (header.count !== slots)
      throw corrupt(path, `it holds ${header.count} nodes, the manifest says ${slots}`);
    const index = new hnswlib.HierarchicalNSW(metric, dims);
    await index.readIndex(path);
    return new Graph(index, dims);
  }

  get count(): number {
    return this.#index.getCurrentCount();
  }

  /** Appends vectors as labels count, count + 1, …; `breathe` is awaited between slices and may throw to stop. */
  async append(
    vectors: Iterable<Float32Array>,
    added: number,
    breathe: (done: number) => Promise<void>,
  ): Promise<void> {
    const first = this.count;
    if (first + added > this.#index.getMaxElements()) this.#index.resizeIndex(first + added);
    let done = 0;
    for (const vector of vectors) {
      this.#index.addPoint(Array.from(vector), first + done);
      done += 1;
      if (done % insertSlice === 0) await breathe(done);
    }
  }

  markDeleted(label: number): void {
    this.#index.markDelete(label);
  }

  unmarkDeleted(label: number): void {
    this.#index.unmarkDelete(label);
  }

  /** Nearest first. `accepts` sees labels only and must answer true or false without touching the index. */
  search(query: number[], k: number, ef: number, accepts?: (label: number) => boolean): Hit[] {
    this.#index.setEf(Math.max(ef, k));
    const { neighbors, distances } = this.#index.searchKnn(query, Math.min(k, this.count), accepts);
    return neighbors.map((label, i) => ({ label, distance: distances[i]! }));
  }

  /** Writes the file and checks that all of it is there. */
  async write(path: string): Promise<void> {
    await this.#index.writeIndex(path);
    const header = readGraphHeader(path, this.#dims);
    const least = header.offset0 + header.count * header.strideBytes + header.count * 4;
    if (header.count !== this.count || statSync(path).size < least) {
      throw new Error(`${path}: hnswlib wrote an incomplete file (is the disk full?)`);
    }
  }
}

export interface GraphHeader {
  readonly count: number;
  /** Where node 0 begins. */
  readonly offset0: number;
  readonly strideBytes: number;
  /** Where the vector lies inside a node. */
  readonly vectorOffset: number;
}

const headerBytes = 96;

/** The head of hnswlib's file (docs/format.md): sizes and offsets of the lowest layer, which holds the vectors. */
export function readGraphHeader(path: string, dims: number): GraphHeader {
  const header = Buffer.alloc(headerBytes);
  const fd = openSync(path, "r");
  try {
    if (readSync(fd, header, 0, headerBytes, 0) < headerBytes)
      throw corrupt(path, "it is too short for a graph");
  } finally {
    closeSync(fd);
  }
  const word = (i: number) => Number(header.readBigUInt64LE(i * 8));
  const [count, strideBytes, labelOffset, vectorOffset] = [word(2), word(3), word(4), word(5)];
  if (labelOffset! - vectorOffset! !== dims * 4 || strideBytes !== labelOffset! + 8) {
    throw corrupt(path, `its nodes do not hold vectors of ${dims} dims`);
  }
  return { count: count!, offset0: headerBytes, strideBytes: strideBytes!, vectorOffset: vectorOffset! };
}

/** Where the graph's own vectors lie (of unit length for cosine), for exact search without a second copy. */
export function vectorsOfGraph(path: string, fd: number, dims: number): RowFile {
  const header = readGraphHeader(path, dims);
  return { fd, offset: header.offset0 + header.vectorOffset, strideBytes: header.strideBytes };
}
