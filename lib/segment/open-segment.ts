/**
 * An open segment: the files of one immutable segment, verified and loaded, ready to be searched.
 *
 * A label is dead when a newer segment of the view holds a later write of its id; `setDead` says which. Everything
 * here but opening is synchronous, so that a search never sees half a change of view.
 */
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Collection } from "../core/collection.ts";
import type { Filter } from "../core/filter.ts";
import { filterToSql } from "../core/filter-sql.ts";
import type { Segment } from "../core/manifest.ts";
import { compareOrder, type RowOrder } from "../core/record.ts";
import { ExactSearch, normalised } from "./exact.ts";
import { VectorFile } from "./files.ts";
import { Graph, vectorsOfGraph } from "./graph.ts";
import type { Hit } from "./nearest.ts";
import { openRecords, type StoredRow } from "./records-db.ts";
import { preferExact } from "./search-cost.ts";

/** Filters whose labels are kept per segment. */
const cachedFiltersMax = 16;

/** A query vector in the forms that the two kinds of search take; unit length for cosine. */
export interface QueryVector {
  readonly floats: Float32Array;
  readonly numbers: number[];
}
export function queryVector(metric: Collection["metric"], vector: Float32Array): QueryVector {
  const floats = metric === "cosine" ? normalised(vector) : vector;
  return { floats, numbers: Array.from(floats) };
}

export interface FoundRow extends RowOrder {
  readonly label: number | null;
}

export class OpenSegment {
  readonly segment: Segment;
  /** Where its files are. */
  readonly folder: string;
  readonly #collection: Collection;
  readonly #db: DatabaseSync;
  readonly #graph: Graph | null;
  readonly #fd: number | null;
  readonly #exact: ExactSearch;
  /** 1 where a label holds no row, or a row that is dead in the current view. */
  readonly #dead: Uint8Array;
  readonly #filters = new Map<string, Uint32Array>();
  #liveRows: number;

