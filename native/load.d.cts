// `import hnswlib from "#hnswlib"`: the default import is the addon in Node, in Jest and in esbuild's bundles. Named
// imports are not: Node cannot see the names that an addon exports.
import type * as hnswlibNode from "hnswlib-node";

/** native/graph.cc. What is asynchronous runs off the event loop; until it ends, every other call throws. */
declare class Graph {
  constructor(metric: "cosine" | "l2" | "ip", dims: number);
  create(capacity: number, M: number, efConstruction: number): void;
  /** Makes memory ready for a file of so many nodes that is to be read. */
  reserve(count: number, M: number): Promise<void>;
  reserveSync(count: number, M: number): void;
  /** Reads a file of hnswlib's format that was made with these parameters; rejects when it does not fit together. */
  read(path: string, M: number, efConstruction: number, threads: number): Promise<void>;
  write(path: string): Promise<void>;
  /** Adds packed rows as labels count, count + 1, …; `vectors` must not change meanwhile. */
  append(vectors: Float32Array, threads: number): Promise<void>;
  readSync(path: string, M: number, efConstruction: number, threads: number): void;
  writeSync(path: string): void;
  appendSync(vectors: Float32Array, threads: number): void;
  markDeleted(label: number): void;
  /**
   * Fills the outputs, nearest first, and returns how many; k is their length. -1 when exact search should answer instead:
   * more than `visitsMax` nodes would have been visited, or what was found is not to be trusted. `accepted` has a byte for
   * each label, `ranks` a number: of equal distances the lower is first, or the lower label.
   */
  search(
    query: Float32Array,
    labelsOut: Uint32Array,
    distancesOut: Float32Array,
    ef: number,
    visitsMax?: number,
    accepted?: Uint8Array | null,
    ranks?: Uint32Array | null,
  ): number;
  exact(
    query: Float32Array,
    labelsOut: Uint32Array,
    distancesOut: Float32Array,
    labels: Uint32Array,
    ranks?: Uint32Array | null,
  ): number;
  /** Copies the row as searches see it: of unit length for cosine. */
  row(label: number, out: Float32Array): void;
  /** Gives the memory back; the graph is of no use afterwards. */
  close(): void;
  readonly count: number;
}

declare const hnswlib: typeof hnswlibNode & {
  Graph: typeof Graph;
  /** Exact search over packed rows; `labels` null for all of them. Cosine takes rows of unit length. */
  exactRows(
    query: Float32Array,
    labelsOut: Uint32Array,
    distancesOut: Float32Array,
    labels: Uint32Array | null,
    vectors: Float32Array,
    metric: "cosine" | "l2" | "ip",
    ranks?: Uint32Array | null,
  ): number;
  /** The nearest centroid of each packed row, of which `nearestOut` has one each. Cosine takes centroids of unit length. */
  assign(
    rows: Float32Array,
    centroids: Float32Array,
    metric: "cosine" | "l2" | "ip",
    threads: number,
    nearestOut: Uint32Array,
  ): void;
};
export = hnswlib;
