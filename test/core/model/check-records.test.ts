import fc from "fast-check";
import { checkRecords, rowProblem } from "../../../lib/core/model/check-records.ts";
import { type Collection, newCollection } from "../../../lib/core/model/collection.ts";
import { isKind } from "../../../lib/core/model/errors.ts";
import { deltaId } from "../../../lib/core/model/ids.ts";
import { encodeMetadata, metadataProblems } from "../../../lib/core/model/metadata.ts";
import { vectorToBase64 } from "../../../lib/core/model/vector.ts";

const nowMs = 1_763_000_000_000;
const make = (change: Partial<Parameters<typeof newCollection>[0]> = {}): Collection =>
  newCollection(
    {
      name: "notes",
      dims: 2,
      metric: "l2",
      fields: { lang: "string", year: "number", open: "boolean", tags: "string[]" },
      ...change,
    },
    "01JD0000000000000000000000",
    nowMs,
  );
const collection = make();
const good = { id: "a", vector: [1, 2] };
function thrown(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}
const reasons = (record: unknown, of = collection) =>
  checkRecords(of, { records: [record], onInvalid: "skip" }, nowMs).rejected.map(
    ({ field, reason }) => `${field}: ${reason}`,
  );

test("a good call becomes rows: records, then deletes, in order", () => {
  const { rows, rejected } = checkRecords(
    collection,
    {
      records: [
        {
          ...good,
          document: "text",
          metadata: { year: 1999, lang: "de", tags: [], other: "x", open: false },
        },
        { id: "a", vector: Float32Array.of(3, 4), document: null, metadata: null },
        { id: "b", vector: vectorToBase64(Float32Array.of(0.1, -0)), metadata: {} },
      ],
      deletes: ["c", { id: "a" }],
    },
    nowMs + 0.5,
  );
  expect(rejected).toEqual([]);
  const row = { version: nowMs, document: null, metadata: null, vector: null };
  expect(rows).toEqual([
    {
      ...row,
      id: "a",
      vector: Float32Array.of(1, 2),
      document: "text",
      metadata: '{"lang":"de","open":false,"other":"x","tags":[],"year":1999}',
    },
    { ...row, id: "a", vector: Float32Array.of(3, 4) },
    { ...row, id: "b", vector: Float32Array.of(0.1, -0) },
    { ...row, id: "c" },
    { ...row, id: "a" },
  ]);
});

test("the caller's Float32Array is copied", () => {
  const vector = Float32Array.of(1, 2);
  const { rows } = checkRecords(collection, { records: [{ id: "a", vector }] }, nowMs);
  vector[0] = 9;
  expect(rows[0]!.vector).toEqual(Float32Array.of(1, 2));
});

