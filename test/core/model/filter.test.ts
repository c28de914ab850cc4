import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import type { FieldType } from "../../../lib/core/model/collection.ts";
import { isKind } from "../../../lib/core/model/errors.ts";
import { parseFilter } from "../../../lib/core/model/filter.ts";
import type { Metadata } from "../../../lib/core/model/row.ts";
import { readIndexes } from "../../../lib/segment/field-index.ts";
import { labelsOf } from "../../../lib/segment/filter-labels.ts";
import { fieldColumns, fieldValues, quoted, sortedFields } from "../../../lib/segment/filter-sql.ts";

// Names that differ in case, and one that is an SQL keyword: all are allowed as field names.
const fields = {
  lang: "string",
  Lang: "string",
  year: "number",
  open: "boolean",
  tags: "string[]",
  select: "string",
  constructor: "string[]",
} as unknown as Record<string, FieldType>;

/** A table of records, label = position, as a segment has it. */
function database(records: readonly Metadata[]): DatabaseSync {
  const db = new DatabaseSync(":memory:");
  const { columns, lists, statements } = fieldColumns(fields);
  db.exec(
    `CREATE TABLE rows(label INTEGER PRIMARY KEY${columns.map((c) => `, ${c.definition}`).join("")}) STRICT`,
  );
  for (const statement of statements) db.exec(statement);
  records.forEach((metadata, label) => {
    const values = fieldValues(sortedFields(fields), metadata);
    db.prepare(`INSERT INTO rows VALUES (?${",?".repeat(columns.length)})`).run(label, ...values.columns);
    for (const { field, value } of values.lists) {
      db.prepare(`INSERT INTO ${lists.find((list) => list.field === field)!.table} VALUES (?,?)`).run(
        label,
        value,
      );
    }
  });
  return db;
}

function matching(db: DatabaseSync, json: unknown): number[] {
  const slots = db.prepare("SELECT coalesce(max(label) + 1, 0) AS slots FROM rows").get()!.slots as number;
  const havingList = (field: string) =>
    Uint32Array.from(
      db.prepare(`SELECT label FROM rows WHERE ${quoted(field)} IS NOT NULL`).all(),
      ({ label }) => label as number,
    );
  const held = new Uint8Array(slots);
  for (const { label } of db.prepare("SELECT label FROM rows").all()) held[label as number] = 1;
  const rows = { fields: readIndexes(db, fields, slots), slots, held, havingList };
  return [...labelsOf(parseFilter(fields, json), rows)];
}

/** The reference: MongoDB's semantics over plain objects, written without looking at the SQL. */
function accepts(json: Record<string, unknown>, metadata: Metadata): boolean {
  return Object.entries(json).every(([key, value]) => {
    if (key === "$and") return (value as Record<string, unknown>[]).every((one) => accepts(one, metadata));
    if (key === "$or") return (value as Record<string, unknown>[]).some((one) => accepts(one, metadata));
    const conditions = typeof value === "object" ? (value as Record<string, unknown>) : { $eq: value };
    return Object.entries(conditions).every(([operator, operand]) => holds(metadata, key, operator, operand));
  });
}
function holds(metadata: Metadata, field: string, operator: string, operand: unknown): boolean {
  const present = Object.keys(metadata).includes(field);
  const value: unknown = present ? metadata[field] : undefined;
  const equals = (one: unknown) => (Array.isArray(value) ? value.includes(one) : present && value === one);
  const order = () =>
    typeof value === "string"
      ? Buffer.compare(utf32(value), utf32(operand as string))
      : (value as number) - (operand as number);
  switch (operator) {
    case "$eq":
      return equals(operand);
    case "$ne":
      return !equals(operand);
    case "$in":
      return (operand as unknown[]).some(equals);
    case "$nin":
      return !(operand as unknown[]).some(equals);
    case "$exists":
      return present === operand;
    case "$gt":
      return present && order() > 0;
    case "$gte":
      return present && order() >= 0;
    case "$lt":
      return present && order() < 0;
    default:
      return present && order() <= 0;
  }
}
/** Big-endian code points: comparing their bytes compares the code points. */
const utf32 = (text: string) =>
  Buffer.concat([...text].map((one) => Buffer.from([0, ...[16, 8, 0].map((s) => one.codePointAt(0)! >> s)])));

