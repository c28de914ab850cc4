/**
 * Vectors in fvecs files: per row an int32 dimension and that many float32, all little endian. Rows have one size, so
 * row i is found without reading what is before it.
 */
import { type FileHandle, open } from "node:fs/promises";
import { invalid } from "../core/model/errors.ts";
import { foreignFormat, signatureBytes, unreadable } from "./input-text.ts";

/** A number at the beginning that is none of dimensions is another kind of file. */
const dimsMax = 65_536;
/** Bytes read at a time. */
const blockBytes = 4 * 1024 * 1024;

export class VectorFile {
  readonly path: string;
  readonly rows: number;
  readonly #file: FileHandle;
  readonly #dims: number;
  readonly #rowBytes: number;
  /** The rows read last: `#first` and those behind it. */
  #block = Buffer.alloc(0);
  #first = 0;

  private constructor(path: string, file: FileHandle, options: { dims: number; rows: number }) {
    this.path = path;
    this.rows = options.rows;
    this.#file = file;
    this.#dims = options.dims;
    this.#rowBytes = 4 + options.dims * 4;
  }

  /** `asked`: the dimensions; null: those of the first row. Throws `invalid` when the file is not an fvecs file of them. */
  static async open(path: string, asked: number | null): Promise<VectorFile> {
    const failed = unreadable("--vectors", path);
    const file = await open(path).catch(failed);
    try {
      const { size } = await file.stat();
      const head = Buffer.alloc(signatureBytes);
      await file.read(head, 0, signatureBytes, 0).catch(failed);
      const found = size === 0 ? (asked ?? 1) : head.readInt32LE(0);
      const dims = asked ?? (found >= 1 && found <= dimsMax ? found : 0);
      const rowBytes = 4 + dims * 4;
      const problem = found === dims ? null : foreignFormat(head);
      if (problem !== null) throw invalid(`--vectors: ${path} ${problem}`);
      if (dims === 0) throw invalid(`--vectors: ${path} is not an fvecs file: it begins with ${found}`);
      if (found !== dims)
        throw invalid(`--vectors: ${path} has vectors of ${found} dimensions, the collection has ${dims}`);
      if (size % rowBytes !== 0) {
        throw invalid(
          `--vectors: ${path} is not an fvecs file of ${dims} dimensions: ${size} bytes are not a multiple of ${rowBytes}`,
        );
      }
      return new VectorFile(path, file, { dims, rows: size / rowBytes });
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The vector of a row, or what is wrong with it. Rows are best asked for in order. */
  async vector(row: number): Promise<Float32Array | string> {
    if (row >= this.rows) return `is missing: ${this.path} has ${this.rows} rows`;
    const held = Math.floor(this.#block.length / this.#rowBytes);
    if (row < this.#first || row >= this.#first + held) await this.#load(row);
    const start = (row - this.#first) * this.#rowBytes;
    const dims = this.#block.readInt32LE(start);
    if (dims !== this.#dims)
      return `row ${row} of ${this.path} says it has ${dims} dimensions instead of ${this.#dims}`;
    const vector = new Float32Array(this.#dims);
    this.#block.copy(new Uint8Array(vector.buffer), 0, start + 4, start + this.#rowBytes);
    return vector;
  }

  async #load(row: number): Promise<void> {
    const rows = Math.min(this.rows - row, Math.max(1, Math.floor(blockBytes / this.#rowBytes)));
    const block = Buffer.alloc(rows * this.#rowBytes);
    const { bytesRead } = await this.#file
      .read(block, 0, block.length, row * this.#rowBytes)
      .catch(unreadable("--vectors", this.path));
    if (bytesRead !== block.length) throw invalid(`--vectors: ${this.path} became shorter while it was read`);
    this.#block = block;
    this.#first = row;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
