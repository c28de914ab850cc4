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
import type { Segment } from "../core/format/manifest.ts";
import type { Collection, Metric } from "../core/model/collection.ts";
import { corrupt, newerFormat } from "../core/model/errors.ts";
import { allFinite } from "../core/model/vector.ts";
import { bucketBytesMax } from "./cluster-buckets.ts";
import { exactRows } from "./graph.ts";
import { bucketOfHash, type IdHash, idHash } from "./id-hash.ts";
import { aligned, listBytes, type NearRow, nearRows, ownBytes } from "./inverted-list.ts";

export const clustersFormat = 1;
/** Space for the shape, as JSON. */
const shapeBytes = 256;
const sha256Bytes = 32;
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

  /** The same for a hashed id. About one in 4,000 of the ids that are not there is said to be. */
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
    const centroid = this.centroids.subarray(list * dims, (list + 1) * dims);
    return nearRows(bytes, { list, rows: this.listRows[list]!, centroid, buckets }, query, metric);
  }
}

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
