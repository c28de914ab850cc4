/**
 * Arrow and Parquet files that lie about their sizes: each ends in rows or in a refusal, without the time and the memory that it names.
 * WIDE=1 lies at every place of the files.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Dictionary,
  Field,
  FixedSizeList,
  Float32,
  Int32,
  List,
  makeData,
  Null,
  RecordBatch,
  RecordBatchFileWriter,
  RecordBatchStreamWriter,
  Schema,
  Struct,
  Utf8,
  vectorFromArray,
} from "apache-arrow";
import type { Encoding, FileMetaData, SchemaElement } from "hyparquet";
import { parquetWriteBuffer } from "hyparquet-writer";
import { ByteWriter } from "hyparquet-writer/src/bytewriter.js";
import { deltaBinaryPack } from "hyparquet-writer/src/delta.js";
import { writeMetadata } from "hyparquet-writer/src/metadata.js";
import { serializeTCompactProtocol } from "hyparquet-writer/src/thrift.js";
import { openSource } from "../../lib/import/open-source.ts";
import { readAll, world } from "./read-import.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "siltstone-sizes-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const isWide = process.env.WIDE === "1";

/** What reading it says. It may take half a second of the processor and 300 MB. */
async function said(kind: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, "file");
  writeFileSync(path, bytes);
  const started = process.cpuUsage();
  const text = await readAll(`${kind}:${path}`);
  const { user, system } = process.cpuUsage(started);
  const { arrayBuffers } = process.memoryUsage();
  expect((user + system) / 1e6).toBeLessThan(2);
  expect(arrayBuffers).toBeLessThan(300e6);
  return text;
}

/** Writes each of the lies at every so many bytes of the file. A defect is thrown. */
async function lieEverywhere(kind: string, bytes: Uint8Array, lies: readonly Buffer[], step: number) {
  const refusals = new Set<string>();
  let lied = 0;
  for (let at = 4; at < bytes.length - 12; at += isWide ? 1 : step) {
    // Another of them at each place, and all of them when it is wide.
    for (const lie of isWide ? lies : [lies[lied % lies.length]!]) {
      const changed = Buffer.from(bytes);
      lie.copy(changed, at);
      refusals.add(await said(kind, changed));
      lied += 1;
    }
  }
  return refusals.size;
}

const rows = Array.from({ length: 20 }, (_, i) => i);
const arrowFields = [
  new Field("id", new Utf8()),
  new Field("vector", new FixedSizeList(4, new Field("item", new Float32()))),
  new Field("tags", new List(new Field("item", new Utf8(), true)), true),
  new Field("kind", new Dictionary(new Utf8(), new Int32(), 1), true),
];
function arrowBatch(): RecordBatch {
  const columns = [
    rows.map((i) => `id${i}`),
    rows.map(() => [1, 2, 3, 4]),
    rows.map((i) => ["a", `b${i}`]),
    rows.map((i) => `kind${i % 3}`),
  ];
  const children = columns.map((values, i) => vectorFromArray(values, arrowFields[i]!.type).data[0]!);
  const schema = new Schema(arrowFields, new Map([["key", "value"]]));
  return new RecordBatch(schema, makeData({ type: new Struct(arrowFields), length: rows.length, children }));
}
const asStream = (batch: RecordBatch) => RecordBatchStreamWriter.writeAll([batch]).toUint8Array(true);
const asFile = (batch: RecordBatch) => RecordBatchFileWriter.writeAll([batch]).toUint8Array(true);

const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
};
const arrowLies = [0x7fffffff, -1, 0x10000000, 0x00ffffff].map(int32);

test.each([
  ["a stream", asStream],
  ["a file", asFile],
])("every length in Arrow metadata may lie: %s", async (_, write) => {
  const bytes = write(arrowBatch());
  expect(await said("arrow", bytes)).toBe("20 rows");
  expect(await lieEverywhere("arrow", bytes, arrowLies, 12)).toBeGreaterThan(10);
});

