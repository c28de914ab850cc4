/**
 * Records and rows: what callers write, and what the engine keeps of it.
 *
 * Every write becomes a row. Rows of one id are in a total order, (version, delta, row): the highest wins, whatever
 * the order in which they arrive (docs/protocol.md).
 */

import type { DeltaId } from "./ids.ts";
import { isUlid } from "./ulid.ts";

export type MetadataValue = string | number | boolean | readonly string[];
export type Metadata = Readonly<Record<string, MetadataValue>>;

/** Where a row stands in the total order of its id's writes. */
export interface RowOrder {
  /** The source's own version, or the producer's clock in ms. Integer, 0 to 2^53 − 1. */
  readonly version: number;
  /** ULID of the delta that carried the write. */
  readonly delta: DeltaId;
  /** Position of the row in its delta. */
  readonly row: number;
}

/** A write as its producer sends it: the delta gives it its place in the order. */
export interface DeltaRow {
  readonly id: string;
  /** Integer, 0 to 2^53 − 1. */
  readonly version: number;
  /** dims finite values; null deletes the id. */
  readonly vector: Float32Array | null;
  readonly document: string | null;
  /** Metadata as JSON text, exactly as it was written; null when there is none. */
  readonly metadata: string | null;
}

/** A row in its place in the order: one write, an upsert with a vector or a delete (tombstone) without. */
export interface Row extends DeltaRow, RowOrder {}

/** Whether what a file holds is the order of a row. */
export const isOrder = ({ version, delta, row }: Readonly<Record<keyof RowOrder, unknown>>): boolean =>
  Number.isSafeInteger(version) &&
  (version as number) >= 0 &&
  typeof delta === "string" &&
  isUlid(delta) &&
  isWord(row);
/** A place or label: 32 bits without a sign. */
export const isWord = (value: unknown): boolean =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32;

/** Negative when `a` is older than `b`, 0 only for the very same write. ULIDs compare as ASCII text. */
export function compareOrder(a: RowOrder, b: RowOrder): number {
  if (a.version !== b.version) return a.version - b.version;
  if (a.delta !== b.delta) return a.delta < b.delta ? -1 : 1;
  return a.row - b.row;
}
