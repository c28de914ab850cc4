/**
 * An exported snapshot: the records of another store, in the bucket, for the compactor to take over (docs/format.md).
 *
 *   snapshot/<path>/records-<n>-<sha256>.jsonl                 parts, a record a line
 *   snapshot/<path>/snapshot.json                              the descriptor, written last: without it there is no snapshot
 *   snapshot/<path>/run/<collection id>/<part>.json            the part is taken over; written by the compactor
 *   snapshot/<path>/run/<collection id>/<part>.rejects.jsonl   records of it that the collection does not take
 *
 * All of it is written once. Parts are named after their content, so that an export that is repeated writes the same.
 */
import { hash } from "node:crypto";
import { checkCollectionName, type Metric, metrics } from "../model/collection.ts";
import { corrupt, invalid } from "../model/errors.ts";
import { isPlainObject } from "../model/metadata.ts";
import { decodeSealed, encodeSealed } from "./sealed-json.ts";

const exportedFormat = 1;
/** The first part of every path: no prefix of another kind may be written below. */
export const exportedFolder = "snapshot";
/** Of a snapshot: with their largest size, some 300 GB. */
export const exportedPartsMax = 10_000;
/** Of a part, which is held in memory whole. */
export const exportedPartBytesMax = 32 * 1024 * 1024;
/** Of a part: what a run that dies does again. */
export const exportedPartRowsMax = 20_000;
/** Of a descriptor with the most parts. */
export const descriptorBytesMax = 4 * 1024 * 1024;

export interface ExportedSnapshot {
  /** The collection that takes the records. */
  readonly collection: string;
  readonly dims: number;
  /** As the other store compares; null where it does not say. */
  readonly metric: Metric | null;
  readonly parts: readonly ExportedPart[];
}
export interface ExportedPart {
  readonly name: string;
  readonly rows: number;
  readonly bytes: number;
  readonly sha256: string;
}

const pathPattern = /^snapshot\/(?:[A-Za-z0-9][A-Za-z0-9._-]{0,62}\/){1,8}$/;
const partPattern = /^records-(\d{5})-([0-9a-f]{64})\.jsonl$/;

/** Throws `invalid`, naming `field`. */
export function checkExportedPath(field: string, path: string): string {
  if (pathPattern.test(path)) return path;
  throw invalid(
    `${field}: must be a folder below ${exportedFolder}/ with a slash at its end, such as snapshot/migration/, got ${JSON.stringify(path.slice(0, 200))}`,
    [{ field, reason: `must be a folder below ${exportedFolder}/ with a slash at its end` }],
  );
}

export const descriptorKey = (path: string): string => `${path}snapshot.json`;
export const partKey = (path: string, { name }: Pick<ExportedPart, "name">): string => `${path}${name}`;
export const takenPrefix = (path: string, collectionId: string): string => `${path}run/${collectionId}/`;
export const takenKey = (path: string, collectionId: string, { name }: ExportedPart): string =>
  `${takenPrefix(path, collectionId)}${name}.json`;
export const rejectsKey = (path: string, collectionId: string, { name }: ExportedPart): string =>
  `${takenPrefix(path, collectionId)}${name}.rejects.jsonl`;

export function exportedPart(number: number, body: Uint8Array, rows: number): ExportedPart {
  const sha256 = hash("sha256", body);
  const name = `records-${String(number).padStart(5, "0")}-${sha256}.jsonl`;
  return { name, rows, bytes: body.length, sha256 };
}

export const encodeExported = (snapshot: ExportedSnapshot): Buffer =>
  encodeSealed({ format: exportedFormat, ...snapshot });

/** Throws `corrupt`, naming `key`: who may write to the bucket may have written it. */
export function decodeExported(bytes: Uint8Array, key: string): ExportedSnapshot {
  const value = decodeSealed(bytes, key, exportedFormat) as Record<keyof ExportedSnapshot, unknown>;
  const { collection, dims, metric, parts } = value;
  const wrong = (what: string) => corrupt(key, what);
  const isMetric = metric === null || metrics.includes(metric as Metric);
  if (!isCount(dims, 1, 65_536) || !isMetric || !Array.isArray(parts) || parts.length > exportedPartsMax)
    throw wrong("its dims, metric or parts are none");
  try {
    checkCollectionName(collection);
  } catch {
    throw wrong("it names no collection");
  }
  for (const [number, part] of parts.entries()) {
    const [, n, sha256] = isPlainObject(part) ? (partPattern.exec(String(part.name)) ?? []) : [];
    const isPart =
      Number(n) === number &&
      part.sha256 === sha256 &&
      isCount(part.rows, 1, exportedPartRowsMax) &&
      isCount(part.bytes, 1, exportedPartBytesMax);
    if (!isPart) throw wrong(`its part ${number} is none`);
  }
  return value as unknown as ExportedSnapshot;
}

const isCount = (value: unknown, min: number, max: number): boolean =>
  Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max;
