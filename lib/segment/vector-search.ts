/**
 * The nearest of a segment's rows: by its graph where that is cheaper than exact search and finds enough, exactly otherwise
 * (search-cost.ts). Equally near rows are told apart by their ids.
 */
import type { Segment } from "../core/format/manifest.ts";
import type { Collection } from "../core/model/collection.ts";
import { exactRows, type Graph, type NearLabel } from "./graph.ts";
import { efsBeforeExact, visitsMax } from "./search-cost.ts";

/** The rows of a segment that are alive in a view. */
export interface Alive {
  readonly rows: number;
  /** A byte for each label, 1 where it is alive; null when every slot of the segment is. */
  readonly bytes: Uint8Array | null;
}

interface Query {
  readonly query: Float32Array;
  readonly k: number;
  readonly ef: number;
}

export class VectorSearch {
  readonly #collection: Collection;
  readonly #segment: Segment;
  readonly #graph: Graph | null;
  /** Packed, of unit length for cosine: flat segments only. */
  readonly #vectors: Float32Array | null;
  readonly #readRanks: () => Uint32Array;
  /** Each label's place in the order of ids; null until a query needs it. */
  #ranks: Uint32Array | null = null;

  constructor(
    collection: Collection,
    segment: Segment,
    parts: {
      readonly graph: Graph | null;
      readonly vectors: Float32Array | null;
      readonly readRanks: () => Uint32Array;
    },
  ) {
    this.#collection = collection;
    this.#segment = segment;
    this.#graph = parts.graph;
    this.#readRanks = parts.readRanks;
    this.#vectors = parts.vectors;
  }

  close(): void {
    this.#graph?.close();
  }

  /**
   * The k nearest live rows, nearest first, equally near ones in the order of their ids; fewer only when there are fewer, or a graph
   * is searched for fewer. `query` is of unit length for cosine. `labels` (ascending, live) restricts the search. `ef`: how many of the
   * nearest nodes a graph is searched for.
   */
  nearest(query: Float32Array, k: number, alive: Alive, labels: Uint32Array | null, ef: number): NearLabel[] {
    const rows = labels?.length ?? alive.rows;
    if (rows === 0 || k === 0) return [];
    const most = this.#graph === null || labels !== null ? k : Math.min(k, ef - 1);
    const wanted = Math.min(most, rows);
    // Ids are looked at only where the cut goes through rows that are equally near, which one more than wanted tells.
    const asked = { query, k: Math.min(wanted + 1, rows), ef };
    const hits = this.#find(asked, alive, labels);
    if (this.#ranks === null && hits[wanted]?.distance === hits[wanted - 1]!.distance) {
      this.#ranks = this.#readRanks();
      return this.#find(asked, alive, labels).slice(0, wanted);
    }
    return hits.slice(0, wanted);
  }

  #find(asked: Query, alive: Alive, labels: Uint32Array | null): NearLabel[] {
    return (
      (this.#graph === null
        ? null
        : labels === null
          ? this.#byGraph(this.#graph, asked, alive)
          : this.#matchesByGraph(this.#graph, asked, alive, labels)) ?? this.#exactly(asked, alive, labels)
    );
  }

  /** Null where exact search should answer. */
  #byGraph(graph: Graph, { query, k, ef }: Query, { rows, bytes }: Alive): NearLabel[] | null {
    const visits = visitsMax(rows);
    // Dead rows are walked through, and not counted.
    if ((ef * this.#segment.slots) / rows > visits) return null;
    const asked = { k, ef, visitsMax: visits, accepted: bytes, ranks: this.#ranks };
    const hits = graph.search(query, asked);
    // After much deleting, a search now and then finds fewer than there are.
    return hits?.length === k ? hits : null;
  }

  /** The k nearest of `labels` among what the graph finds without a filter; null where exact search should answer. */
  #matchesByGraph(
    graph: Graph,
    { query, k, ef: efSearch }: Query,
    { bytes }: Alive,
    labels: Uint32Array,
  ): NearLabel[] | null {
    const { slots } = this.#segment;
    const search = { wanted: k, matching: labels.length, slots, efSearch };
    for (const ef of efsBeforeExact(search)) {
      const asked = { k: ef, ef, visitsMax: visitsMax(slots), accepted: bytes, ranks: this.#ranks };
      const hits = graph.search(query, asked);
      if (hits === null) return null;
      const matches = hits.filter(({ label }) => holds(labels, label));
      if (matches.length >= k) return matches.slice(0, k);
    }
    return null;
  }

  #exactly({ query, k }: Query, { bytes }: Alive, labels: Uint32Array | null): NearLabel[] {
    const ranks = this.#ranks;
    if (this.#graph !== null) return this.#graph.exact(query, { k, ranks }, labels ?? this.#labelsIn(bytes));
    const scanned = labels ?? (bytes === null ? null : this.#labelsIn(bytes));
    return exactRows(this.#vectors!, this.#collection.metric, { query, k, ranks, labels: scanned });
  }

  #labelsIn(bytes: Uint8Array | null): Uint32Array {
    const all = new Uint32Array(this.#segment.slots);
    for (let label = 0; label < all.length; label++) all[label] = label;
    return bytes === null ? all : all.filter((label) => bytes[label] === 1);
  }

  /** A row's vector as searches see it: of unit length for cosine. */
  vector(label: number): Float32Array {
    const { dims } = this.#collection;
    return this.#graph?.row(label) ?? this.#vectors!.slice(label * dims, (label + 1) * dims);
  }
}

/** Whether `labels`, ascending, has this one. */
function holds(labels: Uint32Array, label: number): boolean {
  let [start, limit] = [0, labels.length];
  while (start < limit) {
    const middle = (start + limit) >>> 1;
    if (labels[middle]! < label) start = middle + 1;
    else limit = middle;
  }
  return labels[start] === label;
}
