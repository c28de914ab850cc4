/** The vector of a record that came without one, where its collection embeds texts itself. */
import type { Collection } from "../../lib/core/collection.ts";
import { embedText } from "../../lib/core/lexical-embedder.ts";
import { isPlainObject } from "../../lib/core/metadata.ts";
import { vectorToBase64 } from "../../lib/core/vector.ts";

/** The record as it is, or with its document's vector; a text that cannot be embedded throws `invalid`. */
export function embedMissing(collection: Collection, record: unknown): unknown {
  if (collection.embedder === null || !isPlainObject(record) || record.vector !== undefined) return record;
  if (typeof record.document !== "string") return record;
  return { ...record, vector: vectorToBase64(embedText(record.document, collection.dims)) };
}
