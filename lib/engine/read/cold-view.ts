/**
 * A view that answers queries before its graphs have arrived, from ranged reads of clusters.bin and vectors.f32: it probes
 * the inverted lists nearest the query, ranks their rows by residual code, and the best of them by their true vectors. Flat
 * segments are open as always. It knows what is alive by asking every other segment for the id, as View.find does.
 *
 * Answers are approximate (docs/lab/performance.md gives the recall); while a segment has no more rows than are always
 * read, only residual codes that round unusually badly can make a difference. Equally near rows are in the order of their
 * ids, as everywhere. Everything is verified against the manifest: the head by its hash there, inverted lists and buckets
 * by theirs in the head, a row with its vector by its digest.
 */
import { hash } from "node:crypto";
import pLimit from "p-limit";
import { type SegmentFile, type ShardRef, segmentKey } from "../../core/format/keys.ts";
import type { Manifest, Segment } from "../../core/format/manifest.ts";
import { digestOf } from "../../core/format/row-checksum.ts";
import type { Collection } from "../../core/model/collection.ts";
import { corrupt } from "../../core/model/errors.ts";
import { compareOrder, type RowOrder } from "../../core/model/row.ts";
import { mergeTopK } from "../../core/model/top-k.ts";
import { normalised, vectorProblem } from "../../core/model/vector.ts";
import { type ClusterRecord, decodeBucket } from "../../segment/cluster-buckets.ts";
import { type Clusters, isSameVector, type NearRow } from "../../segment/clusters.ts";
import { exactRows } from "../../segment/graph.ts";
import type { AnswerRow, OpenSegment } from "../../segment/open-segment.ts";
import type { ObjectStore } from "../ports.ts";
import { fetchClusters, fetchRange } from "../shard/segment-transfer.ts";
import { type SearchOptions, View, type ViewHit } from "./view.ts";

/** Rows of the inverted lists that a query probes: this share of a segment, and never fewer than this many. */
const probedShare = 0.05;
const probedRowsLeast = 2_000;
/** Queries that want more wait for the graphs: each result costs two requests. */
export const coldTopKMax = 100;
/** Candidates ranked by their true vectors at once, beyond those asked for: residual codes rank a little differently. */
const extraCandidates = 10;
const requestsAtOnce = 48;

/** A result of a segment whose records.db is not there: its row came with it. */
export interface ColdHit {
  readonly id: string;
  readonly row: AnswerRow;
  readonly distance: number;
  readonly segment: null;
}

export class ColdView {
  readonly manifest: Manifest;
  readonly overlaid: readonly string[] = [];
  readonly #flats: View;
  readonly #clustered: readonly ClusteredSegment[];
  readonly #collection: Collection;

  private constructor(
    collection: Collection,
    manifest: Manifest,
    flats: readonly OpenSegment[],
    clustered: readonly ClusteredSegment[],
  ) {
    this.manifest = manifest;
    this.#collection = collection;
    this.#flats = new View(manifest, flats);
    this.#clustered = clustered;
  }

  /** Of what it has in memory beside the flat segments. */
  get bytes(): number {
    return this.#clustered.reduce((sum, { headBytes }) => sum + headBytes, 0);
  }

  /** `flats`: the manifest's flat segments, open; they must stay so. Every other segment has clusters. */
  static async open(
    store: ObjectStore,
    collection: Collection,
    manifest: Manifest,
    flats: readonly OpenSegment[],
  ): Promise<ColdView> {
    const graphs = manifest.segments.filter(({ kind }) => kind === "hnsw");
    const limit = pLimit(requestsAtOnce);
    const clustered = graphs.map((segment) =>
      ClusteredSegment.open({ store, collection, shard: manifest, limit }, segment),
    );
    return new ColdView(collection, manifest, flats, await Promise.all(clustered));
  }

  get segments(): readonly unknown[] {
    return this.manifest.segments;
  }

