/**
 * The declared fields of a segment's rows in memory, so that a filter's first use costs no reading: read when the segment is
 * opened, from the indexes of records.db, whose pages are not touched afterwards and are larger.
 *
 * The values of a field are numbered from 1 in their own order (its *codes*); texts are in that of their UTF-8 bytes.
 *
 *   string, number, boolean   the code of each label, 0 where it has none
 *   string[]                  the labels of each code, one code's after the other's
 */
import type { DatabaseSync } from "node:sqlite";
import type { Collection, FieldType } from "../core/model/collection.ts";
import { quoted } from "./filter-sql.ts";
import { arraysOf } from "./records-db.ts";

/** The distinct values of a field, ascending. */
export type FieldValues =
  | { readonly kind: "numbers"; readonly values: Float64Array }
  /** UTF-8, one after the other, and where each ends. */
  | { readonly kind: "texts"; readonly bytes: Uint8Array; readonly ends: Uint32Array };

export type FieldIndex =
  | { readonly kind: "one"; readonly values: FieldValues; readonly codes: Uint32Array }
  /** Those of code n are from starts[n - 1] to starts[n]. */
  | {
      readonly kind: "list";
      readonly values: FieldValues;
      readonly starts: Uint32Array;
      readonly labels: Uint32Array;
    };
export type FieldIndexes = ReadonlyMap<string, FieldIndex>;

/** Throws an Error that says what of them is not as this code writes it. */
export function readIndexes(db: DatabaseSync, fields: Collection["fields"], slots: number): FieldIndexes {
  return new Map(
    Object.entries(fields).map(([field, type]) => [
      field,
      type === "string[]" ? indexOfList(db, field, slots) : indexOfOne(db, { field, type, slots }),
    ]),
  );
}

type Pair = [value: unknown, label: unknown];

function indexOfOne(
  db: DatabaseSync,
  { field, type, slots }: { field: string; type: FieldType; slots: number },
): FieldIndex {
  const column = quoted(field);
  const select = `SELECT ${column}, label FROM rows WHERE ${column} IS NOT NULL ORDER BY ${column}`;
  const values = type === "string" ? new Texts() : new Numbers();
  const codes = new Uint32Array(slots);
  for (const [value, label] of arraysOf(db, select).iterate() as Iterable<unknown> as Iterable<Pair>) {
    values.see(value);
    if (!isLabel(label, slots) || codes[label] !== 0)
      throw new Error(`field ${field} has label ${label} twice, or above its ${slots} vectors`);
    codes[label] = values.count;
  }
  return { kind: "one", values: values.all, codes };
}

function indexOfList(db: DatabaseSync, field: string, slots: number): FieldIndex {
  const select = `SELECT value, label FROM ${quoted(field)} ORDER BY value, label`;
  const values = new Texts();
  const starts = new Numbers32();
  const labels = new Numbers32();
  for (const [value, label] of arraysOf(db, select).iterate() as Iterable<unknown> as Iterable<Pair>) {
    if (values.see(value)) starts.push(labels.count);
    if (!isLabel(label, slots)) throw new Error(`field ${field} has label ${label} of ${slots} vectors`);
    labels.push(label);
  }
  starts.push(labels.count);
  return { kind: "list", values: values.all, starts: starts.all, labels: labels.all };
}

const isLabel = (label: unknown, slots: number): label is number =>
  Number.isInteger(label) && (label as number) >= 0 && (label as number) < slots;

/** Values as they come, in their order. */
class Numbers {
  #all = new Float64Array(16);
  #last: number | undefined;
  count = 0;

  see(value: unknown): boolean {
    if (typeof value !== "number") throw new Error("a field of numbers holds something else");
    if (value === this.#last) return false;
    if (this.#last !== undefined && value < this.#last) throw new Error("an index is not in order");
    this.#last = value;
    if (this.count === this.#all.length) this.#all = grown(this.#all);
    this.#all[this.count++] = value;
    return true;
  }
  get all(): FieldValues {
    return { kind: "numbers", values: this.#all.slice(0, this.count) };
  }
}

class Texts {
  readonly #ends = new Numbers32();
  #bytes = Buffer.alloc(256);
  #last: string | undefined;
  #startOfLast = 0;
  #end = 0;

  get count(): number {
    return this.#ends.count;
  }
  see(value: unknown): boolean {
    if (typeof value !== "string") throw new Error("a field of texts holds something else");
    if (value === this.#last) return false;
    const start = this.#end;
    const length = Buffer.byteLength(value);
    while (start + length > this.#bytes.length)
      this.#bytes = Buffer.concat([this.#bytes], this.#bytes.length * 2);
    this.#end += this.#bytes.write(value, start);
    if (
      this.#last !== undefined &&
      this.#bytes.compare(this.#bytes, this.#startOfLast, start, start, this.#end) <= 0
    )
      throw new Error("an index is not in order");
    this.#last = value;
    this.#startOfLast = start;
    this.#ends.push(this.#end);
    return true;
  }

  get all(): FieldValues {
    return {
      kind: "texts",
      bytes: new Uint8Array(this.#bytes.subarray(0, this.#end)),
      ends: this.#ends.all,
    };
  }
}

class Numbers32 {
  #all = new Uint32Array(16);
  count = 0;

  push(value: number): void {
    if (this.count === this.#all.length) this.#all = grown(this.#all);
    this.#all[this.count++] = value;
  }
  get all(): Uint32Array {
    return this.#all.slice(0, this.count);
  }
}

/** Twice as long, with what it held. */
function grown<T extends Uint32Array | Float64Array>(array: T): T {
  const larger = new (array.constructor as new (length: number) => T)(array.length * 2);
  larger.set(array);
  return larger;
}
