/**
 * Merges segments on local disk into one.
 *
 *  1. Every input row is met once; the last write of each id is kept, the rest is retired: also what a segment that stays
 *     as it is supersedes.
 *  2. The largest graph among the inputs is grown by the other rows, as long as no more than a quarter of its nodes
 *     would be dead: inserting costs per small row, never per large. Otherwise the graph is built anew.
 *  3. The output is described by what its files hold.
 *
 * A small result is flat: exact search over it is cheaper than a graph. Rows enter a graph in shuffled order, since similar
 * rows in sequence make a worse one; a large graph takes only its first fifth that way, and then cluster after cluster, so
 * that what the processor's cache holds of one row's neighbours serves the next (docs/adr/0010-insertion-order.md).
 */
import { closeSync, copyFileSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { SegmentFile } from "../core/format/keys.ts";
import type { Segment } from "../core/format/manifest.ts";
import { type RowSum, sumOf } from "../core/format/row-checksum.ts";
import type { Collection } from "../core/model/collection.ts";
import type { MergeLimits } from "../core/policy/merge-plan.ts";
import type { Counts } from "../core/policy/staleness.ts";
import { type Clustering, clusterRows } from "./clustering.ts";
import {
  describeSegment,
  hashFiles,
  type Measured,
  measureRows,
  type SegmentFiles,
  shortageIn,
  VectorFile,
} from "./files.ts";
import { Graph } from "./graph.ts";
import {
  dropSuperseded,
  foldInputs,
  type MergeInput,
  type Met,
  meetNeighbours,
  type Neighbour,
  type OpenInput,
  type Place,
  rowsAt,
  selectByLabel,
  withInputs,
} from "./merge-inputs.ts";
import {
  damageOf,
  isMalformed,
  RecordsWriter,
  type StoredRow,
  storedRows,
  storedTombstones,
} from "./records-db.ts";
import { writeClusters } from "./write-clusters.ts";

/** Rows written between two checkpoints. */
const sliceRows = 1024;
/** Of the rows that enter a large graph, those that come first, shuffled: they lay out the whole, wherever later rows belong. */
const scatteredShare = 0.2;

export interface MergeOptions {
  readonly id: string;
  readonly limits: Pick<MergeLimits, "flatRowsMax" | "deadShareMax" | "clusteredComponentsMin">;
  /** Tombstones whose delta was made before this are dropped, unless a neighbour may hold what they beat. 0 keeps all. */
  readonly dropTombstonesBeforeMs: number;
  /** Neighbours whose records.db is in their folder: what they supersede is left out. @default no neighbour */
  readonly against?: readonly MergeInput[];
  /** All other segments of the version, those of `against` as well. @default no neighbour: the inputs are the whole shard */
  readonly neighbours?: AsyncIterable<Neighbour>;
  /** Builds a graph from its rows, whatever could be grown: nothing dead stays in it. @default false */
  readonly anew?: boolean;
  /** Awaited between slices of work, with rows done and in all (0 of 0 where there is no progress to tell); may throw to stop. */
  readonly checkpoint: (done: number, all: number) => Promise<void>;
}

export interface Merged extends Met {
  readonly segment: Segment;
  /** Checksum of every row of every input, as read from their files. */
  readonly cameIn: RowSum;
  readonly retired: RowSum;
  readonly grown: boolean;
  readonly supersedes: Counts;
}

/** Where a live row of the output comes from. */
type KeptRow = { readonly input: number; readonly label: number };

export const mergeSegments = (
  folder: string,
  collection: Collection,
  merging: readonly MergeInput[],
  options: MergeOptions,
): Promise<Merged> =>
  withInputs(merging, collection, async (inputs) => {
    const folded = foldInputs(inputs, collection);
    const { winners, losers, cameIn } = folded;
    const compared = await dropSuperseded(folded, options.against ?? [], collection);
    const supersedes = new Map([...compared].map(([id, { older }]) => [id, older]));
    const { dropTombstonesBeforeMs, neighbours = none() } = options;
    const met = await meetNeighbours(folded, dropTombstonesBeforeMs, neighbours, compared);
    const retired = sumOf(rowsAt(inputs, losers));
    const kept = keptRows(winners);
    const kind = kept.length > options.limits.flatRowsMax ? "hnsw" : "flat";
    const base = kind === "hnsw" && !options.anew ? growable(inputs, kept, options.limits) : null;
    const { added, clustering } =
      kind === "hnsw"
        ? await orderRows(inputs, collection, { kept, base }, options)
        : { added: kept, clustering: null };
    const [graphFile, { measured, files }] = await sideBySide(options.checkpoint, (checkpoint) => {
      const output = new Output(folder, collection, inputs, { base, winners }, checkpoint);
      return [
        kind === "hnsw" ? output.writeGraph(added.length) : Promise.resolve({}),
        output.writeRows(added).then(() => describe(folder, collection, clustering, () => checkpoint(0, 0))),
      ];
    });
    const segment = describeSegment({ id: options.id, kind }, measured, { ...graphFile, ...files });
    return { segment, cameIn, retired, supersedes, ...met, grown: base !== null };
  });

/**
 * Two tasks with one checkpoint: when one fails, the other fails at its next
 * checkpoint. Both have ended when the first failure is thrown: neither may go on in a folder that is deleted.
 */
async function sideBySide<A, B>(
  checkpoint: MergeOptions["checkpoint"],
  begin: (checkpoint: MergeOptions["checkpoint"]) => readonly [Promise<A>, Promise<B>],
): Promise<[A, B]> {
  const failing = new AbortController();
  const tasks = begin(async (done, all) => {
    failing.signal.throwIfAborted();
    await checkpoint(done, all);
  });
  for (const task of tasks) task.catch((error: unknown) => failing.abort(error));
  await Promise.allSettled(tasks);
  failing.signal.throwIfAborted();
  return Promise.all(tasks);
}

/** What the files beside the graph hold. */
async function describe(
  folder: string,
  collection: Collection,
  clustering: Clustering | null,
  checkpoint: () => Promise<void>,
): Promise<{ measured: Measured; files: SegmentFiles }> {
  const measured = await measureRows(folder, collection.dims, checkpoint);
  const files = await hashFiles(folder, ["vectors.f32", "records.db"]);
  if (clustering === null) return { measured, files };
  const clusters = await writeClusters(folder, collection, clustering, measured.digests, checkpoint);
  return { measured, files: { ...files, "clusters.bin": clusters } };
}

async function* none(): AsyncGenerator<never> {}

function keptRows(winners: ReadonlyMap<string, Place>): KeptRow[] {
  const rows: KeptRow[] = [];
  for (const { input, label } of winners.values()) if (label !== null) rows.push({ input, label });
  return rows;
}

/** The input whose graph is worth growing; null to build anew. */
function growable(
  inputs: readonly OpenInput[],
  kept: readonly KeptRow[],
  { deadShareMax }: Pick<MergeLimits, "deadShareMax">,
): number | null {
  const graphs = inputs.map((_, i) => i).filter((i) => inputs[i]!.segment.kind === "hnsw");
  const largest = graphs.sort((a, b) => inputs[b]!.segment.slots - inputs[a]!.segment.slots)[0];
  if (largest === undefined) return null;
  const stay = kept.filter(({ input }) => input === largest).length;
  const { slots } = inputs[largest]!.segment;
  const slotsAfter = slots + kept.length - stay;
  return slots - stay <= slotsAfter * deadShareMax ? largest : null;
}

/**
 * The rows that enter the graph, in their order, which is that of their labels; and the clusters of every label's row where
 * the graph is large.
 */
async function orderRows(
  inputs: readonly OpenInput[],
  collection: Collection,
  { kept, base }: { kept: readonly KeptRow[]; base: number | null },
  { limits, checkpoint }: MergeOptions,
): Promise<{ added: readonly KeptRow[]; clustering: Clustering | null }> {
  const order = Uint32Array.from(kept.keys()).filter((i) => kept[i]!.input !== base);
  shuffle(order);
  const rowsOf = (indexes: Uint32Array) => Array.from(indexes, (i) => kept[i]!);
  const first = base === null ? 0 : inputs[base]!.segment.slots;
  const slots = first + order.length;
  if (slots * collection.dims < limits.clusteredComponentsMin)
    return { added: rowsOf(order), clustering: null };
  const vectorOf = (i: number) => inputs[kept[i]!.input]!.vectors.at(kept[i]!.label);
  const { centroids, clusterOf } = await clusterRows(collection, kept.length, vectorOf, () =>
    checkpoint(0, 0),
  );
  const scattered = Math.ceil(order.length * scatteredShare);
  order.subarray(scattered).sort((a, b) => clusterOf[a]! - clusterOf[b]!);
  const clusterOfLabel = new Uint32Array(slots);
  for (const [i, { input, label }] of kept.entries())
    if (input === base) clusterOfLabel[label] = clusterOf[i]!;
  order.forEach((i, at) => {
    clusterOfLabel[first + at] = clusterOf[i]!;
  });
  return { added: rowsOf(order), clustering: { centroids, clusterOf: clusterOfLabel } };
}

/**
 * The output's files. Labels are the places in vectors.f32, in order: all anew, or those of one input's, to which other
 * rows are added. The graph follows behind vectors.f32 while that is written, on threads of its own.
 */
class Output {
  readonly #folder: string;
  readonly #collection: Collection;
  readonly #inputs: readonly OpenInput[];
  readonly #base: number | null;
  readonly #winners: ReadonlyMap<string, Place>;
  readonly #checkpoint: MergeOptions["checkpoint"];
  readonly #records: RecordsWriter;
  /** Labels of the base whose rows died. */
  readonly #died: number[] = [];
  /** Rows that were added to vectors.f32; `#moved` settles when there are more, or none will follow. */
  #added = 0;
  #moved = Promise.withResolvers<void>();

  constructor(
    folder: string,
    collection: Collection,
    inputs: readonly OpenInput[],
    { base, winners }: { base: number | null; winners: ReadonlyMap<string, Place> },
    checkpoint: MergeOptions["checkpoint"],
  ) {
    this.#folder = folder;
    this.#collection = collection;
    this.#inputs = inputs;
    this.#base = base;
    this.#winners = winners;
    this.#checkpoint = checkpoint;
    const [records, vectors] = [this.#path("records.db"), this.#path("vectors.f32")];
    if (base === null) {
      writeFileSync(vectors, "", { flag: "wx" });
      this.#records = new RecordsWriter(records, collection);
    } else {
      copyFileSync(join(inputs[base]!.folder, "records.db"), records);
      copyFileSync(join(inputs[base]!.folder, "vectors.f32"), vectors);
      this.#records = new RecordsWriter(records, collection, "copy");
      try {
        this.#retireDead(base);
      } catch (error) {
        this.#records.abandon();
        throw error;
      }
    }
  }

  /** The rows to add, in the order of their labels, and every tombstone. */
  async writeRows(rows: readonly KeptRow[]): Promise<void> {
    try {
      await this.#append(rows);
      for (const [id, { input, label, version, delta, row }] of this.#winners)
        if (label === null && input !== this.#base) this.#records.addTombstone({ id, version, delta, row });
      this.#records.finish();
    } catch (error) {
      this.#moved.reject(error);
      this.#moved.promise.catch(() => {}); // The graph may have failed before, and not wait for it any more.
      throw error;
    } finally {
      this.#records.abandon();
    }
  }

  /** The graph of vectors.f32, to which `added` rows are being added: anew, or the base's with its dead marked. */
  async writeGraph(added: number): Promise<SegmentFiles> {
    const input = this.#base === null ? null : this.#inputs[this.#base]!;
    const graph = input
      ? await Graph.load(join(input.folder, "index.hnsw"), this.#collection, input.segment.slots)
      : Graph.create(this.#collection, added);
    try {
      for (const label of this.#died) graph.markDeleted(label);
      await this.#insert(graph, added);
      await graph.write(this.#path("index.hnsw"));
    } finally {
      graph.close();
    }
    return hashFiles(this.#folder, ["index.hnsw"]);
  }

  #path(name: SegmentFile): string {
    return join(this.#folder, name);
  }

  /** Deletes from the copy of the base's records what did not win. */
  #retireDead(base: number): void {
    const { db, folder } = this.#inputs[base]!;
    try {
      for (const { id, label } of storedRows(db)) {
        if (this.#keeps(base, id, label)) continue;
        this.#records.deleteRow(label);
        this.#died.push(label);
      }
      for (const { id } of storedTombstones(db))
        if (!this.#keeps(base, id, null)) this.#records.deleteTombstone(id);
    } catch (error) {
      throw damageOf(join(folder, "records.db"), error);
    }
  }

  /** What an input holds and no table takes is damage of it; or of the base, whose copy takes nothing any more. */
  #copyRow(label: number, input: number, row: StoredRow): void {
    try {
      this.#records.addRow(label, row);
    } catch (error) {
      const damaged = isMalformed(error) && this.#base !== null ? this.#base : input;
      throw damageOf(join(this.#inputs[damaged]!.folder, "records.db"), error);
    }
  }

  #keeps(input: number, id: string, label: number | null): boolean {
    const place = this.#winners.get(id);
    return place !== undefined && place.input === input && place.label === label;
  }

  async #append(rows: readonly KeptRow[]): Promise<void> {
    const select = this.#inputs.map(selectByLabel);
    const { dims } = this.#collection;
    const first = this.#base === null ? 0 : this.#inputs[this.#base]!.segment.slots;
    const fd = openSync(this.#path("vectors.f32"), "a");
    try {
      for (let start = 0; start < rows.length; start += sliceRows) {
        const slice = rows.slice(start, start + sliceRows);
        const block = new Float32Array(slice.length * dims);
        for (const [i, { input, label }] of slice.entries()) {
          this.#copyRow(first + start + i, input, select[input]!.get(label) as unknown as StoredRow);
          block.set(this.#inputs[input]!.vectors.at(label), i * dims);
        }
        if (writeSync(fd, block) !== block.byteLength) throw shortageIn(this.#path("vectors.f32"));
        this.#added = start + slice.length;
        this.#moved.resolve();
        this.#moved = Promise.withResolvers();
        await this.#checkpoint(0, 0);
      }
    } finally {
      closeSync(fd);
    }
  }

  async #insert(graph: Graph, added: number): Promise<void> {
    const first = graph.count;
    const written = new VectorFile(this.#path("vectors.f32"), this.#collection.dims);
    const rows = async (start: number, limit: number) => {
      while (this.#added < limit) await this.#moved.promise;
      return written.rows(first + start, first + limit);
    };
    try {
      await graph.append(added, rows, (done) => this.#checkpoint(done, added));
    } finally {
      written.close();
    }
  }
}

/** Deterministic Fisher-Yates: the same inputs give the same file. */
function shuffle(items: Uint32Array): void {
  let state = 0x9e3779b9;
  for (let i = items.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
}
