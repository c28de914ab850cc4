/**
 * clusters.bin: what a query needs of a graph segment before the graph has arrived (docs/format.md, docs/adr/0008).
 *
 *   head             shape, centroids, and the sizes, hashes and fingerprints of what follows
 *   inverted lists   the live rows by nearest centroid, those of one centroid by id: label, hash of the id, and the row's
 *                    residual code: what its vector is beside the centroid, in one byte for each component
 *   buckets          rows and tombstones by hash of the id, without their vectors: a hash table of JSON lists
 *
 * The manifest names the head's sha256, the head that of every inverted list and bucket, and a record the digest of its
 * whole row: nothing is searched or answered unverified. All numbers are little endian.
 */
import { hash } from "node:crypto";
import type { Segment } from "../core/format/manifest.ts";
import type { Collection, Metric } from "../core/model/collection.ts";
import { corrupt, newerFormat } from "../core/model/errors.ts";
import { allFinite } from "../core/model/vector.ts";
import { bucketBytesMax } from "./cluster-buckets.ts";
import { exactRows } from "./graph.ts";

export const clustersFormat = 1;
/** Space for the shape, as JSON. */
const shapeBytes = 256;
const sha256Bytes = 32;
/** A row in an inverted list, beside its residual code: the code's scale, squared distance to the centroid, label, hash of the id. */
const rowBytes = 16;
/** The rounding of residual codes is taken for this many standard deviations: one row in ten thousand is off by more. */
const errorDeviations = 4;
/** Records of a bucket on average: one is fetched with its neighbours, which is a few KB. */
const bucketRecordsMean = 16;

export interface ClustersShape {
  readonly dims: number;
  /** Inverted lists: the file calls them groups. */
  readonly groups: number;
  readonly rows: number;
  readonly buckets: number;
  /** Rows and tombstones. */
  readonly records: number;
}

/** What a segment's clusters.bin is held against. */
type Clustered = Pick<Segment, "rows" | "tombstones" | "files">;

export const bucketsFor = (records: number): number => Math.max(1, Math.ceil(records / bucketRecordsMean));

/** A row in an inverted list, found near a query by its residual code. */
export interface NearRow {
  readonly label: number;
  readonly bucket: number;
  /** By the residual code. */
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

/** The head, as views into its bytes; it is written through the same views. */
export class Clusters {
  readonly shape: ClustersShape;
  readonly bytes: Uint8Array;
  readonly centroids: Float32Array;
  readonly listRows: Uint32Array;
  readonly bucketBytes: Uint32Array;
  readonly bucketRecords: Uint32Array;
  readonly #listHashes: Uint8Array;
  readonly #bucketHashes: Uint8Array;
  /** 16 bits of the hash of each record's id, bucket by bucket. */
  readonly fingerprints: Uint16Array;
  #listStarts: Float64Array | null = null;
  #bucketStarts: Float64Array | null = null;
  #recordStarts: Uint32Array | null = null;

  private constructor(shape: ClustersShape, bytes: Uint8Array) {
    this.shape = shape;
    this.bytes = bytes;
    const { dims, groups: lists, buckets, records } = shape;
    let at = shapeBytes;
    const take = (length: number) => {
      const start = bytes.byteOffset + at;
      at += aligned(length);
      return start;
    };
    this.centroids = new Float32Array(bytes.buffer, take(lists * dims * 4), lists * dims);
    this.listRows = new Uint32Array(bytes.buffer, take(lists * 4), lists);
    this.#listHashes = new Uint8Array(bytes.buffer, take(lists * sha256Bytes), lists * sha256Bytes);
    this.bucketBytes = new Uint32Array(bytes.buffer, take(buckets * 4), buckets);
    this.bucketRecords = new Uint32Array(bytes.buffer, take(buckets * 4), buckets);
    this.#bucketHashes = new Uint8Array(bytes.buffer, take(buckets * sha256Bytes), buckets * sha256Bytes);
    this.fingerprints = new Uint16Array(bytes.buffer, take(records * 2), records);
  }

