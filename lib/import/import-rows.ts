/**
 * A line of JSONL becomes a record of the producer: the id, text, vector and version fields are taken out, and every
 * other field is metadata. What the engine would refuse is left for it to refuse; only what it cannot see is judged here.
 */
import type { Collection } from "../core/model/collection.ts";
import { SiltstoneError } from "../core/model/errors.ts";
import { isPlainObject, shown } from "../core/model/metadata.ts";
import { embedText } from "../embedding/collection-embedder.ts";

export interface RowFields {
  readonly idField: string;
  readonly textField: string;
  /** Only for collections with ordering source. */
  readonly versionField?: string | undefined;
}

export interface RowFault {
  readonly id?: string;
  readonly field: string;
  readonly reason: string;
}
export type ParsedRow =
  | { readonly kind: "record"; readonly record: Readonly<Record<string, unknown>> }
  | { readonly kind: "faulty"; readonly fault: RowFault };

/** `vector` is the row's of --vectors; undefined when the line has to bring its own. */
export async function parseRow(
  collection: Collection,
  text: string,
  fields: RowFields,
  vector?: Float32Array,
): Promise<ParsedRow> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return faulty({ field: "line", reason: `is not JSON: ${(error as Error).message}` });
  }
  if (!isPlainObject(value))
    return faulty({ field: "line", reason: `must be a JSON object, got ${shown(value)}` });
  const { [fields.idField]: rawId, [fields.textField]: document, ...rest } = value;
  const id = typeof rawId === "number" && Number.isSafeInteger(rawId) ? String(rawId) : rawId;
  const named = typeof id === "string" ? { id } : {};
  const version = fields.versionField === undefined ? undefined : take(rest, fields.versionField);
  const own = take(rest, "vector");
  if (own != null && vector !== undefined) {
    return faulty({ ...named, field: "vector", reason: "is in the line and in --vectors" });
  }
  const found = vector ?? own ?? (await embedded(collection, document));
  if (found instanceof SiltstoneError)
    return faulty({ ...named, field: fields.textField, reason: found.message });
  const metadata = Object.fromEntries(Object.entries(rest).filter(([, one]) => one !== null));
  return {
    kind: "record",
    record: {
      ...(id === undefined ? {} : { id }),
      ...(found == null ? {} : { vector: found }),
      ...(document == null ? {} : { document }),
      ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
      ...(version === undefined ? {} : { version }),
    },
  };
}

const faulty = (fault: RowFault): ParsedRow => ({ kind: "faulty", fault });

function take(from: Record<string, unknown>, field: string): unknown {
  const value = from[field];
  delete from[field];
  return value;
}

/** Null where the collection has no embedder, or the row no text: the engine then reports the missing vector. */
async function embedded(
  collection: Collection,
  document: unknown,
): Promise<Float32Array | SiltstoneError | null> {
  if (typeof document !== "string") return null;
  try {
    return await embedText(collection, document, "document");
  } catch (error) {
    if (error instanceof SiltstoneError) return error;
    throw error;
  }
}
