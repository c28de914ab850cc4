/** The buckets of clusters.bin: lists of records without their vectors, as JSON. Whatever is read is checked, column by column. */

import { documentBytesMax, idBytesMax } from "../core/model/check-records.ts";
import type { DeltaId } from "../core/model/ids.ts";
import { metadataBytesMax } from "../core/model/metadata.ts";
import { isOrder, isWord } from "../core/model/row.ts";
import type { StoredRow } from "./records-db.ts";

/** Largest record in a bucket: document, metadata and id of characters that JSON writes as six bytes each, and the short fields. */
const recordBytesMax = 6 * (documentBytesMax + metadataBytesMax + idBytesMax) + 1024;
const bracketBytes = 2;
export const bucketBytesMax = (records: number): number => bracketBytes + records * recordBytesMax;

/** A row or tombstone in a segment, as clusters.bin has it. */
export interface ClusterRecord extends Omit<StoredRow, "label"> {
  /** Null for a tombstone. */
  readonly label: number | null;
  /** The row's digest (lib/core/format/row-checksum.ts) in base64: it covers the vector, which lies in vectors.f32. */
  readonly digest: string;
}

/** label, id, version, delta, row, document, metadata, digest */
export type BucketEntry = [
  ...[label: number | null, id: string, version: number, delta: DeltaId, row: number],
  ...[document: string | null, metadata: string | null, digest: string],
];
export const encodeBucket = (entries: readonly BucketEntry[]): Buffer => Buffer.from(JSON.stringify(entries));

/** Throws an Error where the bytes are not so many records. */
export function decodeBucket(bytes: Buffer, records: number): ClusterRecord[] {
  const entries = JSON.parse(bytes.toString("utf8")) as BucketEntry[];
  if (!Array.isArray(entries) || entries.length !== records || !entries.every(isEntry))
    throw new Error(`a bucket does not hold ${records} records`);
  return entries.map(([label, id, version, delta, row, document, metadata, digest]) => ({
    ...{ label, id, version, delta, row },
    ...{ document, metadata, digest },
  }));
}

function isEntry(entry: unknown): entry is BucketEntry {
  if (!Array.isArray(entry) || entry.length !== 8) return false;
  const [label, id, version, delta, row, document, metadata, digest] = entry as unknown[];
  const isText = (value: unknown) => typeof value === "string";
  return (
    isWord(label ?? 0) &&
    isOrder({ version, delta, row }) &&
    [id, document ?? "", metadata ?? "", digest].every(isText)
  );
}
