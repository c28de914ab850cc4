/**
 * The newest write of each id in one version of a shard, as it was given, read from its segments' records and vectors on local disk: no
 * graph is loaded, so that memory does not depend on how many there are.
 *
 *  1. The records (and, where they are wanted, the vectors) of every segment are fetched, and checked by their sha256.
 *  2. Segment by segment, write by write: one that another segment supersedes is passed over. The same write in two segments is
 *     taken from the first.
 *
 * What is in the backlog is in no version, and not among them.
 */
import { join } from "node:path";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { ShardRef } from "../../core/format/keys.ts";
import type { Manifest } from "../../core/format/manifest.ts";
import type { Collection } from "../../core/model/collection.ts";
import { corrupt } from "../../core/model/errors.ts";
import { compareOrder, type Row, type RowOrder } from "../../core/model/row.ts";
import { vectorProblem } from "../../core/model/vector.ts";
import { openCheckedRecords } from "../../segment/check-records.ts";
import { Opened, VectorFile } from "../../segment/files.ts";
import { storedRows, storedTombstones } from "../../segment/records-db.ts";
import type { World } from "../ports.ts";
import { fetchSegment } from "../shard/segment-transfer.ts";

/** A row or, without a vector, a delete. */
export interface VersionWrite extends Omit<Row, "vector"> {
  readonly isDelete: boolean;
  /** A view, which is overwritten by the next one's; null of a delete. Throws `corrupt` where the file holds another. */
  vector(): Float32Array | null;
}

interface Part {
  readonly db: DatabaseSync;
  readonly vectors: VectorFile | null;
  readonly path: string;
  readonly find: StatementSync;
}

export class VersionWrites {
  readonly #opened = new Opened();
  readonly #parts: Part[] = [];
  readonly #collection: Collection;

  private constructor(collection: Collection) {
    this.#collection = collection;
  }

  /** Fetches into `folder`. Throws `corrupt` where a file is not what the manifest says. */
  static async open(
    { store }: Pick<World, "store">,
    collection: Collection,
    manifest: Manifest,
    { folder, withVectors }: { readonly folder: string; readonly withVectors: boolean },
  ): Promise<VersionWrites> {
    const shard: ShardRef = { collection: collection.name, shard: manifest.shard };
    const writes = new VersionWrites(collection);
    try {
      for (const segment of manifest.segments) {
        const path = join(folder, segment.id);
        const files = withVectors ? (["records.db", "vectors.f32"] as const) : (["records.db"] as const);
        await fetchSegment(store, shard, segment, files, path);
        const db = writes.#opened.add(
          await openCheckedRecords(join(path, "records.db"), collection, segment),
        );
        const vectors = withVectors
          ? writes.#opened.add(new VectorFile(join(path, "vectors.f32"), collection.dims))
          : null;
        writes.#parts.push({ db, vectors, path, find: db.prepare(orderOfId) });
      }
      return writes;
    } catch (error) {
      writes.close();
      throw error;
    }
  }

  *all(): Generator<VersionWrite> {
    for (const [at, part] of this.#parts.entries()) {
      for (const { label, ...row } of storedRows(part.db)) {
        if (this.#isSuperseded(row, at)) continue;
        yield { ...row, isDelete: false, vector: () => this.#vector(part, label) };
      }
      for (const tombstone of storedTombstones(part.db)) {
        if (this.#isSuperseded(tombstone, at)) continue;
        yield { ...tombstone, document: null, metadata: null, isDelete: true, vector: () => null };
      }
    }
  }

  /** Where the newest write of an id stands; null where there is none. */
  newest(id: string): (RowOrder & { readonly isDelete: boolean }) | null {
    let newest: (RowOrder & { isDelete: boolean }) | null = null;
    for (const { find } of this.#parts) {
      const found = find.get(id) as (RowOrder & { isDelete: number }) | undefined;
      if (found !== undefined && (newest === null || compareOrder(found, newest) > 0))
        newest = { ...found, isDelete: found.isDelete === 1 };
    }
    return newest;
  }

  /** Of two segments with the same write, the first has it. */
  #isSuperseded(write: RowOrder & { readonly id: string }, at: number): boolean {
    return this.#parts.some(({ find }, other) => {
      const found = other === at ? undefined : (find.get(write.id) as RowOrder | undefined);
      if (found === undefined) return false;
      const order = compareOrder(found, write);
      return order > 0 || (order === 0 && other < at);
    });
  }

  #vector({ vectors, path }: Part, label: number): Float32Array {
    const vector = vectors!.at(label);
    const problem = vectorProblem(this.#collection, vector);
    if (problem !== null) throw corrupt(join(path, "vectors.f32"), `row ${label} ${problem}`);
    return vector;
  }

  close(): void {
    this.#opened.close();
  }
}

const orderOfId = `SELECT version, delta, row, 0 AS isDelete FROM rows WHERE id = ?1
  UNION ALL SELECT version, delta, row, 1 AS isDelete FROM tombstones WHERE id = ?1`;
