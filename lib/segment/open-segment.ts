/**
 * An open segment: the files of one immutable segment, verified and loaded, ready to be searched.
 *
 * It is immutable, and shared between views. Which of its rows are alive in a view (those of which no other segment of
 * the view holds a later write) is the view's to say: it hands its `Alive` to every search. Everything here but opening
 * is synchronous.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import type { Segment } from "../core/format/manifest.ts";
import type { Collection } from "../core/model/collection.ts";
import { corrupt } from "../core/model/errors.ts";
import type { Filter } from "../core/model/filter.ts";
import type { Condition } from "../core/model/filter-cost.ts";
import { compareOrder, isOrder, isWord, type RowOrder } from "../core/model/row.ts";
import { normalised, vectorProblem } from "../core/model/vector.ts";
import { openCheckedRecords } from "./check-records.ts";
import { VectorFile } from "./files.ts";
import { entriesToSql, filterToSql } from "./filter-sql.ts";
import { exactRows, Graph, type Hit } from "./graph.ts";
import { OpenRecords, RecordsPool } from "./open-records.ts";
import { arraysOf, damageOf, isTextOrNull, orderOf, recordsUri, type StoredRow } from "./records-db.ts";
import { efFor, efsBeforeExact, visitsMax } from "./search-cost.ts";

/** Filters whose labels are kept per segment. */
const cachedFiltersMax = 16;

/** The rows of a segment that are alive in a view. */
export interface Alive {
  readonly rows: number;
  /** A byte for each label, 1 where it is alive; null when every slot of the segment is. */
  readonly bytes: Uint8Array | null;
}

export interface FoundRow extends RowOrder {
  readonly label: number | null;
}

type AnswerColumns = [id: string, version: number, document: string | null, metadata: string | null];

interface Query {
  readonly query: Float32Array;
  readonly k: number;
}

/** What of a row goes into an answer. */
export type AnswerRow = Omit<StoredRow, "delta" | "row">;

export class OpenSegment {
  readonly segment: Segment;
  /** Where its files are. */
  readonly folder: string;
  /** Every row it holds: all slots but those that a merge left dead. */
  readonly held: Alive;
  readonly #collection: Collection;
  readonly #records: OpenRecords;
  /** Packed, of unit length for cosine: flat segments only. */
  readonly #vectors: Float32Array | null;
  readonly #graph: Graph | null;
  readonly #filters = new Map<string, Uint32Array>();
  /** Each label's place in the order of ids; null until a query needs it. */
  #ranks: Uint32Array | null = null;

  private constructor(
    folder: string,
    collection: Collection,
    segment: Segment,
    parts: { records: OpenRecords; graph: Graph | null },
  ) {
    this.segment = segment;
    this.folder = folder;
    this.#collection = collection;
    this.#records = parts.records;
    this.#graph = parts.graph;
    this.#vectors = parts.graph === null ? residentVectors(folder, collection, segment.slots) : null;
    this.held = { rows: segment.rows, bytes: segment.rows === segment.slots ? null : this.#heldBytes() };
  }

  /**
   * `folder` holds the segment's files once they have `arrived`; their hashes were checked. Throws `corrupt` when they do not
   * fit together, and what `arrived` throws.
   */
  static async open(
    folder: string,
    collection: Collection,
    segment: Segment,
    {
      arrived = Promise.resolve(),
      pool = new RecordsPool(1),
    }: { arrived?: Promise<void>; pool?: RecordsPool } = {},
  ): Promise<OpenSegment> {
    let graph: Graph | null = null;
    let records: OpenRecords | null = null;
    try {
      if (segment.kind === "hnsw")
        graph = await Graph.load(join(folder, "index.hnsw"), collection, segment.slots, arrived);
      await arrived;
      (await openCheckedRecords(join(folder, "records.db"), collection, segment)).close();
      records = new OpenRecords(join(folder, "records.db"), pool);
      return new OpenSegment(folder, collection, segment, { records, graph });
    } catch (error) {
      records?.close();
      graph?.close();
      throw error;
    }
  }

  close(): void {
    this.#records.close();
    this.#graph?.close();
  }

  /** Of its records, for another database to attach. */
  get recordsUri(): string {
    return recordsUri(join(this.folder, "records.db")).href;
  }

  #heldBytes(): Uint8Array {
    const bytes = new Uint8Array(this.segment.slots);
    const labels = this.#labels("SELECT json_group_array(label) FROM rows", []);
    if (labels.length !== this.segment.rows)
      throw corrupt(
        join(this.folder, "records.db"),
        `it has ${labels.length} labels of ${this.segment.rows} rows`,
      );
    for (const label of labels) bytes[label] = 1;
    return bytes;
  }

  /**
   * For each id in both segments: which side's row is older, and therefore dead. Runs inside SQLite, from the smaller
   * segment's ids into the larger one's index. The same write in both (a redelivery) is dead in `other`.
   */
  shadows(other: OpenSegment): { mine: number[]; theirs: number[] } {
    return this.#read(() => this.#shadows(other));
  }

