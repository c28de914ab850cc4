/** `silt export`: what goes out comes in again equal, in every format, and is of one version. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryCli } from "../cli/memory-deployment.ts";
import { expectedRow, expectedRows } from "./source-contract.ts";

const home = process.cwd();
let folder: string;
let cli: MemoryCli;

const rows = expectedRows(2_100).map((row, n) => ({
  ...row,
  document: n % 5 === 0 ? null : row.document,
  // Names that mean something elsewhere are metadata like any other.
  metadata:
    n % 7 === 0
      ? {}
      : { ...row.metadata, id: `m${n}`, text: "t", document: "d", vector: "v", version: 3, tags: ["a", "b"] },
}));

async function ok(...args: string[]): Promise<string> {
  const said = await cli.run(args);
  // What takes long shows progress.
  const err = said.err.replaceAll(/^\w+ +\d+%.*\n/gm, "");
  expect({ args, ...said, err }).toMatchObject({ args, code: 0, err: "" });
  return said.out;
}
const writeRecords = (name: string, records: readonly object[]) =>
  writeFileSync(name, records.map((record) => JSON.stringify(record)).join("\n"));

/** Everything of a collection, by id. */
async function contentOf(name: string): Promise<string[]> {
  await ok("export", name, "--to", "content.jsonl");
  const lines = readFileSync("content.jsonl", "utf8").trim().split("\n");
  return lines.map((line) => line.replace(/"version":\d+/, "")).sort();
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "siltstone-export-"));
  process.chdir(folder);
  cli = new MemoryCli();
  await ok("collection", "create", "docs", "--dims", "4", "--field", "kind:string", "--shards", "2");
  // Several segments, with rows that later ones replace and delete.
  writeRecords(
    "a.jsonl",
    rows.slice(0, 2_000).map((row) => ({ ...row, document: "old" })),
  );
  await ok("import", "docs", "--from", "records:a.jsonl");
  await ok("compact", "docs");
  writeRecords("b.jsonl", [...rows, { ...expectedRow(1), id: "to be deleted" }]);
  await ok("import", "docs", "--from", "records:b.jsonl");
  await ok("compact", "docs");
  await ok("delete", "docs", "to be deleted");
  await ok("compact", "docs");
}, 60_000);
afterAll(async () => {
  process.chdir(home);
  await cli.close();
  rmSync(folder, { recursive: true, force: true });
});

test.each([
  ["out.jsonl", "records:out.jsonl"],
  ["out.jsonl.gz", "records:out.jsonl.gz"],
  ["out.jsonl.zst", "records:out.jsonl.zst"],
  ["out.parquet", "parquet:out.parquet"],
  ["out.arrow", "arrow:out.arrow"],
  ["out.arrows", "arrow:out.arrows"],
  ["out.arrows.zst", "arrow:out.arrows.zst"],
  ["out.fvecs", "records:out.jsonl", "--vectors", "out.fvecs"],
  ["s3://their-bucket/out.parquet", "parquet:s3://their-bucket/out.parquet"],
  ["s3://their-bucket/out.jsonl.gz", "records:s3://their-bucket/out.jsonl.gz"],
])(
  "what goes out to %s comes in again equal",
  async (to, from, ...more) => {
    const out = await ok("export", "docs", "--to", to);
    expect(out).toContain("wrote 2100 rows of docs/0 version");
    expect(out).toContain(`--from ${from}${more.length > 0 ? ` ${more.join(" ")}` : ""}`);
    const again = `again-${Math.random().toString(36).slice(2)}`;
    await ok("collection", "create", again, "--dims", "4", "--field", "kind:string");
    await ok("import", again, "--from", from, ...more);
    await ok("compact", again);
    expect(await contentOf(again)).toEqual(await contentOf("docs"));
    expect(existsSync(`${to}.part`)).toBe(false);
  },
  60_000,
);

test("a folder gets a file for each shard, and comes in again as a folder", async () => {
  await ok("export", "docs", "--to", "parts/../", "--format", "parquet");
  await ok("collection", "create", "folder", "--dims", "4");
  const parts = readdirSync(".").filter((name) => /^docs-\d\.parquet$/.test(name));
  expect(parts).toEqual(["docs-0.parquet", "docs-1.parquet"]);
  for (const part of parts) await ok("import", "folder", "--from", `parquet:${part}`);
  await ok("compact", "folder");
  expect(await contentOf("folder")).toEqual(await contentOf("docs"));
});

test("source versions go out and come in; a kept version is written as it was", async () => {
  await ok("collection", "create", "revs", "--dims", "4", "--ordering", "source");
  writeRecords("r.jsonl", [
    { ...expectedRow(1), version: 17 },
    { ...expectedRow(2), version: 18 },
  ]);
  await ok("import", "revs", "--from", "records:r.jsonl");
  await ok("compact", "revs");
  await ok("delete", "revs", "notes/2", "--source-version", "19");
  await ok("compact", "revs");
  for (const to of ["revs.parquet", "revs.arrow", "revs.jsonl"]) {
    const json = JSON.parse(await ok("export", "revs", "--to", to, "--snapshot", "1", "--json")) as object;
    expect(json).toMatchObject({ rows: 2, versions: [{ shard: 0, version: 1 }] });
    await ok("export", "revs", "--to", to);
    const again = `again-${to.slice(5)}`;
    await ok("collection", "create", again, "--dims", "4", "--ordering", "source");
    await ok("import", again, "--from", `${to.endsWith("jsonl") ? "records" : to.slice(5)}:${to}`);
    const said = await cli.run(["get", again, "notes/1", "--consistency", "strong", "--json"]);
    expect(said.json()).toMatchObject({ records: [{ version: 17 }] });
  }
  expect(await cli.run(["export", "revs", "--to", "x.jsonl", "--snapshot", "99"])).toMatchObject({ code: 3 });
});

test("nothing is left of an export that fails or is interrupted", async () => {
  const pressed = new AbortController();
  pressed.abort();
  expect((await cli.run(["export", "docs", "--to", "cut.jsonl"], { interrupted: pressed.signal })).code).toBe(
    130,
  );
  expect((await cli.run(["export", "docs", "--to", "no/such/folder/x.jsonl"])).code).toBeGreaterThan(0);
  expect(readdirSync(".").filter((name) => name.startsWith("cut"))).toEqual([]);
  expect(await cli.run(["export", "docs", "--to", "x.txt"])).toMatchObject({
    code: 2,
    err: expect.stringContaining("say which format"),
  });
});