test.each<[string, unknown, string]>([
  ["null", null, "record: must be an object with id and vector, got null"],
  ["a list", [1, 2], "record: must be an object with id and vector, got a list of 2"],
  ["a string", "a", 'record: must be an object with id and vector, got "a"'],
  ["a date", new Date(0), "record: must be an object with id and vector, got an object"],
  ["no id", { vector: [1, 2] }, "id: is missing"],
  ["a number as id", { ...good, id: 7 }, "id: must be a string, got 7"],
  ["an empty id", { ...good, id: "" }, "id: has 0 UTF-8 bytes; 1 to 512 are allowed"],
  ["a long id", { ...good, id: "ß".repeat(257) }, "id: has 514 UTF-8 bytes; 1 to 512 are allowed"],
  ["a lone surrogate", { ...good, id: "a\ud800" }, "id: is not well-formed Unicode (a lone surrogate)"],
  [
    "a control character",
    { ...good, id: "a\nb" },
    "id: has the control character U+000A, which is invisible",
  ],
  ["no vector", { id: "a" }, "vector: is missing"],
  ["too few", { id: "a", vector: [1] }, "vector: has 1 values instead of 2"],
  ["NaN", { id: "a", vector: [1, Number.NaN] }, "vector: value 1 is NaN; every value must be finite"],
  [
    "float32 range",
    { id: "a", vector: [1e39, 0] },
    "vector: value 0 is 1e+39, outside the range of float32 (±3.4028e38)",
  ],
  ["null in it", { id: "a", vector: [null, 0] }, "vector: value 0 is null instead of a number"],
  ["a hole in it", { id: "a", vector: new Array(2) }, "vector: value 0 is undefined instead of a number"],
  [
    "overflowing norm",
    { id: "a", vector: [1e20, 0] },
    "vector: its squared norm 1.000e+40 is above 8.507e+37, where float32 distances overflow",
  ],
  [
    "an object",
    { id: "a", vector: {} },
    "vector: must be an array of 2 numbers or base64 of 8 bytes, got object",
  ],
  ["short base64", { id: "a", vector: "AAAAAA==" }, "vector: base64 of 4 bytes instead of 8 (2 float32)"],
  [
    "bad base64",
    { id: "a", vector: "AAAAA-AAAAA=" },
    "vector: is not base64 (A-Z a-z 0-9 + / and = at the end)",
  ],
  [
    "NaN in base64",
    { id: "a", vector: Buffer.from([0, 0, 192, 127, 0, 0, 0, 0]).toString("base64") },
    "vector: value 0 is NaN; every value must be finite",
  ],
  ["a number as document", { ...good, document: 1 }, "document: must be a string, got 1"],
  [
    "a long document",
    { ...good, document: "x".repeat(262_145) },
    "document: has 262145 UTF-8 bytes; at most 262144 are allowed",
  ],
  [
    "a broken document",
    { ...good, document: "\udc00" },
    "document: is not well-formed Unicode (a lone surrogate)",
  ],
  ["a list as metadata", { ...good, metadata: [] }, "metadata: must be an object, got a list of 0"],
  ["a null value", { ...good, metadata: { x: null } }, "metadata.x: is null; leave the key out instead"],
  [
    "undefined",
    { ...good, metadata: { x: undefined } },
    "metadata.x: is undefined; leave the key out instead",
  ],
  [
    "nested",
    { ...good, metadata: { x: {} } },
    "metadata.x: must be a string, number, boolean or list of strings, got an object",
  ],
  ["a mixed list", { ...good, metadata: { x: ["a", 1] } }, "metadata.x: a list may hold strings only"],
  [
    "infinite",
    { ...good, metadata: { x: Number.POSITIVE_INFINITY } },
    "metadata.x: is Infinity; a number must be finite",
  ],
  [
    "an integer that may have been rounded",
    { ...good, metadata: { x: 2 ** 53 } },
    "metadata.x: is beyond ±9007199254740991, where one number stands for several integers; write it as a string",
  ],
  [
    "a wrong type",
    { ...good, metadata: { year: "1999" } },
    'metadata.year: is declared as number, got the string "1999"',
  ],
  [
    "a list for a string",
    { ...good, metadata: { lang: ["de"] } },
    "metadata.lang: is declared as string, got a list",
  ],
  [
    "a long declared text",
    { ...good, metadata: { lang: "x".repeat(1025) } },
    "metadata.lang: has 1025 bytes; a declared field's text may have 1024",
  ],
  ["an empty key", { ...good, metadata: { "": 1 } }, "metadata.: the key has 0 bytes; 1 to 128 are allowed"],
  [
    "__proto__",
    JSON.parse('{"id":"a","vector":[1,2],"metadata":{"__proto__":"x"}}'),
    "metadata.__proto__: the key __proto__ is not allowed",
  ],
  [
    "too many keys",
    { ...good, metadata: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, i])) },
    "metadata: has 65 keys; at most 64 are allowed",
  ],
  [
    "too much",
    { ...good, metadata: { x: "y".repeat(41_000) } },
    "metadata: is 41008 bytes as JSON; at most 40960 are allowed",
  ],
  [
    "an unknown key",
    { ...good, text: "x" },
    "text: is not known here; allowed are id, vector, document, metadata, version",
  ],
  [
    "__proto__ of a record",
    JSON.parse('{"id":"a","vector":[1,2],"__proto__":{}}'),
    "__proto__: is not known here; allowed are id, vector, document, metadata, version",
  ],
  [
    "a version",
    { ...good, version: 3 },
    'version: is not allowed: the collection has ordering "arrival", where the time of the call is the version',
  ],
])("refused: %s", (_name, record, reason) => {
  expect(reasons(record)).toEqual([reason]);
});