  #shadows(other: OpenSegment): { mine: number[]; theirs: number[] } {
    const mine: number[] = [];
    const theirs: number[] = [];
    const { db } = this.#records;
    db.prepare("ATTACH DATABASE ? AS other").run(other.recordsUri);
    try {
      const size = (s: OpenSegment) => s.segment.rows + s.segment.tombstones;
      const [small, large] = size(other) <= size(this) ? ["other", "main"] : ["main", "other"];
      const pairs = (a: string, b: string) =>
        arraysOf(
          db,
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
      db.exec("DETACH DATABASE other");
    }
    return { mine, theirs };
  }

  /** What is alive when these labels, and those that are not alive in `before`, are dead. */
  without(before: Alive, labels: readonly number[]): Alive {
    if (labels.length === 0) return before;
    const bytes = before.bytes?.slice() ?? new Uint8Array(this.segment.slots).fill(1);
    let rows = before.rows;
    for (const label of labels) {
      const was = bytes[label];
      if (was === undefined) throw corrupt(join(this.folder, "records.db"), `it has label ${label}`);
      rows -= was;
      bytes[label] = 0;
    }
    return { rows, bytes };
  }

  /** Live labels that a filter accepts, ascending. */
  matching(filter: Filter, { bytes }: Alive): Uint32Array {
    const labels = this.#labelsOf(filter);
    return bytes === null ? labels : labels.filter((label) => bytes[label] === 1);
  }

  /**
   * The k nearest live rows, nearest first, equally near ones in the order of their ids; fewer only when there are fewer.
   * `query` is of unit length for cosine. `labels` (ascending, live) restricts the search.
   */
  nearest(query: Float32Array, k: number, alive: Alive, labels: Uint32Array | null): Hit[] {
    const rows = labels?.length ?? alive.rows;
    const wanted = Math.min(k, rows);
    if (wanted === 0) return [];
    // Ids are looked at only where the cut goes through rows that are equally near, which one more than wanted tells.
    const asked = { query, k: Math.min(wanted + 1, rows) };
    const hits = this.#find(asked, alive, labels);
    if (this.#ranks === null && hits[wanted]?.distance === hits[wanted - 1]!.distance) {
      this.#ranks = this.#read(() => ranksOf(this.#records.db, this.segment.slots));
      return this.#find(asked, alive, labels).slice(0, wanted);
    }
    return hits.slice(0, wanted);
  }

  #find(asked: Query, alive: Alive, labels: Uint32Array | null): Hit[] {
    return (
      (this.#graph === null
        ? null
        : labels === null
          ? this.#byGraph(this.#graph, asked, alive)
          : this.#matchesByGraph(this.#graph, asked, alive, labels)) ?? this.#exactly(asked, alive, labels)
    );
  }

  /** Null where exact search should answer. */
  #byGraph(graph: Graph, { query, k }: Query, { rows, bytes }: Alive): Hit[] | null {
    const ef = efFor(k, this.#collection.index.efSearch);
    const visits = visitsMax(rows);
    // Dead rows are walked through, and not counted.
    if ((ef * this.segment.slots) / rows > visits) return null;
    const asked = { k, ef, visitsMax: visits, accepted: bytes, ranks: this.#ranks };
    const hits = graph.search(query, asked);
    // After much deleting, a search now and then finds fewer than there are.
    return hits?.length === k ? hits : null;
  }

  /** Of a graph's `labels`, what it finds anyway, as long as enough of that is among them. */
  #matchesByGraph(graph: Graph, { query, k }: Query, { bytes }: Alive, labels: Uint32Array): Hit[] | null {
    const { slots } = this.segment;
    const search = { wanted: k, matching: labels.length, slots, efSearch: this.#collection.index.efSearch };
    for (const ef of efsBeforeExact(search)) {
      const asked = { k: ef, ef, visitsMax: visitsMax(slots), accepted: bytes, ranks: this.#ranks };
      const hits = graph.search(query, asked);
      if (hits === null) return null;
      const matches = hits.filter(({ label }) => holds(labels, label));
      if (matches.length >= k) return matches.slice(0, k);
    }
    return null;
  }

  #exactly({ query, k }: Query, { bytes }: Alive, labels: Uint32Array | null): Hit[] {
    const ranks = this.#ranks;
    if (this.#graph !== null) return this.#graph.exact(query, { k, ranks }, labels ?? this.#labelsIn(bytes));
    const scanned = labels ?? (bytes === null ? null : this.#labelsIn(bytes));
    return exactRows(this.#vectors!, this.#collection.metric, { query, k, ranks, labels: scanned });
  }

  #labelsIn(bytes: Uint8Array | null): Uint32Array {
    const all = Uint32Array.from({ length: this.segment.slots }, (_, label) => label);
    return bytes === null ? all : all.filter((label) => bytes[label] === 1);
  }

  get rows(): number {
    return this.segment.rows;
  }

  /** Whether the labels of a filter are kept: then it costs nothing. */
  hasLabelsOf(filter: Filter): boolean {
    return this.#filters.has(filterKey(filter));
  }

  /** Entries of the condition's list field that equal one of its values; at most `max` are counted. */
  countEntries(condition: Condition, max: number): number {
    const { sql, parameters } = entriesToSql(condition);
    return this.#read(
      () => (arraysOf(this.#records.db, sql).get(...parameters, max) as unknown as [number])[0],
    );
  }

  #labelsOf(filter: Filter): Uint32Array {
    const key = filterKey(filter);
    const known = this.#filters.get(key);
    if (known) return known;
    const { sql, parameters } = filterToSql(filter);
    const labels = this.#labels(`SELECT json_group_array(label) FROM rows WHERE ${sql}`, parameters);
    if (this.#filters.size >= cachedFiltersMax) this.#filters.delete(this.#filters.keys().next().value!);
    this.#filters.set(key, labels);
    return labels;
  }

  /** The labels that a query gives as one JSON text, which is read three times as fast as a row for each. Ascending. */
  #labels(sql: string, parameters: readonly (string | number)[]): Uint32Array {
    return this.#read(() => {
      const [json] = arraysOf(this.#records.db, sql).get(...parameters) as unknown as [string];
      const labels = Uint32Array.from(JSON.parse(json) as number[]).sort();
      if (labels.some((label, i) => label >= this.segment.slots || label === labels[i - 1]))
        throw new Error(`it has a label twice, or one above its ${this.segment.slots} vectors`);
      return labels;
    });
  }

  /** Reads records.db. */
  #read<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw damageOf(join(this.folder, "records.db"), error);
    }
  }

