/**
 * A view that answers queries before its graphs have arrived, from ranged reads of clusters.bin and vectors.f32: it probes
 * the inverted lists nearest the query, ranks their rows by residual code, and the best of them by their true vectors. Flat
 * segments are open as always. It knows what is alive by asking every other segment for the id, as View.find does.
 *
 * Answers are approximate (docs/lab/performance.md gives the recall); while a segment has no more rows than are always
 * read, only residual codes that round unusually badly can make a difference. Equally near rows are in the order of their
 * ids, as everywhere.
 */
import pLimit from "p-limit";
import type { Manifest } from "../../core/format/manifest.ts";
import type { Collection } from "../../core/model/collection.ts";
import { isKind } from "../../core/model/errors.ts";
import { compareOrder, type RowOrder } from "../../core/model/row.ts";
import { mergeTopK } from "../../core/model/top-k.ts";
import { normalised } from "../../core/model/vector.ts";
import { exactRows } from "../../segment/graph.ts";
import { isSameVector, type NearRow } from "../../segment/inverted-list.ts";
import type { AnswerRow, OpenSegment } from "../../segment/open-segment.ts";
import type { ObjectStore } from "../ports.ts";
import { ClusteredSegment } from "./clustered-segment.ts";
import type { Hit, SearchOptions, SnapshotView } from "./snapshot-view.ts";
import { View, type ViewHit } from "./view.ts";

/** Queries that want more wait for the graphs: each result costs two requests. */
export const coldTopKMax = 100;
/** Candidates ranked by their true vectors at once, beyond those asked for: residual codes rank a little differently. */
const extraCandidates = 10;
const requestsAtOnce = 48;

/** A result of a segment whose records.db is not there: its row came with it. */
class ColdHit implements Hit {
  readonly segment = null;
  readonly source = "clusters.bin";
  readonly distance: number;
  readonly #row: AnswerRow;

  constructor(row: AnswerRow, distance: number) {
    this.#row = row;
    this.distance = distance;
  }
  get id(): string {
    return this.#row.id;
  }
  row(): AnswerRow {
    return this.#row;
  }
}

export class ColdView implements SnapshotView {
  readonly warm = null;
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

  get segmentCount(): number {
    return this.manifest.segments.length;
  }

  /**
   * About the nearest live rows; null when they are fewer than `topK` and more may be further away, when there is a filter, and
   * when what it reads is damaged: the graphs may be in order.
   */
  async search(query: Float32Array, options: SearchOptions): Promise<readonly Hit[] | null> {
    if (options.filter !== null) return null;
    try {
      return await this.#nearest(query, options);
    } catch (error) {
      if (!isKind(error, "corrupt")) throw error;
      return null;
    }
  }

  async #nearest(query: Float32Array, options: SearchOptions): Promise<readonly Hit[] | null> {
    const { topK, excludeIds } = options;
    const [flats, near] = await Promise.all([
      this.#inFlats(query, options),
      Promise.all(this.#clustered.map((segment) => segment.near(query))),
    ]);
    let left = near
      .flatMap((rows, i) => rows.map((row): Candidate => ({ segment: this.#clustered[i]!, row })))
      .sort((a, b) => a.row.distance - b.row.distance);
    const excluded = new Set(excludeIds);
    const looked: Looked[] = [];
    let best = mergeTopK<Hit>([flats], topK);
    for (let wanted = topK + extraCandidates; left.length > 0; wanted *= 2) {
      const part = left.slice(0, wanted).map(async (candidate) => {
        return { candidate, hit: await this.#hitOf(query, candidate, excluded) };
      });
      looked.push(...(await Promise.all(part)));
      const hits = looked.map(({ hit }) => hit).filter((hit) => hit !== null);
      best = mergeTopK<Hit>([flats, hits], topK);
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
    return new ColdHit(answer, this.#distance(query, vector));
  }

  /** The nearest live rows of the flat segments: at least min(topK, all of them). */
  async #inFlats(query: Float32Array, options: SearchOptions): Promise<ViewHit[]> {
    const { topK } = options;
    for (let wanted = topK; ; wanted *= 2) {
      const found = this.#flats.search(query, { ...options, topK: wanted });
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
