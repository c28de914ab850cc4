/**
 * The filter language over declared metadata fields (docs/filters.md): JSON in, a small checked tree out.
 *
 *   {"lang": "de", "year": {"$gte": 1990, "$lt": 2000}, "$or": [{"tags": "a"}, {"open": {"$exists": false}}]}
 *
 * Conditions at one level are joined by and, and so are several operators on one field. What a condition means lies in
 * lib/segment/filter-labels.ts; here it is only proved to be well formed, bounded, and of the declared types.
 */
import type { FieldType } from "./collection.ts";
import { invalid, type SiltstoneError } from "./errors.ts";
import { inexactReason, isInexact, isPlainObject, shown } from "./metadata.ts";

export const filterDepthMax = 16;
export const filterNodesMax = 256;
/** Values of one $in or $nin. */
export const filterListMax = 1000;
/** Values of the whole filter. */
export const filterValuesMax = 10_000;

export type FilterValue = string | number | boolean;
export type ComparisonOp = "gt" | "gte" | "lt" | "lte";

/** A checked filter. Every value has its field's type; for string[] it is one entry of the list. */
export type Filter =
  | { readonly op: "and" | "or"; readonly parts: readonly Filter[] }
  | {
      readonly op: "eq" | "ne";
      readonly field: string;
      readonly type: FieldType;
      readonly value: FilterValue;
    }
  | {
      readonly op: ComparisonOp;
      readonly field: string;
      readonly type: "string" | "number";
      readonly value: string | number;
    }
  | {
      readonly op: "in" | "nin";
      readonly field: string;
      readonly type: FieldType;
      readonly values: readonly FilterValue[];
    }
  | { readonly op: "exists"; readonly field: string; readonly type: FieldType; readonly exists: boolean };

const fieldOperators = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists"] as const;
type FieldOperator = (typeof fieldOperators)[number];

interface Parsing {
  readonly fields: Readonly<Record<string, FieldType>>;
  nodes: number;
  values: number;
}

/** Checks a filter as it came in a call. `{}` accepts every record. Throws `invalid`, naming path, value and choice. */
export function parseFilter(fields: Readonly<Record<string, FieldType>>, json: unknown): Filter {
  if (!isPlainObject(json)) throw bad("", `must be an object, got ${shown(json)}`);
  if (Object.keys(json).length === 0) return { op: "and", parts: [] };
  return level({ fields, nodes: 0, values: 0 }, json, { path: "", depth: 1 });
}

interface Place {
  readonly path: string;
  readonly depth: number;
}

function level(parsing: Parsing, json: unknown, { path, depth }: Place): Filter {
  if (!isPlainObject(json)) throw bad(path, `must be an object of conditions, got ${shown(json)}`);
  if (depth > filterDepthMax) throw bad(path, `is deeper than ${filterDepthMax} levels`);
  const keys = Object.keys(json);
  if (keys.length === 0) throw bad(path, "has no condition");
  const parts: Filter[] = [];
  for (const key of keys) {
    const at = { path: path === "" ? pathPart(key) : `${path}.${pathPart(key)}`, depth };
    count(parsing, at.path);
    if (key === "$and" || key === "$or") parts.push(joined(parsing, key, json[key], at));
    else if (key.startsWith("$"))
      throw bad(at.path, `is not known here; allowed are $and, $or and ${names(parsing)}`);
    else parts.push(...fieldConditions(parsing, key, json[key], at.path));
  }
  return parts.length === 1 ? parts[0]! : { op: "and", parts };
}

function joined(parsing: Parsing, key: "$and" | "$or", json: unknown, { path, depth }: Place): Filter {
  if (!Array.isArray(json) || json.length === 0) {
    throw bad(path, `must be a list of at least one filter, got ${shown(json)}`);
  }
  const parts: Filter[] = [];
  // A loop and not map: the node limit ends it early, and holes are visited.
  for (let i = 0; i < json.length; i++) {
    count(parsing, path);
    parts.push(level(parsing, json[i], { path: `${path}[${i}]`, depth: depth + 1 }));
  }
  return { op: key === "$and" ? "and" : "or", parts };
}

