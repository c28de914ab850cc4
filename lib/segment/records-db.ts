/**
 * records.db: a segment's rows but for their vectors, as a SQLite file (docs/format.md).
 *
 *   rows(label, id, version, delta, row, document, metadata, f_<field>…)   label is the place in vectors.f32
 *   f_<field>(label, value)                                                for each string[] field
 *   tombstones(id, version, delta, row)
 *
 * Written once, without a journal: a crash leaves a file that nobody names. Read-only ever after.
 */
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import type { Collection } from "../core/collection.ts";
import { corrupt, isNewerFormat, newerFormat } from "../core/errors.ts";
import { fieldColumns, fieldValues, sortedFields } from "../core/filter-sql.ts";
import type { Metadata, Row, RowOrder } from "../core/record.ts";

export const recordsFormat = 1;
/** "Silt" in ASCII: `file` and sqlite3 show whose database it is. */
const applicationId = 0x53696c74;

export interface StoredRow extends RowOrder {
  readonly label: number;
  readonly id: string;
  readonly document: string | null;
  readonly metadata: string | null;
}
export interface StoredTombstone extends RowOrder {
  readonly id: string;
}

/** More than any records.db of a segment within its bounds. */
const mappedBytesMax = 2 ** 34;

/** Nobody writes a finished file: told so, SQLite neither locks it nor looks for a journal at every statement. */
export function recordsUri(path: string): URL {
  const uri = pathToFileURL(path);
  uri.searchParams.set("immutable", "1");
  return uri;
}

/** SQLITE_NOMEM and SQLITE_CANTOPEN. */
const exhausted: ReadonlySet<unknown> = new Set([7, 14]);

/** Opens a finished file. Throws `corrupt` when it is no records.db of a known format. */
export function openRecords(path: string): DatabaseSync {
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(recordsUri(path), { readOnly: true });
    db.exec(`PRAGMA mmap_size = ${mappedBytesMax}`);
    const { application_id } = db.prepare("PRAGMA application_id").get() as { application_id: number };
    const { user_version } = db.prepare("PRAGMA user_version").get() as { user_version: number };
    if (application_id !== applicationId) throw new Error("it is not a records.db");
    if (user_version > recordsFormat) throw newerFormat(path, user_version, recordsFormat);
    if (user_version !== recordsFormat)
      throw new Error(`its format version is ${user_version}; this version reads ${recordsFormat}`);
    return db;
  } catch (error) {
    db?.close();
    if (isNewerFormat(error)) throw error;
    // No memory, no file descriptor: no fault of the file.
    if (exhausted.has((error as { errcode?: unknown }).errcode)) throw error;
    throw corrupt(path, (error as Error).message, error);
  }
}

/** A statement whose rows are arrays, which take half the time of objects. */
export function arraysOf(db: DatabaseSync, sql: string): StatementSync {
  const statement = db.prepare(sql);
  statement.setReturnArrays(true);
  return statement;
}

/** Indexes are written in the order of rows, which is none: what does not fit is written again and again. */
const writerCacheKiB = 32 * 1024;

export class RecordsWriter {
  readonly #db: DatabaseSync;
  readonly #fields: ReturnType<typeof sortedFields>;
  readonly #insertRow: StatementSync;
  readonly #insertTombstone: StatementSync;
  readonly #insertValue: ReadonlyMap<string, StatementSync>;
  /** One for each table with labels. */
  readonly #deleteRow: readonly StatementSync[];
  readonly #deleteTombstone: StatementSync;

