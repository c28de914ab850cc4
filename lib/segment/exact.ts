/**
 * Exact search: the distance of a query to given rows, by the WebAssembly SIMD kernel.
 *
 * Rows are either resident (a flat segment keeps its vectors in the kernel's memory) or read from a file in ranges
 * straight into the kernel's memory (an hnsw segment: the graph file holds the vectors already, so they are not kept
 * in memory twice). Distances are hnswlib's: 1 − cos, squared L2, 1 − dot.
 */
import { readSync } from "node:fs";
import type { Metric } from "../core/collection.ts";
import { kernelWasm } from "./kernel-wasm.ts";
import { type Hit, Nearest } from "./nearest.ts";

const pageBytes = 65_536;
const module_ = new WebAssembly.Module(Buffer.from(kernelWasm, "base64"));
type Kernel = (query: number, row: number, stride: number, n: number, dims: number, out: number) => void;

/** Rows whose distances are computed by one call into the kernel. */
const batchRows = 1024;
/** Rows between two wanted ones that are read along rather than skipped by a read of their own. */
const gapRowsMax = 8;

/** Where rows lie in a file: row i starts at `offset + i * strideBytes`. */
export interface RowFile {
  readonly fd: number;
  readonly offset: number;
  readonly strideBytes: number;
}

export class ExactSearch {
  readonly #dims: number;
  readonly #metric: Metric;
  readonly #memory: WebAssembly.Memory;
  readonly #kernel: Kernel;
  readonly #file: RowFile | null;
  readonly #strideBytes: number;
  readonly #rows: number;
  readonly #out: number;
  readonly #base: number;

  /** `vectors` resident, or `file` to read from. Cosine rows must be of unit length already. */
  constructor(
    options: { dims: number; metric: Metric; rows: number } & ({ vectors: Float32Array } | { file: RowFile }),
  ) {
    this.#dims = options.dims;
    this.#metric = options.metric;
    this.#rows = options.rows;
    this.#file = "file" in options ? options.file : null;
    this.#strideBytes = "file" in options ? options.file.strideBytes : options.dims * 4;
    this.#out = align(options.dims * 4);
    this.#base = this.#out + batchRows * 4;
    const room = "file" in options ? batchRows * this.#strideBytes : options.rows * options.dims * 4;
    this.#memory = new WebAssembly.Memory({ initial: Math.ceil((this.#base + room) / pageBytes) });
    const { exports } = new WebAssembly.Instance(module_, { host: { memory: this.#memory } });
    this.#kernel = exports[options.metric === "l2" ? "l2" : "dot"] as Kernel;
    if ("vectors" in options)
      new Float32Array(this.#memory.buffer, this.#base, options.vectors.length).set(options.vectors);
  }

  /** The k rows of `labels` (ascending; null for all) that are nearest to `query` (unit length for cosine). */
  nearest(query: Float32Array, k: number, labels: Uint32Array | null): Hit[] {
    new Float32Array(this.#memory.buffer, 0, this.#dims).set(query);
    const nearest = new Nearest(k);
    const count = labels === null ? this.#rows : labels.length;
    for (let i = 0; i < count; ) {
      const start = labels === null ? i : labels[i]!;
      let limit = start + 1;
      let next = i + 1;
      if (labels === null) {
        limit = Math.min(this.#rows, start + batchRows);
        next = limit;
      } else {
        while (next < count && labels[next]! - limit <= gapRowsMax && labels[next]! < start + batchRows)
          limit = labels[next++]! + 1;
      }
      const distances = this.#distances(start, limit);
      if (labels === null) {
        for (let label = start; label < limit; label++)
          nearest.offer(label, this.#distance(distances[label - start]!));
      } else {
        for (let j = i; j < next; j++)
          nearest.offer(labels[j]!, this.#distance(distances[labels[j]! - start]!));
      }
      i = next;
    }
    return nearest.take();
  }

  /** A copy of one row. */
  row(label: number): Float32Array {
    const at = this.#file === null ? this.#base + label * this.#strideBytes : this.#load(label, label + 1);
    return new Float32Array(this.#memory.buffer, at, this.#dims).slice();
  }

  #distances(start: number, limit: number): Float32Array {
    const at = this.#file === null ? this.#base + start * this.#strideBytes : this.#load(start, limit);
    this.#kernel(0, at, this.#strideBytes, limit - start, this.#dims, this.#out);
    return new Float32Array(this.#memory.buffer, this.#out, limit - start);
  }

  #load(start: number, limit: number): number {
    const { fd, offset, strideBytes } = this.#file!;
    // The last row needs its vector only: nothing is read beyond the file's rows.
    const bytes = (limit - start - 1) * strideBytes + this.#dims * 4;
    const target = new Uint8Array(this.#memory.buffer, this.#base, bytes);
    const got = readSync(fd, target, 0, bytes, offset + start * strideBytes);
    if (got !== bytes) throw new Error(`short read: ${got} of ${bytes} bytes at row ${start}`);
    return this.#base;
  }

  #distance(value: number): number {
    return this.#metric === "l2" ? value : 1 - value;
  }
}

/** Unit length in float32, as hnswlib normalises. */
export function normalised(vector: Float32Array): Float32Array {
  let sum = 0;
  for (const x of vector) sum += x * x;
  const scale = 1 / (Math.sqrt(sum) + 1e-30);
  return vector.map((x) => x * scale);
}

const align = (bytes: number): number => Math.ceil(bytes / 16) * 16;
