/**
 * The work of opening a segment that takes the longer the larger its files are, beside the graph's: their hashes, what is read
 * whole of them, and the comparison of two segments' ids. The thread that asks does it, or, where answers are not to wait
 * for it, one beside it (segment-thread.ts): the same functions either way.
 */
import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import type { Segment } from "../core/format/manifest.ts";
import type { Collection } from "../core/model/collection.ts";
import { corrupt } from "../core/model/errors.ts";
import { normalised, vectorProblem } from "../core/model/vector.ts";
import { openCheckedRecords } from "./check-records.ts";
import { type FieldIndexes, readIndexes } from "./field-index.ts";
import { VectorFile } from "./files.ts";
import { arraysOf, damageOf, openRecords, recordsUri } from "./records-db.ts";
import { type Shadowed, shadowedRows } from "./shadowed-rows.ts";

/** What is kept in memory of an open segment, beside its graph. */
export interface SegmentContent {
  /** A byte for each slot, 1 where a row has it as its label; null when every slot has one. */
  readonly held: Uint8Array | null;
  /** Packed, of unit length for cosine: flat segments only. */
  readonly vectors: Float32Array | null;
  readonly fields: FieldIndexes;
}

/** A segment whose files are in a folder. */
export interface Located {
  readonly folder: string;
  readonly segment: Segment;
}

/** The sha256 of a file that is being written. */
export interface FileHash {
  /** The next bytes of it, once they were written. */
  add(bytes: Uint8Array): void;
  /** Of all that was added, in hex. */
  digest(): string | Promise<string>;
  /** Given up before its digest. */
  abandon(): void;
}

export interface SegmentWork {
  hash(path: string, bytes: number): FileHash;
  /** Throws `corrupt` when records.db, or the vectors of a flat segment, are not what the manifest says. */
  read(place: Located, collection: Collection): Promise<SegmentContent>;
  /** For each id in both segments: which side's row is older, and therefore dead. */
  shadowed(own: Located, other: Located): Shadowed | Promise<Shadowed>;
}

/** The thread that asks does the work. */
export const workHere: SegmentWork = {
  hash() {
    const sha256 = createHash("sha256");
    return {
      add: (bytes) => void sha256.update(bytes),
      digest: () => sha256.digest("hex"),
      abandon() {},
    };
  },
  read: readContent,
  shadowed: shadowedBetween,
};

async function readContent({ folder, segment }: Located, collection: Collection): Promise<SegmentContent> {
  const path = join(folder, "records.db");
  const db = await openCheckedRecords(path, collection, segment);
  try {
    return {
      fields: fieldsIn(db, path, { fields: collection.fields, slots: segment.slots }),
      held: segment.rows === segment.slots ? null : heldBytes(db, path, segment),
      vectors: segment.kind === "hnsw" ? null : readVectors(join(folder, "vectors.f32"), collection, segment),
    };
  } finally {
    db.close();
  }
}

function fieldsIn(
  db: DatabaseSync,
  path: string,
  { fields, slots }: { fields: Collection["fields"]; slots: number },
): FieldIndexes {
  try {
    return readIndexes(db, fields, slots);
  } catch (error) {
    throw damageOf(path, error);
  }
}

function heldBytes(db: DatabaseSync, path: string, { slots, rows }: Segment): Uint8Array {
  const labels = readLabels({ db, path, slots }, "SELECT json_group_array(label) FROM rows");
  if (labels.length !== rows) throw corrupt(path, `it has ${labels.length} labels of ${rows} rows`);
  const bytes = new Uint8Array(slots);
  for (const label of labels) bytes[label] = 1;
  return bytes;
}

/** The labels that a query gives as one JSON text, which is read three times as fast as a row for each. Ascending. */
export function readLabels(
  { db, path, slots }: { db: DatabaseSync; path: string; slots: number },
  sql: string,
): Uint32Array {
  try {
    const [json] = arraysOf(db, sql).get() as unknown as [string];
    const labels = Uint32Array.from(JSON.parse(json) as number[]).sort();
    if (labels.some((label, i) => label >= slots || label === labels[i - 1]))
      throw new Error(`it has a label twice, or one above its ${slots} vectors`);
    return labels;
  } catch (error) {
    throw damageOf(path, error);
  }
}

function readVectors(path: string, collection: Collection, { slots }: Segment): Float32Array {
  const { dims, metric } = collection;
  const { size } = statSync(path);
  if (size !== slots * dims * 4) throw corrupt(path, `it has ${size} bytes for ${slots} × ${dims}`);
  const file = new VectorFile(path, dims);
  const vectors = file.rows(0, slots);
  file.close();
  const searched = metric === "cosine" ? new Float32Array(vectors.length) : vectors;
  for (let start = 0; start < vectors.length; start += dims) {
    const vector = vectors.subarray(start, start + dims);
    const problem = vectorProblem(collection, vector);
    if (problem !== null) throw corrupt(path, `row ${start / dims} ${problem}`);
    if (metric === "cosine") searched.set(normalised(vector), start);
  }
  return searched;
}

function shadowedBetween(own: Located, other: Located): Shadowed {
  const path = join(own.folder, "records.db");
  const db = openRecords(path);
  try {
    const stored = ({ folder, segment }: Located) => ({
      segment,
      recordsUri: recordsUri(join(folder, "records.db")).href,
    });
    return shadowedRows(db, stored(own), stored(other));
  } catch (error) {
    throw damageOf(path, error);
  } finally {
    db.close();
  }
}
