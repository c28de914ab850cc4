/** What users give in files: UTF-8 is taken, with or without a byte order mark; everything else is named, and not stored. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { MemoryCli } from "../cli/memory-deployment.ts";
import { vectorOf, writeFvecs } from "../cli/vectors.ts";

const dims = 4;
const home = process.cwd();
let folder: string;
let cli: MemoryCli;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "siltstone-cli-"));
  process.chdir(folder);
  cli = new MemoryCli();
  await cli.run(["collection", "create", "docs", "--dims", String(dims)]);
});
afterEach(async () => {
  process.chdir(home);
  await cli.close();
  rmSync(folder, { recursive: true, force: true });
});

const line = JSON.stringify({ id: "Straße", vector: vectorOf(1, dims), document: "Mörtel" });
const asImport = JSON.stringify({ id: "Straße", vector: vectorOf(1, dims), text: "Mörtel" });
const putDeltas = () => cli.world.store.keys().filter((key) => key.includes("/deltas/"));

describe.each(["standard input", "--file"])("silt put from %s", (from) => {
  const put = (content: Buffer) => {
    writeFileSync("in", content);
    return from === "--file"
      ? cli.run(["put", "docs", "--file", "in"])
      : cli.run(["put", "docs"], { stdin: content });
  };

  test.each([
    ["Latin-1", Buffer.from(line, "latin1"), "not UTF-8 in line 1"],
    [
      "Latin-1 in a later line",
      Buffer.concat([Buffer.from(`${line}\n\n`), Buffer.from(line, "latin1")]),
      "in line 3",
    ],
    [
      "UTF-8 that ends in the middle of a character",
      Buffer.from(line).subarray(0, 12),
      "not UTF-8 in line 1",
    ],
    ["UTF-16", Buffer.from(`\ufeff${line}`, "utf16le"), "is UTF-16"],
    ["gzip", gzipSync(line), "gunzip"],
    ["zstd", zstdCompressSync(line), "unzstd"],
    ["Parquet", Buffer.from("PAR1…"), "Parquet"],
  ])("%s is refused by name, and nothing is written", async (_, content, said) => {
    expect(await put(content)).toMatchObject({ code: 2, err: expect.stringContaining(said) });
    expect(putDeltas()).toEqual([]);
  });

  test("UTF-8 is stored as it is, a byte order mark at its start is not part of it", async () => {
    expect(await put(Buffer.from(`\ufeff${line}`))).toMatchObject({ code: 0 });
    const { records } = (await cli.run(["get", "docs", "Straße", "--consistency", "strong", "--json"])).json<{
      records: unknown[];
    }>();
    expect(records).toMatchObject([{ id: "Straße", document: "Mörtel" }]);
  });
});

test("import takes the same: a byte order mark, and no other encoding; of vectors no other file", async () => {
  writeFileSync("marked.jsonl", `\ufeff${asImport}\n`);
  expect(await cli.run(["import", "docs", "--records", "marked.jsonl"])).toMatchObject({ code: 0 });
  writeFileSync(
    "latin.jsonl",
    Buffer.concat([Buffer.from(`${asImport}\n`), Buffer.from(asImport, "latin1")]),
  );
  const latin = await cli.run(["import", "docs", "--records", "latin.jsonl", "--json"]);
  expect({ code: latin.code, ...latin.json() }).toMatchObject({ code: 1, written: 1, rejected: 1 });
  writeFileSync("odd.jsonl", Buffer.from(`\ufeff${asImport}`, "utf16le"));
  const refused = await cli.run(["import", "docs", "--records", "odd.jsonl"]);
  expect(refused).toMatchObject({ code: 2, err: expect.stringContaining("UTF-16") });
  writeFvecs("v.fvecs", [vectorOf(1, dims)]);
  writeFileSync("z.fvecs", gzipSync(Buffer.from("x")));
  const vectors = await cli.run(["import", "docs", "--records", "marked.jsonl", "--vectors", "z.fvecs"]);
  expect(vectors).toMatchObject({ code: 2, err: expect.stringContaining("gunzip") });
});

describe("silt import --id-map", () => {
  const imported = (content: Buffer) => {
    writeFileSync("ids.json", content);
    writeFileSync("a.jsonl", asImport);
    return cli.run(["import", "docs", "--from", "jsonl:a.jsonl", "--id-map", "ids.json"]);
  };
  const map = JSON.stringify({ Straße: "Weg-ß" });

  test.each([
    ["Latin-1", Buffer.from(map, "latin1"), "not UTF-8 in line 1"],
    ["gzip", gzipSync(map), "is compressed with gzip"],
    ["UTF-16", Buffer.from(`\ufeff${map}`, "utf16le"), "is UTF-16"],
    ["no JSON", Buffer.from("{"), "cannot be read as JSON"],
  ])("of %s is refused", async (_, content, message) => {
    expect(await imported(content)).toMatchObject({
      code: 2,
      err: expect.stringMatching(`--id-map: ids.json .*${message}`),
    });
    expect(putDeltas()).toEqual([]);
  });

  test.each([
    ["a byte order mark", `\ufeff${map}`],
    ["none", map],
  ])("with %s", async (_, content) => {
    expect((await imported(Buffer.from(content))).code).toBe(0);
    const got = await cli.run(["get", "docs", "Weg-ß", "--consistency", "strong", "--json"]);
    expect(got.json()).toMatchObject({ records: [{ id: "Weg-ß" }] });
  });
});
