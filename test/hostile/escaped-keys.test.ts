/**
 * One caller's keys and another's: in Node 24 JSON.parse reads a key that is written with an escape for one with a backslash of an object
 * that it read before. Nothing of that gets into a record or an answer.
 */
import fc from "fast-check";
import { parseJson } from "../../lib/aws/json-text.ts";
import { parseExactly } from "../../lib/core/model/exact-json.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { memoryWorld } from "../support/memory/world.ts";
import { handlersOver } from "./function-handlers.ts";

/** Read once, it has every object that begins with the same key looked at. */
const poison = String.raw`{"x":1,"\\":1}`;

test("keys are read as they were written, whatever was read before", () => {
  JSON.parse(poison);
  const written: [string, string[]][] = [
    [String.raw`{"x":1,"\"":1}`, ["x", '"']],
    [String.raw`{"x":1,"\n" :1}`, ["x", "\n"]],
    [String.raw`{"x":1,"\u005c":1}`, ["x", "\\"]],
    [
      String.raw`{"x":"\":","\u0061\"":{}, "7":1,"\"":0,"x":2,"__proto__":{}}`,
      ["7", "x", 'a"', '"', "__proto__"],
    ],
  ];
  for (const [text, keys] of written)
    for (const read of [parseExactly, parseJson]) expect(Object.keys(read(text) as object)).toEqual(keys);
  const noted: string[] = [];
  parseExactly(String.raw`{"x":[1],"\"":9007199254740993}`, (key, value, { source }) => {
    if (source !== undefined) noted.push(`${key} ${source}`);
    return value;
  });
  expect(noted.slice(-2)).toEqual(["0 1", '" 9007199254740993']);
  for (const bad of ["", "{", String.raw`{"\\":1`, String.raw`{"\\":x}`])
    expect(() => parseExactly(bad)).toThrow(SyntaxError);
});

test("what is written is read, of objects that have much in common", () => {
  const text = fc.string({ unit: fc.constantFrom("\\", '"', "\n", "u", "0", ":"), maxLength: 3 });
  const { object } = fc.letrec((tie) => ({
    part: fc.oneof({ maxDepth: 3 }, fc.integer(), text, fc.array(tie("part")), tie("object")),
    object: fc.dictionary(text, tie("part"), { maxKeys: 4, noNullPrototype: true }),
  }));
  fc.assert(
    fc.property(object, fc.constantFrom("", " ", "\n"), (value, space) => {
      expect(parseExactly(JSON.stringify(value, null, space))).toEqual(value);
    }),
    { numRuns: 3_000 },
  );
});

test("a caller's metadata has his own keys, before and after they are merged", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: "docs", dims: 2, metric: "cosine", fields: { kind: "string" } });
  const handlers = handlersOver(world);
  try {
    const metadata = [
      poison,
      String.raw`{"x":1,"\"":2}`,
      String.raw`{"x":1,"\u006bind":"k"}`,
      String.raw`{"x":1,"\t":3}`,
    ];
    const records = metadata.map((one, i) => `{"id":"${i}","vector":[1,0],"metadata":${one}}`);
    for (const record of records)
      expect(await handlers.post("producer", `{"collection":"docs","records":[${record}]}`)).toMatchObject({
        status: 200,
      });
    const call = {
      op: "get",
      collection: "docs",
      ids: ["0", "1", "2", "3"],
      include: ["metadata"],
      consistency: "strong",
    };
    const expected = [
      { x: 1, "\\": 1 },
      { x: 1, '"': 2 },
      { x: 1, kind: "k" },
      { x: 1, "\t": 3 },
    ];
    for (const upkeep of [false, true]) {
      const { body } = await handlers.invoke("query", call);
      expect(body.records.map((record: { metadata: unknown }) => record.metadata)).toEqual(expected);
      await compact(world, { ingest: true, upkeep, deadlineMs: world.clock.nowMs() + 1e9 });
    }
    const found = await handlers.invoke("query", {
      op: "count",
      collection: "docs",
      filter: { kind: "k" },
      consistency: "strong",
    });
    expect(found.body).toMatchObject({ count: 1 });
  } finally {
    handlers.remove();
  }
});

test("what Lambda has read is refused where a key may be another's", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: "docs", dims: 2, metric: "cosine" });
  const handlers = handlersOver(world);
  try {
    JSON.parse(poison);
    // As Lambda's runtime reads it: in Node 24 the key is a backslash already.
    const metadata = JSON.parse(String.raw`{"x":1,"\\":2}`) as object;
    const answer = await handlers.invoke("producer", {
      collection: "docs",
      records: [{ id: "a", vector: [1, 0], metadata }],
    });
    expect(answer).toMatchObject({
      status: 400,
      body: { kind: "invalid", message: expect.stringMatching(/^body: a key has a backslash/) },
    });
  } finally {
    handlers.remove();
  }
});
