/**
 * Merges segments on local disk into one.
 *
 *  1. Every input row is met once; the last write of each id is kept, the rest is retired.
 *  2. The largest graph among the inputs is grown by the other rows, as long as no more than a quarter of its nodes
 *     would be dead: inserting costs per small row, never per large. Otherwise the graph is built anew, in shuffled
 *     order (similar rows in sequence build slower and search worse).
 *  3. The output is described by what its files hold.
 *
 * A small result is flat: exact search over it is cheaper than a graph.
 */
import { closeSync, copyFileSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { Checksum, type RowSum, sumOf } from "../core/checksum.ts";
import type { Collection } from "../core/collection.ts";
import { ulidTimeMs } from "../core/keys.ts";
import type { FileEntry, Segment } from "../core/manifest.ts";
import type { MergeLimits } from "../core/merge-plan.ts";
import { compareOrder, type Row, type RowOrder } from "../core/record.ts";
import { describeSegment, type Measured, measureRows, VectorFile } from "./files.ts";
import { Graph } from "./graph.ts";
import {
  openRecords,
  RecordsWriter,
  type StoredRow,
  type StoredTombstone,
  storedRows,
  storedTombstones,
} from "./records-db.ts";
import { writeClusters } from "./write-clusters.ts";

/** Rows written between two breaths. */
const sliceRows = 1024;

export interface MergeInput {
  readonly segment: Segment;
  /** Holds the segment's verified files. */
  readonly folder: string;
}

export interface MergeOptions {
  readonly id: string;
  readonly limits: Pick<MergeLimits, "flatRowsMax" | "deadShareMax" | "clusteredComponentsMin">;
  /** Tombstones whose delta was made before this are dropped; only when the inputs are the whole shard. 0 keeps all. */
  readonly dropTombstonesBeforeMs: number;
  /** Awaited between slices of work, with rows done and in all (0 of 0 where there is no progress to tell); may throw to stop. */
  readonly breathe: (done: number, all: number) => Promise<void>;
}

export interface Merged {
  readonly segment: Segment;
  /** Checksum of every row of every input, as read from their files. */
  readonly cameIn: RowSum;
  readonly retired: RowSum;
  /** Largest version among dropped tombstones; -1 when none was dropped. */
  readonly droppedVersionMax: number;
  readonly grown: boolean;
}

interface Input extends MergeInput {
  readonly db: DatabaseSync;
  readonly vectors: VectorFile;
}
interface Place extends RowOrder {
  readonly input: number;
  /** Null for a tombstone. */
  readonly label: number | null;
}

export async function mergeSegments(
  folder: string,
  collection: Collection,
  merging: readonly MergeInput[],
  options: MergeOptions,
): Promise<Merged> {
  const inputs: Input[] = [];
  try {
    for (const input of merging) {
      const db = openRecords(join(input.folder, "records.db"));
      inputs.push({
        ...input,
        db,
        vectors: new VectorFile(join(input.folder, "vectors.f32"), collection.dims),
      });
    }
    const { winners, losers, cameIn } = foldInputs(inputs);
    const droppedVersionMax = dropTombstones(winners, losers, options.dropTombstonesBeforeMs);
    const retired = sumOf(rowsAt(inputs, losers));
    const rows = [...winners.values()].filter((place) => place.label !== null).length;
    const { flatRowsMax, deadShareMax } = options.limits;
    const base = rows > flatRowsMax ? growable(inputs, winners, { rows, deadShareMax }) : null;
    const kind = rows > flatRowsMax ? "hnsw" : "flat";
    const output = new Output(folder, collection, inputs, winners, options.breathe);
    const written = base === null ? await output.writeFresh(kind) : await output.writeGrown(base);
    const [, { clusters, ...measured }] = await sideBySide(
      kind === "hnsw" ? output.writeGraph(base, written) : Promise.resolve(),
      measure(folder, collection, kind, options),
    );
    const described = await describeSegment(folder, { id: options.id, kind }, measured);
    const segment = clusters
      ? { ...described, files: { ...described.files, "clusters.bin": clusters } }
      : described;
    return { segment, cameIn, retired, droppedVersionMax, grown: base !== null };
  } finally {
    for (const input of inputs) {
      input.db.close();
      input.vectors.close();
    }
  }
}

/** Both have ended when one's failure is thrown: neither may go on in a folder that is deleted. */
async function sideBySide<A, B>(one: Promise<A>, other: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([one, other]);
  return Promise.all([one, other]);
}

/** While the graph is built by other threads: what the rest of the output holds, and its clusters where it is large. */
async function measure(
  folder: string,
  collection: Collection,
  kind: Segment["kind"],
  { limits, breathe }: MergeOptions,
): Promise<Measured & { clusters: FileEntry | null }> {
  const pause = () => breathe(0, 0);
  const measured = await measureRows(folder, collection.dims, pause);
  const isLarge = kind === "hnsw" && measured.slots * collection.dims >= limits.clusteredComponentsMin;
  const clusters = isLarge ? await writeClusters(folder, collection, measured.digests, pause) : null;
  return { ...measured, clusters };
}

interface Folded {
  /** Where the last write of each id is. */
  readonly winners: Map<string, Place>;
  /** Every other row. The same write in two inputs is kept once. */
  readonly losers: Loser[];
  readonly cameIn: RowSum;
}
type Loser = Place & { readonly id: string };

/** One pass over all there is: it meets and sums every row as the files hold it. */
function foldInputs(inputs: readonly Input[]): Folded {
  const winners = new Map<string, Place>();
  const losers: Loser[] = [];
  const cameIn = new Checksum();
  const meet = (row: Row, place: Place) => {
    cameIn.add(row);
    const known = winners.get(row.id);
    if (known !== undefined && compareOrder(place, known) <= 0) {
      losers.push({ id: row.id, ...place });
      return;
    }
    if (known !== undefined) losers.push({ id: row.id, ...known });
    winners.set(row.id, place);
  };
  for (const [input, { db, vectors }] of inputs.entries()) {
    for (const { label, ...row } of storedRows(db)) {
      const { version, delta, row: at } = row;
      meet({ ...row, vector: vectors.at(label) }, { input, label, version, delta, row: at });
    }
    for (const tombstone of storedTombstones(db)) {
      const { version, delta, row: at } = tombstone;
      meet(asRow(tombstone), { input, label: null, version, delta, row: at });
    }
  }
  return { winners, losers, cameIn: cameIn.sum() };
}

const asRow = (tombstone: StoredTombstone): Row => ({
  ...tombstone,
  vector: null,
  document: null,
  metadata: null,
});

function dropTombstones(winners: Map<string, Place>, losers: Loser[], beforeMs: number): number {
  let versionMax = -1;
  for (const [id, place] of winners) {
    if (place.label !== null || ulidTimeMs(place.delta) >= beforeMs) continue;
    winners.delete(id);
    losers.push({ id, ...place });
    versionMax = Math.max(versionMax, place.version);
  }
  return versionMax;
}

/** The rows of these places, read back from the inputs' files. */
function* rowsAt(inputs: readonly Input[], places: readonly Loser[]): Generator<Row> {
  const selects = inputs.map(({ db }) => selectByLabel(db));
  for (const { id, input, label, version, delta, row } of places) {
    if (label === null) {
      yield asRow({ id, version, delta, row });
    } else {
      const { label: _, ...stored } = selects[input]!.get(label) as unknown as StoredRow;
      yield { ...stored, vector: inputs[input]!.vectors.at(label) };
    }
  }
}

const selectByLabel = (db: DatabaseSync) =>
  db.prepare("SELECT label, id, version, delta, row, document, metadata FROM rows WHERE label = ?");

/** The input whose graph is worth growing; null to build anew. */
function growable(
  inputs: readonly Input[],
  winners: ReadonlyMap<string, Place>,
  { rows, deadShareMax }: { rows: number; deadShareMax: number },
): number | null {
  const graphs = inputs.map((_, i) => i).filter((i) => inputs[i]!.segment.kind === "hnsw");
  const largest = graphs.sort((a, b) => inputs[b]!.segment.slots - inputs[a]!.segment.slots)[0];
  if (largest === undefined) return null;
  let kept = 0;
  for (const place of winners.values()) if (place.input === largest && place.label !== null) kept += 1;
  const { slots } = inputs[largest]!.segment;
  const slotsAfter = slots + rows - kept;
  return slots - kept <= slotsAfter * deadShareMax ? largest : null;
}

/** How many rows were appended, and which of the base's labels died. */
interface Written {
  readonly added: number;
  readonly died: readonly number[];
}

class Output {
  readonly #folder: string;
  readonly #collection: Collection;
  readonly #inputs: readonly Input[];
  readonly #winners: ReadonlyMap<string, Place>;
  readonly #breathe: MergeOptions["breathe"];

  constructor(
    folder: string,
    collection: Collection,
    inputs: readonly Input[],
    winners: ReadonlyMap<string, Place>,
    breathe: MergeOptions["breathe"],
  ) {
    this.#folder = folder;
    this.#collection = collection;
    this.#inputs = inputs;
    this.#winners = winners;
    this.#breathe = breathe;
  }

  /** Writes all rows anew; their labels are their order, shuffled for a graph. */
  async writeFresh(kind: Segment["kind"]): Promise<Written> {
    const rows = this.#keptRows(null);
    if (kind === "hnsw") shuffle(rows);
    const records = new RecordsWriter(join(this.#folder, "records.db"), this.#collection);
    try {
      await this.#append(records, rows, 0, "wx");
      for (const tombstone of this.#keptTombstones(null)) records.addTombstone(tombstone);
      records.finish();
    } finally {
      records.abandon();
    }
    return { added: rows.length, died: [] };
  }

  /** Goes on with copies of one input's files: its labels stay, the other rows follow. */
  async writeGrown(base: number): Promise<Written> {
    const { segment, db, folder } = this.#inputs[base]!;
    for (const file of ["records.db", "vectors.f32"])
      copyFileSync(join(folder, file), join(this.#folder, file));
    const records = new RecordsWriter(join(this.#folder, "records.db"), this.#collection, "copy");
    const rows = this.#keptRows(base);
    const died: number[] = [];
    try {
      for (const { id, label } of storedRows(db)) {
        if (this.#keeps(base, id, label)) continue;
        records.deleteRow(label);
        died.push(label);
      }
      for (const { id } of storedTombstones(db))
        if (!this.#keeps(base, id, null)) records.deleteTombstone(id);
      await this.#append(records, rows, segment.slots, "a");
      for (const tombstone of this.#keptTombstones(base)) records.addTombstone(tombstone);
      records.finish();
    } finally {
      records.abandon();
    }
    return { added: rows.length, died };
  }

  /** The graph of the finished vectors.f32: anew, or one input's with its dead marked and the other rows inserted. */
  async writeGraph(base: number | null, { added, died }: Written): Promise<void> {
    const input = base === null ? null : this.#inputs[base]!;
    const graph = input
      ? await Graph.load(join(input.folder, "index.hnsw"), this.#collection, input.segment.slots)
      : Graph.create(this.#collection, added);
    try {
      for (const label of died) graph.markDeleted(label);
      await this.#insert(graph, added);
      await graph.write(join(this.#folder, "index.hnsw"));
    } finally {
      graph.close();
    }
  }

  #keeps(input: number, id: string, label: number | null): boolean {
    const place = this.#winners.get(id);
    return place !== undefined && place.input === input && place.label === label;
  }

  /** Kept rows of every input but `except`, as (input, label) packed small: the rows themselves stay on disk. */
  #keptRows(except: number | null): { input: number; label: number }[] {
    const rows: { input: number; label: number }[] = [];
    for (const { input, label } of this.#winners.values())
      if (label !== null && input !== except) rows.push({ input, label });
    return rows;
  }

  *#keptTombstones(except: number | null): Generator<StoredTombstone> {
    for (const [id, { input, label, version, delta, row }] of this.#winners) {
      if (label === null && input !== except) yield { id, version, delta, row };
    }
  }

  /** Appends rows to records.db and vectors.f32 with the labels first, first + 1, … */
  async #append(
    records: RecordsWriter,
    rows: readonly { input: number; label: number }[],
    first: number,
    flags: "wx" | "a",
  ): Promise<void> {
    const select = this.#inputs.map(({ db }) => selectByLabel(db));
    const { dims } = this.#collection;
    const fd = openSync(join(this.#folder, "vectors.f32"), flags);
    try {
      for (let start = 0; start < rows.length; start += sliceRows) {
        const slice = rows.slice(start, start + sliceRows);
        const block = new Float32Array(slice.length * dims);
        for (const [i, { input, label }] of slice.entries()) {
          records.addRow(first + start + i, select[input]!.get(label) as unknown as StoredRow);
          block.set(this.#inputs[input]!.vectors.at(label), i * dims);
        }
        if (writeSync(fd, block) !== block.byteLength)
          throw new Error("vectors.f32: short write (is the disk full?)");
        await this.#breathe(0, rows.length);
      }
    } finally {
      closeSync(fd);
    }
  }

  async #insert(graph: Graph, added: number): Promise<void> {
    const first = graph.count;
    const written = new VectorFile(join(this.#folder, "vectors.f32"), this.#collection.dims);
    try {
      await graph.append(
        added,
        (start, limit) => written.rows(first + start, first + limit),
        (done) => this.#breathe(done, added),
      );
    } finally {
      written.close();
    }
  }
}

/** Deterministic Fisher-Yates: the same inputs give the same file. */
function shuffle<T>(items: T[]): void {
  let state = 0x9e3779b9;
  for (let i = items.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
}
