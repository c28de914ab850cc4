/**
 * Real embeddings with exact ground truth, where they are beside the checkout (../shared/data); tests that want them
 * skip, and say so, where they are not.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const folder = join(import.meta.dirname, "../../../shared/data");

export interface Dataset {
  readonly dims: number;
  readonly rows: number;
  readonly base: Float32Array[];
  readonly queries: Float32Array[];
  /** Rows of `base` by distance, nearest first; -1 pads. */
  readonly truth: Int32Array[];
  readonly truthDistances: Float32Array[];
  readonly lines: readonly Record<string, unknown>[];
  filterTruth(name: string): Int32Array[];
  readonly churn: readonly { c: number; ts: number; op: "put" | "del"; id: string; row?: number }[];
}

export const hasDataset = (name: string): boolean => existsSync(join(folder, `${name}.json`));

/** `describe`, or one skipped test that says what is missing. */
export function describeWithDataset(name: string, title: string, body: () => void): void {
  if (hasDataset(name)) describe(title, body);
  else describe(title, () => test.skip(`skipped: the dataset ${name} is not beside this checkout`, () => {}));
}

export function readDataset(name: string): Dataset {
  const about = JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8")) as {
    dims: number;
    base_count: number;
  };
  const file = (suffix: string) => join(folder, `${name}.${suffix}`);
  const jsonl = (path: string) =>
    readFileSync(path, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line));
  return {
    dims: about.dims,
    rows: about.base_count,
    base: floats(file("base.fvecs")),
    queries: floats(file("query.fvecs")),
    truth: integers(file("gt.ivecs")),
    truthDistances: floats(file("gtdist.fvecs")),
    lines: jsonl(file("jsonl")),
    filterTruth: (filter) => integers(file(`gt.${filter}.ivecs`)),
    get churn() {
      return jsonl(file("churn.jsonl"));
    },
  };
}

const floats = (path: string): Float32Array[] => vectors(path).map((bytes) => new Float32Array(bytes));
const integers = (path: string): Int32Array[] => vectors(path).map((bytes) => new Int32Array(bytes));

function vectors(path: string): ArrayBuffer[] {
  const bytes = readFileSync(path);
  const rows: ArrayBuffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readInt32LE(at) * 4;
    rows.push(new Uint8Array(bytes.subarray(at + 4, at + 4 + length)).buffer);
    at += 4 + length;
  }
  return rows;
}
