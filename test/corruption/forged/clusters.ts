/** clusters.bin files that lie, with the hashes of their inverted lists and buckets right again: only cold queries read them. */
import { hash } from "node:crypto";
import { type BucketEntry, encodeBucket } from "../../../lib/segment/cluster-buckets.ts";
import { Clusters } from "../../../lib/segment/clusters.ts";
import { bytesFrom, type Forgery, type Reading } from "./forgery.ts";
import { bytesOf, dims, type Scene, segmentOf } from "./world.ts";

/** A file taken apart. */
export interface Parts {
  readonly clusters: Clusters;
  readonly lists: Buffer[];
  readonly buckets: Buffer[];
}

export function partsOf(scene: Scene): Parts {
  const bytes = bytesOf(scene, "hnsw", "clusters.bin");
  const segment = segmentOf(scene, "hnsw");
  const head = Uint8Array.from(bytes.subarray(0, segment.files["clusters.bin"]!.head!.bytes));
  const clusters = Clusters.decode(head, "clusters.bin", { dims }, segment);
  const part = ({ start, limit }: { start: number; limit: number }) =>
    Buffer.from(bytes.subarray(start, limit));
  return {
    clusters,
    lists: Array.from(clusters.listRows, (_, list) => part(clusters.listRange(list))),
    buckets: Array.from(clusters.bucketBytes, (_, bucket) => part(clusters.bucketRange(bucket))),
  };
}

/** With right hashes, whatever the parts are. The counts in the head stay as they are. */
export function sealed({ clusters, lists, buckets }: Parts): Buffer {
  for (const [i, bytes] of lists.entries()) clusters.listHash(i).set(hash("sha256", bytes, "buffer"));
  for (const [i, bytes] of buckets.entries()) clusters.bucketHash(i).set(hash("sha256", bytes, "buffer"));
  return Buffer.concat([clusters.bytes, ...lists, ...buckets]);
}

const clusters = (
  name: string,
  /** Changes the parts, or answers another file. */
  edit: (parts: Parts) => unknown,
  refusedBy: readonly Reading[] = ["verify"],
): Forgery => ({
  name: `clusters.bin: ${name}`,
  refusedBy,
  forge: (scene) => {
    const parts = partsOf(scene);
    return [{ kind: "hnsw", file: "clusters.bin", bytes: bytesFrom(edit(parts), () => sealed(parts)) }];
  },
});

const shapes = ["dims", "groups", "rows", "buckets", "records"] as const;
const shaped = (name: string, change: (shape: Record<string, unknown>) => unknown): Forgery =>
  clusters(`shape: ${name}`, (parts) => {
    const { bytes } = parts.clusters;
    const shape = JSON.parse(Buffer.from(bytes.subarray(0, 256)).toString()) as Record<string, unknown>;
    const text = Buffer.from(JSON.stringify(change(shape)));
    bytes.fill(0x20, 0, 256).set(text.subarray(0, 256));
    return sealed(parts);
  });

/** Where an inverted list's numbers are (docs/format.md). */
const rowsIn = ({ clusters }: Parts, list: number) => clusters.listRows[list]!;
const inLists = (
  name: string,
  edit: (bytes: Buffer, rows: number) => unknown,
  refusedBy?: readonly Reading[],
): Forgery =>
  clusters(
    `inverted lists: ${name}`,
    (parts) => {
      for (const [i, bytes] of parts.lists.entries()) edit(bytes, rowsIn(parts, i));
    },
    refusedBy,
  );
const inBuckets = (name: string, edit: (entries: BucketEntry[]) => unknown): Forgery =>
  clusters(`buckets: ${name}`, (parts) => {
    for (const [i, bytes] of parts.buckets.entries()) {
      const entries = JSON.parse(bytes.toString()) as BucketEntry[];
      const changed = edit(entries);
      parts.buckets[i] = encodeBucket((changed === undefined ? entries : changed) as BucketEntry[]);
      parts.clusters.bucketBytes[i] = parts.buckets[i]!.length;
    }
  });