const onlyNulls = (length: number): RecordBatch => {
  const fields = [new Field("id", new Null())];
  const children = [makeData({ type: new Null(), length })];
  return new RecordBatch(new Schema(fields), makeData({ type: new Struct(fields), length, children }));
};
const oneTextOften = (): RecordBatch => {
  const type = new List(new Field("item", new Dictionary(new Utf8(), new Int32(), 7)));
  const dictionary = vectorFromArray(["x".repeat(1_000_000)], new Utf8());
  const length = 10_000;
  const indices = makeData({
    type: type.children[0]!.type as Dictionary,
    length,
    data: new Int32Array(length),
    dictionary,
  });
  const list = makeData<List>({ type, length: 1, valueOffsets: new Int32Array([0, length]), child: indices });
  const fields = [new Field("tags", type)];
  return new RecordBatch(
    new Schema(fields),
    makeData({ type: new Struct(fields), length: 1, children: [list] }),
  );
};
const overlapping = (): RecordBatch => {
  const ids = makeData({
    type: new Utf8(),
    length: 3,
    valueOffsets: new Int32Array([0, 4, 0, 4]),
    data: Buffer.from("abcd"),
  });
  const fields = [new Field("id", new Utf8())];
  return new RecordBatch(
    new Schema(fields),
    makeData({ type: new Struct(fields), length: 3, children: [ids] }),
  );
};
test.each([
  [
    "2^31 − 1 rows that take no bytes",
    () => onlyNulls(2 ** 31 - 1),
    /2147483647 rows of columns that hold nothing/,
  ],
  [
    "a list that names one text ten thousand times",
    oneTextOften,
    /may name 10000000000 bytes of a dictionary/,
  ],
  ["texts that share their bytes", overlapping, /its offset 2 is 0/],
])("Arrow: %s", async (_, batch, refusal) => {
  expect(await said("arrow", asStream(batch()))).toMatch(refusal);
  expect(await said("arrow", asFile(batch()))).toMatch(refusal);
});

test("Arrow: what is compressed says so", async () => {
  const bytes = Buffer.from(asStream(arrowBatch()));
  const text = await said("arrow", bytes.subarray(0, bytes.length - 100));
  expect(text).toMatch(/ends within a message/);
});

const parquetLies = ["ff", "feffffff0f", "ffffffff0f", "ffffff0f", "80", "f9ffffff0f"].map((hex) =>
  Buffer.from(hex, "hex"),
);
test.each(["UNCOMPRESSED", "SNAPPY"] as const)(
  "every length in Parquet metadata and pages may lie: %s",
  async (codec) => {
    const columnData = [
      { name: "id", data: rows.map((i) => `id${i}`), type: "STRING" as const },
      { name: "kind", data: rows.map((i) => (i % 5 ? `kind${i % 3}` : null)), type: "STRING" as const },
      { name: "n", data: Int32Array.from(rows), type: "INT32" as const },
    ];
    const bytes = Buffer.from(parquetWriteBuffer({ columnData, codec, rowGroupSize: 12 }));
    expect(await said("parquet", bytes)).toBe("20 rows");
    expect(await lieEverywhere("parquet", bytes, parquetLies, 3)).toBeGreaterThan(10);
  },
);

interface Crafted {
  readonly type?: "INT32" | "BYTE_ARRAY";
  readonly encoding?: number;
  readonly groupRows?: number;
  readonly chunkValues?: number;
  readonly pageValues?: number;
  readonly unpackedBytes?: number;
  /** Values of a dictionary page in front, which is empty. */
  readonly dictionaryValues?: number;
  readonly codec?: "SNAPPY";
  readonly column?: Partial<SchemaElement>;
  readonly content: Buffer;
}
/** A file of one optional column with one page, whose numbers are as they are given. */
function crafted(of: Crafted): Uint8Array {
  const { type = "INT32", groupRows = 10, chunkValues = groupRows, pageValues = chunkValues, content } = of;
  const writer = new ByteWriter();
  writer.appendBytes(Buffer.from("PAR1"));
  if (of.dictionaryValues !== undefined)
    serializeTCompactProtocol(writer, {
      field_1: 2,
      field_2: 0,
      field_3: 0,
      field_7: { field_1: of.dictionaryValues, field_2: 0 },
    });
  serializeTCompactProtocol(writer, {
    field_1: 0,
    field_2: of.unpackedBytes ?? content.length,
    field_3: content.length,
    field_5: { field_1: pageValues, field_2: of.encoding ?? 0, field_3: 3, field_4: 3 },
  });
  writer.appendBytes(content);
  const size = BigInt(writer.offset - 4);
  const metadata: FileMetaData = {
    version: 2,
    schema: [
      { name: "root", num_children: 1 },
      { name: "n", type, repetition_type: "OPTIONAL", ...of.column },
    ],
    num_rows: BigInt(groupRows),
    metadata_length: 0,
    row_groups: [
      {
        columns: [
          {
            file_offset: 4n,
            meta_data: {
              type,
              encodings: ["PLAIN" as Encoding],
              path_in_schema: ["n"],
              codec: of.codec ?? "UNCOMPRESSED",
              num_values: BigInt(chunkValues),
              total_uncompressed_size: size,
              total_compressed_size: size,
              data_page_offset: 4n,
            },
          },
        ],
        total_byte_size: size,
        num_rows: BigInt(groupRows),
      },
    ],
  };
  writeMetadata(writer, metadata);
  writer.appendBytes(Buffer.from("PAR1"));
  return new Uint8Array(writer.getBuffer());
}
const varint = (value: number): number[] =>
  value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