  /** The row or tombstone of an id, dead or alive; null when the segment has none. */
  find(id: string): FoundRow | null {
    return this.#read(() => {
      const found = this.#records.selectOrder.get(id) as unknown as FoundRow | undefined;
      if (found === undefined) return null;
      const { label } = found;
      if (!isOrder(found) || !isWord(label ?? 0) || (label ?? 0) >= Math.max(1, this.segment.slots))
        throw new Error(`the row of an id has label ${label}, or an order of another type`);
      return found;
    });
  }

  idOf(label: number): string {
    return this.#read(() => {
      const id = (this.#records.selectId.get(label) as unknown as [string] | undefined)?.[0];
      if (typeof id !== "string") throw new Error(`it has no row ${label}`);
      return id;
    });
  }

  row(label: number, { document: wanted }: { document: boolean }): AnswerRow {
    return this.#read(() => {
      const row = this.#records.selectRow.get(label, Number(wanted)) as unknown as AnswerColumns | undefined;
      if (row === undefined) throw new Error(`it has no row ${label}`);
      const [id, version, document, metadata] = row;
      if (
        typeof id !== "string" ||
        typeof version !== "number" ||
        !isTextOrNull(document) ||
        !isTextOrNull(metadata)
      )
        throw new Error(`row ${label} has columns of other types`);
      return { label, id, version, document, metadata };
    });
  }

  /** The vector as searches see it: unit length for cosine. */
  searchVector(label: number): Float32Array {
    const { dims } = this.#collection;
    return this.#graph?.row(label) ?? this.#vectors!.slice(label * dims, (label + 1) * dims);
  }

  /** The vector as it was given; the caller has seen to it that vectors.f32 is in the folder. */
  givenVector(label: number): Float32Array {
    const vectors = new VectorFile(join(this.folder, "vectors.f32"), this.#collection.dims);
    try {
      const vector = vectors.rows(label, label + 1);
      const problem = vectorProblem(this.#collection, vector);
      if (problem !== null) throw corrupt(join(this.folder, "vectors.f32"), `row ${label} ${problem}`);
      return vector;
    } finally {
      vectors.close();
    }
  }
}

const filterKey = (filter: Filter): string => JSON.stringify(filter);

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

/** The place of each label's row in the order of ids, by their UTF-8 bytes: SQLite's own order of texts. */
function ranksOf(db: DatabaseSync, slots: number): Uint32Array {
  const sql = "SELECT json_group_array(label) FROM (SELECT label FROM rows ORDER BY id)";
  const [json] = arraysOf(db, sql).get() as unknown as [string];
  const ranks = new Uint32Array(slots);
  (JSON.parse(json) as number[]).forEach((label, rank) => {
    ranks[label] = rank;
  });
  return ranks;
}

function residentVectors(folder: string, collection: Collection, slots: number): Float32Array {
  const { dims, metric } = collection;
  const path = join(folder, "vectors.f32");
  const bytes = readFileSync(path);
  if (bytes.length !== slots * dims * 4)
    throw corrupt(path, `it has ${bytes.length} bytes for ${slots} × ${dims}`);
  const vectors = new Float32Array(bytes.buffer, bytes.byteOffset, slots * dims);
  const searched = metric === "cosine" ? new Float32Array(vectors.length) : vectors;
  for (let start = 0; start < vectors.length; start += dims) {
    const vector = vectors.subarray(start, start + dims);
    const problem = vectorProblem(collection, vector);
    if (problem !== null) throw corrupt(path, `row ${start / dims} ${problem}`);
    if (metric === "cosine") searched.set(normalised(vector), start);
  }
  return searched;
}
