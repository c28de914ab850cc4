/** Files to import that are made to stop who reads them: each ends in rows, in faults of rows, or in a refusal, at once. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { parseExactly } from "../../lib/core/model/exact-json.ts";
import { readAll } from "./read-import.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "siltstone-imports-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const npy = (shape: string, more = ""): Buffer => {
  const header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape}), ${more}}\n`;
  const head = Buffer.from([0x93, ...Buffer.from("NUMPY"), 1, 0, header.length & 0xff, header.length >> 8]);
  return Buffer.concat([head, Buffer.from(header), Buffer.alloc(64)]);
};
const fvecs = (dims: number): Buffer => {
  const bytes = Buffer.alloc(12);
  bytes.writeInt32LE(dims);
  return bytes;
};
const footer = (magic: string, bytes: number): Buffer => {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(bytes);
  return Buffer.concat([Buffer.from(magic), Buffer.alloc(100), size, Buffer.from(magic)]);
};
const escapedKeys = (count: number) => Array.from({ length: count }, (_, i) => `"k${i}\\\\":0`).join();

/** Its second column has a name that the schema has not, and its first one, which is begun before that is seen, cannot be unpacked. */
const twiceBad = [
  "UEFSMRUGFawFFbQDXBVkFQAVZBUAFQQVAAAAZAHUAhQCAAAAcjAFBgAxBQYAMgUGADMFBgA0BQYANQUGADYFBgA3BQYAOAUGBDkDATwEMTAJBwAxCQcAMgkH",
  "ADMJBwA0CQcANQkHADYJBwA3CQcAOAkHBDkDAUYAMgn/ADIJRgAyCUYEMjMJHAA0CQcJRgAyCUYAMglGADIJRggyOQMBRgAzCUYAMwlGBDMyCRUJRgAzCUYA",
  "MwlGADMJRgQzNwkjCUYIMzkDAUYANAlGADQJRgA0CUYANAlGADQJRgA0CUYENDYJMTg3AwAAAHI0OAMAAAByNDkVBhWUAxWcA1wVZBUAFWQVABUEFQAAAGQB",
  "yAHwxwAAAAABAAAAAgAAAAMAAAAEAAAABQAAAAYAAAAHAAAACAAAALkAAAB1AAAACwAAAAwAAAANAAAADgAAAA8AAAAQAAAAEQAAABIAAAATAAAAFAAAABUA",
  "AAAWAAAAFwAAABgAAAAZAAAAGgAAABsAAAAcAAAAHQAAAB4AAAAfAAAAIAAAACEAAAAiAAAAIwAAACQAAAAlAAAAJgAAACcAAAAoAAAAKQAAACoAAAArAAAA",
  "LAAAAC0AAAAuAAAALwAAADAAAAAxAAAAFQQZPEgEcm9vdBUEABUMJQIYAmlkJQAAFQIlAhgBAAAWZBkcGSwmCBwVDBkVABkYAmlkFQIWZBbaBRbiAyYIPDYA",
  "KAJyORgCcjAAGRwVBhUAFQIAAAAm6gMcFQIZFQAZGAFuFQIWZBbCAxbKAybqAzw2ACgEMQAAABgEAAAAAAAZHBUGFQAVAgAAABacCRZkNqwHACgJaHlwYXJx",
  "dWV0GSwcAAAcAAAAqAAAAFBBUjE=",
];

const files: [what: string, name: string, bytes: () => Buffer, outcome: RegExp][] = [
  [
    "a line of 300 MB, packed",
    "line.jsonl.gz",
    () => gzipSync(Buffer.alloc(300e6, "a"), { level: 1 }),
    /line has more than \d+ bytes/,
  ],
  [
    "a row nested as deep as it is long",
    "deep.jsonl",
    () => Buffer.from(`{"id":"a","x":${'{"a":'.repeat(1e6)}1${"}".repeat(1e6)}}\n`),
    /^1 rows/,
  ],
  ["brackets without an end", "open.jsonl", () => Buffer.alloc(4e6, "["), /is not JSON/],
  [
    "10,000 keys that may be others'",
    "keys.jsonl",
    () => Buffer.from(`{"id":"a",${escapedKeys(10_000)}}\n`),
    /^1 rows/,
  ],
  [
    "200,000 columns",
    "columns.csv",
    () => Buffer.from(`${Array.from({ length: 200_000 }, (_, i) => `c${i}`).join()}\n`),
    /^0 rows/,
  ],
  [
    "a quote without an end, packed",
    "quote.csv.gz",
    () => gzipSync(Buffer.concat([Buffer.from('id,vector\na,"'), Buffer.alloc(50e6, "x")]), { level: 1 }),
    /is not closed/,
  ],
  [
    "a row of commas",
    "commas.csv",
    () => Buffer.from(`id,vector\n${",".repeat(5e6)}\n`),
    /fields, the header has 2/,
  ],
  ["10^18 rows", "rows.npy", () => npy("1000000000000000000, 4"), /ends within a row/],
  ["10^18 dimensions", "dims.npy", () => npy("4, 1000000000000000000"), /dimensions/],
  ["rows below zero", "below.npy", () => npy("-4, -4"), /two dimensions/],
  [
    "code in a header",
    "code.npy",
    () => npy("2, 4", "'x': __import__('os').abort(), "),
    /more bytes than its 2 rows/,
  ],
  ["2^31 − 1 dimensions", "most.fvecs", () => fvecs(2 ** 31 - 1), /begins with 2147483647/],
  ["dimensions below zero", "below.fvecs", () => fvecs(-1), /begins with -1/],
  ["metadata of 4 GB", "meta.parquet", () => footer("PAR1", 2 ** 32 - 1), /cannot be read as Parquet/],
  [
    "a page that fails unheard",
    "twice.parquet",
    () => Buffer.from(twiceBad.join(""), "base64"),
    /column "id": missing eof marker$/,
  ],
  ["a footer of 2 GB", "foot.arrow", () => footer("ARROW1", 2 ** 31 - 1), /cannot be read/],
];

test.each(files)("%s: no defect, and no time", async (_, name, bytes, outcome) => {
  const path = join(folder, name);
  writeFileSync(path, bytes());
  const [kind] = /[a-z0-9]+$/.exec(name.replace(/\.gz$/, ""))!;
  const started = process.cpuUsage();
  const said = await readAll(`${kind}:${path}`);
  const { user, system } = process.cpuUsage(started);
  expect(said).toMatch(outcome);
  expect((user + system) / 1e6).toBeLessThan(5);
});

test("keys that may be others' cost no more than a call may take", () => {
  const objects = `[${Array(60_000)
    .fill(`{${escapedKeys(8)}}`)
    .join()}]`;
  const started = process.cpuUsage();
  expect(parseExactly(objects)).toHaveLength(60_000);
  const { user, system } = process.cpuUsage(started);
  expect((user + system) / 1e6).toBeLessThan(3);
});