// Few values, so that they meet; among them what could end a statement, and characters whose UTF-16 order differs.
const text = fc.constantFrom(
  "",
  "a",
  "b",
  "A",
  "aa",
  "'",
  '"; DROP TABLE rows; --',
  "%",
  "\u0000",
  "a\u0000b",
  "ß",
  "\uffee",
  "🪨",
  "1",
  "true",
);
const number = fc.constantFrom(-1.5, 0, 1, 2, -9007199254740991, -1e-300, 9007199254740991, 0.1);
const entryOf = { string: text, number, boolean: fc.boolean(), "string[]": text } as const;
const metadataOf = { ...entryOf, "string[]": fc.array(text, { maxLength: 3 }) } as const;
const metadata = fc.record(
  Object.fromEntries(Object.entries(fields).map(([name, type]) => [name, metadataOf[type]])),
  { requiredKeys: [], noNullPrototype: true },
) as fc.Arbitrary<Metadata>;
const condition = fc
  .constantFrom(...Object.entries(fields))
  .chain(([field, type]): fc.Arbitrary<Record<string, unknown>> => {
    const value: fc.Arbitrary<unknown> = entryOf[type];
    const several = fc.array(value, { maxLength: 4 });
    const order =
      type === "string" || type === "number" ? { $gt: value, $gte: value, $lt: value, $lte: value } : {};
    const operators = fc
      .record(
        { $eq: value, $ne: value, $in: several, $nin: several, $exists: fc.boolean(), ...order },
        { requiredKeys: [] },
      )
      .filter((one) => Object.keys(one).length > 0)
      .chain((all) =>
        fc.subarray(Object.entries(all), { minLength: 1 }).map((some) => Object.fromEntries(some)),
      );
    return fc.oneof(value, operators).map((one) => ({ [field]: one }));
  });
const { filter } = fc.letrec<{ filter: Record<string, unknown> }>((tie) => ({
  filter: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    condition,
    fc.array(condition, { minLength: 1, maxLength: 3 }).map((parts) => Object.assign({}, ...parts)),
    fc.record({ $and: fc.array(tie("filter"), { minLength: 1, maxLength: 3 }) }),
    fc.record({ $or: fc.array(tie("filter"), { minLength: 1, maxLength: 3 }) }),
    fc
      .tuple(condition, fc.array(tie("filter"), { minLength: 1, maxLength: 2 }))
      .map(([one, $or]) => ({ ...one, $or })),
  ),
}));

test("SQLite accepts exactly the records that the reference accepts", () => {
  fc.assert(
    fc.property(
      fc.array(metadata, { maxLength: 12 }),
      fc.array(filter, { minLength: 1, maxLength: 12 }),
      (records, filters) => {
        const db = database(records);
        for (const json of filters) {
          const expected = records.flatMap((one, label) => (accepts(json, one) ? [label] : []));
          expect({ json, labels: matching(db, json) }).toEqual({ json, labels: expected });
        }
        db.close();
      },
    ),
    { numRuns: 300 },
  );
});

describe("truth table", () => {
  const records: Metadata[] = [
    { lang: "de", year: 1999, open: true, tags: ["a", "b"] },
    { lang: "en", year: 2000, open: false, tags: [] },
    { tags: ["b", "b"] },
    {},
  ];
  const db = database(records);
  test.each<[unknown, number[]]>([
    [{}, [0, 1, 2, 3]],
    [{ lang: "de" }, [0]],
    [{ lang: { $ne: "de" } }, [1, 2, 3]],
    [{ lang: { $gt: "de" } }, [1]],
    [{ lang: { $gte: "de", $lt: "en" } }, [0]],
    [{ year: { $lte: 1999 } }, [0]],
    [{ year: { $in: [2000, 1999.5] } }, [1]],
    [{ year: { $nin: [2000] } }, [0, 2, 3]],
    [{ open: false }, [1]],
    [{ open: { $ne: true } }, [1, 2, 3]],
    [{ open: { $exists: true } }, [0, 1]],
    [{ tags: "b" }, [0, 2]],
    [{ tags: { $ne: "a" } }, [1, 2, 3]],
    [{ tags: { $in: ["a", "c"] } }, [0]],
    [{ tags: { $nin: ["a", "c"] } }, [1, 2, 3]],
    [{ tags: { $exists: true } }, [0, 1, 2]],
    [{ tags: { $exists: false } }, [3]],
    [{ lang: { $in: [] } }, []],
    [{ lang: { $nin: [] } }, [0, 1, 2, 3]],
    [{ tags: { $in: [] } }, []],
    [{ $or: [{ lang: "de" }, { open: false }] }, [0, 1]],
    [{ $and: [{ tags: "a" }, { tags: "b" }] }, [0]],
    [{ tags: "b", $or: [{ year: { $gt: 0 } }, { lang: { $exists: false } }] }, [0, 2]],
  ])("%j accepts %j", (json, labels) => {
    expect(matching(db, json)).toEqual(labels);
    expect(
      records.flatMap((one, label) => (accepts(json as Record<string, unknown>, one) ? [label] : [])),
    ).toEqual(labels);
  });
});

