/** Which embedder a collection's texts go through, and what is done with it: a new embedder is a line in `embedderOf`. */
import type { Collection } from "../core/model/collection.ts";
import { invalid, unreachable } from "../core/model/errors.ts";
import { isPlainObject } from "../core/model/metadata.ts";
import { vectorToBase64 } from "../core/model/vector.ts";
import type { Embedder, Purpose } from "./embedder.ts";
import { lexicalEmbedder } from "./lexical-embedder.ts";

/** Null where the collection's vectors come from its users. */
function embedderOf({ embedder, dims }: Collection): Embedder | null {
  switch (embedder) {
    case null:
      return null;
    case "lexical":
      return lexicalEmbedder(dims);
    default:
      return unreachable(embedder);
  }
}

/** Null where the collection has no embedder. Throws `invalid` when the text cannot be embedded. */
export async function embedText(
  collection: Collection,
  text: string,
  purpose: Purpose,
): Promise<Float32Array | null> {
  const embedder = embedderOf(collection);
  if (embedder === null) return null;
  const [vector] = await embedder.embed([text], purpose);
  return vector!;
}

/**
 * A query by text becomes one by vector: the text is embedded once, when it is known which collection is asked. Throws
 * `invalid` where the collection has no embedder.
 */
export function embedQuery<Call extends { readonly text?: string | undefined; readonly vector?: unknown }>({
  text,
  ...call
}: Call): Omit<Call, "text"> {
  if (text === undefined) return call;
  let known: { readonly id: string; readonly vector: Promise<Float32Array | null> } | null = null;
  const vector = async (collection: Collection): Promise<Float32Array> => {
    // A collection that was made again may embed otherwise.
    if (known?.id !== collection.id)
      known = { id: collection.id, vector: embedText(collection, text, "query") };
    const found = await known.vector;
    if (found !== null) return found;
    throw invalid(
      `text: collection ${collection.name} has no built-in embedder; embed the text and give the vector`,
    );
  };
  return { ...call, vector };
}

/** The record as it is, or with its document's vector where it came without one and the collection embeds texts. */
export async function embedMissing(collection: Collection, record: unknown): Promise<unknown> {
  if (!isPlainObject(record) || record.vector !== undefined || typeof record.document !== "string")
    return record;
  const vector = await embedText(collection, record.document, "document");
  return vector === null ? record : { ...record, vector: vectorToBase64(vector) };
}
