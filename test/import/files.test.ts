/** Files as import sources: formats, compressions, and where they may lie. */
import { createReadStream, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import {
  Bool,
  Field,
  FixedSizeList,
  Float32,
  Float64,
  Int32,
  makeData,
  RecordBatch,
  RecordBatchFileWriter,
  RecordBatchStreamWriter,
  Schema,
  Struct,
  Utf8,
  vectorFromArray,
} from "apache-arrow";
import { parquetWriteBuffer } from "hyparquet-writer";
import { derivedId } from "../../lib/core/model/derived-id.ts";
import { openSource } from "../../lib/import/open-source.ts";
import { MemoryCli } from "../cli/memory-deployment.ts";
import { writeFvecs } from "../cli/vectors.ts";
import { MemoryBucketFiles } from "../support/memory/bucket-files.ts";
import { documentedCommands } from "./documented-commands.ts";
import {
  describeSource,
  dims,
  type ExpectedRow,
  expectedRows,
  readAll,
  rowCount,
} from "./source-contract.ts";

const folder = mkdtempSync(join(tmpdir(), "siltstone-import-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const bucketFiles = new MemoryBucketFiles();
const world = {
  stdin: (async function* () {})() as AsyncIterable<Buffer>,
  environment: {},
  incomplete: false,
  s3Vectors: () => Promise.reject(new Error("none")),
  lanceDb: () => Promise.reject(new Error("none")),
  bucketFiles: async () => bucketFiles,
};
const open = (from: string, stdin: AsyncIterable<Buffer> = world.stdin) =>
  openSource({ ...world, stdin }, from);
const path = (name: string) => join(folder, name);
const write = (name: string, content: string | Uint8Array): string => {
  writeFileSync(path(name), content);
  return path(name);
};

const rows = expectedRows();
const object = ({ id, vector, document, metadata }: ExpectedRow) => ({
  id,
  text: document,
  vector,
  ...metadata,
});
const jsonl = Buffer.from(`${rows.map((row) => JSON.stringify(object(row))).join("\n")}\n`);

describeSource({ name: "jsonl", open: () => open(`jsonl:${write("a.jsonl", jsonl)}`) });
describeSource({ name: "jsonl, gzip", open: () => open(`jsonl:${write("a.jsonl.gz", gzipSync(jsonl))}`) });
describeSource({
  name: "jsonl, zstd",
  open: () => open(`jsonl:${write("a.jsonl.zst", zstdCompressSync(jsonl))}`),
});
describeSource({
  name: "jsonl, a folder",
  open: () => {
    mkdirSync(path("parts"), { recursive: true });
    const lines = jsonl.toString().split("\n");
    write("parts/1.jsonl", lines.slice(0, 900).join("\n"));
    write("parts/2.jsonl.gz", gzipSync(lines.slice(900, 1_001).join("\n")));
    write("parts/3.ndjson", lines.slice(1_001).join("\n"));
    write("parts/other.txt", "no rows");
    return open(`jsonl:${path("parts")}`);
  },
});
describeSource({
  name: "jsonl of S3",
  open: () => {
    const lines = jsonl.toString().split("\n");
    bucketFiles.objects.set("their-bucket/out/1.jsonl", Buffer.from(lines.slice(0, 900).join("\n")));
    bucketFiles.objects.set("their-bucket/out/2.jsonl", Buffer.from(lines.slice(900).join("\n")));
    bucketFiles.objects.set("their-bucket/outer.jsonl", Buffer.from("{}"));
    return open("jsonl:s3://their-bucket/out");
  },
});
describeSource({
  name: "records",
  open: () => open(`records:${write("r.jsonl", rows.map((row) => JSON.stringify(row)).join("\n"))}`),
});

const quoted = (value: unknown) => `"${String(value).replaceAll('"', '""')}"`;
const csv = [
  "id,text,vector,kind,n,f,ok,none",
  ...rows.map(({ id, document, vector, metadata }) =>
    [id, quoted(document), quoted(JSON.stringify(vector)), ...Object.values(metadata), ""].join(","),
  ),
].join("\r\n");
const asText = ({ metadata }: ExpectedRow) => ({
  metadata: Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, String(value)])),
});
describeSource({ name: "csv", open: () => open(`csv:${write("a.csv", csv)}`), expected: asText });
describeSource({
  name: "csv with tabs",
  open: () => open(`csv:${write("a.tsv", csv.replaceAll(/,(?![^"\n]*"[,\r])/g, "\t"))}`),
  expected: asText,
});

