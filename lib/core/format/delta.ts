/**
 * A delta: one producer call's writes to one shard, as an Arrow IPC **file** that pyarrow reads and writes.
 *
 * The file format, not the stream: its footer at the end says where every batch lies, so a truncated object is found
 * before a row is read, and tools that map files (pyarrow, DuckDB) open it in place. Content is proved by a digest of
 * the rows themselves (lib/core/format/delta-digest.ts), which a writer in another language can make, and which does not
 * change when the same rows are laid out otherwise.
 */
import { isUtf8 } from "node:buffer";
import {
  Field,
  FixedSizeList,
  Float32,
  Int64,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  Table,
  tableFromIPC,
  tableToIPC,
  Utf8,
} from "apache-arrow";
import { corrupt, invalid, newerFormat, SiltstoneError } from "../model/errors.ts";
import type { DeltaId } from "../model/ids.ts";
import type { DeltaRow, Row } from "../model/row.ts";
import { allFinite } from "../model/vector.ts";
import { arrowFileProblem, metadataBytesMax, schemaText } from "./arrow-bounds.ts";
import {
  addRows,
  addVectors,
  bitmapOf,
  type Columns,
  checkLengths,
  columnsOf,
  textBytes,
  textData,
  textOf,
} from "./delta-columns.ts";
import { DeltaDigest, type DeltaOp } from "./delta-digest.ts";
import {
  type DeltaHeader,
  decodeHeader,
  deltaBytesMax,
  deltaFormat,
  deltaRowsMax,
  encodeHeader,
  formatKey,
  headerTexts,
  holdsFormerName,
  writtenAsKey,
} from "./delta-header.ts";

const columnNames = ["op", "id", "version", "vector", "document", "metadata"] as const;
const idBytesMax = 512;

/** Arrow bytes of 1 to deltaRowsMax rows that lib/core/model/check-records.ts has checked. Throws `invalid` when they are not. */
export function encodeDelta(header: DeltaHeader, rows: readonly DeltaRow[]): Uint8Array {
  if (rows.length < 1 || rows.length > deltaRowsMax) {
    throw invalid(`a delta has 1 to ${deltaRowsMax} rows, got ${rows.length}`);
  }
  const upserts = rows.filter((row) => row.vector !== null).length;
  const vectors = new Float32Array(rows.length * header.dims);
  const versions = new BigInt64Array(rows.length);
  rows.forEach((row, i) => {
    if (row.vector !== null && row.vector.length !== header.dims) {
      throw invalid(
        `id ${JSON.stringify(row.id)}: its vector has ${row.vector.length} values instead of ${header.dims}`,
      );
    }
    if (row.vector !== null) vectors.set(row.vector, i * header.dims);
    if (!Number.isSafeInteger(row.version) || row.version < 0) {
      throw invalid(
        `id ${JSON.stringify(row.id)}: version ${row.version} is not an integer from 0 to 2^53 - 1`,
      );
    }
    versions[i] = BigInt(row.version);
  });
  if (!allFinite(vectors)) throw invalid("a vector has a value that is not finite");

  const item = new Field("item", new Float32(), false);
  const fields = [
    new Field("op", new Utf8(), false),
    new Field("id", new Utf8(), false),
    new Field("version", new Int64(), false),
    new Field("vector", new FixedSizeList(header.dims, item), true),
    new Field("document", new Utf8(), true),
    new Field("metadata", new Utf8(), true),
  ];
  const children = [
    textData(rows.map((row) => (row.vector === null ? "delete" : "upsert"))),
    textData(rows.map((row) => row.id)),
    makeData({ type: new Int64(), data: versions }),
    makeData({
      type: new FixedSizeList(header.dims, item),
      length: rows.length,
      nullCount: rows.length - upserts,
      ...(upserts < rows.length ? { nullBitmap: bitmapOf(rows.map((row) => row.vector !== null)) } : {}),
      child: makeData({ type: new Float32(), data: vectors }),
    }),
    textData(rows.map((row) => row.document)),
    textData(rows.map((row) => row.metadata)),
  ];
  const digest = new DeltaDigest(headerTexts(header, rows.length));
  addRows(digest, columnsOf(children));
  addVectors(digest, columnsOf(children), header.dims);

  const schema = new Schema(fields, encodeHeader(header, rows.length, digest.hex()));
  const data = makeData({ type: new Struct(fields), length: rows.length, nullCount: 0, children });
  const bytes = tableToIPC(new Table(schema, [new RecordBatch(schema, data)]), "file");
  if (bytes.length > deltaBytesMax) {
    throw invalid(
      `a delta has at most ${deltaBytesMax} bytes; these ${rows.length} rows make ${bytes.length}`,
    );
  }
  return bytes;
}

/**
 * Reads a delta and proves its content. `key` names the object in errors, `delta` is its ULID. Whatever is wrong is
 * `corrupt`, but for a newer format, which is `unavailable`; a damaged length costs no more memory than the file has.
 * Vectors are views of one array per batch.
 */
export function decodeDelta(
  bytes: Uint8Array,
  { key, delta }: { readonly key: string; readonly delta: DeltaId },
): { header: DeltaHeader; rows: Row[] } {
  try {
    const format = schemaText(bytes, formatKey);
    if (format === String(deltaFormat)) return decode(bytes, key, delta);
    throw ofAnotherFormat(bytes, { key, delta, format });
  } catch (error) {
    // The Arrow library throws errors of many classes on damaged input. All of them mean the same here.
    if (error instanceof SiltstoneError) throw error;
    throw corrupt(
      key,
      `it is not a readable Arrow file (${error instanceof Error ? error.message : String(error)})`,
      error,
    );
  }
}

