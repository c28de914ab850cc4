/**
 * What a filter costs, worked out before it runs: nothing stops it in the middle, and a function that it holds answers no
 * call.
 *
 * 1. A condition costs by its kind for each row that it may be asked of, and each segment takes time to ask: both are known
 *    from the rows and the filter alone.
 * 2. A condition on a list also reads every entry that equals one of its values. Where there may be too many, they are
 *    counted in the index, each value's once, and only as far as the limit goes: counting is a twentieth of the reading.
 *
 * The limit grows with rows and segments: a modest filter may take long over a large collection, which its owner has sized; what is
 * bounded is how often a caller can multiply that. Times are of one processor, as SQLite took them over 100,000 rows, rounded up; fields in
 * memory answer in a tenth of that (docs/filters.md), which is not counted on.
 */
import { invalid, type SiltstoneError } from "./errors.ts";
import type { Filter, FilterValue } from "./filter.ts";
import { fieldListMax } from "./metadata.ts";

/** One condition of a filter. */
export type Condition = Exclude<Filter, { readonly op: "and" | "or" }>;

/** Rows that a filter would be asked of: a segment's. */
export interface FilterTable {
  readonly rows: number;
  /** Of a list field: counts the entries that equal a value, no more than there are rows. */
  entryCounter(field: string): (value: FilterValue) => number;
}

export const microsecondsMax = 700_000;
export const microsecondsPerRowMax = 3;
export const microsecondsPerTableMax = 4_000;

/** Microseconds: for each table and each condition and value to ask it, and each row to scan. */
const perTable = 100;
const perCondition = 20;
const perValue = 3;
const perScannedRow = 0.1;
/** For each row: one comparison, or one look-up among values or among a list's matches; texts by their length as well. */
const perComparison = 0.025;
const perLookUp = 0.25;
const perComparedByte = 0.0001;
const perLookedUpByte = 0.001;
/** For each entry of a list field that equals a value: it is put into a set of matches. */
const perEntry = 0.6;

/** Throws `invalid`, naming what costs most, when the filter costs more than one may over these tables. */
export function checkFilterCost(filter: Filter, tables: readonly FilterTable[]): void {
  const conditions = conditionsOf(filter);
  const rows = tables.reduce((sum, table) => sum + table.rows, 0);
  const limit = microsecondsMax + rows * microsecondsPerRowMax + tables.length * microsecondsPerTableMax;
  const costs = conditions.map((condition) => staticCost(condition, rows, tables.length));
  let total = tables.length * perTable + rows * perScannedRow + costs.reduce((sum, cost) => sum + cost, 0);
  const refuseAbove = () => {
    if (total > limit) throw tooCostly(conditions, costs, { rows, total, limit });
  };
  refuseAbove();
  const readers = [...conditions.entries()].filter(
    ([, { type, op }]) => type === "string[]" && op !== "exists",
  );
  const entriesMax = readers.reduce((sum, [, condition]) => sum + rows * entriesPerRowMax(condition), 0);
  if (total + entriesMax * perEntry <= limit) return;
  for (const table of tables) {
    const count = countingOnce(table);
    for (const [i, condition] of readers) {
      for (const value of new Set(valuesOf(condition))) {
        const cost = count(condition.field, value) * perEntry;
        costs[i]! += cost;
        total += cost;
        refuseAbove();
      }
    }
  }
}

/** Reads the entries of a value once, however many conditions name it. */
function countingOnce(table: FilterTable): (field: string, value: FilterValue) => number {
  const fields = new Map<string, (value: FilterValue) => number>();
  return (field, value) => {
    let count = fields.get(field);
    if (count === undefined) {
      const counter = table.entryCounter(field);
      const counted = new Map<FilterValue, number>();
      count = (one) => counted.get(one) ?? counted.set(one, counter(one)).get(one)!;
      fields.set(field, count);
    }
    return count(value);
  };
}

function conditionsOf(filter: Filter): Condition[] {
  return "parts" in filter ? filter.parts.flatMap(conditionsOf) : [filter];
}

const entriesPerRowMax = (condition: Condition): number => Math.min(valuesOf(condition).length, fieldListMax);

function staticCost(condition: Condition, rows: number, tables: number): number {
  const values = valuesOf(condition);
  const isLookUp = condition.type === "string[]" || condition.op === "in" || condition.op === "nin";
  const bytes = Math.max(
    0,
    ...values.map((value) => (typeof value === "string" ? Buffer.byteLength(value) : 0)),
  );
  const perRow = isLookUp ? perLookUp + bytes * perLookedUpByte : perComparison + bytes * perComparedByte;
  return rows * perRow + tables * (perCondition + values.length * perValue);
}

/** What it compares with. */
export function valuesOf(condition: Condition): readonly FilterValue[] {
  if (condition.op === "exists") return [];
  return "values" in condition ? condition.values : [condition.value];
}

/** Conditions of one kind on one field are named together: eighty of them are the reason, not the last. */
function tooCostly(
  conditions: readonly Condition[],
  costs: readonly number[],
  { rows, total, limit }: { rows: number; total: number; limit: number },
): SiltstoneError {
  const kinds = new Map<string, { cost: number; times: number }>();
  for (const [i, { op, field }] of conditions.entries()) {
    const kind = kinds.get(`$${op} on ${field}`) ?? { cost: 0, times: 0 };
    kind.cost += costs[i]!;
    kind.times += 1;
    kinds.set(`$${op} on ${field}`, kind);
  }
  const [most, { cost, times }] = [...kinds].sort(([, a], [, b]) => b.cost - a.cost)[0]!;
  const seconds = (microseconds: number) => `${(microseconds / 1e6).toFixed(1)} s`;
  const reason =
    `would take at least ${seconds(total)} over ${rows} rows, and a filter may take ${seconds(limit)} there; most of it, ` +
    `${seconds(cost)}, is ${most}${times > 1 ? `, ${times} times` : ""}: use fewer conditions or values, or rarer ones`;
  return invalid(`filter: ${reason}`, [{ field: "filter", reason }]);
}