writeFvecs(
  path("a.fvecs"),
  rows.map(({ vector }) => vector),
);
const derived = (source: string) => (row: ExpectedRow, n: number) => ({
  id: derivedId({ tenant: "default", source, sourceId: `#${n}`, chunk: 0 }),
  vector: row.vector,
  document: null,
  metadata: {},
});
const byNumber = (source: string) => ({ expected: derived(source), shape: { deriveIds: source } });
describeSource({ name: "fvecs", open: () => open(`fvecs:${path("a.fvecs")}`), ...byNumber("f") });
describeSource({
  name: "fvecs, gzip",
  open: () => open(`fvecs:${write("b.fvecs", gzipSync(readFileSync(path("a.fvecs"))))}`),
  ...byNumber("f"),
});

function npy(type: string, values: ArrayBuffer): Buffer {
  const header = `{'descr': '${type}', 'fortran_order': False, 'shape': (${rowCount}, ${dims}), }`.padEnd(
    117,
  );
  const head = Buffer.from(`\x93NUMPY\x01\x00\x00\x00${header}\n`, "latin1");
  head.writeUInt16LE(118, 8);
  return Buffer.concat([head, Buffer.from(values)]);
}
const numbers = rows.flatMap(({ vector }) => vector);
describeSource({
  name: "npy of float32",
  open: () => open(`npy:${write("a.npy", npy("<f4", Float32Array.from(numbers).buffer))}`),
  ...byNumber("n"),
});
describeSource({
  name: "npy of float64",
  open: () => open(`npy:${write("b.npy", npy("<f8", Float64Array.from(numbers).buffer))}`),
  ...byNumber("n"),
});