test("names of object methods are ordinary keys", () => {
  const metadata = { constructor: "c", toString: "t", hasOwnProperty: "h" };
  const { rows } = checkRecords(collection, { records: [{ ...good, metadata }] }, nowMs);
  expect(JSON.parse(rows[0]!.metadata!)).toEqual(metadata);
});

test("cosine needs a direction", () => {
  const cosine = make({ metric: "cosine" });
  expect(reasons({ id: "a", vector: [0, 0] }, cosine)[0]).toMatch("too close to zero for cosine");
  expect(reasons({ id: "a", vector: [1e-30, 0] }, cosine)[0]).toMatch("too close to zero for cosine");
  expect(reasons({ id: "a", vector: [1e-18, 0] }, cosine)).toEqual([]);
  expect(reasons({ id: "a", vector: [0, 0] })).toEqual([]);
});

test("ordering source: versions come from the caller", () => {
  const source = make({ ordering: "source" });
  const call = { records: [{ ...good, version: 0 }], deletes: [{ id: "b", version: 2 ** 53 - 1 }] };
  expect(checkRecords(source, call, nowMs).rows.map((row) => row.version)).toEqual([0, 2 ** 53 - 1]);
  expect(reasons(good, source)).toEqual(['version: is required: the collection has ordering "source"']);
  for (const version of [-1, 1.5, 2 ** 53, Number.NaN, "1", null, 1n, {}]) {
    expect(reasons({ ...good, version }, source)[0]).toMatch(
      /^version: must be an integer from 0 to 9007199254740991, got /,
    );
  }
  expect(checkRecords(source, { deletes: ["b"], onInvalid: "skip" }, nowMs).rejected).toEqual([
    {
      id: "b",
      index: 0,
      field: "deletes.version",
      reason: 'is required: the collection has ordering "source"',
    },
  ]);
});

test("all problems of all records are listed; skip writes the others, refuse writes nothing", () => {
  const call = {
    records: [good, { id: 1, vector: [1], document: 2 }, { id: "c", vector: [1, 2, 3] }],
    deletes: ["", 5],
  };
  const { rows, rejected } = checkRecords(collection, { ...call, onInvalid: "skip" }, nowMs);
  expect(rows.map((row) => row.id)).toEqual(["a"]);
  expect(rejected.map(({ id, index, field }) => [id, index, field])).toEqual([
    [undefined, 1, "id"],
    [undefined, 1, "vector"],
    [undefined, 1, "document"],
    ["c", 2, "vector"],
    ["", 0, "deletes.id"],
    [undefined, 1, "deletes"],
  ]);
  for (const onInvalid of [undefined, "refuse"]) {
    const error = thrown(() => checkRecords(collection, { ...call, onInvalid }, nowMs));
    expect(error).toMatchObject({ kind: "invalid", problems: rejected });
    expect((error as Error).message).toBe(
      "4 of 5 records and deletes are bad, nothing was written: id of number 1 must be a string, got 1; " +
        "vector of number 1 has 1 values instead of 2; document of number 1 must be a string, got 2; and 3 more problems",
    );
  }
});

test("records are looked at until as many problems are found as an answer shows; with skip each bad one is counted", () => {
  const bad = { id: "", vector: [] };
  const call = { records: [good, ...Array(700).fill(bad)], deletes: Array(60_000).fill("") };
  const error = thrown(() => checkRecords(collection, call, nowMs)) as {
    message: string;
    problems: unknown[];
  };
  expect(error.problems).toHaveLength(1_000);
  expect(error.message).toMatch(
    /^500 of the first 501 of 60701 records and deletes are bad, the other 60200 were not looked at, nothing was written: /,
  );
  const { rows, rejected } = checkRecords(collection, { ...call, onInvalid: "skip" }, nowMs);
  expect(rows).toHaveLength(1);
  expect(rejected).toHaveLength(1_000 + 200 + 60_000);
  expect(new Set(rejected.map(({ field, index }) => `${/^deletes/.test(field)} ${index}`)).size).toBe(60_700);
});

