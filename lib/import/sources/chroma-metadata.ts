/** Documents and metadata in chroma.sqlite3: a row for each key of an embedding, and in newer versions for each entry of a list. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { emptyFields } from "../source.ts";
import { columnsOf } from "./chroma-catalog.ts";

/** Metadata by rows of embeddings. */
export class MetadataReader {
  readonly #selects: { select: StatementSync; isList: boolean }[] = [];

  constructor(db: DatabaseSync) {
    for (const [table, isList] of [
      ["embedding_metadata", false],
      ["embedding_metadata_array", true],
    ] as const) {
      const columns = columnsOf(db, table);
      if (columns.size === 0) continue;
      const bool = columns.has("bool_value") ? "bool_value" : "NULL AS bool_value";
      const select = db.prepare(
        `SELECT id, key, string_value, int_value, float_value, ${bool} FROM ${table} WHERE id BETWEEN ? AND ? ORDER BY id, rowid`,
      );
      select.setReadBigInts(true);
      this.#selects.push({ select, isList });
    }
  }

  /** `rows` ascend. Rows of other collections may lie between them. */
  read(rows: readonly number[]): Map<number, Record<string, unknown>> {
    const found = new Map<number, Record<string, unknown>>(rows.map((row) => [row, emptyFields()]));
    for (const { select, isList } of this.#selects) {
      for (const one of select.iterate(rows[0]!, rows.at(-1)!) as Iterable<Record<string, unknown>>) {
        const fields = found.get(Number(one.id));
        const value =
          one.string_value ??
          one.int_value ??
          one.float_value ??
          (one.bool_value === null ? null : one.bool_value === 1n);
        if (fields === undefined || value === null) continue;
        const key = String(one.key);
        if (!isList) fields[key] = value;
        else if (Array.isArray(fields[key])) fields[key].push(value);
        else fields[key] = [value];
      }
    }
    return found;
  }
}
