/** The segments that a merge reads, on local disk, and their fold: every row is met once, and the last write of each id wins. */
import { join } from "node:path";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Segment } from "../core/format/manifest.ts";
import { Checksum, type RowSum } from "../core/format/row-checksum.ts";
import type { Collection } from "../core/model/collection.ts";
import { corrupt } from "../core/model/errors.ts";
import type { SegmentId } from "../core/model/ids.ts";
import { compareOrder, type Row, type RowOrder } from "../core/model/row.ts";
import { ulidTimeMs } from "../core/model/ulid.ts";
import { type VectorSpace, vectorProblem } from "../core/model/vector.ts";
import type { Counts } from "../core/policy/stale-rows.ts";
import { openCheckedRecords } from "./check-records.ts";
import type { Clusters } from "./clusters.ts";
import { Opened, VectorFile } from "./files.ts";
import { idHash } from "./id-hash.ts";
import {
  type StoredRow,
  type StoredTombstone,
  storedOrders,
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
  collection: Pick<Collection, "dims" | "fields">,
  work: (open: readonly OpenInput[]) => Promise<T>,
): Promise<T> {
  const opened = new Opened();
  try {
    const open: OpenInput[] = [];
    for (const input of inputs) {
      const records = join(input.folder, "records.db");
      const db = opened.add(await openCheckedRecords(records, collection, input.segment));
      const vectors = opened.add(new VectorFile(join(input.folder, "vectors.f32"), collection.dims));
      open.push({ ...input, db, vectors });
    }
    return await work(open);
  } finally {
    opened.close();
  }
}

/** Where a row or a tombstone is. */
export interface Place extends RowOrder {
  readonly input: number;
  /** Null for a tombstone. */
  readonly label: number | null;
}
export type Loser = Place & Pick<Row, "id">;

export interface Folded {
  /** Where the last write of each id is. */
  readonly winners: Map<string, Place>;
  /** Every other row. The same write in two inputs is kept once. */
  readonly losers: Loser[];
  /** Checksum of every row of every input, as read from their files. */
  readonly cameIn: RowSum;
}

/** One pass over all there is: it meets and sums every row as the files hold it. Throws `corrupt` for what no row is. */
export function foldInputs(inputs: readonly OpenInput[], space: VectorSpace): Folded {
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
  for (const [input, { db, vectors, folder }] of inputs.entries()) {
    for (const { label, ...row } of storedRows(db)) {
      const { version, delta, row: at } = row;
      const vector = vectors.at(label);
      const problem = vectorProblem(space, vector);
      if (problem !== null) throw corrupt(join(folder, "vectors.f32"), `row ${label} ${problem}`);
      meet({ ...row, vector }, { input, label, version, delta, row: at });
    }
    for (const tombstone of storedTombstones(db)) {
      const { version, delta, row: at } = tombstone;
      meet(asRow(tombstone), { input, label: null, version, delta, row: at });
    }
  }
  return { winners, losers, cameIn: cameIn.sum() };
}

/** What the winners are to a segment whose records were read. */
export interface Compared {
  /** How many of its rows they supersede. */
  readonly older: number;
  /** Those of them that tombstones beat, by id. */
  readonly deleted: ReadonlySet<string>;
}

/** Moves rows that a segment of `against` supersedes (or holds as well) to the losers. */
export async function dropSuperseded(
  { winners, losers }: Folded,
  against: readonly MergeInput[],
  collection: Pick<Collection, "fields">,
): Promise<Map<SegmentId, Compared>> {
  const compared = new Map<SegmentId, Compared>();
  for (const { segment, folder } of against) {
    const db = await openCheckedRecords(join(folder, "records.db"), collection, segment);
    try {
      let older = 0;
      const deleted = new Set<string>();
      for (const { id, ...order } of storedOrders(db)) {
        const place = winners.get(id);
        if (place === undefined) continue;
        if (compareOrder(place, order) > 0) {
          older += 1;
          if (place.label === null) deleted.add(id);
          continue;
        }
        winners.delete(id);
        losers.push({ id, ...place });
      }
      compared.set(segment.id, { older, deleted });
    } finally {
      db.close();
    }
  }
  return compared;
}

/** A segment of the version that a merge leaves as it is. */
export interface Neighbour {
  readonly segment: Segment;
  /** Tells which ids the segment has; null when that is not known. */
  readonly clusters: Clusters | null;
}

export interface Met {
  /** How many ids of each neighbour are among the winners, where that is known. */
  readonly counted: Counts;
  /** Largest version among dropped tombstones; -1 when none was dropped. */
  readonly droppedVersionMax: number;
}

/**
 * Counts the winners' ids in the neighbours; and moves tombstones whose delta was made before `beforeMs` to the losers, where no
 * neighbour can hold anything older: it has no such id, or nothing of so small a version.
 */
export async function meetNeighbours(
  { winners, losers }: Folded,
  beforeMs: number,
  neighbours: AsyncIterable<Neighbour>,
  compared: ReadonlyMap<SegmentId, Compared>,
): Promise<Met> {
  const ids = [...winners.keys()];
  const droppable = new Map<number, Place>();
  for (const [i, id] of ids.entries()) {
    const place = winners.get(id)!;
    if (place.label === null && ulidTimeMs(place.delta) < beforeMs) droppable.set(i, place);
  }
  const counted = new Map<SegmentId, number>();
  let hashes: IdHashes | null = null;
  for await (const { segment, clusters } of neighbours) {
    const deleted = compared.get(segment.id)?.deleted;
    const mayHold = (i: number): boolean =>
      deleted?.has(ids[i]!) ?? (clusters === null || clusters.bucketOfHashed(hashes!.at(i)) !== null);
    if (clusters !== null) {
      hashes ??= new IdHashes(ids);
      let met = 0;
      for (let i = 0; i < ids.length; i++) if (clusters.bucketOfHashed(hashes.at(i)) !== null) met += 1;
      counted.set(segment.id, met);
    }
    for (const [i, { version }] of droppable)
      if (segment.minVersion <= version && mayHold(i)) droppable.delete(i);
  }
  let droppedVersionMax = -1;
  for (const [i, place] of droppable) {
    winners.delete(ids[i]!);
    losers.push({ id: ids[i]!, ...place });
    droppedVersionMax = Math.max(droppedVersionMax, place.version);
  }
  return { counted, droppedVersionMax };
}

/** Made once, asked for each neighbour. */
class IdHashes {
  readonly #high: Uint32Array;
  readonly #fingerprint: Uint16Array;

  constructor(ids: readonly string[]) {
    this.#high = new Uint32Array(ids.length);
    this.#fingerprint = new Uint16Array(ids.length);
    for (const [i, id] of ids.entries()) {
      const { high, fingerprint } = idHash(id);
      this.#high[i] = high;
      this.#fingerprint[i] = fingerprint;
    }
  }
  at(i: number): { high: number; fingerprint: number } {
    return { high: this.#high[i]!, fingerprint: this.#fingerprint[i]! };
  }
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
