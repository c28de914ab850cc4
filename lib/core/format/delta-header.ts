/**
 * The header of a delta: what its Arrow schema metadata says, under keys that start with "siltstone." (docs/format.md).
 */
import { hash } from "node:crypto";
import { callRowsMax } from "../model/check-records.ts";
import { corrupt, invalid } from "../model/errors.ts";
import { type DeltaId, deltaId } from "../model/ids.ts";
import { isUlid } from "../model/ulid.ts";

export const deltaFormat = 1;
export const formatKey = "siltstone.format";
/** A delta fits the memory of the smallest function that reads it; a larger write is several deltas. */
export const deltaRowsMax = callRowsMax;
export const deltaBytesMax = 64 * 1024 * 1024;
/** Longest `producer`, in bytes of UTF-8: the metadata of a delta is bounded (lib/core/format/arrow-bounds.ts). */
const producerBytesMax = 1024;

export interface DeltaHeader {
  /** Name of the collection, and the ULID of exactly that one: a collection made again under the name has another. */
  readonly collection: string;
  readonly collectionId: string;
  readonly shard: number;
  readonly embeddingVersion: string;
  readonly dims: number;
  /** Free text, for people: who wrote it. */
  readonly producer: string;
  readonly createdAtMs: number;
  /** The ULID under which its rows were written first, where that is not its name: they keep their place in the order. */
  readonly writtenAs?: DeltaId;
}

const keyPrefix = "siltstone.";
export const writtenAsKey = `${keyPrefix}writtenAs`;
/** The order in which the digest takes the header's texts. */
const textKeys = [
  "collection",
  "collectionId",
  "shard",
  "embeddingVersion",
  "dims",
  "producer",
  "createdAtMs",
  "count",
] as const;

export const headerTexts = (header: DeltaHeader, count: number): string[] =>
  textKeys.map((key) => String(key === "count" ? count : header[key]));

/** Throws `invalid` where the caller's part of it is too long. */
export function encodeHeader(header: DeltaHeader, count: number, sha256: string): Map<string, string> {
  const bytes = Buffer.byteLength(header.producer);
  if (bytes > producerBytesMax)
    throw invalid(`producer: has ${bytes} bytes; at most ${producerBytesMax} are allowed`);
  const texts = headerTexts(header, count);
  return new Map([
    [formatKey, String(deltaFormat)],
    ...textKeys.map((key, i): [string, string] => [keyPrefix + key, texts[i]!]),
    [`${keyPrefix}sha256`, sha256],
    ...(header.writtenAs === undefined
      ? []
      : ([[writtenAsKey, `${header.writtenAs} ${proofOf(header.writtenAs, sha256)}`]] as const)),
  ]);
}

/** The digest of format 1 says nothing of a former name, so that code which does not know of any still proves the content. */
const proofOf = (writtenAs: string, sha256: string): string => hash("sha256", `${writtenAs} ${sha256}`);

function decodeWrittenAs(value: string | undefined, sha256: string, key: string): { writtenAs?: DeltaId } {
  if (value === undefined) return {};
  const writtenAs = value.slice(0, value.indexOf(" "));
  if (isUlid(writtenAs) && value === `${writtenAs} ${proofOf(writtenAs, sha256)}`)
    return { writtenAs: deltaId(writtenAs) };
  throw corrupt(key, `${writtenAsKey} is ${JSON.stringify(value.slice(0, 40))}, which does not prove itself`);
}

/**
 * Whether a former name is among the bytes, with its proof. The digest does not cover its key: a flipped bit there, or in
 * the count of the entries, would make a delta that was never renamed, and move its rows in the order of writes.
 */
export function holdsFormerName(bytes: Uint8Array, sha256: string): boolean {
  const text = Buffer.from(bytes).toString("latin1");
  for (const [, writtenAs, proof] of text.matchAll(/([0-9A-Z]{26}) ([0-9a-f]{64})/g))
    if (proof === proofOf(writtenAs!, sha256)) return true;
  return false;
}

/** Reads the schema metadata, of whatever format it says that it is. Throws `corrupt`, naming `key`, before anything else of the delta is looked at. */
export function decodeHeader(metadata: ReadonlyMap<string, string>, key: string) {
  const text = (name: string): string => {
    const value = metadata.get(keyPrefix + name);
    if (typeof value !== "string") throw corrupt(key, `its schema metadata has no ${keyPrefix}${name}`);
    return value;
  };
  const integer = (name: string): number => {
    const value = text(name);
    if (!/^(0|[1-9][0-9]{0,15})$/.test(value) || !Number.isSafeInteger(Number(value))) {
      throw corrupt(key, `${keyPrefix}${name} is ${JSON.stringify(value.slice(0, 40))}, not an integer`);
    }
    return Number(value);
  };
  const header: DeltaHeader = {
    collection: text("collection"),
    collectionId: text("collectionId"),
    shard: integer("shard"),
    embeddingVersion: text("embeddingVersion"),
    dims: integer("dims"),
    producer: text("producer"),
    createdAtMs: integer("createdAtMs"),
  };
  const sha256 = text("sha256");
  const former = decodeWrittenAs(metadata.get(writtenAsKey), sha256, key);
  return { header: { ...header, ...former }, count: integer("count"), sha256 };
}
