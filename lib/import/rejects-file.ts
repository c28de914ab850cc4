/**
 * The rows that an import could not take, one JSON line each: {"at","id"?,"problems":[{"field","reason"}],"record"}. The record
 * is the row as it would have been written (or the text of a line that is no JSON), so that the mended file can be imported
 * by itself: `silt import NAME --from records:FILE`.
 */
import { closeSync, existsSync, fstatSync, openSync, rmSync, truncateSync, writeSync } from "node:fs";
import { vectorToBase64 } from "../core/model/vector.ts";
import { type RowFault, textOfBig } from "./shape-row.ts";

/** Kept in memory, to be shown. */
const examplesMax = 5;

export interface Reject {
  readonly at: string;
  readonly id?: string;
  readonly problems: readonly { readonly field: string; readonly reason: string }[];
  /** Null where nothing of the row can be read. */
  readonly record: unknown;
}

export class RejectsFile {
  readonly path: string;
  readonly examples: Reject[] = [];
  rows = 0;
  #descriptor: number | null = null;

  /**
   * Goes on behind the first `bytes` of the file, which hold `rows` rows: what a killed run wrote after its last resume point is
   * written again.
   */
  constructor(path: string, { rows, bytes }: { rows: number; bytes: number } = { rows: 0, bytes: 0 }) {
    this.path = path;
    if (rows > 0 && existsSync(path)) {
      truncateSync(path, bytes);
      this.#descriptor = openSync(path, "a");
      this.rows = rows;
    } else {
      rmSync(path, { force: true });
    }
  }

  add(at: string, faults: readonly RowFault[], record: unknown): void {
    const id = faults.find((fault) => fault.id !== undefined)?.id;
    const problems = faults.map(({ field, reason }) => ({ field, reason }));
    const reject: Reject = { at, ...(id === undefined ? {} : { id }), problems, record: record ?? null };
    this.#descriptor ??= openSync(this.path, "a");
    writeSync(this.#descriptor, `${JSON.stringify(reject, plain)}\n`);
    this.rows += 1;
    if (this.examples.length < examplesMax) this.examples.push(reject);
  }

  get bytes(): number {
    return this.#descriptor === null ? 0 : fstatSync(this.#descriptor).size;
  }

  close(): void {
    if (this.#descriptor !== null) closeSync(this.#descriptor);
    this.#descriptor = null;
  }
}

const plain = (key: string, value: unknown): unknown =>
  value instanceof Float32Array
    ? value.every(Number.isFinite)
      ? vectorToBase64(value)
      : Array.from(value, (one) => (Number.isFinite(one) ? one : String(one)))
    : textOfBig(key, value);
