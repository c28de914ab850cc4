/**
 * One inverted list of clusters.bin: for each row its code's scale, its squared distance to the centroid, label and hash of
 * the id, and behind them the residual codes: what a vector is beside the centroid, in one byte for each component.
 */
import type { Metric } from "../core/model/collection.ts";
import { allFinite } from "../core/model/vector.ts";
import { bucketOfHash } from "./id-hash.ts";

/** A row in an inverted list, beside its residual code: the code's scale, squared distance to the centroid, label, hash of the id. */
const rowBytes = 16;
/** The rounding of residual codes is taken for this many standard deviations: one row in ten thousand is off by more. */
const errorDeviations = 4;
/** A row in an inverted list, found near a query by its residual code. */
export interface NearRow {
  readonly label: number;
  readonly bucket: number;
  /** The distance that the residual code gives. */
  readonly distance: number;
  /** What the code's rounding may take from or add to it, but for one row in ten thousand. */
  readonly error: number;
  /** The row in its inverted list. */
  readonly row: number;
  readonly list: InvertedList;
}
interface InvertedList {
  readonly centroid: Float32Array;
  readonly scales: Float32Array;
  readonly residualCodes: Int8Array;
}

/** Whether two rows of a segment have the same vector, as far as residual codes tell: all but surely so. */
export function isSameVector(a: NearRow, b: NearRow): boolean {
  const codesOf = ({ list: { centroid, residualCodes }, row }: NearRow) =>
    residualCodes.subarray(row * centroid.length, (row + 1) * centroid.length);
  const scaleOf = ({ list, row }: NearRow) => list.scales[row]!;
  if (a.distance !== b.distance || scaleOf(a) !== scaleOf(b)) return false;
  const isSame = (x: ArrayBufferView, y: ArrayBufferView) => Buffer.compare(asBytes(x), asBytes(y)) === 0;
  return isSame(codesOf(a), codesOf(b)) && isSame(a.list.centroid, b.list.centroid);
}
const asBytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);

/** What the head of clusters.bin says of a list, by its place there. */
interface ListShape {
  readonly list: number;
  readonly rows: number;
  readonly centroid: Float32Array;
  /** Buckets of the whole file. */
  readonly buckets: number;
}

/** Every row of a verified list with its distance by the residual code, in the file's order. Throws an Error where a number is not finite. */
export function nearRows(
  bytes: Uint8Array,
  { list, rows, centroid, buckets }: ListShape,
  query: Float32Array,
  metric: Metric,
): NearRow[] {
  const dims = centroid.length;
  const own = ownBytes(bytes);
  const scales = new Float32Array(own.buffer, own.byteOffset, rows);
  const squaredDistances = new Float32Array(own.buffer, own.byteOffset + rows * 4, rows);
  const labels = new Uint32Array(own.buffer, own.byteOffset + rows * 8, rows);
  const hashes = new Uint32Array(own.buffer, own.byteOffset + rows * 12, rows);
  const residualCodes = new Int8Array(own.buffer, own.byteOffset + rows * rowBytes, rows * dims);
  const rest = { centroid, scales, residualCodes };
  if (!allFinite(scales) || !allFinite(squaredDistances))
    throw new Error(`inverted list ${list} has numbers that are not finite`);
  // With the row as centroid c and rest r: |q − c − r|² = |q − c|² − 2 (q − c)·r + |r|², and q·(c + r) = q·c + q·r. Of unit
  // vectors, 1 − cos is half of the former, which rounds less where all of them point the same way.
  const bySquares = metric !== "ip";
  const asked = bySquares ? query.map((value, i) => value - centroid[i]!) : query;
  let ofCentroid = 0;
  let squaredNorm = 0;
  for (let i = 0; i < dims; i++) {
    ofCentroid += asked[i]! * (bySquares ? asked[i]! : centroid[i]!);
    squaredNorm += asked[i]! * asked[i]!;
  }
  // Each component is off by up to half of the scale, evenly: a standard deviation of 1 / √12 of it.
  const errorPerScale = (metric === "l2" ? 2 : 1) * errorDeviations * Math.sqrt(squaredNorm / 12);
  return Array.from({ length: rows }, (_, row) => {
    const product = scales[row]! * dot(asked, residualCodes, row * dims);
    const squares = ofCentroid - 2 * product + squaredDistances[row]!;
    const distance = metric === "l2" ? squares : metric === "cosine" ? squares / 2 : 1 - ofCentroid - product;
    const error = scales[row]! * errorPerScale;
    const bucket = bucketOfHash(hashes[row]!, buckets);
    return { label: labels[row]!, bucket, distance, error, row, list: rest };
  });
}

/** An inverted list's bytes. `vectors` are packed, as searches see them (of unit length for cosine); overwritten. */
export function encodeInvertedList(
  centroid: Float32Array,
  vectors: Float32Array,
  labels: Uint32Array,
  idHashes: Uint32Array,
): Uint8Array {
  const rows = labels.length;
  const dims = centroid.length;
  const bytes = new Uint8Array(listBytes(rows, dims));
  const scales = new Float32Array(bytes.buffer, 0, rows);
  const squaredDistances = new Float32Array(bytes.buffer, rows * 4, rows);
  new Uint32Array(bytes.buffer, rows * 8, rows).set(labels);
  new Uint32Array(bytes.buffer, rows * 12, rows).set(idHashes);
  const residualCodes = new Int8Array(bytes.buffer, rows * rowBytes, rows * dims);
  for (let row = 0; row < rows; row++) {
    const start = row * dims;
    let largest = 0;
    let squaredDistance = 0;
    for (let i = 0; i < dims; i++) {
      const rest = vectors[start + i]! - centroid[i]!;
      vectors[start + i] = rest;
      const size = rest < 0 ? -rest : rest;
      if (size > largest) largest = size;
      squaredDistance += rest * rest;
    }
    const scale = largest / 127;
    scales[row] = scale;
    squaredDistances[row] = squaredDistance;
    if (scale === 0) continue;
    const perUnit = 127 / largest;
    for (let i = start; i < start + dims; i++) {
      const code = vectors[i]! * perUnit;
      residualCodes[i] = code < 0 ? code - 0.5 : code + 0.5; // The array cuts off what is behind the point: this rounds.
    }
  }
  return bytes;
}

export const aligned = (length: number): number => Math.ceil(length / 8) * 8;
export const listBytes = (rows: number, dims: number): number => aligned(rows * (rowBytes + dims));

/** Typed arrays begin at multiples of their size; a network buffer begins anywhere. */
export const ownBytes = (bytes: Uint8Array): Uint8Array =>
  bytes.byteOffset % 8 === 0 ? bytes : Uint8Array.from(bytes);

function dot(query: Float32Array, residualCodes: Int8Array, at: number): number {
  const dims = query.length;
  let [a, b, c, d] = [0, 0, 0, 0];
  let i = 0;
  for (; i + 4 <= dims; i += 4) {
    a += query[i]! * residualCodes[at + i]!;
    b += query[i + 1]! * residualCodes[at + i + 1]!;
    c += query[i + 2]! * residualCodes[at + i + 2]!;
    d += query[i + 3]! * residualCodes[at + i + 3]!;
  }
  for (; i < dims; i++) a += query[i]! * residualCodes[at + i]!;
  return a + b + c + d;
}
