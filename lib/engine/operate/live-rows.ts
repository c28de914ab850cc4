/**
 * The live rows of one version of a shard, as they were given, read from its segments' records and vectors on local disk: no graph is
 * loaded, so that memory does not depend on how many there are.
 *
 *  1. The records and vectors of every segment are fetched, and checked by their sha256.
 *  2. Segment by segment, row by row: a row that another segment supersedes is passed over. The same write in two segments is
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
import { Opened, VectorFile, withFolder } from "../../segment/files.ts";
import { storedRows } from "../../segment/records-db.ts";
import type { World } from "../ports.ts";
import { fetchSegment } from "../shard/segment-transfer.ts";

/** A view of the vector, which is overwritten by the next row. */
export type LiveRow = Row & { readonly vector: Float32Array };

/** Calls `take` with each, one after the other. Throws `corrupt` where a file is not what the manifest says. */
export async function eachLiveRow(
  { store }: Pick<World, "store">,
  collection: Collection,
  manifest: Manifest,
  take: (row: LiveRow) => Promise<void>,
): Promise<void> {
  const shard: ShardRef = { collection: collection.name, shard: manifest.shard };
  await withFolder(async (folder) => {
    const opened = new Opened();
    try {
      const parts: { db: DatabaseSync; vectors: VectorFile; path: string }[] = [];
      for (const segment of manifest.segments) {
        const path = join(folder, segment.id);
        await fetchSegment(store, shard, segment, ["records.db", "vectors.f32"], path);
        const db = opened.add(await openCheckedRecords(join(path, "records.db"), collection, segment));
        const vectors = opened.add(new VectorFile(join(path, "vectors.f32"), collection.dims));
        parts.push({ db, vectors, path });
      }
      const finders = parts.map(({ db }) => new OrderFinder(db));
      for (const [at, { db, vectors, path }] of parts.entries()) {
        for (const { label, ...row } of storedRows(db)) {
          if (finders.some((other, i) => i !== at && other.supersedes(row, i < at))) continue;
          const vector = vectors.at(label);
          const problem = vectorProblem(collection, vector);
          if (problem !== null) throw corrupt(join(path, "vectors.f32"), `row ${label} ${problem}`);
          await take({ ...row, vector });
        }
      }
    } finally {
      opened.close();
    }
  });
}

/** Looks for later writes of an id in one segment. */
class OrderFinder {
  readonly #select: StatementSync;

  constructor(db: DatabaseSync) {
    this.#select = db.prepare(
      `SELECT version, delta, row FROM rows WHERE id = ?1 UNION ALL SELECT version, delta, row FROM tombstones WHERE id = ?1`,
    );
  }

  /** `isEarlier`: of two segments with the same write, this one is the first. */
  supersedes(row: RowOrder & { readonly id: string }, isEarlier: boolean): boolean {
    const found = this.#select.get(row.id) as unknown as RowOrder | undefined;
    if (found === undefined) return false;
    const order = compareOrder(found, row);
    return order > 0 || (order === 0 && isEarlier);
  }
}