  /** Creates the file, or goes on with a copy of a finished one. */
  constructor(path: string, collection: Pick<Collection, "fields">, from: "new" | "copy" = "new") {
    this.#fields = sortedFields(collection.fields);
    this.#db = new DatabaseSync(path);
    const { columns, lists, statements } = fieldColumns(collection.fields);
    this.#db.exec("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE");
    // What is deleted from a copy is a document that somebody deleted or replaced: its text must not stay in free pages.
    this.#db.exec(`PRAGMA cache_size = -${writerCacheKiB}; PRAGMA secure_delete = ON`);
    if (from === "new") {
      this.#db.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${recordsFormat}`);
      this.#db.exec(
        `CREATE TABLE rows(label INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL,
           delta TEXT NOT NULL, row INTEGER NOT NULL, document TEXT, metadata TEXT
           ${columns.map((column) => `, ${column.definition}`).join("")}) STRICT;
         CREATE TABLE tombstones(id TEXT PRIMARY KEY, version INTEGER NOT NULL, delta TEXT NOT NULL,
           row INTEGER NOT NULL) STRICT, WITHOUT ROWID;
         ${statements.join(";\n")}`,
      );
    }
    this.#db.exec("BEGIN");
    const names = [
      "label",
      "id",
      "version",
      "delta",
      "row",
      "document",
      "metadata",
      ...columns.map((column) => column.name),
    ];
    this.#insertRow = this.#db.prepare(
      `INSERT INTO rows(${names.join(",")}) VALUES (${names.map(() => "?").join(",")})`,
    );
    this.#insertTombstone = this.#db.prepare("INSERT INTO tombstones VALUES (?,?,?,?)");
    this.#deleteRow = ["rows", ...lists.map(({ table }) => table)].map((table) =>
      this.#db.prepare(`DELETE FROM ${table} WHERE label = ?`),
    );
    this.#deleteTombstone = this.#db.prepare("DELETE FROM tombstones WHERE id = ?");
    this.#insertValue = new Map(
      lists.map(({ field, table }) => [field, this.#db.prepare(`INSERT INTO ${table} VALUES (?,?)`)]),
    );
  }

  addRow(label: number, row: Omit<Row, "vector">): void {
    const metadata = row.metadata === null ? {} : (JSON.parse(row.metadata) as Metadata);
    const { columns, lists } = fieldValues(this.#fields, metadata);
    const values: SQLInputValue[] = [
      label,
      row.id,
      row.version,
      row.delta,
      row.row,
      row.document,
      row.metadata,
      ...columns,
    ];
    this.#insertRow.run(...values);
    for (const { field, value } of lists) this.#insertValue.get(field)!.run(label, value);
  }

  addTombstone({ id, version, delta, row }: StoredTombstone): void {
    this.#insertTombstone.run(id, version, delta, row);
  }

  deleteRow(label: number): void {
    for (const statement of this.#deleteRow) statement.run(label);
  }

  deleteTombstone(id: string): void {
    this.#deleteTombstone.run(id);
  }

  finish(): void {
    this.#db.exec("COMMIT");
    this.#db.close();
  }

  /** Closes without finishing: the file is garbage. */
  abandon(): void {
    if (this.#db.isOpen) this.#db.close();
  }
}

/** All rows by label, ascending, a bounded part of them in memory at a time. */
export function* storedRows(db: DatabaseSync): Generator<StoredRow> {
  const select = db.prepare(
    "SELECT label, id, version, delta, row, document, metadata FROM rows ORDER BY label",
  );
  for (const row of select.iterate()) yield row as unknown as StoredRow;
}

/** Id and order of every row and tombstone, in no order. */
export function* storedOrders(db: DatabaseSync): Generator<RowOrder & { readonly id: string }> {
  for (const table of ["rows", "tombstones"]) {
    const select = db.prepare(`SELECT id, version, delta, row FROM ${table}`);
    for (const record of select.iterate()) yield record as unknown as RowOrder & { readonly id: string };
  }
}

/** What a segment holds of an id. */
export interface Write extends RowOrder {
  readonly id: string;
  readonly isDelete: boolean;
}

export function* writesOf(db: DatabaseSync, ids: Iterable<string>): Generator<Write> {
  const selects = ["rows", "tombstones"].map((table) => ({
    isDelete: table === "tombstones",
    select: db.prepare(`SELECT version, delta, row FROM ${table} WHERE id = ?`),
  }));
  for (const id of ids)
    for (const { isDelete, select } of selects)
      for (const order of select.iterate(id)) yield { id, isDelete, ...(order as unknown as RowOrder) };
}

export function* storedTombstones(db: DatabaseSync): Generator<StoredTombstone> {
  const select = db.prepare("SELECT id, version, delta, row FROM tombstones ORDER BY id");
  for (const row of select.iterate()) yield row as unknown as StoredTombstone;
}