test.each<[unknown, string]>([
  [{}, "the call has neither records nor deletes"],
  [{ records: [] }, "the call has neither records nor deletes"],
  [{ records: {} }, "records must be a list, got an object"],
  [{ records: [good], deletes: "a" }, 'deletes must be a list, got "a"'],
  [{ records: [good], onInvalid: "drop" }, 'onInvalid must be "refuse" or "skip", got "drop"'],
  [null, "the call must be an object, got null"],
])("the call %j itself is refused", (call, message) => {
  expect(() => checkRecords(collection, call as object, nowMs)).toThrow(message);
});

test("a call of too many rows is refused", () => {
  expect(() => checkRecords(collection, { deletes: new Array(65_537).fill("a") }, nowMs)).toThrow(
    "the call has 65537 records and deletes; at most 65536 are allowed",
  );
});

test("anything at all is a row or a problem, never another exception", () => {
  const value = fc.anything({
    withBigInt: true,
    withDate: true,
    withTypedArray: true,
    withNullPrototype: true,
    withSparseArray: true,
  });
  const record = fc.oneof(
    value,
    fc.record(
      { id: value, vector: value, document: value, metadata: value, version: value },
      { requiredKeys: [] },
    ),
  );
  fc.assert(
    fc.property(fc.array(record), fc.array(record), (records, deletes) => {
      try {
        const { rows, rejected } = checkRecords(collection, { records, deletes, onInvalid: "skip" }, nowMs);
        const bad = new Set(rejected.map(({ field, index }) => `${field.startsWith("deletes")} ${index}`));
        expect(rows.length + bad.size).toBe(records.length + deletes.length);
      } catch (error) {
        expect(isKind(error, "invalid") && records.length + deletes.length === 0).toBe(true);
      }
    }),
    { numRuns: 500 },
  );
});

test("metadata that passes survives its JSON text, with sorted keys", () => {
  const key = fc.string({ minLength: 1, maxLength: 10, unit: "grapheme" }).filter((k) => k !== "__proto__");
  const max = Number.MAX_SAFE_INTEGER;
  const number = fc.double({ noNaN: true, min: -max, max }).map((n) => (Object.is(n, -0) ? 0 : n));
  const value = fc.oneof(
    fc.string({ unit: "grapheme" }),
    number,
    fc.boolean(),
    fc.array(fc.string({ unit: "grapheme" })),
  );
  fc.assert(
    fc.property(fc.dictionary(key, value, { noNullPrototype: true }), (metadata) => {
      fc.pre(metadataProblems({}, metadata).length === 0);
      const text = encodeMetadata(metadata);
      expect(JSON.parse(text)).toEqual(metadata);
      const shuffled = Object.fromEntries(Object.entries(metadata).reverse());
      expect(encodeMetadata(shuffled)).toBe(text);
    }),
  );
});

test("rows of other writers are held to the same rules", () => {
  const row = {
    id: "a",
    version: 1,
    delta: deltaId("0".repeat(26)),
    row: 3,
    vector: Float32Array.of(1, 2),
    document: null,
    metadata: null,
  };
  expect(rowProblem(collection, row)).toBeNull();
  expect(rowProblem(collection, { ...row, metadata: '{"year":1999}' })).toBeNull();
  expect(rowProblem(collection, { ...row, metadata: '{"year":"x"}' })).toEqual({
    id: "a",
    index: 3,
    field: "metadata.year",
    reason: 'is declared as number, got the string "x"',
  });
  expect(rowProblem(collection, { ...row, metadata: "{" })).toMatchObject({
    field: "metadata",
    reason: expect.stringMatching(/^must be an object/),
  });
  expect(rowProblem(collection, { ...row, vector: Float32Array.of(1e20, 0) })?.reason).toMatch(
    "float32 distances overflow",
  );
  expect(rowProblem(collection, { ...row, id: "a\n" })?.reason).toMatch("control character U+000A");
  // Older versions took it: it may be in a delta that waits.
  expect(rowProblem(collection, { ...row, id: "a\u0085\u202e" })).toBeNull();
});