test.each<[unknown, string]>([
  [null, "filter must be an object, got null"],
  [[], "filter must be an object, got a list of 0"],
  ["lang", 'filter must be an object, got "lang"'],
  [
    { land: "de" },
    "filter.land is not a declared field; declared are lang (string), Lang (string), year (number), ",
  ],
  [{ toString: "de" }, "filter.toString is not a declared field"],
  [{ 'lang" OR 1=1 --': "x" }, 'filter.lang" OR 1=1 -- is not a declared field'],
  [{ $not: {} }, "filter.$not is not known here; allowed are $and, $or and lang (string), "],
  [
    { lang: { $like: "d%" } },
    "filter.lang.$like is not an operator; allowed are $eq $ne $gt $gte $lt $lte $in $nin $exists",
  ],
  [{ lang: {} }, "filter.lang has no operator; allowed are $eq "],
  [{ lang: 1 }, "filter.lang got 1, but lang is declared as string"],
  [
    { lang: ["de", "en"] },
    "filter.lang got a list of 2, but lang is declared as string; for any of several values write $in",
  ],
  [{ lang: null }, 'filter.lang is null; for a missing field write {"$exists": false}'],
  [{ lang: "\ud800" }, "filter.lang is not well-formed Unicode"],
  [{ year: { $gt: "1999" } }, 'filter.year.$gt got "1999", but year is declared as number'],
  [{ year: Number.NaN }, "filter.year is NaN; a number must be finite"],
  [{ year: { $in: [1, 2 ** 53] } }, "filter.year.$in[1] is beyond ±9007199254740991"],
  [
    { open: { $gt: true } },
    "filter.open.$gt cannot compare: open is declared as boolean; only string and number have an order",
  ],
  [{ tags: { $lt: "a" } }, "filter.tags.$lt cannot compare: tags is declared as string[]"],
  [
    { tags: ["a"] },
    "filter.tags got a list of 1, but tags is declared as string[], so the value is one entry, a string; for any of",
  ],
  [{ lang: { $in: "de" } }, 'filter.lang.$in must be a list of values, got "de"'],
  [{ lang: { $in: ["de", 5] } }, "filter.lang.$in[1] got 5, but lang is declared as string"],
  [{ lang: { $in: Array(1001).fill("a") } }, "filter.lang.$in has 1001 values; at most 1000 are allowed"],
  [{ lang: { $exists: 1 } }, "filter.lang.$exists must be true or false, got 1"],
  [{ $and: [] }, "filter.$and must be a list of at least one filter, got a list of 0"],
  [{ $or: {} }, "filter.$or must be a list of at least one filter, got an object"],
  [{ $or: [{}] }, "filter.$or[0] has no condition"],
  [{ $or: [{ lang: "de" }, 7] }, "filter.$or[1] must be an object of conditions, got 7"],
])("refused: %#", (json, message) => {
  const run = () => parseFilter(fields, json);
  expect(run).toThrow(message);
});

test("depth, conditions and values are bounded", () => {
  const nested = (depth: number): unknown => (depth === 1 ? { lang: "de" } : { $and: [nested(depth - 1)] });
  expect(parseFilter(fields, nested(16))).toBeDefined();
  expect(() => parseFilter(fields, nested(17))).toThrow("is deeper than 16 levels");
  expect(() => parseFilter(fields, nested(2000))).toThrow("is deeper than 16 levels");
  const wide = (width: number) => ({ $or: Array(width).fill({ lang: "de" }) });
  expect(matching(database([{ lang: "de" }]), wide(127))).toEqual([0]);
  expect(() => parseFilter(fields, wide(128))).toThrow("makes more than 256 conditions in one filter");
  const heavy = (width: number) => ({ $or: Array(width).fill({ tags: { $in: Array(1000).fill("a") } }) });
  expect(matching(database([{ tags: ["a"] }]), heavy(10))).toEqual([0]);
  expect(() => parseFilter(fields, heavy(11))).toThrow("makes more than 10000 values in one filter");
});

test("anything at all is a filter or an invalid error", () => {
  const operator = fc.constantFrom(
    "$and",
    "$or",
    "$eq",
    "$in",
    "$exists",
    "$gt",
    ...Object.keys(fields),
    "__proto__",
  );
  const { json } = fc.letrec<{ json: unknown }>((tie) => ({
    json: fc.oneof(
      { maxDepth: 5 },
      fc.jsonValue(),
      fc.array(tie("json")),
      fc.dictionary(operator, tie("json")),
    ),
  }));
  const empty = database([]);
  fc.assert(
    fc.property(json, (one) => {
      try {
        matching(empty, one);
      } catch (error) {
        expect(isKind(error, "invalid")).toBe(true);
      }
    }),
    { numRuns: 500 },
  );
});

test("fields are read from indexes alone, whatever the rows hold beside them", () => {
  const db = database([]);
  const prepare = jest.spyOn(DatabaseSync.prototype, "prepare");
  readIndexes(db, fields, 0);
  const selects = prepare.mock.calls.map(([sql]) => sql);
  prepare.mockRestore();
  expect(selects).toHaveLength(Object.keys(fields).length);
  for (const sql of selects) {
    const steps = db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all();
    expect(steps.map(({ detail }) => detail).join()).toMatch(
      /^(SEARCH|SCAN) \S+ USING COVERING INDEX "?i_\S+( \(\S+\))?$/,
    );
  }
});