  /** An empty head to be filled. */
  static create(shape: ClustersShape): Clusters {
    const bytes = new Uint8Array(headBytes(shape));
    bytes.fill(0x20, 0, shapeBytes);
    bytes.set(Buffer.from(JSON.stringify({ format: clustersFormat, ...shape })));
    return new Clusters(shape, bytes);
  }

  /** Reads a verified head. Throws `corrupt`, naming `key`, when its format is not known, or it is not this segment's. */
  static decode(
    head: Uint8Array,
    key: string,
    { dims }: Pick<Collection, "dims">,
    segment: Clustered,
  ): Clusters {
    let shape: ClustersShape & { format: number };
    try {
      shape = { ...JSON.parse(Buffer.from(head.subarray(0, shapeBytes)).toString("utf8")) };
    } catch (error) {
      throw corrupt(key, "its head has no shape", error);
    }
    if (Number.isSafeInteger(shape.format) && shape.format > clustersFormat)
      throw newerFormat(key, shape.format, clustersFormat);
    if (shape.format !== clustersFormat)
      throw corrupt(key, `its format version is ${shape.format}; this version reads ${clustersFormat}`);
    const counts = [shape.dims, shape.groups, shape.rows, shape.buckets, shape.records];
    const isShape = counts.every((count) => Number.isSafeInteger(count) && count >= 0);
    if (!isShape || shape.dims !== dims || headBytes(shape) !== head.length)
      throw corrupt(key, `its head of ${head.length} bytes does not fit its shape`);
    const clusters = new Clusters(shape, ownBytes(head));
    const fault = clusters.#faultIn(segment);
    if (fault !== null) throw corrupt(key, fault);
    return clusters;
  }

  #faultIn({ rows, tombstones, files }: Clustered): string | null {
    const { shape, listRows, bucketRecords, bucketBytes } = this;
    const sumOf = (counts: Uint32Array) => counts.reduce((sum, count) => sum + count, 0);
    if (shape.rows !== rows || shape.records !== rows + tombstones)
      return `it has ${shape.rows} rows and ${shape.records} records, the manifest says ${rows} and ${tombstones} more`;
    if (sumOf(listRows) !== rows || sumOf(bucketRecords) !== shape.records)
      return "its inverted lists or buckets do not add up to its rows and records";
    if (this.bucketRange(shape.buckets - 1).limit !== files["clusters.bin"]!.bytes)
      return "its inverted lists and buckets are not as long as the file";
    if (bucketBytes.some((bytes, bucket) => bytes > bucketBytesMax(bucketRecords[bucket]!)))
      return "it has a bucket that is too long for its records";
    return allFinite(this.centroids) ? null : "it has a centroid that is not a vector";
  }

  /** Where an inverted list's or a bucket's bytes lie in the file. */
  listRange(list: number): { start: number; limit: number } {
    this.#listStarts ??= cumulative(this.bytes.length, this.listRows, (rows) =>
      listBytes(rows, this.shape.dims),
    );
    return { start: this.#listStarts[list]!, limit: this.#listStarts[list + 1]! };
  }
  bucketRange(bucket: number): { start: number; limit: number } {
    this.#bucketStarts ??= cumulative(
      this.listRange(this.shape.groups - 1).limit,
      this.bucketBytes,
      (length) => length,
    );
    return { start: this.#bucketStarts[bucket]!, limit: this.#bucketStarts[bucket + 1]! };
  }

  listHash(list: number): Uint8Array {
    return this.#listHashes.subarray(list * sha256Bytes, (list + 1) * sha256Bytes);
  }
  bucketHash(bucket: number): Uint8Array {
    return this.#bucketHashes.subarray(bucket * sha256Bytes, (bucket + 1) * sha256Bytes);
  }

