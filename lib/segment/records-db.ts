/**
 * records.db: a segment's rows but for their vectors, as a SQLite file (docs/format.md).
 *
 *   rows(label, id, version, delta, row, document, metadata, f_<field>…)   label is the place in vectors.f32
 *   f_<field>(label, value)                                                for each string[] field
 *   tombstones(id, version, delta, row)
 *
 * Written once, without a journal: a crash leaves a file that no manifest names. Read-only ever after.
 */
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import type { Collection } from "../core/model/collection.ts";
import { corrupt, newerFormat, SiltstoneError } from "../core/model/errors.ts";
import { parseExactly } from "../core/model/exact-json.ts";
import { isOrder, isWord, type Metadata, type Row, type RowOrder } from "../core/model/row.ts";
import { fieldColumns, fieldValues, sortedFields } from "./filter-sql.ts";

export const recordsFormat = 1;
/** "Silt" in ASCII: `file` and sqlite3 show whose database it is. */
const applicationId = 0x53696c74;

/** A row in a segment: its vector lies at its label in vectors.f32. */
export interface StoredRow extends Omit<Row, "vector"> {
  readonly label: number;
}
/** A row without its content: all there is of a tombstone. */
export type StoredTombstone = Pick<Row, "id" | keyof RowOrder>;

/** More than any records.db of a segment within its bounds. */
const mappedBytesMax = 2 ** 34;

/** A finished file is never written again: told so, SQLite neither locks it nor looks for a journal at every statement. */
export function recordsUri(path: string): URL {
  const uri = pathToFileURL(path);
  uri.searchParams.set("immutable", "1");
  return uri;
}

/** Opens a finished file. Throws `corrupt` when it is no records.db of a known format. */
export function openRecords(path: string): DatabaseSync {
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(recordsUri(path), { readOnly: true });
    db.exec(`PRAGMA trusted_schema = OFF; PRAGMA mmap_size = ${mappedBytesMax}`);
    const { application_id } = db.prepare("PRAGMA application_id").get() as { application_id: number };
    const { user_version } = db.prepare("PRAGMA user_version").get() as { user_version: number };
    if (application_id !== applicationId) throw new Error("it is not a records.db");
    if (user_version > recordsFormat) throw newerFormat(path, user_version, recordsFormat);
    if (user_version !== recordsFormat)
      throw new Error(`its format version is ${user_version}; this version reads ${recordsFormat}`);
    return db;
  } catch (error) {
    db?.close();
    throw damageOf(path, error);
  }
}

/** What SQLite says of the machine, and not of a file that is read: NOMEM, IOERR, FULL and CANTOPEN. */
export const machineErrors: readonly number[] = [7, 10, 13, 14];

/**
 * What to throw where reading a file's content failed: its sha256 was right, so that whatever SQLite, JSON or a type says of
 * the content is `corrupt`.
 */
export function damageOf(path: string, error: unknown): unknown {
  const { errcode, syscall } = error as { errcode?: number; syscall?: string };
  const isOfMachine =
    syscall !== undefined || (errcode !== undefined && machineErrors.includes(errcode & 0xff));
  if (isOfMachine || error instanceof SiltstoneError) return error;
  return corrupt(path, (error as Error).message, error);
}

/** Whether SQLite says that the pages which it works on do not fit together. */
export const isMalformed = (error: unknown): boolean => {
  const { errcode } = error as { errcode?: number };
  return errcode !== undefined && (errcode & 0xff) === 11;
};

/** A statement whose rows are arrays, which take half the time of objects. */
export function arraysOf(db: DatabaseSync, sql: string): StatementSync {
  const statement = db.prepare(sql);
  statement.setReturnArrays(true);
  return statement;
}

