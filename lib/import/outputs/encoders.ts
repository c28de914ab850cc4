/** The formats of an export: a new one is a line in `encoders`. */
import {
  Field,
  FixedSizeList,
  Float32,
  Int64,
  makeData,
  RecordBatch,
  RecordBatchFileWriter,
  RecordBatchStreamWriter,
  Schema,
  Struct,
  Utf8,
  vectorFromArray,
} from "apache-arrow";
import { ByteWriter, ParquetWriter } from "hyparquet-writer";
import { vectorToBase64 } from "../../core/model/vector.ts";
import { exportMark } from "../sources/parquet.ts";
import type { OutputRow, RowEncoder } from "./row-writer.ts";

/** Rows of a record batch, and of a row group: what is held at a time. */
const batchRows = 2_000;
const lineBytes = 1 << 18;

export const formats = ["jsonl", "parquet", "arrow", "arrows", "fvecs"] as const;
export type OutputFormat = (typeof formats)[number];

export const encoders: Readonly<Record<OutputFormat, (dims: number) => RowEncoder>> = {
  jsonl: () => new JsonLinesEncoder({ withVectors: true }),
  parquet: () => new ParquetEncoder(),
  arrow: (dims) => new ArrowEncoder(dims, new RecordBatchFileWriter()),
  arrows: (dims) => new ArrowEncoder(dims, new RecordBatchStreamWriter()),
  fvecs: (dims) => new FvecsEncoder(dims),
};

/** Lines as `--from records:` takes them. */
export class JsonLinesEncoder implements RowEncoder {
  readonly #withVectors: boolean;
  #text = "";

  constructor({ withVectors }: { withVectors: boolean }) {
    this.#withVectors = withVectors;
  }

  async add({ id, version, vector, document, metadata }: OutputRow): Promise<readonly Uint8Array[]> {
    const parts = [
      `"id":${JSON.stringify(id)},"version":${version}`,
      ...(this.#withVectors ? [`"vector":"${vectorToBase64(vector)}"`] : []),
      ...(document === null ? [] : [`"document":${JSON.stringify(document)}`]),
      ...(metadata === null ? [] : [`"metadata":${metadata}`]),
    ];
    this.#text += `{${parts.join(",")}}\n`;
    return this.#text.length < lineBytes ? [] : this.end();
  }

  async end(): Promise<readonly Uint8Array[]> {
    const bytes = Buffer.from(this.#text);
    this.#text = "";
    return [bytes];
  }
}

class FvecsEncoder implements RowEncoder {
  readonly #dims: number;

  constructor(dims: number) {
    this.#dims = dims;
  }

  async add({ vector }: OutputRow): Promise<readonly Uint8Array[]> {
    const row = Buffer.alloc(4 + vector.byteLength);
    row.writeInt32LE(this.#dims, 0);
    row.set(new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength), 4);
    return [row];
  }
  async end(): Promise<readonly Uint8Array[]> {
    return [];
  }
}

/** Rows held until a batch is full. */
class Batch {
  readonly ids: string[] = [];
  readonly versions: bigint[] = [];
  readonly vectors: Float32Array[] = [];
  readonly documents: (string | null)[] = [];
  readonly metadata: (string | null)[] = [];

  get isFull(): boolean {
    return this.ids.length >= batchRows;
  }
  add({ id, version, vector, document, metadata }: OutputRow): void {
    this.ids.push(id);
    this.versions.push(BigInt(version));
    this.vectors.push(vector.slice());
    this.documents.push(document);
    this.metadata.push(metadata);
  }
}

const element = (name: string, more: object) => ({ name, ...more });
const text = { type: "BYTE_ARRAY", converted_type: "UTF8" };
const parquetSchema = [
  element("root", { num_children: 5 }),
  element("id", { ...text, repetition_type: "REQUIRED" }),
  element("version", { type: "INT64", repetition_type: "REQUIRED" }),
  element("vector", { repetition_type: "OPTIONAL", num_children: 1, converted_type: "LIST" }),
  element("list", { repetition_type: "REPEATED", num_children: 1 }),
  element("element", { type: "FLOAT", repetition_type: "OPTIONAL" }),
  element("document", { ...text, repetition_type: "OPTIONAL" }),
  element("metadata", { ...text, repetition_type: "OPTIONAL" }),
];

class ParquetEncoder implements RowEncoder {
  readonly #bytes = new ByteWriter();
  readonly #writer = new ParquetWriter({
    writer: this.#bytes,
    schema: parquetSchema as never,
    kvMetadata: [{ key: exportMark, value: "1" }],
  });
  #batch = new Batch();

