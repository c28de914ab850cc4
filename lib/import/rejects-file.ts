/** The rows that an import could not take, one JSON line each: {"line","id","field","reason"}. */
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { basename, resolve } from "node:path";
import type { RowFault } from "./import-rows.ts";

/** Kept in memory, to be shown. */
const examplesMax = 5;

export interface Reject extends RowFault {
  readonly line: number;
}

export class RejectsFile {
  readonly path: string;
  readonly examples: Reject[] = [];
  #lines = 0;
  #lastLine = 0;
  #descriptor: number | null = null;

  /** In the working folder, named after the records; what an earlier run left there is removed. */
  constructor(recordsPath: string) {
    this.path = resolve(`${basename(recordsPath)}.rejects.jsonl`);
    rmSync(this.path, { force: true });
  }

  /** Rejected rows; one may have several faults. Faults of a row come one after the other. */
  get rows(): number {
    return this.#lines;
  }

  add(reject: Reject): void {
    this.#descriptor ??= openSync(this.path, "w");
    writeSync(this.#descriptor, `${JSON.stringify(reject)}\n`);
    if (reject.line !== this.#lastLine) this.#lines += 1;
    this.#lastLine = reject.line;
    if (this.examples.length < examplesMax) this.examples.push(reject);
  }

  close(): void {
    if (this.#descriptor !== null) closeSync(this.#descriptor);
    this.#descriptor = null;
  }
}
