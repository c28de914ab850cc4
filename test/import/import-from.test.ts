/** `silt import --from`, as a whole: plans, shapes, goes on after a kill, and proves itself. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { MemoryCli } from "../cli/memory-deployment.ts";
import { expectedRow, expectedRows } from "./source-contract.ts";

const home = process.cwd();
let folder: string;
let cli: MemoryCli;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "siltstone-import-"));
  process.chdir(folder);
  cli = new MemoryCli();
  await cli.run(["collection", "create", "docs", "--dims", "4", "--field", "kind:string"]);
});
afterEach(async () => {
  process.chdir(home);
  await cli.close();
  rmSync(folder, { recursive: true, force: true });
});

const writeRecords = (name: string, records: readonly object[]): void =>
  writeFileSync(name, records.map((record) => JSON.stringify(record)).join("\n"));
const count = async () =>
  (await cli.run(["count", "docs", "--consistency", "strong", "--json"])).json<{ count: number }>().count;
const get = async (...ids: string[]) => {
  const include = "document,metadata,vector";
  const said = await cli.run([
    "get",
    "docs",
    ...ids,
    "--include",
    include,
    "--consistency",
    "strong",
    "--json",
  ]);
  return said.json<{ records: { id: string; metadata: object }[]; missing: string[] }>();
};

test("a plan says what is there, and writes nothing", async () => {
  const records = expectedRows(50).map((row, n) =>
    n === 7 ? { ...row, vector: [1] } : n === 8 ? { ...row, id: "notes/1" } : row,
  );
  writeRecords("a.jsonl", records);
  const said = await cli.run(["import", "new", "--from", "records:a.jsonl", "--plan"]);
  expect(said.code).toBe(0);
  expect(said.out).toContain("1 × vector has N values instead of N");
  expect(said.out).toContain(
    "silt collection create new --dims 4 --metric cosine --field kind:string --field n:number --field f:number --field ok:boolean",
  );
  const plan = await cli.run(["import", "docs", "--from", "records:a.jsonl", "--plan", "--json"]);
  expect(plan.json()).toMatchObject({
    exists: true,
    rows: 50,
    looked: 50,
    dims: 4,
    documents: 49,
    repeatedIds: 1,
    rejected: 1,
    fields: { kind: { rows: 49, type: "string", canBeDeclared: true } },
    norms: { least: expect.any(Number), most: expect.any(Number) },
    estimate: { seconds: expect.any(Number), dollars: expect.any(Number) },
  });
  const cut = await cli.run([
    "import",
    "docs",
    "--from",
    "records:a.jsonl",
    "--plan",
    "--limit",
    "5",
    "--json",
  ]);
  expect(cut.json()).toMatchObject({ rows: null, looked: 5 });
  expect(cli.world.store.keys().filter((key) => key.includes("/deltas/"))).toEqual([]);
  expect(readdirSync(folder)).toEqual(["a.jsonl"]);
});

test("what was imported is verified by a second reading, and importing again adds nothing", async () => {
  writeRecords("a.jsonl", expectedRows());
  const args = ["import", "docs", "--from", "records:a.jsonl", "--verify", "--json"];
  expect((await cli.run(args)).json()).toMatchObject({
    written: 1_200,
    verified: { equal: 1_200, differing: 0 },
  });
  expect(await count()).toBe(1_200);
  await cli.run(["compact", "docs"]);
  expect((await cli.run(args)).json()).toMatchObject({
    written: 1_200,
    verified: { equal: 1_200, differing: 0 },
  });
  expect(await count()).toBe(1_200);

  // The verification sees what is not as the source has it.
  const changed = expectedRows(10).map((row, n) =>
    n === 3 ? { ...row, document: "other" } : n === 4 ? { ...row, vector: [1, 2, 3, 4] } : row,
  );
  const [answered] = [
    jest.spyOn(cli.world.store, "put").mockResolvedValue({ kind: "written", etag: "lost" }),
  ];
  writeRecords("b.jsonl", [...changed, { ...expectedRow(1), id: "not there" }]);
  const said = await cli.run(["import", "docs", "--from", "records:b.jsonl", "--verify"]);
  answered.mockRestore();
  expect(said.code).toBe(1);
  expect(said.out).toContain("VERIFIED: 3 rows differ or are missing, 8 are equal");
  expect(said.out).toContain('"notes/3": its document differs');
  expect(said.out).toContain('"notes/4": its vector differs at 0');
  expect(said.out).toContain('"not there": is missing');
});

test("a repeated id: the last line of JSONL counts, and verification knows it", async () => {
  const rows = expectedRows(1_500);
  writeRecords("a.jsonl", [...rows, ...rows.slice(0, 700).map((row) => ({ ...row, document: "newer" }))]);
  const said = await cli.run(["import", "docs", "--from", "records:a.jsonl", "--verify", "--json"]);
  expect(said.json()).toMatchObject({ repeated: 700, verified: { equal: 1_500, differing: 0 } });
});

test("a killed import goes on behind what is durable; its rejects are there once", async () => {
  await cli.run(["collection", "create", "small", "--dims", "4"]);
  const rows = expectedRows(9_000).map((row, n) => (n % 1_000 === 500 ? { ...row, vector: [n] } : row));
  writeRecords("a.jsonl", rows);
  const { store } = cli.world;
  const put = store.put.bind(store);
  let deltas = 0;
  const dying = jest.spyOn(store, "put").mockImplementation(async (key, ...rest) => {
    if (key.includes("/deltas/") && ++deltas === 4) throw new SiltstoneError("unavailable", "killed");
    return put(key, ...rest);
  });
  const args = ["import", "small", "--from", "records:a.jsonl", "--json"];
  expect((await cli.run(args)).code).toBe(5);
  dying.mockRestore();
  // As a kill within the next batch leaves it.
  writeFileSync("a.jsonl.rejects.jsonl", '{"at":"line 6501","id":"half', { flag: "a" });
  const resumed = (await cli.run([...args, "--verify"])).json<{ resumedAt: number }>();
  expect(resumed).toMatchObject({
    lines: 9_000,
    written: 8_991,
    rejected: 9,
    verified: { equal: 8_991, differing: 0 },
  });
  expect(resumed.resumedAt).toBe(6_000);
  const rejects = readFileSync("a.jsonl.rejects.jsonl", "utf8").trim().split("\n");
  expect(rejects.map((line) => (JSON.parse(line) as { at: string }).at)).toEqual(
    Array.from({ length: 9 }, (_, n) => `line ${n * 1_000 + 501}`),
  );
  // All is done: the next call begins anew, and so does one of another content.
  expect(readdirSync(folder).sort()).toEqual(["a.jsonl", "a.jsonl.rejects.jsonl"]);
  expect((await cli.run(args)).json()).toMatchObject({ resumedAt: 0 });
}, 60_000);

test("ids are renamed, derived or kept; fields are renamed, chosen, spread", async () => {
  const vector = [1, 2, 3, 4];
  const nested = { a: { b: 1, c: ["x"] }, list: [1, 2], when: "2026-11-26" };
  writeFileSync(
    "a.jsonl",
    [
      { slug: "first", text: "one", vector, ...nested },
      { slug: "second", text: "two", vector, kind: "k", gone: true },
    ]
      .map((row) => JSON.stringify(row))
      .join("\n"),
  );
  writeFileSync("ids.json", JSON.stringify({ first: "0001" }));
  const args = ["import", "docs", "--from", "jsonl:a.jsonl", "--id-field", "slug", "--id-map", "ids.json"];
  expect((await cli.run(args)).out).toContain("metadata.a must be a string");
  expect((await cli.run([...args, "--nested", "path"])).code).toBe(0);
  expect((await get("0001")).records).toMatchObject([
    { document: "one", metadata: { "a.b": 1, "a.c": ["x"], list: "[1,2]", when: "2026-11-26" } },
  ]);
  expect(
    (await cli.run([...args, "--nested", "json", "--map", "when=date", "--only", "a", "--only", "date"]))
      .code,
  ).toBe(0);
  expect((await get("0001", "second")).records).toMatchObject([
    { metadata: { a: '{"b":1,"c":["x"]}', date: "2026-11-26" } },
    { metadata: null },
  ]);
  expect((await cli.run([...args, "--nested", "json", "--derive-ids", "shop"])).code).toBe(0);
  expect(await count()).toBe(4);
  writeFileSync("ids.json", JSON.stringify({ first: "x", second: "x" }));
  expect(await cli.run(args)).toMatchObject({ code: 2, err: expect.stringContaining('two ids become "x"') });
});

test("vectors of another model are left behind: documents are embedded again", async () => {
  await cli.run(["collection", "create", "lexical", "--embedder", "lexical"]);
  writeRecords("a.jsonl", [expectedRow(1), { ...expectedRow(2), document: null }]);
  const args = ["import", "lexical", "--from", "records:a.jsonl", "--json"];
  expect((await cli.run(args)).json()).toMatchObject({ written: 0, rejected: 2 });
  expect((await cli.run([...args, "--re-embed", "--plan"])).json()).toMatchObject({
    rejected: 1,
    documents: 1,
  });
  const said = await cli.run([...args, "--re-embed", "--verify"]);
  expect(said.json()).toMatchObject({ written: 1, rejected: 1, verified: { equal: 1, differing: 0 } });
});

test("source versions of records are kept where the collection orders by them", async () => {
  await cli.run(["collection", "create", "revs", "--dims", "4", "--ordering", "source"]);
  writeRecords("a.jsonl", [{ ...expectedRow(1), version: 17 }]);
  expect((await cli.run(["import", "revs", "--from", "records:a.jsonl"])).code).toBe(0);
  const said = await cli.run(["get", "revs", "notes/1", "--consistency", "strong", "--json"]);
  expect(said.json()).toMatchObject({ records: [{ version: 17 }] });
  expect((await cli.run(["import", "docs", "--from", "records:a.jsonl"])).code).toBe(0);
});

test("usage errors name what is wrong", async () => {
  writeRecords("a.jsonl", []);
  for (const [args, said] of [
    [[], "--from or --records"],
    [["--from", "records:a.jsonl", "--records", "a.jsonl"], "--from or --records"],
    [["--from", "csv:a.jsonl", "--vectors", "a.fvecs"], "goes with --records"],
    [["--from", "records:a.jsonl", "--map", "x"], "--map: say OLD=NEW"],
    [["--from", "records:a.jsonl", "--id-map", "none.json"], "none.json cannot be read"],
    [["--from", "records:none.jsonl"], "none.jsonl cannot be read"],
  ] as const) {
    expect(await cli.run(["import", "docs", ...args])).toMatchObject({
      code: 2,
      err: expect.stringContaining(said),
    });
  }
});
