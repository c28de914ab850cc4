/** What the import drill imports: generated rows with an exact truth, or the real set beside the checkout. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { nearestDistances } from "./neighbours.ts";
import { vectorOf } from "./random.ts";

export interface ImportData {
  readonly dims: number;
  readonly rows: number;
  readonly recordsFile: string;
  readonly vectorsFile: string;
  readonly queriesFile: string;
  /** Distances (1 − cos) of the ten nearest rows to each query, ascending. */
  readonly truth: readonly (readonly number[])[];
}

const generated = { rows: 12_000, dims: 32, queries: 100 };
const k = 10;

export function generateData(folder: string, seed: number): ImportData {
  const { rows, dims, queries } = generated;
  const vectors = (kind: string, count: number) =>
    Array.from({ length: count }, (_, i) => vectorOf(`${seed}-${kind}-${i}`, dims));
  const base = vectors("row", rows);
  const asked = vectors("query", queries);
  const file = (name: string) => join(folder, name);
  const lines = base.map((_, i) =>
    JSON.stringify({ id: `r${i}`, kind: i % 3 === 0 ? "third" : "other", n: i, text: `row ${i}` }),
  );
  writeFileSync(file("rows.jsonl"), `${lines.join("\n")}\n`);
  writeFileSync(file("rows.fvecs"), fvecs(base));
  writeFileSync(file("queries.fvecs"), fvecs(asked));
  return {
    dims,
    rows,
    recordsFile: file("rows.jsonl"),
    vectorsFile: file("rows.fvecs"),
    queriesFile: file("queries.fvecs"),
    truth: asked.map((query) => nearestDistances("cosine", query, base, k)),
  };
}

/** Throws when the set is not beside the checkout. */
export function aimathData(): ImportData {
  const prefix = join(import.meta.dirname, "../../../shared/data/aimath-bgemicro384");
  if (!existsSync(`${prefix}.json`)) throw new Error(`--data aimath: the set is not there (${prefix}.json)`);
  const { dims, base_count: rows } = JSON.parse(readFileSync(`${prefix}.json`, "utf8")) as {
    dims: number;
    base_count: number;
  };
  return {
    dims,
    rows,
    recordsFile: `${prefix}.jsonl`,
    vectorsFile: `${prefix}.base.fvecs`,
    queriesFile: `${prefix}.query.fvecs`,
    truth: readFvecs(`${prefix}.gtdist.fvecs`).map((distances) => distances.slice(0, k)),
  };
}

/** Each row: its length as int32, then its float32 values, all little-endian. */
function fvecs(vectors: readonly (readonly number[])[]): Buffer {
  return Buffer.concat(
    vectors.map((vector) => {
      const row = Buffer.alloc(4 + vector.length * 4);
      row.writeInt32LE(vector.length, 0);
      for (const [i, value] of vector.entries()) row.writeFloatLE(value, 4 + i * 4);
      return row;
    }),
  );
}

function readFvecs(path: string): number[][] {
  const bytes = readFileSync(path);
  const rows: number[][] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readInt32LE(at);
    rows.push(Array.from({ length }, (_, i) => bytes.readFloatLE(at + 4 + i * 4)));
    at += 4 + length * 4;
  }
  return rows;
}
