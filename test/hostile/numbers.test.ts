/**
 * Integers beyond 2^53: whatever parses JSON to float64 rounds them, and Lambda does so before a function is asked. Every way
 * in refuses them by name, and stores or compares no other number than the one that was sent.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeDelta } from "../../lib/core/format/delta.ts";
import { deltaKey } from "../../lib/core/format/keys.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { listQuarantine } from "../../lib/engine/shard/quarantine.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { MemoryCli } from "../cli/memory-deployment.ts";
import { type MemoryWorld, memoryWorld } from "../support/memory/world.ts";
import { type Handlers, handlersOver } from "./function-handlers.ts";

const request = {
  name: "docs",
  dims: 2,
  metric: "cosine",
  fields: { n: "number", kind: "string" },
} as const;
const reason = "beyond ±9007199254740991";
/** As JSON texts: a test's own number would be rounded before it is sent. */
const inexact = [
  ...["9007199254740993", "9007199254740992", "-9007199254740993", "9007199254740992.5"],
  ...["12345678901234567890", "1e16", "1E+300", `1${"0".repeat(300)}`],
];
const exact = ["9007199254740991", "-9007199254740991", "9.007199254740991e15", "0.1", "-0", "1e-300"];

let world: MemoryWorld;
let handlers: Handlers;
let cli: MemoryCli;
let folder: string;
const home = process.cwd();

beforeEach(async () => {
  world = memoryWorld();
  handlers = handlersOver(world);
  cli = new MemoryCli(world);
  folder = mkdtempSync(join(tmpdir(), "siltstone-numbers-"));
  process.chdir(folder);
  await createCollection(world, request);
});
afterEach(async () => {
  process.chdir(home);
  await cli.close();
  handlers.remove();
  rmSync(folder, { recursive: true, force: true });
});

const recordOf = (n: string, key = "n") => `{"id":"a","vector":[1,2],"metadata":{"${key}":${n}}}`;
const deltas = () => world.store.keys("docs/0/deltas/");

test("metadata of the producer: by URL, by direct invocation, and of the library", async () => {
  for (const n of inexact) {
    for (const key of ["n", "undeclared"]) {
      const body = `{"collection":"docs","records":[${recordOf(n, key)}]}`;
      const invoked = await handlers.invoke("producer", JSON.parse(body));
      for (const answer of [await handlers.post("producer", body), invoked]) {
        expect(answer.status).toBe(400);
        const [problem] = answer.body.problems;
        expect(problem).toMatchObject({
          id: "a",
          field: `metadata.${key}`,
          reason: expect.stringContaining(reason),
        });
      }
      await expect(produce(world, JSON.parse(body))).rejects.toMatchObject({ kind: "invalid" });
    }
  }
  expect(deltas()).toEqual([]);
  for (const n of exact) {
    const { status } = await handlers.post("producer", `{"collection":"docs","records":[${recordOf(n)}]}`);
    expect(status).toBe(200);
    const read = await handlers.invoke("query", {
      ...{ op: "get", collection: "docs", ids: ["a"], include: ["metadata"], consistency: "strong" },
    });
    expect(read.body.records[0].metadata.n).toBe(Number(n) + 0);
  }
});

test("filters of the query function, whatever the operator", async () => {
  await produce(world, { collection: "docs", records: [JSON.parse(recordOf("9007199254740991"))] });
  const places: [string, (n: string) => string][] = [
    ["filter.n", (n) => `{"n":${n}}`],
    ...["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"].map((op): [string, (n: string) => string] => [
      `filter.n.${op}`,
      (n) => `{"n":{"${op}":${n}}}`,
    ]),
    ["filter.n.$in[1]", (n) => `{"n":{"$in":[1,${n}]}}`],
    ["filter.$or[0].n.$nin[0]", (n) => `{"$or":[{"n":{"$nin":[${n}]}}]}`],
  ];
  for (const op of ["count", "query"]) {
    for (const [place, filterOf] of places) {
      const bodyOf = (n: string) =>
        `{"op":"${op}","collection":"docs","consistency":"strong","filter":${filterOf(n)}` +
        `${op === "query" ? ',"vector":[1,2]' : ""}}`;
      for (const n of inexact) {
        const posted = await handlers.post("query", bodyOf(n));
        const invoked = await handlers.invoke("query", JSON.parse(bodyOf(n)));
        for (const { status, body } of [posted, invoked])
          expect([status, body.message]).toEqual([400, expect.stringContaining(`${place} is ${reason}`)]);
      }
      expect((await handlers.post("query", bodyOf("9007199254740991"))).status).toBe(200);
    }
  }
});

test("ids and versions", async () => {
  await createCollection(world, { ...request, name: "sourced", ordering: "source" });
  const faults = [
    ["records", "id", `{"id":9007199254740993,"vector":[1,2],"version":1}`],
    ["records", "version", `{"id":"a","vector":[1,2],"version":9007199254740993}`],
    ["deletes", "deletes.version", `{"id":"a","version":9007199254740993}`],
    ["deletes", "deletes.id", `{"id":9007199254740993,"version":1}`],
  ] as const;
  for (const [list, field, entry] of faults) {
    const { status, body } = await handlers.post("producer", `{"collection":"sourced","${list}":[${entry}]}`);
    expect([status, body.problems]).toEqual([
      400,
      [expect.objectContaining({ field, reason: expect.stringContaining(`got a number ${reason}`) })],
    ]);
  }
});

