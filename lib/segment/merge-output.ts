/** The files that a merge writes: records.db, vectors.f32, and beside them, at the same time, the graph. */
import { closeSync, copyFileSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { SegmentFile } from "../core/format/keys.ts";
import type { Collection } from "../core/model/collection.ts";
import { hashFiles, type SegmentFiles, shortageIn, VectorFile } from "./files.ts";
import { Graph } from "./graph.ts";
import type { KeptRow } from "./insertion-order.ts";
import { type OpenInput, type Place, selectByLabel } from "./merge-inputs.ts";
import {
  damageOf,
  isMalformed,
  RecordsWriter,
  type StoredRow,
  storedRows,
  storedTombstones,
} from "./records-db.ts";

/** Called between slices of work, with rows done and in all (0 of 0 where there is no progress to tell); may throw to stop. */
export type Checkpoint = (done: number, all: number) => Promise<void>;

/** Rows written between two checkpoints. */
const sliceRows = 1024;

/**
 * The output's files. Labels are the places in vectors.f32, in order: all anew, or those of one input's, to which other
 * rows are added. The graph follows behind vectors.f32 while that is written, on threads of its own.
 */
export class MergeOutput {
  readonly #folder: string;
  readonly #collection: Collection;
  readonly #inputs: readonly OpenInput[];
  readonly #base: number | null;
  readonly #winners: ReadonlyMap<string, Place>;
  readonly #checkpoint: Checkpoint;
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
    checkpoint: Checkpoint,
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
