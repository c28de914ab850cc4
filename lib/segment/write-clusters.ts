/**
 * Writes clusters.bin (lib/segment/clusters.ts) beside a segment's records.db and vectors.f32, from what those files hold:
 * every live row into its cluster's inverted list, and every record into its id's bucket.
 */
import { hash } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import type { FileEntry } from "../core/format/manifest.ts";
import { digestBytes, digestOf } from "../core/format/row-checksum.ts";
import type { Collection, Metric } from "../core/model/collection.ts";
import { normalise } from "../core/model/vector.ts";
import { type BucketEntry, encodeBucket } from "./cluster-buckets.ts";
import type { Clustering } from "./clustering.ts";
import { bucketsFor, Clusters } from "./clusters.ts";
import { hashFile, Opened, shortageIn, VectorFile } from "./files.ts";
import { bucketOfHash, idHash } from "./id-hash.ts";
import { encodeInvertedList } from "./inverted-list.ts";
import { arraysOf, openRecords, type StoredTombstone, storedTombstones } from "./records-db.ts";

/** A cluster of more rows (the same vector very often, say) becomes several inverted lists, as each is fetched whole. */
const listRowsMaxOverMean = 4;
/** Rows between two checkpoints, so that leases are extended and deadlines seen. */
const checkpointRows = 1024;

/** The file's entry for the manifest. Clusters and digests are those of the rows by label. `checkpoint` is awaited between slices of work and may throw to stop. */
export async function writeClusters(
  folder: string,
  collection: Pick<Collection, "dims" | "metric">,
  clustering: Clustering,
  digests: Buffer,
  checkpoint: () => Promise<void>,
): Promise<FileEntry> {
  const opened = new Opened();
  try {
    const writer = new Writer(folder, collection, { opened, checkpoint });
    await writer.writeInvertedLists(clustering);
    await writer.writeBuckets(digests);
    writer.writeHead();
    opened.close();
    return { ...(await hashFile(writer.path)), head: writer.headEntry };
  } finally {
    opened.close();
  }
}

class Writer {
  readonly path: string;
  readonly #db: DatabaseSync;
  readonly #vectors: VectorFile;
  readonly #fd: number;
  readonly #dims: number;
  readonly #metric: Metric;
  readonly #checkpoint: () => Promise<void>;
  /** Live labels, ascending, and the hash of the id of each. */
  readonly #labels: Uint32Array;
  readonly #idHashes: Uint32Array;
  readonly #fingerprints: Uint16Array;
  readonly #tombstones: readonly StoredTombstone[];
  #head!: Clusters;
  #end = 0;
  #sinceCheckpoint = 0;