/**
 * What is no format 1. Every format to come is an Arrow file like this one, with its number where it is now. Content that
 * proves itself as format 1 is that, whatever a flipped bit has made of the number: the digest begins with its own.
 */
function ofAnotherFormat(
  bytes: Uint8Array,
  { key, delta, format }: { readonly key: string; readonly delta: DeltaId; readonly format: string | null },
): unknown {
  const isNumber = /^[1-9][0-9]{0,5}$/.test(format ?? "");
  const problem = `its format version is ${JSON.stringify(format)}`;
  try {
    decode(bytes, key, delta);
  } catch (error) {
    if (isNumber) return newerFormat(key, Number(format), deltaFormat);
    return format === null ? error : corrupt(key, `${problem}; this version reads ${deltaFormat}`);
  }
  return corrupt(key, `${problem}, and its content is of format ${deltaFormat}`);
}

function decode(bytes: Uint8Array, key: string, delta: DeltaId): { header: DeltaHeader; rows: Row[] } {
  if (bytes.length > deltaBytesMax)
    throw corrupt(key, `it has ${bytes.length} bytes; at most ${deltaBytesMax} are allowed`);
  const fault = arrowFileProblem(bytes, { columns: columnNames.length, rowsMax: deltaRowsMax });
  if (fault !== null) throw corrupt(key, fault);
  // Arrow makes typed views in place, which need their alignment: a buffer from a pool may start anywhere.
  const table = tableFromIPC(bytes.byteOffset % 8 === 0 ? bytes : new Uint8Array(bytes));
  const { header, count, sha256 } = decodeHeader(table.schema.metadata, key);
  checkColumns(table.schema, header.dims, key);
  if (count < 1 || count > deltaRowsMax || count !== table.numRows) {
    throw corrupt(key, `it says it has ${count} rows and has ${table.numRows}`);
  }
  const batches = table.batches.map((batch) => columnsOf(batch.data.children));
  const digest = new DeltaDigest(headerTexts(header, count));
  for (const columns of batches) {
    checkLengths(columns, header.dims, key);
    addRows(digest, columns);
  }
  for (const columns of batches) addVectors(digest, columns, header.dims);
  const found = digest.hex();
  if (found !== sha256)
    throw corrupt(key, `its content has the sha256 ${found} instead of ${sha256.slice(0, 64)}`);
  if (header.writtenAs === undefined && holdsFormerName(bytes.subarray(-metadataBytesMax), sha256))
    throw corrupt(key, `it holds the proof of a former name, which no ${writtenAsKey} says`);
  const { writtenAs = delta } = header;
  if (writtenAs > delta) throw corrupt(key, `it was written as ${writtenAs}, which is later than its name`);
  const rows: Row[] = [];
  for (const columns of batches) appendRows(rows, columns, { delta: writtenAs, dims: header.dims, key });
  return { header, rows };
}

function checkColumns(schema: Schema, dims: number, key: string): void {
  const expected = ["Utf8", "Utf8", "Int64", `FixedSizeList[${dims}]<Float32>`, "Utf8", "Utf8"];
  columnNames.forEach((name, i) => {
    const field = schema.fields[i];
    if (field?.name !== name)
      throw corrupt(key, `column ${i} is ${JSON.stringify(field?.name)} instead of ${name}`);
    if (String(field.type) !== expected[i])
      throw corrupt(key, `column ${name} is ${field.type} instead of ${expected[i]}`);
  });
}

function opOf(columns: Columns, row: number): DeltaOp | null {
  const op = textOf(textBytes(columns.op, row)!);
  return op === "upsert" || op === "delete" ? op : null;
}

function appendRows(rows: Row[], columns: Columns, at: { delta: DeltaId; dims: number; key: string }): void {
  const child = columns.vector.children[0]!;
  const vectors = child.values as Float32Array;
  const versions = columns.version.values as BigInt64Array;
  for (let i = 0; i < columns.rows; i++) {
    const bad = (reason: string) => corrupt(at.key, `row ${rows.length}: ${reason}`);
    const op = opOf(columns, i);
    if (op === null) throw bad("op is neither upsert nor delete");
    if ((op === "upsert") !== columns.vector.getValid(i))
      throw bad(op === "upsert" ? "it has no vector" : "a delete has a vector");
    const [id, document, metadata] = [columns.id, columns.document, columns.metadata].map((data) =>
      textBytes(data, i),
    );
    if (id == null || id.length < 1 || id.length > idBytesMax)
      throw bad(`its id is not 1 to ${idBytesMax} bytes long`);
    for (const text of [id, document, metadata]) if (text && !isUtf8(text)) throw bad("a text is not UTF-8");
    const version = Number(versions[i]);
    if (!Number.isSafeInteger(version) || version < 0)
      throw bad(`version ${versions[i]} is not 0 to 2^53 - 1`);
    const vector = op === "upsert" ? vectors.subarray(i * at.dims, (i + 1) * at.dims) : null;
    if (vector !== null && !allFinite(vector)) throw bad("its vector has a value that is not finite");
    if (vector !== null && child.nullCount > 0) {
      for (let j = 0; j < at.dims; j++)
        if (!child.getValid(i * at.dims + j)) throw bad("its vector has a null in it");
    }
    // A writer may say what it deletes; of a delete only its order is kept.
    const [kept, described] = op === "upsert" ? [document, metadata] : [null, null];
    rows.push({
      id: textOf(id),
      version,
      delta: at.delta,
      row: rows.length,
      vector,
      document: kept ? textOf(kept) : null,
      metadata: described ? textOf(described) : null,
    });
  }
}
