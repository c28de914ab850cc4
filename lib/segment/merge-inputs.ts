/** The segments that a merge reads, on local disk, and their fold: every row is met once, and the last write of each id wins. */
import { join } from "node:path";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { Checksum, type RowSum } from "../core/checksum.ts";
import type { Collection } from "../core/collection.ts";
import { ulidTimeMs } from "../core/keys.ts";
import type { Segment } from "../core/manifest.ts";
import { compareOrder, type Row, type RowOrder } from "../core/record.ts";
import { VectorFile } from "./files.ts";
import {
  openRecords,
  type StoredRow,
  type StoredTombstone,
  storedRows,
  storedTombstones,
} from "./records-db.ts";

export interface MergeInput {
  readonly segment: Segment;
  /** Holds the segment's verified files. */
  readonly folder: string;
}

export interface OpenInput extends MergeInput {
  readonly db: DatabaseSync;
  readonly vectors: VectorFile;
}

/** Runs `work` with the inputs open. */
export async function withInputs<T>(
  inputs: readonly MergeInput[],
  { dims }: Pick<Collection, "dims">,
  work: (open: readonly OpenInput[]) => Promise<T>,
): Promise<T> {
  const open: OpenInput[] = [];
  try {
    for (const input of inputs) {
      const db = openRecords(join(input.folder, "records.db"));
      open.push({ ...input, db, vectors: new VectorFile(join(input.folder, "vectors.f32"), dims) });
    }
    return await work(open);
  } finally {
    for (const { db, vectors } of open) {
      db.close();
      vectors.close();
    }
  }
}

/** Where a row or a tombstone is. */
export interface Place extends RowOrder {
  readonly input: number;
  /** Null for a tombstone. */
  readonly label: number | null;
}
export type Loser = Place & { readonly id: string };

export interface Folded {
  /** Where the last write of each id is. */
  readonly winners: Map<string, Place>;
  /** Every other row. The same write in two inputs is kept once. */
  readonly losers: Loser[];
  /** Checksum of every row of every input, as read from their files. */
  readonly cameIn: RowSum;
}

/** One pass over all there is: it meets and sums every row as the files hold it. */
export function foldInputs(inputs: readonly OpenInput[]): Folded {
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

/** Moves tombstones whose delta was made before this to the losers; the largest version among them, -1 for none. */
export function dropTombstones({ winners, losers }: Folded, beforeMs: number): number {
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
export function* rowsAt(inputs: readonly OpenInput[], places: readonly Loser[]): Generator<Row> {
  const selects = inputs.map(selectByLabel);
  for (const { id, input, label, version, delta, row } of places) {
    if (label === null) {
      yield asRow({ id, version, delta, row });
    } else {
      const { label: _, ...stored } = selects[input]!.get(label) as unknown as StoredRow;
      yield { ...stored, vector: inputs[input]!.vectors.at(label) };
    }
  }
}

export const selectByLabel = ({ db }: Pick<OpenInput, "db">): StatementSync =>
  db.prepare("SELECT label, id, version, delta, row, document, metadata FROM rows WHERE label = ?");

const asRow = (tombstone: StoredTombstone): Row => ({
  ...tombstone,
  vector: null,
  document: null,
  metadata: null,
});
