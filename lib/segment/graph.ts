/**
 * The one place that touches hnswlib, through the addon of native/graph.cc. Its rules here:
 * - labels are dense, 0 to n − 1, in the order in which rows were added;
 * - an index is loaded only from bytes whose sha256 was checked, only into a fresh object, given up when loading fails;
 * - vectors are finite before they come here (lib/core/model/check-records.ts, lib/core/format/delta.ts);
 * - what was written is looked at again: hnswlib reports success on a full disk;
 * - a graph's memory is native, which V8 neither sees nor hurries to free: the code that opens one closes it.
 */
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import hnswlib from "#hnswlib";
import type { Collection, Metric } from "../core/model/collection.ts";
import { corrupt } from "../core/model/errors.ts";
import { shortageIn } from "./files.ts";

export type GraphParameters = Pick<Collection, "dims" | "metric"> & {
  readonly index: Pick<Collection["index"], "M" | "efConstruction">;
};
export interface NearLabel {
  readonly label: number;
  readonly distance: number;
}

/** What a search is asked beside the query. */
export interface Asked {
  /** The most hits that are returned. */
  readonly k: number;
  /** The rank of each label: the lower comes first at equal distances. Null: the labels themselves are the ranks. */
  readonly ranks: Uint32Array | null;
}
export interface AskedGraph extends Asked {
  /** How many of the nearest nodes are looked for, at least k. */
  readonly ef: number;
  readonly visitsMax: number;
  /** A byte for each label, not 0 where it may be found; null for all. */
  readonly accepted: Uint8Array | null;
}
/** Inserted between two checkpoints, so that leases are extended and deadlines seen: one to five seconds. */
const insertComponents = 3_000_000;

export class Graph {
  readonly #native: InstanceType<typeof hnswlib.Graph>;
  readonly #dims: number;

  private constructor({ dims, metric }: Pick<GraphParameters, "dims" | "metric">) {
    this.#native = new hnswlib.Graph(metric, dims);
    this.#dims = dims;
  }

  static create(parameters: GraphParameters, capacity: number): Graph {
    const graph = new Graph(parameters);
    graph.#native.create(capacity, parameters.index.M, parameters.index.efConstruction);
    return graph;
  }

  /**
   * Loads a verified file of `slots` nodes, once `arrived` says that it is there; memory is made ready meanwhile. Throws
   * `corrupt` when it holds another number of them, and what `arrived` throws.
   */
  static async load(
    path: string,
    parameters: GraphParameters,
    slots: number,
    arrived: Promise<void> = Promise.resolve(),
  ): Promise<Graph> {
    const graph = new Graph(parameters);
    try {
      const ready = graph.#native.reserve(slots, parameters.index.M).catch((error: Error) => {
        throw Object.assign(error, { code: "ENOMEM" });
      });
      await Promise.allSettled([arrived, ready]);
      await arrived;
      await ready;
      const count = storedCount(path);
      if (count !== slots) throw corrupt(path, `it holds ${count} nodes, the manifest says ${slots}`);
      const { M, efConstruction } = parameters.index;
      await graph.#native
        .read(path, M, Math.max(M, efConstruction), availableParallelism())
        .catch((error: Error) => {
          // It was opened a moment ago: what is missing is not the file.
          if (error.message.startsWith("cannot open")) throw Object.assign(error, { code: "EMFILE" });
          if (error.message === outOfMemory) throw Object.assign(error, { code: "ENOMEM" });
          throw corrupt(path, error.message, error);
        });
      return graph;
    } catch (error) {
      graph.close();
      throw error;
    }
  }

  get count(): number {
    return this.#native.count;
  }

  /**
   * Appends `added` rows as labels count, count + 1, …, on every processor there is. `rows(first, limit)` gives packed
   * vectors of the half-open range, counted from the first added one. `checkpoint` is awaited between slices and may throw
   * to stop.
   */
  async append(
    added: number,
    rows: (first: number, limit: number) => Promise<Float32Array>,
    checkpoint: (done: number) => Promise<void>,
  ): Promise<void> {
    const slice = Math.ceil(insertComponents / this.#dims);
    for (let first = 0; first < added; first += slice) {
      const limit = Math.min(added, first + slice);
      await this.#native.append(await rows(first, limit), availableParallelism());
      await checkpoint(limit);
    }
  }

  markDeleted(label: number): void {
    this.#native.markDeleted(label);
  }

  /**
   * Nearest first; null where exact search should answer instead: it would be cheaper, or the graph is not to be trusted
   * (native/nodes-search.h).
   */
  search(query: Float32Array, { k, ranks, ef, visitsMax, accepted }: AskedGraph): NearLabel[] | null {
    const out = outputs(Math.min(k, this.count));
    const found = this.#native.search(query, out.labels, out.distances, ef, visitsMax, accepted, ranks);
    return found < 0 ? null : hits(out, found);
  }

  /** The nearest of exactly these labels, nearest first. */
  exact(query: Float32Array, { k, ranks }: Asked, labels: Uint32Array): NearLabel[] {
    const out = outputs(Math.min(k, labels.length));
    return hits(out, this.#native.exact(query, out.labels, out.distances, labels, ranks));
  }

  /** A copy of a row as searches see it: of unit length for cosine. */
  row(label: number): Float32Array {
    const row = new Float32Array(this.#dims);
    this.#native.row(label, row);
    return row;
  }

  /** Writes the file and checks that all of it is there. */
  async write(path: string): Promise<void> {
    await this.#native.write(path);
    const leastBytes = this.count * (this.#dims * 4 + labelBytes);
    if (storedCount(path) !== this.count || statSync(path).size < leastBytes) throw shortageIn(path);
  }

  close(): void {
    this.#native.close();
  }
}

/** Exact search over packed rows (of unit length for cosine), nearest first; `labels` null for all of them. */
export function exactRows(
  vectors: Float32Array,
  metric: Metric,
  { query, k, ranks, labels }: Asked & { query: Float32Array; labels: Uint32Array | null },
): NearLabel[] {
  const out = outputs(Math.min(k, labels?.length ?? vectors.length / query.length));
  return hits(out, hnswlib.exactRows(query, out.labels, out.distances, labels, vectors, metric, ranks));
}

/** The nearest of packed centroids (of unit length for cosine) for each packed row. */
export function nearestCentroids(
  rows: Float32Array,
  centroids: Float32Array,
  { dims, metric }: Pick<GraphParameters, "dims" | "metric">,
): Uint32Array {
  const nearest = new Uint32Array(rows.length / dims);
  hnswlib.assign(rows, centroids, metric, availableParallelism(), nearest);
  return nearest;
}

/** The message of C++'s exception. */
const outOfMemory = "std::bad_alloc";

const outputs = (k: number) => ({ labels: new Uint32Array(k), distances: new Float32Array(k) });

function hits(out: ReturnType<typeof outputs>, found: number): NearLabel[] {
  return Array.from({ length: found }, (_, i) => ({ label: out.labels[i]!, distance: out.distances[i]! }));
}

/** The file's third word (docs/format.md). */
const countOffset = 16;
const labelBytes = 8;

function storedCount(path: string): number {
  const word = Buffer.alloc(8);
  const fd = openSync(path, "r");
  try {
    if (readSync(fd, word, 0, 8, countOffset) < 8) throw corrupt(path, "it is too short for a graph");
  } finally {
    closeSync(fd);
  }
  return Number(word.readBigUInt64LE());
}
