/**
 * A graph segment whose graph has not arrived, by ranged reads of its clusters.bin and vectors.f32. What is read is verified: the
 * head by its hash in the manifest, inverted lists and buckets by theirs in the head, a row with its vector by its digest.
 */
import { hash } from "node:crypto";
import { type SegmentFile, type ShardRef, segmentKey } from "../../core/format/keys.ts";
import type { Segment } from "../../core/format/manifest.ts";
import { digestOf } from "../../core/format/row-checksum.ts";
import type { Collection } from "../../core/model/collection.ts";
import { corrupt } from "../../core/model/errors.ts";
import type { RowOrder } from "../../core/model/row.ts";
import { vectorProblem } from "../../core/model/vector.ts";
import { type ClusterRecord, decodeBucket } from "../../segment/cluster-buckets.ts";
import type { Clusters } from "../../segment/clusters.ts";
import type { NearRow } from "../../segment/inverted-list.ts";
import type { ObjectStore } from "../ports.ts";
import { fetchClusters, fetchRange } from "../shard/segment-transfer.ts";

/** Rows of the inverted lists that a query probes: this share of a segment, and never fewer than this many. */
const probedShare = 0.05;
const probedRowsLeast = 2_000;

export interface Source {
  readonly store: ObjectStore;
  readonly collection: Collection;
  readonly shard: ShardRef;
  readonly limit: <T>(work: () => Promise<T>) => Promise<T>;
}

export class ClusteredSegment {
  readonly #source: Source;
  readonly #segment: Segment;
  readonly #clusters: Clusters;

  private constructor(source: Source, segment: Segment, clusters: Clusters) {
    this.#source = source;
    this.#segment = segment;
    this.#clusters = clusters;
  }

  static async open(source: Source, segment: Segment): Promise<ClusteredSegment> {
    const { store, shard, collection } = source;
    const clusters = await source.limit(() => fetchClusters(store, shard, segment, collection));
    return new ClusteredSegment(source, segment, clusters);
  }

  get rows(): number {
    return this.#clusters.shape.rows;
  }
  get headBytes(): number {
    return this.#clusters.bytes.length;
  }

  /** The rows of the inverted lists nearest the query. */
  async near(query: Float32Array): Promise<NearRow[]> {
    const { metric } = this.#source.collection;
    const least = Math.max(probedRowsLeast, this.rows * probedShare);
    const lists = this.#clusters.nearestLists(query, metric, least);
    const found = lists.map(async (list) => {
      const bytes = await this.#fetch("clusters.bin", this.#clusters.listRange(list));
      this.#check(bytes, this.#clusters.listHash(list), `inverted list ${list}`);
      return this.#decoded(() => this.#clusters.near(list, bytes, query, metric));
    });
    return (await Promise.all(found)).flat();
  }

  async row({ label, bucket }: NearRow): Promise<{ record: ClusterRecord; vector: Float32Array }> {
    const { collection } = this.#source;
    const start = label * collection.dims * 4;
    if (label >= this.#segment.slots) throw corrupt(this.#key("clusters.bin"), `it has label ${label}`);
    const [records, bytes] = await Promise.all([
      this.#bucket(bucket),
      this.#fetch("vectors.f32", { start, limit: start + collection.dims * 4 }),
    ]);
    const record = records.find((one) => one.label === label);
    const vector = new Float32Array(Uint8Array.from(bytes).buffer);
    if (record === undefined || digestOf({ ...record, vector }).toString("base64") !== record.digest)
      throw corrupt(this.#key("vectors.f32"), `row ${label} is not the one that clusters.bin describes`);
    const problem = vectorProblem(collection, vector);
    if (problem !== null) throw corrupt(this.#key("vectors.f32"), `row ${label} ${problem}`);
    return { record, vector };
  }

  /** The row or tombstone of an id; null when the segment has none. */
  async find(id: string): Promise<RowOrder | null> {
    const bucket = this.#clusters.bucketOf(id);
    if (bucket === null) return null;
    return (await this.#bucket(bucket)).find((record) => record.id === id) ?? null;
  }

  async #bucket(bucket: number): Promise<ClusterRecord[]> {
    const bytes = await this.#fetch("clusters.bin", this.#clusters.bucketRange(bucket));
    this.#check(bytes, this.#clusters.bucketHash(bucket), `bucket ${bucket}`);
    return this.#decoded(() => decodeBucket(bytes, this.#clusters.bucketRecords[bucket]!));
  }

  #decoded<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw corrupt(this.#key("clusters.bin"), (error as Error).message, error);
    }
  }

  #fetch(file: SegmentFile, range: { start: number; limit: number }): Promise<Buffer> {
    return this.#source.limit(() => fetchRange(this.#source.store, this.#key(file), range));
  }

  #check(bytes: Buffer, sha256: Uint8Array, what: string): void {
    if (!hash("sha256", bytes, "buffer").equals(sha256))
      throw corrupt(this.#key("clusters.bin"), `the sha256 of ${what} is not the one in its head`);
  }

  #key(file: SegmentFile): string {
    return segmentKey(this.#source.shard, this.#segment.id, file);
  }
}