  constructor(
    folder: string,
    { dims, metric }: Pick<Collection, "dims" | "metric">,
    { opened, checkpoint }: { readonly opened: Opened; readonly checkpoint: () => Promise<void> },
  ) {
    this.path = join(folder, "clusters.bin");
    this.#db = opened.add(openRecords(join(folder, "records.db")));
    this.#vectors = opened.add(new VectorFile(join(folder, "vectors.f32"), dims));
    const fd = openSync(this.path, "wx");
    opened.add({ close: () => closeSync(fd) });
    this.#fd = fd;
    this.#dims = dims;
    this.#metric = metric;
    this.#checkpoint = checkpoint;
    this.#tombstones = [...storedTombstones(this.#db)];
    const { rows } = this.#db.prepare("SELECT count(*) AS rows FROM rows").get() as { rows: number };
    const records = rows + this.#tombstones.length;
    this.#labels = new Uint32Array(rows);
    this.#idHashes = new Uint32Array(records);
    this.#fingerprints = new Uint16Array(records);
    let at = 0;
    const meet = (id: string) => {
      const { high, fingerprint } = idHash(id);
      this.#idHashes[at] = high;
      this.#fingerprints[at++] = fingerprint;
    };
    for (const row of this.#db.prepare("SELECT label, id FROM rows ORDER BY label").iterate()) {
      this.#labels[at] = row.label as number;
      meet(row.id as string);
    }
    for (const { id } of this.#tombstones) meet(id);
  }

  get headEntry(): { bytes: number; sha256: string } {
    return { bytes: this.#head.bytes.length, sha256: hash("sha256", this.#head.bytes, "hex") };
  }

  async writeInvertedLists({ centroids: clusters, clusterOf: clusterOfLabel }: Clustering): Promise<void> {
    const dims = this.#dims;
    const clusterOf = this.#labels.map((label) => clusterOfLabel[label]!);
    const count = clusters.length / dims;
    const rowsMax = Math.ceil(clusterOf.length / count) * listRowsMaxOverMean;
    const lists = [...partition(clusterOf, count, this.#byId())].flatMap(([cluster, members]) =>
      Array.from({ length: Math.ceil(members.length / rowsMax) }, (_, part) => ({
        centroid: clusters.subarray(cluster * dims, (cluster + 1) * dims),
        members: members.subarray(part * rowsMax, (part + 1) * rowsMax),
      })),
    );
    const [rows, records] = [this.#labels.length, this.#idHashes.length];
    const buckets = bucketsFor(records);
    this.#head = Clusters.create({ dims, groups: lists.length, rows, buckets, records });
    this.#end = this.#head.bytes.length;
    for (const [list, { centroid, members }] of lists.entries()) {
      await this.#rest(members.length);
      const labels = members.map((i) => this.#labels[i]!);
      const idHashes = members.map((i) => this.#idHashes[i]!);
      const bytes = encodeInvertedList(centroid, this.#searched(labels), labels, idHashes);
      this.#head.centroids.set(centroid, list * dims);
      this.#head.listRows[list] = members.length;
      this.#head.listHash(list).set(hash("sha256", bytes, "buffer"));
      this.#append(bytes);
    }
  }

  async writeBuckets(digests: Buffer): Promise<void> {
    const { shape, fingerprints, bucketBytes, bucketRecords } = this.#head;
    const bucketOf = Uint32Array.from(this.#idHashes, (high) => bucketOfHash(high, shape.buckets));
    const select = arraysOf(
      this.#db,
      "SELECT label, id, version, delta, row, document, metadata FROM rows WHERE label = ?",
    );
    let met = 0;
    for (const [bucket, members] of partition(bucketOf, shape.buckets)) {
      await this.#rest(members.length);
      const entries = Array.from(members, (i): BucketEntry => {
        fingerprints[met++] = this.#fingerprints[i]!;
        const tombstone = this.#tombstones[i - this.#labels.length];
        if (tombstone) {
          const { id, version, delta, row } = tombstone;
          const digest = digestOf({ ...tombstone, vector: null, document: null, metadata: null });
          return [null, id, version, delta, row, null, null, digest.toString("base64")];
        }
        const label = this.#labels[i]!;
        const entry = select.get(label) as unknown as BucketEntry;
        entry.push(digests.toString("base64", label * digestBytes, (label + 1) * digestBytes));
        return entry;
      });
      const bytes = encodeBucket(entries);
      bucketBytes[bucket] = bytes.length;
      bucketRecords[bucket] = entries.length;
      this.#head.bucketHash(bucket).set(hash("sha256", bytes, "buffer"));
      this.#append(bytes);
    }
  }

  writeHead(): void {
    this.#write(this.#head.bytes, 0);
  }

  /** The places of the live rows in #labels, in the order of their ids. */
  #byId(): Uint32Array {
    const placeOf = new Uint32Array((this.#labels.at(-1) ?? -1) + 1);
    this.#labels.forEach((label, place) => {
      placeOf[label] = place;
    });
    const select = arraysOf(this.#db, "SELECT label FROM rows ORDER BY id");
    return Uint32Array.from(select.iterate() as Iterable<[number]>, ([label]) => placeOf[label]!);
  }

  /** The rows of these labels as searches see them, packed. */
  #searched(labels: Uint32Array): Float32Array {
    const dims = this.#dims;
    const rows = new Float32Array(labels.length * dims);
    labels.forEach((label, row) => {
      rows.set(this.#vectors.at(label), row * dims);
      if (this.#metric === "cosine") normalise(rows.subarray(row * dims, (row + 1) * dims));
    });
    return rows;
  }

  async #rest(rows = 1): Promise<void> {
    this.#sinceCheckpoint += rows;
    if (this.#sinceCheckpoint < checkpointRows) return;
    this.#sinceCheckpoint = 0;
    await this.#checkpoint();
  }

  #append(bytes: Uint8Array): void {
    this.#write(bytes, this.#end);
    this.#end += bytes.length;
  }

  #write(bytes: Uint8Array, at: number): void {
    if (writeSync(this.#fd, bytes, 0, bytes.length, at) !== bytes.length) throw shortageIn(this.path);
  }
}

/** The indexes of each part, part after part; in each part in the order given, or ascending. */
function* partition(
  partOf: Uint32Array,
  parts: number,
  order: Uint32Array = Uint32Array.from(partOf.keys()),
): Generator<[part: number, indexes: Uint32Array]> {
  const ends = new Uint32Array(parts);
  for (const part of partOf) ends[part]! += 1;
  for (let part = 1; part < parts; part++) ends[part]! += ends[part - 1]!;
  const indexes = new Uint32Array(partOf.length);
  const next = Uint32Array.from(ends, (_, part) => ends[part - 1] ?? 0);
  for (const i of order) indexes[next[partOf[i]!]!++] = i;
  for (let part = 0; part < parts; part++) yield [part, indexes.subarray(ends[part - 1] ?? 0, ends[part])];
}
