/** Deterministic vectors, and files of them. */
import { writeFileSync } from "node:fs";

export const vectorOf = (n: number, dims: number): number[] =>
  Array.from({ length: dims }, (_, i) => Math.sin(n * 7.3 + i * 1.7 + 1));

export function writeFvecs(path: string, vectors: readonly (readonly number[])[]): void {
  const rows = vectors.map((vector) => {
    const row = Buffer.alloc(4 + vector.length * 4);
    row.writeInt32LE(vector.length, 0);
    vector.forEach((value, i) => {
      row.writeFloatLE(value, 4 + i * 4);
    });
    return row;
  });
  writeFileSync(path, Buffer.concat(rows));
}
