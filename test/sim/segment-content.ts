/** What a segment's files on the store really hold, read without the engine: its rows, tombstones and vectors. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Segment } from "../../lib/core/format/manifest.ts";
import { vectorOf, type Write } from "./writes.ts";

interface StoredRow {
  readonly label: number;
  readonly id: string;
  readonly version: number;
  readonly delta: string;
  readonly row: number;
  readonly document: string;
}

export class SegmentContents {
  #folder: string | null = null;
  readonly #known = new Map<string, Write[]>();

  /** Rows and tombstones. A vector that is not its document's is reported by `onFault`. */
  of(
    segment: Segment,
    files: { records: Buffer; vectors: Buffer },
    dims: number,
    onFault: (fault: string) => void,
  ): Write[] {
    const key = JSON.stringify(segment.files);
    const known = this.#known.get(key);
    if (known) return known;
    this.#folder ??= mkdtempSync(join(tmpdir(), "siltstone-oracle-"));
    const path = join(this.#folder, "records.db");
    writeFileSync(path, files.records);
    const db = new DatabaseSync(path, { readOnly: true });
    try {
      const rows = db
        .prepare("SELECT label, id, version, delta, row, document FROM rows")
        .all() as unknown as StoredRow[];
      const gone = db
        .prepare("SELECT id, version, delta, row FROM tombstones")
        .all() as unknown as StoredRow[];
      const writes = rows.map(({ label, ...row }): Write => {
        const wanted = vectorOf(row.document, dims);
        const at = label * dims * 4;
        const vector = wanted.map((_, i) => files.vectors.readFloatLE(at + i * 4));
        if (vector.some((value, i) => value !== wanted[i])) {
          onFault(
            `segment ${segment.id}: label ${label} (${row.id}, ${row.document}) has the vector of another record`,
          );
        }
        return { ...row, vector };
      });
      for (const row of gone) writes.push({ ...row, document: null, vector: null });
      if (writes.length !== segment.rows + segment.tombstones) {
        onFault(
          `segment ${segment.id} holds ${writes.length} rows; its manifest says ${segment.rows} + ${segment.tombstones}`,
        );
      }
      this.#known.set(key, writes);
      return writes;
    } finally {
      db.close();
    }
  }

  close(): void {
    if (this.#folder !== null) rmSync(this.#folder, { recursive: true, force: true });
    this.#folder = null;
  }
}