  /**
   * About the nearest live rows; null when they are fewer than `topK` and more may be further away. `query` is of unit
   * length for cosine.
   */
  async search(
    query: Float32Array,
    { topK, excludeIds }: Omit<SearchOptions, "filter">,
  ): Promise<(ViewHit | ColdHit)[] | null> {
    const [flats, near] = await Promise.all([
      this.#inFlats(query, topK, excludeIds),
      Promise.all(this.#clustered.map((segment) => segment.near(query))),
    ]);
    let left = near
      .flatMap((rows, i) => rows.map((row): Candidate => ({ segment: this.#clustered[i]!, row })))
      .sort((a, b) => a.row.distance - b.row.distance);
    const excluded = new Set(excludeIds);
    const looked: Looked[] = [];
    let best = mergeTopK<ViewHit | ColdHit>([flats], topK);
    for (let wanted = topK + extraCandidates; left.length > 0; wanted *= 2) {
      const part = left.slice(0, wanted).map(async (candidate) => {
        return { candidate, hit: await this.#hitOf(query, candidate, excluded) };
      });
      looked.push(...(await Promise.all(part)));
      const hits = looked.map(({ hit }) => hit).filter((hit) => hit !== null);
      best = mergeTopK<ViewHit | ColdHit>([flats, hits], topK);
      left = promising(left.slice(wanted), looked, best, topK);
    }
    const isAll = this.#clustered.every((segment, i) => near[i]!.length === segment.rows);
    return best.length === topK || isAll ? best : null;
  }

  /** A candidate by its true vector; null when it is excluded or dead. */
  async #hitOf(
    query: Float32Array,
    { segment, row }: Candidate,
    excluded: ReadonlySet<string>,
  ): Promise<ColdHit | null> {
    const { record, vector } = await segment.row(row);
    const { id, version, document, metadata } = record;
    if (excluded.has(id) || !(await this.#isAlive(id, record, segment))) return null;
    const answer = { label: row.label, id, version, document, metadata };
    return { id, row: answer, distance: this.#distance(query, vector), segment: null };
  }

  /** The nearest live rows of the flat segments: at least min(topK, all of them). */
  async #inFlats(query: Float32Array, topK: number, excludeIds: readonly string[]): Promise<ViewHit[]> {
    for (let wanted = topK; ; wanted *= 2) {
      const found = this.#flats.search(query, { topK: wanted, filter: null, excludeIds });
      const alive = await Promise.all(
        found.map(({ id, segment }) => this.#isAlive(id, segment.find(id)!, segment)),
      );
      const hits = found.filter((_, i) => alive[i]);
      // Of each segment by itself: its dead rows may hide live ones that are nearer than another's.
      const isEnough = this.#flats.segments.every((segment) => {
        const count = (of: readonly ViewHit[]) => of.filter((hit) => hit.segment === segment).length;
        return count(hits) >= topK || count(found) < wanted;
      });
      if (isEnough) return hits;
    }
  }

  /** Whether no other segment than its holder has a later write of an id than its own. */
  async #isAlive(id: string, own: RowOrder, holder: OpenSegment | ClusteredSegment): Promise<boolean> {
    const others = [...this.#flats.segments, ...this.#clustered].filter((segment) => segment !== holder);
    const found = await Promise.all(others.map((segment) => segment.find(id)));
    return found.every((other) => other === null || compareOrder(other, own) <= 0);
  }

  #distance(query: Float32Array, given: Float32Array): number {
    const { metric } = this.#collection;
    const vector = metric === "cosine" ? normalised(given) : given;
    return exactRows(vector, metric, { query, k: 1, ranks: null, labels: null })[0]!.distance;
  }
}

interface Candidate {
  readonly segment: ClusteredSegment;
  readonly row: NearRow;
}
interface Looked {
  readonly candidate: Candidate;
  readonly hit: ColdHit | null;
}

/**
 * Those of the candidates that may belong to the best `topK`, which are `best` so far. A row is not looked at when `topK` live
 * rows of its vector were: their ids are before its own.
 */
function promising(
  candidates: readonly Candidate[],
  looked: readonly Looked[],
  best: readonly { readonly distance: number }[],
  topK: number,
): Candidate[] {
  const farthest = best.length < topK ? Number.POSITIVE_INFINITY : best.at(-1)!.distance;
  const alive = Map.groupBy(
    looked.filter(({ hit }) => hit !== null).map(({ candidate }) => candidate),
    ({ row }) => row.distance,
  );
  return candidates.filter(({ segment, row }) => {
    if (row.distance - row.error > farthest) return false;
    const alike = alive
      .get(row.distance)
      ?.filter((one) => one.segment === segment && isSameVector(one.row, row));
    return (alike?.length ?? 0) < topK;
  });
}

interface Source {
  readonly store: ObjectStore;
  readonly collection: Collection;
  readonly shard: ShardRef;
  readonly limit: <T>(work: () => Promise<T>) => Promise<T>;
}

/** A graph segment, by its clusters.bin. */
class ClusteredSegment {
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