export const clusterForgeries: readonly Forgery[] = [
  ...shapes.flatMap((field) =>
    [0, 1, -1, 2 ** 31, 1e300, "x"].map((value) =>
      shaped(`${field}: ${value}`, (shape) => ({ ...shape, [field]: value })),
    ),
  ),
  shaped("an older format", (shape) => ({ ...shape, format: 0 })),
  shaped("a list", () => []),
  shaped("nothing", () => null),
  clusters("zeros", (parts) => Buffer.alloc(sealed(parts).length)),
  clusters("ones", (parts) => Buffer.alloc(sealed(parts).length, 0xff)),
  clusters("its last byte missing", (parts) => sealed(parts).subarray(0, -1)),
  clusters("a byte more", (parts) => Buffer.concat([sealed(parts), Buffer.alloc(1)])),
  clusters("its head alone", ({ clusters: { bytes } }) => Buffer.from(bytes)),
  clusters("nothing", () => Buffer.alloc(0)),
  clusters("an inverted list of 2^32 - 1 rows", (parts) =>
    parts.clusters.listRows.fill(2 ** 32 - 1, 0, 0 + 1),
  ),
  clusters("inverted lists whose rows are another's", ({ clusters: { listRows } }) => {
    const most = listRows.indexOf(Math.max(...listRows));
    listRows[most]! -= 1;
    listRows[(most + 1) % listRows.length]! += 1;
  }),
  clusters("a bucket of 4 GB", (parts) => parts.clusters.bucketBytes.fill(2 ** 32 - 1, 0, 0 + 1)),
  clusters("a bucket of 2^32 - 1 records", (parts) =>
    parts.clusters.bucketRecords.fill(2 ** 32 - 1, 0, 0 + 1),
  ),
  clusters("buckets whose records are another's", ({ clusters: { bucketRecords } }) => {
    bucketRecords[0]! -= 1;
    bucketRecords[1]! += 1;
  }),
  clusters("buckets whose bytes are another's", ({ clusters: { bucketBytes } }) => {
    bucketBytes[0]! -= 1;
    bucketBytes[1]! += 1;
  }),
  clusters("no fingerprints", (parts) => parts.clusters.fingerprints.fill(0)),
  ...[Number.NaN, Number.POSITIVE_INFINITY].map((value) =>
    clusters(`a centroid of ${value}`, (parts) => parts.clusters.centroids.fill(value, 3, 3 + 1)),
  ),
  ...[Number.NaN, Number.NEGATIVE_INFINITY, 3e38].flatMap((value) => {
    // Residual codes that are numbers are believed: they choose which rows are looked at, and answer nothing themselves.
    const refusedBy: readonly Reading[] = Number.isFinite(value) ? [] : ["verify"];
    const fill = (first: number) => (bytes: Buffer, rows: number) => {
      for (let row = 0; row < rows; row++) bytes.writeFloatLE(value, (first * rows + row) * 4);
    };
    return [
      inLists(`scales of ${value}`, fill(0), refusedBy),
      inLists(`squared distances of ${value}`, fill(1), refusedBy),
    ];
  }),
  inLists("labels above the last", (bytes, rows) => {
    for (let row = 0; row < rows; row++) bytes.writeUInt32LE(420 + row, (2 * rows + row) * 4);
  }),
  inLists("labels of all ones", (bytes, rows) => bytes.fill(0xff, 8 * rows, 12 * rows)),
  inLists("one label for all", (bytes, rows) => bytes.fill(0, 8 * rows, 12 * rows)),
  inLists("hashes of other ids", (bytes, rows) => bytes.fill(0xff, 12 * rows, 16 * rows)),
  inBuckets("nothing", () => null),
  inBuckets("an object", () => ({ length: 3 })),
  inBuckets("no records", () => []),
  inBuckets("lists of nothing", (entries) => entries.map(() => null)),
  inBuckets("records of nothing", (entries) => entries.map(() => [])),
  ...[null, -1, 1.5, "x", 2 ** 32, 419].map((value) =>
    inBuckets(`labels ${JSON.stringify(value)}`, (entries) => entries.map(([, ...rest]) => [value, ...rest])),
  ),
  ...Array.from({ length: 7 }, (_, i) => i + 1).flatMap((column) =>
    [null, 2 ** 40, []].map((value) =>
      inBuckets(`${JSON.stringify(value)} in column ${column}`, (entries) =>
        entries.map((entry) => (entry as unknown[]).toSpliced(column, 1, value)),
      ),
    ),
  ),
  inBuckets("documents of others", (entries) => {
    return entries.map((entry) => (entry as unknown[]).toSpliced(5, 1, "another"));
  }),
  clusters("buckets: lists within lists", (parts) => {
    for (const [i] of parts.buckets.entries()) {
      parts.buckets[i] = Buffer.from("[".repeat(5_000) + "]".repeat(5_000));
      parts.clusters.bucketBytes[i] = parts.buckets[i].length;
    }
  }),
];
