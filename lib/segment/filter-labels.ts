/**
 * What a filter accepts, from a segment's fields in memory (field-index.ts): the labels of its rows, ascending. Every condition
 * is a set of codes, so that a row costs it one comparison of whole numbers.
 */
import { unreachable } from "../core/model/errors.ts";
import type { Filter, FilterValue } from "../core/model/filter.ts";
import type { Condition } from "../core/model/filter-cost.ts";
import type { FieldIndex, FieldIndexes, FieldValues } from "./field-index.ts";

export interface FilteredRows {
  readonly fields: FieldIndexes;
  readonly slots: number;
  /** A byte for each slot, 1 where there is a row; null for every slot. */
  readonly held: Uint8Array | null;
  /** Labels of the rows that have a list, which may be empty. */
  readonly havingList: (field: string) => Uint32Array;
}

export function labelsOf(filter: Filter, rows: FilteredRows): Uint32Array {
  const accepted = acceptedBy(filter, rows);
  const { held, slots } = rows;
  if (held !== null) for (let label = 0; label < slots; label++) accepted[label]! &= held[label]!;
  accepted.fill(0, slots);
  const labels = new Uint32Array(accepted.length);
  const words = wordsOf(accepted);
  let count = 0;
  for (let word = 0; word < words.length; word++) {
    if (words[word] === 0) continue;
    // Without a branch, which half of all rows would take at random.
    for (let label = word * 4; label < word * 4 + 4; label++) {
      labels[count] = label;
      count += accepted[label]!;
    }
  }
  return labels.slice(0, count);
}

/** A byte for each slot; as long as whole words are. */
const bytesFor = (slots: number): Uint8Array => new Uint8Array(Math.ceil(slots / 4) * 4);
const wordsOf = ({ buffer }: Uint8Array): Uint32Array => new Uint32Array(buffer);

/** 1 where a slot is accepted; of slots without a row, and behind the last, it means nothing. */
function acceptedBy(filter: Filter, rows: FilteredRows): Uint8Array {
  switch (filter.op) {
    case "and":
    case "or": {
      const [first, ...rest] = filter.parts;
      // An empty and is `{}`, which accepts everything.
      if (first === undefined) return bytesFor(rows.slots).fill(1);
      const accepted = acceptedBy(first, rows);
      const words = wordsOf(accepted);
      for (const part of rest) {
        const more = wordsOf(acceptedBy(part, rows));
        if (filter.op === "and") for (let i = 0; i < words.length; i++) words[i]! &= more[i]!;
        else for (let i = 0; i < words.length; i++) words[i]! |= more[i]!;
      }
      return accepted;
    }
    default: {
      const index = rows.fields.get(filter.field)!;
      return index.kind === "one" ? byCodes(filter, index) : byLists(filter, index, rows);
    }
  }
}

function byCodes(condition: Condition, { values, codes }: Extract<FieldIndex, { kind: "one" }>): Uint8Array {
  const above = sizeOf(values) + 1;
  switch (condition.op) {
    case "eq":
    case "ne":
    case "in":
    case "nin":
      return amongCodes(condition, values, codes);
    // What a row lacks has code 0, which none of these ranges has.
    case "gt":
      return between(codes, 1 + firstFrom(values, condition.value, "above"), above);
    case "gte":
      return between(codes, 1 + firstFrom(values, condition.value, "at"), above);
    case "lt":
      return between(codes, 1, 1 + firstFrom(values, condition.value, "at"));
    case "lte":
      return between(codes, 1, 1 + firstFrom(values, condition.value, "above"));
    case "exists":
      return condition.exists ? between(codes, 1, above) : between(codes, 0, 1);
    default:
      return unreachable(condition);
  }
}

type Among = Extract<Condition, { op: "eq" | "ne" | "in" | "nin" }>;
const isPositive = ({ op }: Among): boolean => op === "eq" || op === "in";

/** A row without the field equals no value. */
function amongCodes(condition: Among, values: FieldValues, codes: Uint32Array): Uint8Array {
  const positive = Number(isPositive(condition));
  const answers = new Uint8Array(sizeOf(values) + 1).fill(1 - positive);
  for (const code of codesOf(values, condition)) answers[code] = positive;
  const accepted = bytesFor(codes.length);
  for (let label = 0; label < codes.length; label++) accepted[label] = answers[codes[label]!]!;
  return accepted;
}

/** Those whose code is in the half-open range. */
function between(codes: Uint32Array, start: number, limit: number): Uint8Array {
  const accepted = bytesFor(codes.length);
  for (let label = 0; label < codes.length; label++) {
    const code = codes[label]!;
    // The sign of both differences: a comparison would branch.
    accepted[label] = ((start - 1 - code) & (code - limit)) >>> 31;
  }
  return accepted;
}

function byLists(
  condition: Condition,
  { values, starts, labels }: Extract<FieldIndex, { kind: "list" }>,
  { slots, havingList }: FilteredRows,
): Uint8Array {
  if (condition.op === "exists") {
    const accepted = bytesFor(slots).fill(Number(!condition.exists));
    for (const label of havingList(condition.field)) accepted[label] = Number(condition.exists);
    return accepted;
  }
  const positive = Number(isPositive(condition as Among));
  const accepted = bytesFor(slots).fill(1 - positive);
  for (const code of codesOf(values, condition as Among))
    for (let i = starts[code - 1]!; i < starts[code]!; i++) accepted[labels[i]!] = positive;
  return accepted;
}

/** Entries of a list field that equal a value. */
export function entriesOf(fields: FieldIndexes, field: string, value: FilterValue): number {
  const index = fields.get(field)!;
  if (index.kind !== "list") throw new Error(`field ${field} is no list`);
  const [code] = codesOf(index.values, { op: "eq", field, type: "string[]", value });
  return code === undefined ? 0 : index.starts[code]! - index.starts[code - 1]!;
}

/** The codes of a condition's values, of those that any row has. */
function codesOf(values: FieldValues, condition: Among): number[] {
  const wanted = "values" in condition ? condition.values : [condition.value];
  const codes: number[] = [];
  for (const value of wanted) {
    const compare = comparing(values, value);
    const at = first(values, (place) => compare(place) >= 0);
    if (at < sizeOf(values) && compare(at) === 0) codes.push(at + 1);
  }
  return codes;
}

const sizeOf = (values: FieldValues): number =>
  values.kind === "numbers" ? values.values.length : values.ends.length;

/** The place of the first value that is not below this one, or that is above it. */
function firstFrom(values: FieldValues, value: FilterValue, from: "at" | "above"): number {
  const compare = comparing(values, value);
  return first(values, (place) => compare(place) >= (from === "at" ? 0 : 1));
}

function first(values: FieldValues, isIt: (place: number) => boolean): number {
  let [low, high] = [0, sizeOf(values)];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isIt(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Below 0, 0 or above it, as the value at a place is below, equal to or above this one. */
function comparing(values: FieldValues, value: FilterValue): (place: number) => number {
  if (values.kind === "numbers") {
    const number = Number(value);
    return (place) => {
      const one = values.values[place]!;
      return one < number ? -1 : one > number ? 1 : 0;
    };
  }
  const { buffer, byteOffset, byteLength } = values.bytes;
  const bytes = Buffer.from(buffer, byteOffset, byteLength);
  const text = Buffer.from(value as string);
  return (place) =>
    bytes.compare(text, 0, text.length, place === 0 ? 0 : values.ends[place - 1]!, values.ends[place]!);
}
