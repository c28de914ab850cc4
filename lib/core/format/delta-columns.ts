/**
 * The columns of a delta's record batch, and what is made of their raw buffers: bounds, texts, the digest.
 */
import { type Data, type DataType, makeData, Utf8 } from "apache-arrow";
import { corrupt } from "../model/errors.ts";
import type { DeltaDigest } from "./delta-digest.ts";

export interface Columns {
  readonly rows: number;
  readonly op: Data;
  readonly id: Data;
  readonly version: Data;
  readonly vector: Data;
  readonly document: Data;
  readonly metadata: Data;
}

export function columnsOf(children: readonly Data<DataType>[]): Columns {
  const [op, id, version, vector, document, metadata] = children as [Data, Data, Data, Data, Data, Data];
  return { rows: op.length, op, id, version, vector, document, metadata };
}

/** Proves that every row of every column lies inside its buffers, before any row is read. */
export function checkLengths(columns: Columns, dims: number, key: string): void {
  const { rows, op, id, version, vector, document, metadata } = columns;
  const child = vector.children[0];
  const bad = (name: string) => corrupt(key, `column ${name} is shorter than its rows`);
  for (const [name, data] of Object.entries({ op, id, version, vector, document, metadata })) {
    if (data.length !== rows || data.offset !== 0) throw bad(name);
    if (data.nullCount > 0 && data.nullBitmap.length * 8 < rows) throw bad(name);
  }
  if (op.nullCount > 0 || id.nullCount > 0 || version.nullCount > 0)
    throw corrupt(key, "op, id or version is null");
  if (version.values.length < rows) throw bad("version");
  if (child === undefined || child.offset !== 0 || child.values.length < rows * dims) throw bad("vector");
  if (child.nullCount > 0 && child.nullBitmap.length * 8 < rows * dims) throw bad("vector");
  for (const [name, data] of Object.entries({ op, id, document, metadata })) {
    const offsets = data.valueOffsets as Int32Array;
    // A column whose values are all null may have no offsets at all. Which are is said by the bitmap: the count beside it
    // may lie, and a text without offsets would be all bytes of the column, in every row.
    for (let row = Math.max(0, offsets.length - 1); row < rows; row++)
      if (data.getValid(row)) throw bad(name);
    for (let i = 0; i < rows && i + 1 < offsets.length; i++) {
      if (offsets[i]! < 0 || offsets[i]! > offsets[i + 1]!)
        throw corrupt(key, `column ${name} has offsets out of order`);
    }
    if ((offsets[rows] ?? 0) > data.values.length) throw bad(name);
  }
}

/** The raw bytes of a text, or null. */
export function textBytes(data: Data, row: number): Uint8Array | null {
  if (!data.getValid(row)) return null;
  return (data.values as Uint8Array).subarray(data.valueOffsets[row]!, data.valueOffsets[row + 1]!);
}

/** Not the library's decoder, which drops a leading byte order mark. */
export const textOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");

export function addRows(digest: DeltaDigest, columns: Columns): void {
  const versions = columns.version.values as BigInt64Array;
  for (let i = 0; i < columns.rows; i++) {
    const texts = [textBytes(columns.id, i), textBytes(columns.document, i), textBytes(columns.metadata, i)];
    digest.row(columns.vector.getValid(i) ? "upsert" : "delete", versions[i]!, texts);
  }
}

export function addVectors(digest: DeltaDigest, { rows, vector }: Columns, dims: number): void {
  const values = vector.children[0]!.values as Float32Array;
  // Runs of upserts go in one call: all of them, where nothing is deleted.
  for (let start = 0; start < rows; ) {
    let limit = start;
    while (limit < rows && vector.getValid(limit)) limit++;
    if (limit > start) digest.vectors(values.subarray(start * dims, limit * dims));
    start = limit + 1;
  }
}

export function textData(texts: readonly (string | null)[]): Data<Utf8> {
  const offsets = new Int32Array(texts.length + 1);
  let total = 0;
  texts.forEach((text, i) => {
    total += text === null ? 0 : Buffer.byteLength(text);
    offsets[i + 1] = total;
  });
  const bytes = Buffer.alloc(total);
  texts.forEach((text, i) => {
    if (text !== null) bytes.write(text, offsets[i]!, "utf8");
  });
  const nulls = texts.filter((text) => text === null).length;
  return makeData({
    type: new Utf8(),
    length: texts.length,
    nullCount: nulls,
    ...(nulls > 0 ? { nullBitmap: bitmapOf(texts.map((text) => text !== null)) } : {}),
    valueOffsets: offsets,
    data: new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length),
  });
}

export function bitmapOf(valid: readonly boolean[]): Uint8Array {
  const bitmap = new Uint8Array(Math.ceil(valid.length / 8));
  valid.forEach((one, i) => {
    if (one) bitmap[i >> 3]! |= 1 << (i & 7);
  });
  return bitmap;
}
