/**
 * Ids and numbers that must not be mixed. Each has a type of its own, and one constructor, which throws on what cannot be one:
 * decoders of keys, notifications and tokens call it for what they read (those of sealed objects check the fields), and writers for what they make of the clock's ULID or an earlier number.
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

/** The number of a lease's holding; a version has the one that its ingestion had. Integer, 0 to 10^12 − 1. */
export type Epoch = Branded<number, "Epoch">;

export const epoch = (value: number): Epoch => checkVersion("epoch", value) as Epoch;

/** The number of a version of a shard; 0 is the empty one. Integer, 0 to 10^12 − 1. */
export type SnapshotVersion = Branded<number, "SnapshotVersion">;

export const snapshotVersion = (value: number): SnapshotVersion =>
  checkVersion("version", value) as SnapshotVersion;

/**
 * The largest version and epoch: they grow by one with a publication and a lease, and a thousand a second take 31 years to get
 * there. Manifests' keys have twelve digits.
 */
export const versionMax = 1e12 - 1;

export const isVersion = (value: unknown): boolean =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= versionMax;

function checkVersion(field: string, value: number): number {
  if (isVersion(value)) return value;
  throw invalid(`${field}: ${String(value).slice(0, 40)} is not an integer from 0 to ${versionMax}`);
}

function checkUlid(field: string, text: string): string {
  if (typeof text === "string" && isUlid(text)) return text;
  throw invalid(`${field}: ${JSON.stringify(String(text).slice(0, 40))} is not a ULID`);
}