  private constructor(
    folder: string,
    collection: Collection,
    segment: Segment,
    parts: { db: DatabaseSync; graph: Graph | null },
  ) {
    this.segment = segment;
    this.folder = folder;
    this.#collection = collection;
    this.#db = parts.db;
    this.#graph = parts.graph;
    const { dims, metric } = collection;
    if (segment.kind === "hnsw") {
      const path = join(folder, "index.hnsw");
      this.#fd = openSync(path, "r");
      this.#exact = new ExactSearch({
        dims,
        metric,
        rows: segment.slots,
        file: vectorsOfGraph(path, this.#fd, dims),
      });
    } else {
      this.#fd = null;
      this.#exact = new ExactSearch({
        dims,
        metric,
        rows: segment.slots,
        vectors: residentVectors(folder, collection),
      });
    }
    this.#liveRows = segment.rows;
    this.#dead = new Uint8Array(segment.slots);
    if (segment.rows === segment.slots) return;
    this.#dead.fill(1);
    for (const [label] of arraysOf(this.#db, "SELECT label FROM rows").iterate() as Iterable<number[]>)
      this.#dead[label!] = 0;
  }

  /** `folder` holds the segment's files; their hashes were checked. Throws `corrupt` when they do not fit together. */
  static async open(folder: string, collection: Collection, segment: Segment): Promise<OpenSegment> {
    const db = openRecords(join(folder, "records.db"));
    try {
      const graph =
        segment.kind === "hnsw"
          ? await Graph.load(join(folder, "index.hnsw"), collection, segment.slots)
          : null;
      return new OpenSegment(folder, collection, segment, { db, graph });
    } catch (error) {
      db.close();
      throw error;
    }
  }

  get liveRows(): number {
    return this.#liveRows;
  }

  close(): void {
    this.#db.close();
    if (this.#fd !== null) closeSync(this.#fd);
  }

  /**
   * For each id in both segments: which side's row is older, and therefore dead. Runs inside SQLite, from the smaller
   * segment's ids into the larger one's index. The same write in both (a redelivery) is dead in `other`.
   */
  shadows(other: OpenSegment): { mine: number[]; theirs: number[] } {
    const mine: number[] = [];
    const theirs: number[] = [];
    this.#db.prepare("ATTACH DATABASE ? AS other").run(join(other.folder, "records.db"));
    try {
      const size = (s: OpenSegment) => s.segment.rows + s.segment.tombstones;
      const [small, large] = size(other) <= size(this) ? ["other", "main"] : ["main", "other"];
      const pairs = (a: string, b: string) =>
        arraysOf(
          this.#db,
          `SELECT a.label, a.version, a.delta, a.row, b.label, b.version, b.delta, b.row FROM
               (SELECT ${a === "rows" ? "label" : "NULL AS label"}, id, version, delta, row FROM ${small}.${a}) a CROSS JOIN
               (SELECT ${b === "rows" ? "label" : "NULL AS label"}, id, version, delta, row FROM ${large}.${b}) b ON a.id = b.id`,
        ).iterate() as Iterable<unknown[]>;
      const [inSmall, inLarge] = small === "main" ? [mine, theirs] : [theirs, mine];
      for (const [a, b] of [
        ["rows", "rows"],
        ["rows", "tombstones"],
        ["tombstones", "rows"],
      ] as const) {
        for (const pair of pairs(a, b)) {
          const order = compareOrder(orderOf(pair, 1), orderOf(pair, 5));
          const [labelSmall, labelLarge] = [pair[0] as number | null, pair[4] as number | null];
          const smallDies = order < 0 || (order === 0 && small === "other");
          if (smallDies && labelSmall !== null) inSmall.push(labelSmall);
          if (!smallDies && labelLarge !== null) inLarge.push(labelLarge);
        }
      }
    } finally {
      this.#db.exec("DETACH DATABASE other");
    }
    return { mine, theirs };
  }

  /** Makes exactly these rows dead, and every other row alive. */
  setDead(labels: ReadonlySet<number>): void {
    for (const label of labels) {
      if (this.#dead[label] === 1) continue;
      this.#dead[label] = 1;
      this.#graph?.markDeleted(label);
    }
    for (const label of this.#shadowed) {
      if (labels.has(label)) continue;
      this.#dead[label] = 0;
      this.#graph?.unmarkDeleted(label);
    }
    this.#shadowed = labels;
    this.#liveRows = this.segment.rows - labels.size;
  }
  #shadowed: ReadonlySet<number> = new Set();

  /** Live labels that a filter accepts, ascending. */
  matching(filter: Filter): Uint32Array {
    const labels = this.#labelsOf(filter);
    return this.#shadowed.size === 0 ? labels : labels.filter((label) => this.#dead[label] === 0);
  }

  /**
   * The k nearest live rows, nearest first; fewer only when there are fewer. `labels` (ascending, live) restricts the
   * search; `except` are labels that must not come back although they are alive in this view.
   */
  nearest(query: QueryVector, k: number, labels: Uint32Array | null, except: ReadonlySet<number>): Hit[] {
    const live = labels === null ? this.#liveRows : labels.length;
    const wanted = Math.min(k + except.size, live);
    if (wanted === 0) return [];
    const hits =
      this.#graph === null
        ? this.#exactly(query, wanted, labels)
        : this.#byGraph(this.#graph, query, wanted, labels);
    return (except.size === 0 ? hits : hits.filter((hit) => !except.has(hit.label))).slice(0, k);
  }

  #byGraph(graph: Graph, query: QueryVector, wanted: number, labels: Uint32Array | null): Hit[] {
    const { efSearch } = this.#collection.index;
    if (labels === null) {
      const hits = graph.search(query.numbers, wanted, efSearch);
      // After much deleting, hnswlib now and then finds fewer than there are.
      if (hits.length === wanted) return hits;
      const wider = graph.search(query.numbers, wanted, efSearch * 4);
      return wider.length === wanted ? wider : this.#exactly(query, wanted, null);
    }
    if (preferExact({ matching: labels.length, slots: this.segment.slots, ef: Math.max(efSearch, wanted) })) {
      return this.#exactly(query, wanted, labels);
    }
    const accepted = new Uint8Array(this.segment.slots);
    for (const label of labels) accepted[label] = 1;
    const hits = graph.search(query.numbers, wanted, efSearch, (label) => accepted[label] === 1);
    return hits.length === wanted ? hits : this.#exactly(query, wanted, labels);
  }

  #exactly(query: QueryVector, wanted: number, labels: Uint32Array | null): Hit[] {
    const scanned = labels ?? (this.#liveRows === this.segment.slots ? null : this.#liveLabels());
    return this.#exact.nearest(query.floats, wanted, scanned);
  }

  #liveLabels(): Uint32Array {
    const labels = new Uint32Array(this.#liveRows);
    let n = 0;
    for (let label = 0; label < this.#dead.length; label++) if (this.#dead[label] === 0) labels[n++] = label;
    return labels;
  }

  #labelsOf(filter: Filter): Uint32Array {
    const { sql, parameters } = filterToSql(filter);
    const key = JSON.stringify([sql, parameters]);
    const known = this.#filters.get(key);
    if (known) return known;
    const found = arraysOf(this.#db, `SELECT label FROM rows WHERE ${sql}`).all(...parameters) as unknown as [
      number,
    ][];
    const labels = Uint32Array.from(found, ([label]) => label).sort();
    if (this.#filters.size >= cachedFiltersMax) this.#filters.delete(this.#filters.keys().next().value!);
    this.#filters.set(key, labels);
    return labels;
  }

  /** The row or tombstone of an id, dead or alive; null when the segment has none. */
  find(id: string): FoundRow | null {
    const row = this.#db.prepare("SELECT label, version, delta, row FROM rows WHERE id = ?").get(id);
    const found =
      row ??
      this.#db.prepare("SELECT NULL AS label, version, delta, row FROM tombstones WHERE id = ?").get(id);
    return (found as unknown as FoundRow | undefined) ?? null;
  }

  isDead(label: number): boolean {
    return this.#dead[label] === 1;
  }

  row(label: number): StoredRow {
    const select = this.#db.prepare(
      "SELECT label, id, version, delta, row, document, metadata FROM rows WHERE label = ?",
    );
    return select.get(label) as unknown as StoredRow;
  }

  /** The vector as searches see it: unit length for cosine. */
  searchVector(label: number): Float32Array {
    return this.#exact.row(label);
  }

  /** The vector as it was given; the caller has seen to it that vectors.f32 is in the folder. */
  givenVector(label: number): Float32Array {
    const vectors = new VectorFile(join(this.folder, "vectors.f32"), this.#collection.dims);
    try {
      return vectors.at(label).slice();
    } finally {
      vectors.close();
    }
  }
}

function arraysOf(db: DatabaseSync, sql: string): StatementSync {
  const statement = db.prepare(sql);
  statement.setReturnArrays(true);
  return statement;
}

const orderOf = (pair: unknown[], at: number): RowOrder => ({
  version: pair[at] as number,
  delta: pair[at + 1] as string,
  row: pair[at + 2] as number,
});

function residentVectors(folder: string, { dims, metric }: Collection): Float32Array {
  const bytes = readFileSync(join(folder, "vectors.f32"));
  const vectors = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  if (metric !== "cosine") return vectors;
  const units = new Float32Array(vectors.length);
  for (let start = 0; start < vectors.length; start += dims)
    units.set(normalised(vectors.subarray(start, start + dims)), start);
  return units;
}
