import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryCli } from "./memory-deployment.ts";
import { vectorOf, writeFvecs } from "./vectors.ts";

const dims = 8;
const home = process.cwd();
let folder: string;
let cli: MemoryCli;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "siltstone-cli-"));
  // The rejects file is written where one works.
  process.chdir(folder);
  cli = new MemoryCli();
  await cli.run([
    "collection",
    "create",
    "docs",
    "--dims",
    String(dims),
    "--field",
    "kind:string",
    "--field",
    "n:number",
  ]);
});
afterEach(async () => {
  process.chdir(home);
  await cli.close();
  rmSync(folder, { recursive: true, force: true });
});

const lines = (count: number): string[] =>
  Array.from({ length: count }, (_, n) =>
    JSON.stringify({ id: `r${n}`, text: `text ${n}`, kind: n % 2 ? "odd" : "even", n, gone: null }),
  );
const write = (name: string, content: string | Buffer): void => writeFileSync(join(folder, name), content);

test("rows with vectors from a file arrive in several deltas, and importing again adds no rows", async () => {
  write("a.jsonl", `${lines(5000).join("\n")}\n`);
  writeFvecs(
    "a.fvecs",
    Array.from({ length: 5002 }, (_, n) => vectorOf(n, dims)),
  );
  const args = ["import", "docs", "--records", "a.jsonl", "--vectors", "a.fvecs", "--json"];
  const first = await cli.run(args);
  expect(first).toMatchObject({ code: 0, err: "" });
  expect(first.json()).toMatchObject({
    lines: 5000,
    written: 5000,
    deltas: 3,
    rejected: 0,
    vectorsUnused: 2,
    merged: false,
  });
  await cli.run(["compact", "docs"]);
  expect((await cli.run(["count", "docs", "--json"])).json()).toMatchObject({ count: 5000 });
  expect((await cli.run(args)).code).toBe(0);
  await cli.run(["compact", "docs"]);
  expect((await cli.run(["count", "docs", "--json"])).json()).toMatchObject({ count: 5000 });
  const odd = await cli.run(["count", "docs", "--filter", '{"kind":"odd","n":{"$lt":100}}', "--json"]);
  expect(odd.json()).toMatchObject({ count: 50 });
  const got = await cli.run(["get", "docs", "r4321", "--include", "document,metadata,vector", "--json"]);
  const [record] = got.json<{ records: { metadata: object; vector: number[] }[] }>().records;
  expect(record).toMatchObject({ id: "r4321", document: "text 4321", metadata: { kind: "odd", n: 4321 } });
  expect(record?.metadata).not.toHaveProperty("gone");
  expect(record?.vector).toEqual(Array.from(new Float32Array(vectorOf(4321, dims))));
});

test("lines with large documents are taken, in deltas and batches of bounded bytes", async () => {
  const text = "x".repeat(38_000);
  const row = (n: number) => JSON.stringify({ id: `r${n}`, text, vector: vectorOf(n, dims) });
  write("large.jsonl", Array.from({ length: 1_800 }, (_, n) => row(n)).join("\n"));
  const said = await cli.run(["import", "docs", "--records", "large.jsonl", "--json"]);
  expect(said).toMatchObject({ code: 0, err: "" });
  expect(said.json()).toMatchObject({ lines: 1_800, written: 1_800, rejected: 0, deltas: 3 });
  await cli.run(["compact", "docs"]);
  expect((await cli.run(["count", "docs", "--json"])).json()).toMatchObject({ count: 1_800 });
}, 30_000);

test("bad rows are listed with line, id, field and reason; the good ones go on", async () => {
  const vector = vectorOf(1, dims);
  const rows = [
    JSON.stringify({ id: "good", vector }),
    "{not json",
    JSON.stringify({ id: "short", vector: [1, 2] }),
    JSON.stringify({ vector }),
    JSON.stringify({ id: "nested", vector, where: { city: "x" } }),
    JSON.stringify({ id: "kind", vector, kind: 7 }),
    "",
    "[1]",
    JSON.stringify({ id: 42, vector }),
  ];
  write("bad.jsonl", Buffer.concat([Buffer.from(`${rows.join("\n")}\n`), Buffer.from([0xff, 0xfe, 0x0a])]));
  const said = await cli.run(["import", "docs", "--records", "bad.jsonl", "--json"]);
  expect(said.code).toBe(1);
  const path = join(folder, "bad.jsonl.rejects.jsonl");
  expect(said.json()).toMatchObject({ lines: 10, written: 2, rejected: 7 });
  const rejects = readFileSync(path, "utf8").trim().split("\n");
  expect(
    rejects
      .map((line) => JSON.parse(line) as { at: string; problems: object[] })
      .sort((a, b) => Number(a.at.slice(5)) - Number(b.at.slice(5))),
  ).toEqual([
    {
      at: "line 2",
      problems: [{ field: "line", reason: expect.stringContaining("not JSON") }],
      record: "{not json",
    },
    {
      at: "line 3",
      id: "short",
      problems: [{ field: "vector", reason: `has 2 values instead of ${dims}` }],
      record: { id: "short", vector: [1, 2] },
    },
    { at: "line 4", problems: [{ field: "id", reason: "is missing" }], record: { vector } },
    {
      at: "line 5",
      id: "nested",
      problems: [{ field: "metadata.where", reason: expect.stringContaining("got an object") }],
      record: { id: "nested", vector, metadata: { where: { city: "x" } } },
    },
    {
      at: "line 6",
      id: "kind",
      problems: [{ field: "metadata.kind", reason: expect.stringContaining("declared as string") }],
      record: { id: "kind", vector, metadata: { kind: 7 } },
    },
    {
      at: "line 8",
      problems: [{ field: "line", reason: expect.stringContaining("must be a JSON object") }],
      record: "[1]",
    },
    { at: "line 10", problems: [{ field: "line", reason: "the line is not UTF-8" }], record: null },
  ]);
  expect((await cli.run(["get", "docs", "42", "good", "--consistency", "strong"])).code).toBe(0);

  // Those that were mended are imported from the rejects file itself.
  const mended = rejects.map((line) => JSON.parse(line) as { id?: string; record: { metadata?: object } });
  const kind = mended.find(({ id }) => id === "kind")!;
  kind.record.metadata = { kind: "seven" };
  write("mended.jsonl", JSON.stringify(kind));
  expect((await cli.run(["import", "docs", "--from", "records:mended.jsonl"])).code).toBe(0);
  const got = await cli.run(["get", "docs", "kind", "--consistency", "strong", "--json"]);
  expect(got.json()).toMatchObject({ records: [{ id: "kind", metadata: { kind: "seven" } }] });

  write("bad.jsonl", `${rows[0]}\n`);
  expect((await cli.run(["import", "docs", "--records", "bad.jsonl"])).code).toBe(0);
  expect(existsSync(path)).toBe(false);
});

