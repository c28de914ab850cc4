/**
 * Declared fields in SQLite, from whose indexes they are read into memory (field-index.ts). Each declared field is a column of the table `rows` of a records.db, indexed; each string[] field
 * is a table of its own beside it, indexed both ways. All names are made here, from field names that lib/core/model/collection.ts
 * has checked; values go into statements as parameters only.
 *
 *   string    "f_<field>" TEXT       NULL: missing
 *   number    "f_<field>" REAL       NULL: missing
 *   boolean   "f_<field>" INTEGER    0 or 1, NULL: missing
 *   string[]  "f_<field>" INTEGER    1: present (perhaps empty), NULL: missing; entries in table "f_<field>"(label, value)
 *
 * Text compares by code point: SQLite's BINARY collation compares UTF-8 bytes, whose order is the same.
 */
import type { FieldType } from "../core/model/collection.ts";
import type { FilterValue } from "../core/model/filter.ts";
import type { Metadata } from "../core/model/row.ts";

export type SqlValue = string | number | null;

/**
 * The quoted name of a field's column and table. SQLite takes names that differ only in case for the same one; fields
 * `lang` and `Lang` are two, so that a capital gets a "$", which no field name has.
 */
export function quoted(field: string, prefix = "f_"): string {
  return `"${prefix}${field.replace(/[A-Z]/g, (capital) => `$${capital}`)}"`;
}

export interface FieldColumns {
  /** Columns of `rows`, in the order in which fieldValues gives their values. */
  readonly columns: readonly { readonly name: string; readonly definition: string }[];
  /** The tables (label, value) of string[] fields. */
  readonly lists: readonly { readonly field: string; readonly table: string }[];
  /** DDL of tables and indexes, to be run after `rows` was created. */
  readonly statements: readonly string[];
}

const sqlTypes = { string: "TEXT", number: "REAL", boolean: "INTEGER", "string[]": "INTEGER" } as const;

/** Sorted, so that one set of declared fields gives one layout whatever the order they were declared in. */
export const sortedFields = (fields: Readonly<Record<string, FieldType>>): [string, FieldType][] =>
  Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1));

export function fieldColumns(fields: Readonly<Record<string, FieldType>>): FieldColumns {
  const entries = sortedFields(fields);
  const lists = entries
    .filter(([, type]) => type === "string[]")
    .map(([field]) => ({ field, table: quoted(field) }));
  const statements = entries.flatMap(([field, type]) => {
    const index = quoted(field, "i_");
    if (type !== "string[]") return [`CREATE INDEX ${index} ON rows(${quoted(field)})`];
    return [
      `CREATE TABLE ${quoted(field)}(label INTEGER NOT NULL, value TEXT NOT NULL, PRIMARY KEY (label, value)) STRICT, WITHOUT ROWID`,
      `CREATE INDEX ${index} ON ${quoted(field)}(value, label)`,
    ];
  });
  const columns = entries.map(([field, type]) => ({
    name: quoted(field),
    definition: `${quoted(field)} ${sqlTypes[type]}`,
  }));
  return { columns, lists, statements };
}

/**
 * What a record's metadata puts into the columns and tables of fieldColumns; `fields` are sorted. Entries of a list come
 * once each.
 */
export function fieldValues(fields: readonly (readonly [string, FieldType])[], metadata: Metadata) {
  const columns: SqlValue[] = [];
  const lists: { field: string; value: string }[] = [];
  for (const [field, type] of fields) {
    const value = Object.hasOwn(metadata, field) ? metadata[field] : undefined;
    if (value === undefined) columns.push(null);
    else if (type === "string[]" && Array.isArray(value)) {
      columns.push(1);
      for (const one of new Set(value as readonly string[])) lists.push({ field, value: one });
    } else if (type !== "string[]" && typeof value === type) columns.push(sqlValue(value as FilterValue));
    else throw new TypeError(`metadata.${field} is declared as ${type} and was not checked`);
  }
  return { columns, lists };
}

const sqlValue = (value: FilterValue): string | number =>
  typeof value === "boolean" ? Number(value) : value;
