/**
 * Ids and numbers that must not be mixed. Each has a type of its own, and one constructor, which throws on what cannot be one:
 * decoders call it for what they read, and whoever makes a new one from the clock's ULID or from an earlier number.
 */
import { invalid } from "./errors.ts";
import { isUlid } from "./ulid.ts";

declare const brand: unique symbol;
type Branded<Base, Name extends string> = Base & { readonly [brand]: Name };

/** ULID of a delta; also of a moment among deltas, as a watermark is. */
export type DeltaId = Branded<string, "DeltaId">;

export const deltaId = (text: string): DeltaId => checkUlid("delta", text) as DeltaId;

/** ULID of a segment; also its folder. */
export type SegmentId = Branded<string, "SegmentId">;

export const segmentId = (text: string): SegmentId => checkUlid("segment", text) as SegmentId;

/** ULID of one attempt to publish a version; version 0 has its collection's. */
export type CommitId = Branded<string, "CommitId">;

export const commitId = (text: string): CommitId => checkUlid("commit", text) as CommitId;

function checkUlid(field: string, text: string): string {
  if (typeof text === "string" && isUlid(text)) return text;
  throw invalid(`${field}: ${JSON.stringify(String(text).slice(0, 40))} is not a ULID`);
}