test("texts are embedded where the collection does it; named fields, and a limit", async () => {
  await cli.run(["collection", "create", "notes", "--embedder", "lexical"]);
  const notes = ["deltas settle into segments", "a query reads cached segments", "!!!", "never read"];
  write("notes.jsonl", notes.map((body, n) => JSON.stringify({ key: `n${n}`, body })).join("\n"));
  const args = [
    "import",
    "notes",
    "--records",
    "notes.jsonl",
    "--id-field",
    "key",
    "--text-field",
    "body",
    "--limit",
    "3",
  ];
  const said = await cli.run(args);
  expect(said).toMatchObject({ code: 1 });
  expect(said.out).toContain("line 3 (n2): body text: it has no letter or digit to embed");
  const found = await cli.run([
    "query",
    "notes",
    "--text",
    "settle deltas",
    "--top-k",
    "1",
    "--consistency",
    "strong",
    "--json",
  ]);
  expect(found.json<{ results: { id: string }[] }>().results[0]?.id).toBe("n0");
  expect((await cli.run(["count", "notes", "--consistency", "strong", "--json"])).json()).toMatchObject({
    count: 2,
  });
});

test("source versions come from a field, and decide", async () => {
  await cli.run(["collection", "create", "revs", "--dims", "2", "--ordering", "source"]);
  write(
    "revs.jsonl",
    [
      [5, 1],
      [3, 2],
    ]
      .map(([rev, x]) => JSON.stringify({ id: "a", vector: [x, 1], rev }))
      .join("\n"),
  );
  const args = ["import", "revs", "--records", "revs.jsonl"];
  expect(await cli.run(args)).toMatchObject({ code: 2, err: expect.stringContaining("--version-field") });
  expect((await cli.run([...args, "--version-field", "rev"])).code).toBe(0);
  const got = await cli.run(["get", "revs", "a", "--include", "vector", "--consistency", "strong", "--json"]);
  expect(got.json()).toMatchObject({ records: [{ version: 5, vector: [1, 1] }] });
});

test("--wait ends when everything is ingested; Ctrl-C ends after the batch in hand", async () => {
  write(
    "w.jsonl",
    lines(10)
      .map((line, n) => JSON.stringify({ ...(JSON.parse(line) as object), vector: vectorOf(n, dims) }))
      .join("\n"),
  );
  const args = ["import", "docs", "--records", "w.jsonl", "--json"];
  const stuck = await cli.run([...args, "--wait"]);
  expect(stuck).toMatchObject({ code: 5, err: expect.stringContaining("silt compact docs") });

  // Time passes in the wait alone: the compactor runs in its first pause.
  jest.spyOn(cli.world.clock, "sleep").mockImplementationOnce(async () => {
    await cli.run(["compact", "docs"]);
  });
  expect((await cli.run([...args, "--wait"])).json()).toMatchObject({ written: 10, merged: true });
  expect((await cli.run(["count", "docs", "--json"])).json()).toMatchObject({ count: 10 });

  const pressed = new AbortController();
  pressed.abort();
  const cut = await cli.run(args, {
    interrupted: pressed.signal,
  });
  expect(cut).toMatchObject({ code: 130 });
  expect(cut.json()).toMatchObject({ interrupted: true, written: 0 });
});

test("files that do not fit are refused before anything is written", async () => {
  write("x.jsonl", "{}\n");
  writeFvecs("x.fvecs", [vectorOf(1, 3)]);
  const said = await cli.run(["import", "docs", "--records", "x.jsonl", "--vectors", "x.fvecs"]);
  expect(said).toMatchObject({
    code: 2,
    err: expect.stringContaining("vectors of 3 dimensions, the collection has 8"),
  });
  expect(await cli.run(["import", "docs", "--records", "none.jsonl"])).toMatchObject({
    code: 2,
    err: expect.stringContaining("none.jsonl"),
  });
  expect(await cli.run(["import", "other", "--records", "x.jsonl"])).toMatchObject({ code: 3 });
});
