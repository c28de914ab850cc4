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
import type { Segment } from "../core/manifest.ts";
import type { MergeLimits } from "../core/merge-plan.ts";
import { compareOrder, type Row, type RowOrder } from "../core/record.ts";
import { describeSegment, VectorFile } from "./files.ts";
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
  /** Awaited between slices of work, with rows done and in all; may throw to stop. */
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
    const writer = new Output(folder, collection, inputs, winners);
    if (base === null) await writer.fresh(kind, options.breathe);
    else await writer.grow(base, options.breathe);
    const described = await describeSegment(folder, { id: options.id, kind, dims: collection.dims });
    const isLarge = described.slots * collection.dims >= options.limits.clusteredComponentsMin;
    const segment =
      kind === "hnsw" && isLarge ? await withClusters(folder, collection, described, options) : described;
    return { segment, cameIn, retired, droppedVersionMax, grown: base !== null };
  } finally {
    for (const input of inputs) {
      input.db.close();
      input.vectors.close();
    }
  }
}

async function withClusters(
  folder: string,
  collection: Collection,
  segment: Segment,
  { breathe }: MergeOptions,
): Promise<Segment> {
  const entry = await writeClusters(folder, collection, () => breathe(segment.slots, segment.slots));
  return { ...segment, files: { ...segment.files, "clusters.bin": entry } };
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

class Output {
  readonly #folder: string;
  readonly #collection: Collection;
  readonly #inputs: readonly Input[];
  readonly #winners: ReadonlyMap<string, Place>;

  constructor(
    folder: string,
    collection: Collection,
    inputs: readonly Input[],
    winners: ReadonlyMap<string, Place>,
  ) {
    this.#folder = folder;
    this.#collection = collection;
    this.#inputs = inputs;
    this.#winners = winners;
  }

  /** Writes all rows anew; their labels are their order, shuffled for a graph. */
  async fresh(kind: Segment["kind"], breathe: MergeOptions["breathe"]): Promise<void> {
    const rows = this.#keptRows(null);
    if (kind === "hnsw") shuffle(rows);
    const records = new RecordsWriter(join(this.#folder, "records.db"), this.#collection);
    try {
      await this.#append(records, rows, 0, "wx", breathe);
      for (const tombstone of this.#keptTombstones(null)) records.addTombstone(tombstone);
      records.finish();
    } finally {
      records.abandon();
    }
    if (kind === "flat") return;
    const graph = Graph.create(this.#collection, rows.length);
    try {
      await this.#insert(graph, rows.length, breathe);
      await graph.write(join(this.#folder, "index.hnsw"));
    } finally {
      graph.close();
    }
  }

  /** Goes on with copies of one input's files: its labels stay, dead ones are marked, the other rows follow. */
  async grow(base: number, breathe: MergeOptions["breathe"]): Promise<void> {
    const { segment, folder } = this.#inputs[base]!;
    for (const file of ["records.db", "vectors.f32"])
      copyFileSync(join(folder, file), join(this.#folder, file));
    const graph = await Graph.load(join(folder, "index.hnsw"), this.#collection, segment.slots);
    try {
      const added = await this.#growRecords(base, (label) => graph.markDeleted(label), breathe);
      await this.#insert(graph, added, breathe);
      await graph.write(join(this.#folder, "index.hnsw"));
    } finally {
      graph.close();
    }
  }

  /** Brings the copied files up to date, telling which labels died; how many rows were appended. */
  async #growRecords(
    base: number,
    onDead: (label: number) => void,
    breathe: MergeOptions["breathe"],
  ): Promise<number> {
    const { segment, db } = this.#inputs[base]!;
    const records = new RecordsWriter(join(this.#folder, "records.db"), this.#collection, "copy");
    const rows = this.#keptRows(base);
    try {
      for (const { id, label } of storedRows(db)) {
        if (this.#keeps(base, id, label)) continue;
        records.deleteRow(label);
        onDead(label);
      }
      for (const { id } of storedTombstones(db))
        if (!this.#keeps(base, id, null)) records.deleteTombstone(id);
      await this.#append(records, rows, segment.slots, "a", breathe);
      for (const tombstone of this.#keptTombstones(base)) records.addTombstone(tombstone);
      records.finish();
    } finally {
      records.abandon();
    }
    return rows.length;
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
    breathe: MergeOptions["breathe"],
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
        await breathe(0, rows.length);
      }
    } finally {
      closeSync(fd);
    }
  }

  async #insert(graph: Graph, added: number, breathe: MergeOptions["breathe"]): Promise<void> {
    const first = graph.count;
    const written = new VectorFile(join(this.#folder, "vectors.f32"), this.#collection.dims);
    try {
      await graph.append(
        added,
        (start, limit) => written.rows(first + start, first + limit),
        (done) => breathe(done, added),
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