  /** The inverted lists nearest a query that together have at least so many rows. */
  nearestLists(query: Float32Array, metric: Metric, rowsLeast: number): number[] {
    if (this.shape.groups === 0) return [];
    const order = exactRows(this.centroids, metric, {
      query,
      k: this.shape.groups,
      ranks: null,
      labels: null,
    });
    const chosen: number[] = [];
    let rows = 0;
    for (const { label: list } of order) {
      if (rows >= rowsLeast) break;
      if (this.listRows[list] === 0) continue;
      chosen.push(list);
      rows += this.listRows[list]!;
    }
    return chosen;
  }

  /** The bucket in which an id's record would be; null when the fingerprints say that there is none. */
  bucketOf(id: string): number | null {
    return this.bucketOfHashed(idHash(id));
  }

  /** As above. Of ids that are not there, about one in 4,000 is said to be. */
  bucketOfHashed({ high, fingerprint }: IdHash): number | null {
    const bucket = bucketOfHash(high, this.shape.buckets);
    if (this.#recordStarts === null) {
      this.#recordStarts = new Uint32Array(this.shape.buckets + 1);
      for (let i = 0; i < this.shape.buckets; i++)
        this.#recordStarts[i + 1] = this.#recordStarts[i]! + this.bucketRecords[i]!;
    }
    for (let i = this.#recordStarts[bucket]!; i < this.#recordStarts[bucket + 1]!; i++)
      if (this.fingerprints[i] === fingerprint) return bucket;
    return null;
  }

  /** Every row of a verified inverted list with its distance by the residual code, in the file's order. Throws an Error where a number is not finite. */
  near(list: number, bytes: Uint8Array, query: Float32Array, metric: Metric): NearRow[] {
    const { dims, buckets } = this.shape;
    const rows = this.listRows[list]!;
    const own = ownBytes(bytes);
    const scales = new Float32Array(own.buffer, own.byteOffset, rows);
    const squaredDistances = new Float32Array(own.buffer, own.byteOffset + rows * 4, rows);
    const labels = new Uint32Array(own.buffer, own.byteOffset + rows * 8, rows);
    const hashes = new Uint32Array(own.buffer, own.byteOffset + rows * 12, rows);
    const residualCodes = new Int8Array(own.buffer, own.byteOffset + rows * rowBytes, rows * dims);
    const centroid = this.centroids.subarray(list * dims, (list + 1) * dims);
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
      const distance =
        metric === "l2" ? squares : metric === "cosine" ? squares / 2 : 1 - ofCentroid - product;
      const error = scales[row]! * errorPerScale;
      const bucket = bucketOfHash(hashes[row]!, buckets);
      return { label: labels[row]!, bucket, distance, error, row, list: rest };
    });
  }
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

export interface IdHash {
  readonly high: number;
  readonly fingerprint: number;
}
/** Bits of the id's sha256 that shardOf does not use: a shard's ids must not all fall into the same buckets. */
export function idHash(id: string): IdHash {
  const digest = hash("sha256", id, "buffer");
  return { high: digest.readUInt32LE(8), fingerprint: digest.readUInt16LE(12) };
}
export const bucketOfHash = (high: number, buckets: number): number => Math.floor((high / 2 ** 32) * buckets);

const aligned = (length: number): number => Math.ceil(length / 8) * 8;
const listBytes = (rows: number, dims: number): number => aligned(rows * (rowBytes + dims));

function headBytes({ dims, groups: lists, buckets, records }: ClustersShape): number {
  const parts = [lists * dims * 4, lists * 4, lists * sha256Bytes, buckets * 4, buckets * 4];
  parts.push(buckets * sha256Bytes, records * 2);
  return parts.reduce((sum, length) => sum + aligned(length), shapeBytes);
}

function cumulative(first: number, sizes: Uint32Array, bytesOf: (size: number) => number): Float64Array {
  const starts = new Float64Array(sizes.length + 1);
  starts[0] = first;
  for (let i = 0; i < sizes.length; i++) starts[i + 1] = starts[i]! + bytesOf(sizes[i]!);
  return starts;
}

/** Typed arrays begin at multiples of their size; a network buffer begins anywhere. */
const ownBytes = (bytes: Uint8Array): Uint8Array =>
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