const element = (name: string, more: object) => ({ name, ...more });
const schema = [
  element("root", { num_children: 7 }),
  element("id", { type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" }),
  element("text", { type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" }),
  element("vector", { repetition_type: "OPTIONAL", num_children: 1, converted_type: "LIST" }),
  element("list", { repetition_type: "REPEATED", num_children: 1 }),
  element("element", { type: "FLOAT", repetition_type: "OPTIONAL" }),
  element("kind", { type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" }),
  element("n", { type: "INT64", repetition_type: "OPTIONAL" }),
  element("f", { type: "DOUBLE", repetition_type: "OPTIONAL" }),
  element("ok", { type: "BOOLEAN", repetition_type: "OPTIONAL" }),
];
function parquet(of: readonly ExpectedRow[], rowGroupSize: number): Uint8Array {
  const column = (name: string, data: unknown[]) => ({ name, data });
  const buffer = parquetWriteBuffer({
    rowGroupSize,
    schema: schema as never,
    columnData: [
      column(
        "id",
        of.map(({ id }) => id),
      ),
      column(
        "text",
        of.map(({ document }) => document),
      ),
      column(
        "vector",
        of.map(({ vector }) => vector),
      ),
      column(
        "kind",
        of.map(({ metadata }) => metadata.kind),
      ),
      column(
        "n",
        of.map(({ metadata }) => BigInt(metadata.n as number)),
      ),
      column(
        "f",
        of.map(({ metadata }) => metadata.f),
      ),
      column(
        "ok",
        of.map(({ metadata }) => metadata.ok),
      ),
    ] as never,
  });
  return new Uint8Array(buffer);
}
describeSource({ name: "parquet", open: () => open(`parquet:${write("a.parquet", parquet(rows, 700))}`) });
describeSource({
  name: "parquet, a folder",
  open: () => {
    mkdirSync(path("pq"), { recursive: true });
    write("pq/1.parquet", parquet(rows.slice(0, 500), 5_000));
    write("pq/2.parquet", parquet(rows.slice(500), 5_000));
    return open(`parquet:${path("pq")}`);
  },
});
describeSource({
  name: "parquet of S3",
  open: () => {
    bucketFiles.objects.set("their-bucket/a.parquet", Buffer.from(parquet(rows, 700)));
    return open("parquet:s3://their-bucket/a.parquet");
  },
});

function arrowBatches(): { schema: Schema; batches: RecordBatch[] } {
  const made = new Schema([
    new Field("id", new Utf8()),
    new Field("text", new Utf8()),
    new Field("vector", new FixedSizeList(dims, new Field("item", new Float32()))),
    new Field("kind", new Utf8()),
    new Field("n", new Int32()),
    new Field("f", new Float64()),
    new Field("ok", new Bool()),
  ]);
  const batches: RecordBatch[] = [];
  for (let at = 0; at < rows.length; at += 500) {
    const part = rows.slice(at, at + 500);
    const column = (values: unknown[], i: number) => vectorFromArray(values, made.fields[i]!.type).data[0]!;
    const children = [
      column(
        part.map(({ id }) => id),
        0,
      ),
      column(
        part.map(({ document }) => document),
        1,
      ),
      column(
        part.map(({ vector }) => vector),
        2,
      ),
      ...["kind", "n", "f", "ok"].map((name, i) =>
        column(
          part.map(({ metadata }) => metadata[name]),
          i + 3,
        ),
      ),
    ];
    batches.push(
      new RecordBatch(made, makeData({ type: new Struct(made.fields), length: part.length, children })),
    );
  }
  return { schema: made, batches };
}
describeSource({
  name: "arrow, a stream",
  open: () =>
    open(
      `arrow:${write("a.arrows", RecordBatchStreamWriter.writeAll(arrowBatches().batches).toUint8Array(true))}`,
    ),
});
describeSource({
  name: "arrow, a file",
  open: () =>
    open(
      `arrow:${write("a.arrow", RecordBatchFileWriter.writeAll(arrowBatches().batches).toUint8Array(true))}`,
    ),
});

test("the commands of docs/migrating/files.md do what they say", async () => {
  const home = process.cwd();
  const work = mkdtempSync(join(folder, "documented-"));
  process.chdir(work);
  const cli = new MemoryCli();
  try {
    const few = rows.slice(0, 20);
    const lines = few.map((row) => JSON.stringify(object(row)));
    writeFileSync("rows.parquet", parquet(few, 700));
    mkdirSync("parts");
    writeFileSync("parts/1.jsonl", lines.join("\n"));
    writeFileSync("rows.csv.gz", gzipSync('id,text,vector,kind\n1,one,"[1,2,3,4]",k\n'));
    writeFileSync("rows.arrow", RecordBatchFileWriter.writeAll(arrowBatches().batches).toUint8Array(true));
    writeFileSync("vectors.npy", npy("<f4", Float32Array.from(numbers).buffer));
    writeFvecs("vectors.fvecs", [[1, 2, 3, 4]]);
    const commands = documentedCommands("migrating/files.md");
    expect(commands.length).toBeGreaterThan(6);
    for (const args of commands) {
      const said = await cli.run(args);
      expect({ args, ...said }).toMatchObject({ args, code: 0, err: "" });
      if (args.includes("--verify")) expect(said.out).toContain("verified: 20 rows");
    }
  } finally {
    process.chdir(home);
    await cli.close();
  }
});

test("standard input gives what a file gives", async () => {
  write("a.jsonl", jsonl);
  const source = await open("jsonl:-", createReadStream(path("a.jsonl")) as AsyncIterable<Buffer>);
  expect((await readAll(source)).flatMap(({ items }) => items)).toHaveLength(rowCount);
  await expect(open("parquet:-")).rejects.toThrow("cannot be read from a stream");
});

test.each([
  ["npy:", "x.npy", Buffer.from("no"), "ends within its header"],
  ["npy:", "y.npy", npy(">f4", new ArrayBuffer(16)), "its type is >f4"],
  ["npy:", "z.npy", npy("<f4", new ArrayBuffer(20)), "ends within a row"],
  ["fvecs:", "x.fvecs", Buffer.from([255, 255, 255, 255, 0]), "it begins with -1"],
  ["fvecs:", "y.fvecs", readFileSync(path("a.fvecs")).subarray(0, 99), "ends within a row"],
  ["parquet:", "x.parquet", Buffer.from("PAR1 no PAR1"), "cannot be read as Parquet"],
  ["arrow:", "x.arrow", Buffer.from("ARROW1\0\0 this is none"), "x.arrow"],
  ["jsonl:", "x.jsonl.gz", gzipSync(jsonl).subarray(0, 5_000), "cannot be unpacked"],
  ["jsonl:", "y.jsonl.zst", zstdCompressSync(jsonl).subarray(0, 5_000), "cannot be unpacked"],
])("a damaged file says what is wrong: %s %s", async (kind, name, content, said) => {
  const reading = async () => {
    const source = await open(kind + write(name, content));
    try {
      await source.describe();
      await readAll(source);
    } finally {
      await source.close();
    }
  };
  await expect(reading()).rejects.toMatchObject({ kind: "invalid", message: expect.stringContaining(said) });
});

test("an unknown kind, an empty folder and a malformed location are refused by name", async () => {
  await expect(open("milvus:x")).rejects.toThrow("one of jsonl, records");
  mkdirSync(path("empty"), { recursive: true });
  await expect(open(`csv:${path("empty")}`)).rejects.toThrow("no file of .csv, .tsv");
  await expect(open("jsonl:s3://bucket")).rejects.toThrow("s3://BUCKET/KEY");
});
