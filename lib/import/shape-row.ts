/**
 * A row of a source becomes a record of the producer: the id, document, vector and version are found, and every other field
 * is metadata. What the engine would refuse is left for it to refuse; only what it cannot see is judged here.
 */

import { isDeepStrictEqual } from "node:util";
import type { Collection } from "../core/model/collection.ts";
import { derivedId } from "../core/model/derived-id.ts";
import { invalid, SiltstoneError } from "../core/model/errors.ts";
import { isPlainObject, shown } from "../core/model/metadata.ts";
import { parseWithIntegers } from "./exact-integers.ts";
import type { FieldNames, SourceRow } from "./source.ts";

export interface RowFault {
  readonly id?: string;
  readonly field: string;
  readonly reason: string;
}

export type Nested = "reject" | "path" | "json";

/** What the caller wants of rows. */
export interface Shape {
  readonly fields: FieldNames;
  /** New names of metadata fields. */
  readonly renamed: ReadonlyMap<string, string>;
  /** The only metadata fields that are carried over, by their new names; null: all. */
  readonly only: ReadonlySet<string> | null;
  /** Objects, and lists of other things than text: refused, spread into fields named by their path, or kept as JSON text. */
  readonly nested: Nested;
  /** The source's vectors are left out, so that they come from documents (embed-rows.ts). */
  readonly reEmbed: boolean;
  /** New ids by old ones; an id that is not in it stays, unless one of it becomes that. */
  readonly ids: ReadonlyMap<string, string>;
  /** The new ids of `ids`. */
  readonly newIds: ReadonlySet<string>;
  /** Ids become derivedId of this source name, the row's namespace as tenant, and the row's own id (or its number). */
  readonly deriveIds: string | null;
}

/** A record as the producer takes it. */
export interface ShapedRecord {
  readonly id?: unknown;
  readonly vector?: unknown;
  readonly document?: unknown;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly version?: unknown;
}
export type ShapedRow =
  | { readonly kind: "record"; readonly record: ShapedRecord }
  | { readonly kind: "faulty"; readonly fault: RowFault; readonly record: ShapedRecord };

/** `number`: of the row in its source, from 0. */
export function shapeRow(collection: Collection, shape: Shape, row: SourceRow, number: number): ShapedRow {
  const { fields } = shape;
  const rest: Record<string, unknown> = { ...row.metadata };
  const part = (name: string | null, own: unknown) => (name === null ? own : take(rest, name));
  const id = newId(shape, row, part(fields.id, row.id), number);
  const spread = asObject(part(fields.metadata, undefined));
  // An object of metadata may hold the document and the version too.
  const inner = typeof spread === "string" ? {} : { ...spread };
  const partOfBoth = (name: string | null, own: unknown) =>
    name === null || Object.hasOwn(rest, name) ? part(name, own) : take(inner, name);
  const document = partOfBoth(fields.document, row.document);
  const version = exact(partOfBoth(fields.version, row.version));
  const given = part(fields.vector, row.vector);
  const vector = shape.reEmbed ? null : given;
  const { metadata, twice } = metadataOf(shape, [...Object.entries(rest), ...Object.entries(inner)]);
  const record: ShapedRecord = {
    ...(id === undefined || id instanceof SiltstoneError ? {} : { id }),
    ...(vector == null ? {} : { vector }),
    ...(document == null ? {} : { document }),
    ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
    ...(version == null || collection.ordering !== "source" ? {} : { version }),
  };
  const faulty = (field: string, reason: string): ShapedRow => ({
    kind: "faulty",
    fault: { ...(typeof id === "string" ? { id } : {}), field, reason },
    record,
  });
  if (id instanceof SiltstoneError) return faulty("id", id.message);
  if (typeof spread === "string") return faulty(fields.metadata ?? "metadata", spread);
  if (twice !== null) {
    const reason =
      "comes from two fields with other values; tell them apart by --map, or leave fields out by --only";
    return faulty(`metadata.${twice}`, reason);
  }
  return { kind: "record", record };
}

function take(from: Record<string, unknown>, field: string): unknown {
  const value = Object.hasOwn(from, field) ? from[field] : undefined;
  delete from[field];
  return value;
}

function newId(shape: Shape, { namespace }: SourceRow, raw: unknown, number: number): unknown {
  const old = typeof raw === "bigint" || Number.isSafeInteger(raw) ? String(raw) : raw;
  const mapped = typeof old === "string" ? shape.ids.get(old) : undefined;
  if (mapped === undefined && typeof old === "string" && shape.newIds.has(old))
    return invalid("is what --id-map makes of another id; give this one a new id as well");
  const id = mapped ?? old;
  if (shape.deriveIds === null) return id;
  try {
    const sourceId = typeof id === "string" ? id : `#${number}`;
    return derivedId({ tenant: namespace || "default", source: shape.deriveIds, sourceId, chunk: 0 });
  } catch (error) {
    if (error instanceof SiltstoneError) return error;
    throw error;
  }
}

/** A bigint that a number holds exactly becomes one; another stays, and is refused where it is no more than metadata. */
const exact = (value: unknown): unknown =>
  typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value;

/** The object, or what is wrong with it. */
function asObject(value: unknown): Record<string, unknown> | string {
  if (value == null || value === "") return {};
  let found: unknown = value;
  if (typeof value === "string") {
    try {
      found = parseWithIntegers(value);
    } catch (error) {
      return `is not JSON: ${(error as Error).message}`;
    }
  }
  return isPlainObject(found) ? found : `must be a JSON object, got ${shown(found)}`;
}

/** `twice`: a name that two fields have come to, of which one would be lost. */
function metadataOf(
  shape: Shape,
  fields: readonly (readonly [string, unknown])[],
): { metadata: Record<string, unknown>; twice: string | null } {
  const metadata: Record<string, unknown> = {};
  let twice: string | null = null;
  const add = (name: string, value: unknown) => {
    if (value == null) return;
    const key = shape.renamed.get(name) ?? name;
    if (shape.only?.has(key) === false) return;
    if (Object.hasOwn(metadata, key) && !isDeepStrictEqual(metadata[key], value)) twice ??= key;
    // Assigned, it would be the object's prototype.
    Object.defineProperty(metadata, key, { value, enumerable: true, configurable: true, writable: true });
  };
  for (const [name, value] of fields) addPlain(add, shape.nested, name, plainOf(value));
  return { metadata, twice };
}

function addPlain(add: (name: string, value: unknown) => void, nested: Nested, name: string, value: unknown) {
  const isNested = typeof value === "object" && value !== null && !isTexts(value);
  if (!isNested || nested === "reject") return add(name, value);
  if (nested === "json" || Array.isArray(value)) return add(name, JSON.stringify(value, textOfBig));
  for (const [part, one] of Object.entries(value)) addPlain(add, nested, `${name}.${part}`, one);
}

/** JSON has no bigint: as text it is whole. */
export const textOfBig = (_: string, value: unknown): unknown =>
  typeof value === "bigint" ? String(value) : value;
const isTexts = (value: object): boolean =>
  Array.isArray(value) && value.every((one) => typeof one === "string");

/** What a driver gives as objects of its own, as JSON has it. */
function plainOf(value: unknown): unknown {
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? Number.NaN : value.toISOString();
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<unknown>, plainOf);
  if (Array.isArray(value)) return value.map(plainOf);
  if (isPlainObject(value))
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plainOf(one)]));
  return exact(value);
}
