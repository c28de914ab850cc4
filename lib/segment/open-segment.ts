/**
 * An open segment: the files of one immutable segment, verified and loaded, ready to be searched.
 *
 * It is immutable, and shared between views. Which of its rows are alive in a view (those of which no other segment of
 * the view holds a later write) is the view's to say: it hands its `Alive` to every search. Everything here but opening
 * is synchronous.
 */
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import type { Segment } from "../core/format/manifest.ts";
import type { Collection } from "../core/model/collection.ts";
import { corrupt } from "../core/model/errors.ts";
import type { Filter, FilterValue } from "../core/model/filter.ts";
import { isOrder, isWord, type RowOrder } from "../core/model/row.ts";
import { vectorProblem } from "../core/model/vector.ts";
import type { ClusterRecord } from "./cluster-buckets.ts";
import type { FieldIndexes } from "./field-index.ts";
import { VectorFile } from "./files.ts";
import { entriesOf, labelsOf } from "./filter-labels.ts";
import { quoted } from "./filter-sql.ts";
import { Graph, type NearLabel } from "./graph.ts";
import { OpenRecords, RecordsPool } from "./open-records.ts";
import { arraysOf, damageOf, isTextOrNull, recordsUri, type StoredRow } from "./records-db.ts";
import { readLabels, type SegmentContent, type SegmentWork, workHere } from "./segment-work.ts";
import { type Shadowed, shadowedRows } from "./shadowed-rows.ts";
import { type Alive, VectorSearch } from "./vector-search.ts";

/** Filters whose labels are kept per segment. */
const cachedFiltersMax = 16;

type AnswerColumns = [id: string, version: number, document: string | null, metadata: string | null];

/** Where a row or tombstone stands in the order; the label is null for a tombstone. */
type FoundOrder = Pick<ClusterRecord, "label" | keyof RowOrder>;

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
  readonly #search: VectorSearch;
  readonly #fields: FieldIndexes;
  readonly #filters = new Map<string, Uint32Array>();
  /** Labels of the rows that have a list, by field. */
  readonly #listed = new Map<string, Uint32Array>();

  private constructor(
    folder: string,
    collection: Collection,
    segment: Segment,
    parts: { records: OpenRecords; graph: Graph | null; content: SegmentContent },
  ) {
    this.segment = segment;
    this.folder = folder;
    this.#collection = collection;
    this.#records = parts.records;
    const readRanks = () => this.#read(() => ranksOf(this.#records.db, segment.slots));
    const { graph, content } = parts;
    this.#search = new VectorSearch(collection, segment, { graph, vectors: content.vectors, readRanks });
    this.held = { rows: segment.rows, bytes: content.held };
    this.#fields = content.fields;
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
      work = workHere,
    }: { arrived?: Promise<void>; pool?: RecordsPool; work?: SegmentWork } = {},
  ): Promise<OpenSegment> {
    let graph: Graph | null = null;
    let records: OpenRecords | null = null;
    // Beside the graph's own reading. Awaited below; what comes first may throw.
    const reading = arrived.then(() => work.read({ folder, segment }, collection));
    reading.catch(() => {});
    try {
      if (segment.kind === "hnsw")
        graph = await Graph.load(join(folder, "index.hnsw"), collection, segment.slots, arrived);
      const content = await reading;
      records = new OpenRecords(join(folder, "records.db"), pool);
      return new OpenSegment(folder, collection, segment, { records, graph, content });
    } catch (error) {
      records?.close();
      graph?.close();
      throw error;
    }
  }

  close(): void {
    this.#records.close();
    this.#search.close();
  }

  /** The URI of its records.db, for another database to attach. */
  get recordsUri(): string {
    return recordsUri(join(this.folder, "records.db")).href;
  }

  /** For each id in both segments: which side's row is older, and therefore dead (shadowed-rows.ts). */
  shadows(other: OpenSegment): Shadowed {
    return this.#read(() => shadowedRows(this.#records.db, this, other));
  }

  /** What is alive when these labels, and those that are not alive in `before`, are dead. */
  without(before: Alive, labels: readonly number[] | Uint32Array): Alive {
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
   * The k nearest live rows, nearest first, equally near ones in the order of their ids; fewer only when there are fewer, or a graph
   * is searched for fewer. `query` is of unit length for cosine. `labels` (ascending, live) restricts the search. `ef`: how many of the
   * nearest nodes a graph is searched for.
   */
  nearest(query: Float32Array, k: number, alive: Alive, labels: Uint32Array | null, ef: number): NearLabel[] {
    return this.#search.nearest(query, k, alive, labels, ef);
  }

  get rows(): number {
    return this.segment.rows;
  }

  /** Whether the labels of a filter are kept: then it costs nothing. */
  hasLabelsOf(filter: Filter): boolean {
    return this.#filters.has(filterKey(filter));
  }

  /** Of a list field: counts the entries that equal a value. */
  entryCounter(field: string): (value: FilterValue) => number {
    return (value) => entriesOf(this.#fields, field, value);
  }

  #labelsOf(filter: Filter): Uint32Array {
    const key = filterKey(filter);
    const known = this.#filters.get(key);
    if (known) return known;
    const { slots } = this.segment;
    const [fields, held] = [this.#fields, this.held.bytes];
    const labels = labelsOf(filter, { fields, slots, held, havingList: (field) => this.#havingList(field) });
    if (this.#filters.size >= cachedFiltersMax) this.#filters.delete(this.#filters.keys().next().value!);
    this.#filters.set(key, labels);
    return labels;
  }

  /** No index tells an empty list from none: its first use reads the rows. */
  #havingList(field: string): Uint32Array {
    const known = this.#listed.get(field);
    if (known) return known;
    const path = join(this.folder, "records.db");
    const select = `SELECT json_group_array(label) FROM rows WHERE ${quoted(field)} IS NOT NULL`;
    const labels = this.#read(() =>
      readLabels({ db: this.#records.db, path, slots: this.segment.slots }, select),
    );
    this.#listed.set(field, labels);
    return labels;
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
  find(id: string): FoundOrder | null {
    return this.#read(() => {
      const found = this.#records.selectOrder.get(id) as unknown as FoundOrder | undefined;
      if (found === undefined) return null;
      const { label } = found;
      if (!isOrder(found) || !isWord(label ?? 0) || (label ?? 0) >= Math.max(1, this.segment.slots))
        throw new Error(`the row of an id has label ${label}, or an order of another type`);
      return found;
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
    return this.#search.vector(label);
  }

  /** Vectors as they were given; the caller has seen to it that vectors.f32 is in the folder. */
  givenVectors(labels: readonly number[]): Float32Array[] {
    const path = join(this.folder, "vectors.f32");
    const vectors = new VectorFile(path, this.#collection.dims);
    try {
      return labels.map((label) => {
        const vector = vectors.at(label).slice();
        const problem = vectorProblem(this.#collection, vector);
        if (problem !== null) throw corrupt(path, `row ${label} ${problem}`);
        return vector;
      });
    } finally {
      vectors.close();
    }
  }
}

const filterKey = (filter: Filter): string => JSON.stringify(filter);

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