  async add(row: OutputRow): Promise<readonly Uint8Array[]> {
    this.#batch.add(row);
    return this.#batch.isFull ? this.#group() : [];
  }

  async end(): Promise<readonly Uint8Array[]> {
    const last = this.#batch.ids.length > 0 ? this.#group() : [];
    await this.#writer.finish();
    return [...last, this.#taken()];
  }

  #group(): Uint8Array[] {
    const { ids, versions, vectors, documents, metadata } = this.#batch;
    this.#batch = new Batch();
    const columnData = [
      { name: "id", data: ids },
      { name: "version", data: versions },
      // Statistics of components say nothing.
      { name: "vector", data: vectors.map((vector) => Array.from(vector)), statistics: false },
      { name: "document", data: documents },
      { name: "metadata", data: metadata },
    ];
    void this.#writer.write({ columnData, rowGroupSize: batchRows });
    return [this.#taken()];
  }

  #taken(): Uint8Array {
    const taken = this.#bytes.getBytes().slice();
    this.#bytes.index = 0;
    return taken;
  }
}

class ArrowEncoder implements RowEncoder {
  readonly #schema: Schema;
  readonly #writer: RecordBatchFileWriter | RecordBatchStreamWriter;
  /** What the writer has made, as its stream gives it: some ticks after it was asked for. */
  readonly #made: Uint8Array[] = [];
  readonly #ended: Promise<void>;
  #batch = new Batch();

  constructor(dims: number, writer: RecordBatchFileWriter | RecordBatchStreamWriter) {
    const vector = new FixedSizeList(dims, new Field("item", new Float32()));
    const fields = [
      new Field("id", new Utf8()),
      new Field("version", new Int64()),
      new Field("vector", vector),
      new Field("document", new Utf8(), true),
      new Field("metadata", new Utf8(), true),
    ];
    this.#schema = new Schema(fields, new Map([[exportMark, "1"]]));
    this.#writer = writer;
    const stream = writer.toNodeStream({ objectMode: false });
    stream.on("data", (chunk: Uint8Array) => this.#made.push(chunk));
    this.#ended = new Promise((resolve, reject) => stream.on("end", resolve).on("error", reject));
  }

  async add(row: OutputRow): Promise<readonly Uint8Array[]> {
    this.#batch.add(row);
    if (this.#batch.isFull) this.#flush();
    return this.#made.splice(0);
  }

  async end(): Promise<readonly Uint8Array[]> {
    this.#flush();
    this.#writer.finish();
    this.#writer.close();
    await this.#ended;
    return this.#made.splice(0);
  }

  #flush(): void {
    const { ids, versions, vectors, documents, metadata } = this.#batch;
    this.#batch = new Batch();
    const [idField, versionField, vectorField, textField] = this.#schema.fields;
    const list = vectorField!.type as FixedSizeList<Float32>;
    const values = new Float32Array(ids.length * list.listSize);
    for (const [i, vector] of vectors.entries()) values.set(vector, i * list.listSize);
    const column = (of: readonly unknown[], field: Field) =>
      vectorFromArray(of as unknown[], field.type).data[0]!;
    const children = [
      column(ids, idField!),
      makeData({ type: versionField!.type as Int64, data: BigInt64Array.from(versions) }),
      makeData({
        type: list,
        length: ids.length,
        nullCount: 0,
        child: makeData({ type: new Float32(), data: values }),
      }),
      column(documents, textField!),
      column(metadata, textField!),
    ];
    const data = makeData({ type: new Struct(this.#schema.fields), length: ids.length, children });
    this.#writer.write(new RecordBatch(this.#schema, data));
  }
}