test("silt put, import and --filter", async () => {
  const put = await cli.run(["put", "docs"], { stdin: recordOf("9007199254740993") });
  expect(put).toMatchObject({ code: 2, err: expect.stringContaining(`metadata.n of "a" is ${reason}`) });
  expect(deltas()).toEqual([]);
  const ofLine = (more: string) => `{"vector":[1,2],${more}}`;
  const lines = [
    ...[ofLine('"id":"a","n":9007199254740993'), ofLine('"id":"b","other":-12345678901234567890')],
    ...[ofLine('"id":9007199254740993'), ofLine('"id":9007199254740991,"n":9007199254740991')],
  ];
  writeFileSync("a.jsonl", lines.join("\n"));
  const said = await cli.run(["import", "docs", "--records", "a.jsonl", "--json"]);
  expect(said.json()).toMatchObject({ written: 2, rejected: 2 });
  const rejects = readFileSync("a.jsonl.rejects.jsonl", "utf8").trim().split("\n");
  const problem = (field: string) => ({
    problems: [{ field, reason: expect.stringContaining(reason) }],
    record: expect.objectContaining({}),
  });
  expect(rejects.map((line) => JSON.parse(line))).toEqual([
    { at: "line 1", id: "a", ...problem("metadata.n") },
    { at: "line 2", id: "b", ...problem("metadata.other") },
  ]);
  await cli.run(["compact", "docs"]);
  for (const command of [
    ["count", "docs"],
    ["query", "docs", "--vector", "[1,2]"],
  ]) {
    const asked = await cli.run([...command, "--filter", '{"n":9007199254740993}']);
    expect(asked).toMatchObject({ code: 2, err: expect.stringContaining(`filter.n is ${reason}`) });
  }
  // An id is kept as its digits.
  const ids = ["9007199254740991", "9007199254740993"];
  const got = await cli.run(["get", "docs", ...ids, "--consistency", "strong", "--json"]);
  expect(got.json()).toMatchObject({
    records: [{ id: ids[0], metadata: { n: 9007199254740991 } }, { id: ids[1] }],
    missing: [],
  });
});

test("integers inside what an import keeps as JSON text", async () => {
  const nested = `"refs":[9007199254740993,-9007199254740993,7],"o":{"b":9007199254740993,"c":{"d":1}}`;
  writeFileSync("a.jsonl", `{"id":"a","vector":[1,2],${nested}}`);
  writeFileSync("b.jsonl", `{"id":"b","vector":[1,2],"meta":${JSON.stringify(`{${nested}}`)}}`);
  const json = ["--nested", "json", "--json"];
  for (const from of [["jsonl:a.jsonl"], ["jsonl:b.jsonl", "--metadata-field", "meta"]]) {
    const said = await cli.run(["import", "docs", "--from", ...from, ...json]);
    expect(said.json()).toMatchObject({ written: 1, rejected: 0 });
  }
  const got = await cli.run(["get", "docs", "a", "b", "--consistency", "strong", "--json"]);
  const metadata = {
    refs: '["9007199254740993","-9007199254740993",7]',
    o: '{"b":"9007199254740993","c":{"d":1}}',
  };
  expect(got.json()).toMatchObject({ records: [{ metadata }, { metadata }], missing: [] });
});

test("deltas of other writers; what an earlier producer wrote is kept as it is", async () => {
  const { collection } = await createCollection(world, { ...request, name: "foreign" });
  const shard = { collection: "foreign", shard: 0 };
  const putRow = async (id: string, metadata: string) => {
    const delta = deltaId(world.clock.ulid());
    const header = {
      ...{ collection: "foreign", collectionId: collection.id, shard: 0, embeddingVersion: "1", dims: 2 },
      ...{ producer: "elsewhere", createdAtMs: world.clock.nowMs() },
    };
    const row = { id, version: 1, vector: Float32Array.of(1, 2), document: null, metadata };
    await world.store.put(deltaKey(shard, delta), encodeDelta(header, [row]));
    return delta;
  };
  const bad: string[] = [];
  for (const n of inexact.filter((n) => n !== "9007199254740992"))
    bad.push(await putRow("bad", `{"n":${n}}`));
  bad.push(await putRow("bad", `{"n":9007199254740992,"n":1,"m":9007199254740992}`));
  // JSON.stringify's own texts, of numbers that earlier producers took.
  const earlier = [2 ** 53, 1e20, Number("123456789012345678901"), 1e300];
  for (const [i, n] of earlier.entries()) await putRow(`old${i}`, JSON.stringify({ n }));
  await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 1e9 });
  const aside = await listQuarantine(world.store, shard);
  expect(aside.map(({ delta }) => delta)).toEqual(bad);
  for (const { reason: why } of aside) expect(why).toMatch(new RegExp(`metadata\\.[nm].* ${reason}`));
  const ids = earlier.map((_, i) => `old${i}`);
  const { body } = await handlers.invoke("query", {
    op: "get",
    collection: "foreign",
    ids,
    include: ["metadata"],
  });
  expect(body.records.map((one: { metadata: { n: number } }) => one.metadata.n)).toEqual(earlier);
});