/** Definition levels: one run. */
const levels = (values: number, level: number): Buffer => {
  const run = [...varint(values * 2), level];
  return Buffer.from([run.length, 0, 0, 0, ...run]);
};
const packed = (head: number): Buffer => Buffer.from([varint(head).length, 0, 0, 0, ...varint(head)]);
const prefixes = (): Buffer => {
  const writer = new ByteWriter();
  deltaBinaryPack(writer, new Int32Array(10).fill(2 ** 26), "INT32");
  deltaBinaryPack(writer, new Int32Array(10).fill(1), "INT32");
  return Buffer.concat([levels(10, 1), new Uint8Array(writer.getBuffer()), Buffer.alloc(10)]);
};
const deltaHead = (parts: number): Buffer =>
  Buffer.from([...varint(128), ...varint(parts), ...varint(10), 0, ...new Array<number>(64).fill(0)]);
/** A footer of lists within lists, each of 2^25. */
const nestedLists = (): Uint8Array => {
  const footer = Buffer.from([
    0x19,
    ...Array.from({ length: 30 }, () => [0xf9, ...varint(2 ** 25)]).flat(),
    0,
  ]);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(footer.length);
  return Buffer.concat([Buffer.from("PAR1"), footer, size, Buffer.from("PAR1")]);
};
const ints = Buffer.concat([levels(10, 1), Buffer.alloc(40)]);
const many = 2 ** 31 - 1;

const parquetFiles: [what: string, bytes: () => Uint8Array, outcome: RegExp][] = [
  ["what is as it says", () => crafted({ content: ints }), /^10 rows$/],
  [
    "a page of 2^31 − 1 values",
    () => crafted({ pageValues: many, content: levels(many, 0) }),
    /row group 0, column "n": a page of it has 2147483647 values/,
  ],
  [
    "a page of more values than its chunk",
    () => crafted({ pageValues: 1e6, content: levels(1e6, 0) }),
    /its pages have 1000000 values, and its chunk 10/,
  ],
  [
    "10^9 rows of nothing in one run",
    () => crafted({ groupRows: 1e9, content: levels(1e9, 0) }),
    /1000000000 rows in \d+ bytes/,
  ],
  [
    "a row group of more rows than its pages",
    () => crafted({ groupRows: 1e6, chunkValues: 10, content: ints }),
    /ends behind row 10; its row group has 1000000/,
  ],
  [
    "a run that is longer than its page",
    () => crafted({ content: levels(2 ** 30, 0) }),
    /a run of 1073741824 values where 10/,
  ],
  [
    "a packed run of 2^32 values",
    () => crafted({ content: packed(2 ** 30 + 1) }),
    /a run of 4294967296 values/,
  ],
  ["a packed run of none", () => crafted({ content: packed(1) }), /a run of 0 values/],
  [
    "indices that run beyond their page",
    () =>
      crafted({
        encoding: 8,
        dictionaryValues: 0,
        content: Buffer.concat([levels(10, 1), Buffer.from([1, ...varint(2 ** 31), 0])]),
      }),
    /a run of 1073741824 values where 10/,
  ],
  [
    "a dictionary of 2^31 − 1 values",
    () => crafted({ dictionaryValues: many, content: ints }),
    /a page of it has 2147483647 values in 0 bytes/,
  ],
  [
    "a page of 2 GB when unpacked",
    () => crafted({ codec: "SNAPPY", unpackedBytes: many, content: ints }),
    /10 values in 2147483647 bytes/,
  ],
  ["values that are not there", () => crafted({ content: levels(10, 1) }), /10 values of INT32 in 0 bytes/],
  [
    "texts that repeat 64 MB of nothing",
    () => crafted({ type: "BYTE_ARRAY", encoding: 7, content: prefixes() }),
    /repeats 67108864 of 0 bytes/,
  ],
  [
    "deltas whose blocks have 2^31 − 1 parts",
    () => crafted({ encoding: 5, content: Buffer.concat([levels(10, 1), deltaHead(many)]) }),
    /blocks of 128 values in 2147483647 parts, where \d+ bytes are left/,
  ],
  [
    "lengths of texts likewise",
    () =>
      crafted({ type: "BYTE_ARRAY", encoding: 6, content: Buffer.concat([levels(10, 1), deltaHead(many)]) }),
    /blocks of 128 values in 2147483647 parts/,
  ],
  ["lists within lists in the footer", nestedLists, /33554432 bytes or entries where \d+ bytes are left/],
  [
    "values that name each other",
    () =>
      crafted({ type: "BYTE_ARRAY", column: { logical_type: { type: "VARIANT" } as never }, content: ints }),
    /is a variant, which is not read/,
  ],
];
test.each(parquetFiles)("Parquet: %s", async (_, bytes, outcome) => {
  expect(await said("parquet", bytes())).toMatch(outcome);
});

test("a read that failed leaves nothing that fails unheard, and no open file", async () => {
  const path = join(folder, "closed.parquet");
  writeFileSync(path, crafted({ content: levels(2 ** 30, 0) }));
  const source = await openSource(world, `parquet:${path}`);
  await expect(source.pages(null)[Symbol.asyncIterator]().next()).rejects.toMatchObject({ kind: "invalid" });
  await source.close();
});