/** The DDL. Every file of this format has it to the letter (lib/segment/check-records.ts): to change it is to make another format. */
export function schemaOf(fields: Collection["fields"]): string {
  const { columns, statements } = fieldColumns(fields);
  return `CREATE TABLE rows(label INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL,
           delta TEXT NOT NULL, row INTEGER NOT NULL, document TEXT, metadata TEXT
           ${columns.map((column) => `, ${column.definition}`).join("")}) STRICT;
         CREATE TABLE tombstones(id TEXT PRIMARY KEY, version INTEGER NOT NULL, delta TEXT NOT NULL,
           row INTEGER NOT NULL) STRICT, WITHOUT ROWID;
         ${statements.join(";\n")}`;
}

/** Rows come in no order of the indexes, so index pages that do not fit into the cache are written again and again. */
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
    try {
      this.#begin(collection, from);
      const { columns, lists } = fieldColumns(collection.fields);
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
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  #begin({ fields }: Pick<Collection, "fields">, from: "new" | "copy"): void {
    this.#db.exec("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE");
    // What is deleted from a copy is a document that was deleted or replaced: its text must not stay in free pages.
    this.#db.exec(`PRAGMA cache_size = -${writerCacheKiB}; PRAGMA secure_delete = ON`);
    if (from === "new") {
      this.#db.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${recordsFormat}`);
      this.#db.exec(schemaOf(fields));
    }
    this.#db.exec("BEGIN");
  }

  addRow(label: number, row: Omit<Row, "vector">): void {
    const metadata = row.metadata === null ? {} : (parseExactly(row.metadata) as Metadata);
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

/** All rows by label, ascending, a bounded part of them in memory at a time. Throws `corrupt` where the file holds other things. */
export function* storedRows(db: DatabaseSync): Generator<StoredRow> {
  const select = "SELECT label, id, version, delta, row, document, metadata FROM rows ORDER BY label";
  for (const row of iterate(db, select)) {
    const { label, document, metadata } = row;
    if (!isWord(label) || !isTextOrNull(document) || !isTextOrNull(metadata))
      throw corrupt(nameOf(db), `row ${label} has columns of other types`);
    yield row as unknown as StoredRow;
  }
}

/** Id and order of every row and tombstone, in no order. */
export function* storedOrders(db: DatabaseSync): Generator<StoredTombstone> {
  for (const table of ["rows", "tombstones"])
    yield* iterate(db, `SELECT id, version, delta, row FROM ${table}`) as Generator<never>;
}

export const storedTombstones = (db: DatabaseSync): Generator<StoredTombstone> =>
  iterate(db, "SELECT id, version, delta, row FROM tombstones ORDER BY id") as Generator<never>;

function* iterate(
  db: DatabaseSync,
  select: string,
  ...parameters: string[]
): Generator<Record<string, unknown>> {
  try {
    for (const row of db.prepare(select).iterate(...parameters)) {
      if (typeof row.id !== "string" || !isOrder(row as never))
        throw new Error("a row has no id, or an order of another type");
      yield row;
    }
  } catch (error) {
    throw damageOf(nameOf(db), error);
  }
}

/** What a segment holds of an id. */
export interface Write extends StoredTombstone {
  readonly isDelete: boolean;
}

export function* writesOf(db: DatabaseSync, ids: Iterable<string>): Generator<Write> {
  for (const id of ids) {
    for (const table of ["rows", "tombstones"]) {
      const select = `SELECT id, version, delta, row FROM ${table} WHERE id = ?`;
      for (const write of iterate(db, select, id))
        yield { ...(write as unknown as RowOrder), id, isDelete: table === "tombstones" };
    }
  }
}

export const isTextOrNull = (value: unknown): value is string | null =>
  value === null || typeof value === "string";

/** The order that a joined row gives in three columns from `at` on. */
export const orderOf = (columns: readonly unknown[], at: number): RowOrder =>
  ({ version: columns[at], delta: columns[at + 1], row: columns[at + 2] }) as RowOrder;

const nameOf = (db: DatabaseSync): string => db.location() ?? "records.db";