function fieldConditions(parsing: Parsing, field: string, json: unknown, path: string): Filter[] {
  const type = Object.hasOwn(parsing.fields, field) ? parsing.fields[field] : undefined;
  if (type === undefined) throw bad(path, `is not a declared field; declared are ${names(parsing)}`);
  if (!isPlainObject(json)) return [condition(parsing, { field, type, path }, "$eq", json)];
  const operators = Object.keys(json);
  if (operators.length === 0) throw bad(path, `has no operator; allowed are ${fieldOperators.join(" ")}`);
  return operators.map((operator) => {
    const at = `${path}.${pathPart(operator)}`;
    count(parsing, at);
    if (!isFieldOperator(operator))
      throw bad(at, `is not an operator; allowed are ${fieldOperators.join(" ")}`);
    return condition(parsing, { field, type, path: at }, operator, json[operator]);
  });
}

interface Target {
  readonly field: string;
  readonly type: FieldType;
  readonly path: string;
}

function condition(parsing: Parsing, target: Target, operator: FieldOperator, json: unknown): Filter {
  const { field, type, path } = target;
  switch (operator) {
    case "$eq":
    case "$ne":
      return { op: operator === "$eq" ? "eq" : "ne", field, type, value: operand(parsing, target, json) };
    case "$in":
    case "$nin": {
      if (!Array.isArray(json)) throw bad(path, `must be a list of values, got ${shown(json)}`);
      if (json.length > filterListMax)
        throw bad(path, `has ${json.length} values; at most ${filterListMax} are allowed`);
      const values = Array.from(json, (one: unknown, i) =>
        operand(parsing, { ...target, path: `${path}[${i}]` }, one),
      );
      return { op: operator === "$in" ? "in" : "nin", field, type, values };
    }
    case "$exists":
      if (typeof json !== "boolean") throw bad(path, `must be true or false, got ${shown(json)}`);
      return { op: "exists", field, type, exists: json };
    default: {
      if (type !== "string" && type !== "number") {
        throw bad(
          path,
          `cannot compare: ${field} is declared as ${type}; only string and number have an order`,
        );
      }
      const value = operand(parsing, target, json) as string | number;
      return { op: operator.slice(1) as ComparisonOp, field, type, value };
    }
  }
}

/** One value of the field's type (for a list: of its entries). */
function operand(parsing: Parsing, { field, type, path }: Target, value: unknown): FilterValue {
  parsing.values++;
  if (parsing.values > filterValuesMax)
    throw bad(path, `makes more than ${filterValuesMax} values in one filter`);
  const expected = type === "string[]" ? "string" : type;
  if (value === null || value === undefined)
    throw bad(path, `is ${value}; for a missing field write {"$exists": false}`);
  if (typeof value !== expected) {
    const advice = Array.isArray(value) ? "; for any of several values write $in" : "";
    const entry = type === "string[]" ? ", so the value is one entry, a string" : "";
    throw bad(path, `got ${shown(value)}, but ${field} is declared as ${type}${entry}${advice}`);
  }
  if (typeof value === "number" && !Number.isFinite(value))
    throw bad(path, `is ${value}; a number must be finite`);
  if (isInexact(value)) throw bad(path, inexactReason);
  if (typeof value === "string" && !value.isWellFormed()) throw bad(path, "is not well-formed Unicode");
  return value as FilterValue;
}

function count(parsing: Parsing, path: string): void {
  parsing.nodes++;
  if (parsing.nodes > filterNodesMax)
    throw bad(path, `makes more than ${filterNodesMax} conditions in one filter`);
}

const isFieldOperator = (text: string): text is FieldOperator =>
  fieldOperators.includes(text as FieldOperator);
const pathPart = (key: string): string => (key.length > 80 ? `${key.slice(0, 80)}…` : key).toWellFormed();

function names({ fields }: Parsing): string {
  const list = Object.entries(fields).map(([name, type]) => `${name} (${type})`);
  return list.length === 0 ? "no fields" : list.join(", ");
}

/** Paths grow with depth and are cut, so that a message stays a message. */
function bad(path: string, reason: string): SiltstoneError {
  const place = path === "" ? "filter" : `filter.${path.length > 200 ? `…${path.slice(-200)}` : path}`;
  return invalid(`${place} ${reason}`, [{ field: place, reason }]);
}
