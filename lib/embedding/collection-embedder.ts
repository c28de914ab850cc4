/** Which embedder a collection's texts go through, and what is done with it. */
import type { Collection } from "../core/model/collection.ts";
import type { EmbeddingProfile } from "../core/model/embedding-profile.ts";
import { invalid } from "../core/model/errors.ts";
import { isPlainObject } from "../core/model/metadata.ts";
import { vectorToBase64 } from "../core/model/vector.ts";
import type { Embedder, EmbedOptions, Purpose } from "./embedder.ts";
import { lexicalEmbedder } from "./lexical-embedder.ts";

/** The embedder of a profile, for a collection's vectors. Throws `invalid` where the stage has no such provider or model. */
export type ProfileEmbedders = (collection: Collection, profile: EmbeddingProfile) => Promise<Embedder>;

/** For code that has no providers: the built-in embedder only. */
const noProviders: ProfileEmbedders = async ({ name }, { provider, model }) => {
  throw invalid(
    `text: collection ${name} embeds by ${provider}/${model}, which is not configured here; give the vector`,
  );
};

/** Null where the collection's vectors come from its users. */
export async function embedderOf(
  collection: Collection,
  profiles: ProfileEmbedders,
): Promise<Embedder | null> {
  const { embedder, dims } = collection;
  if (embedder === null) return null;
  return embedder === "lexical" ? lexicalEmbedder(dims) : profiles(collection, embedder);
}

/** What embedding a text took. */
export interface EmbeddingCost {
  readonly milliseconds: number;
  /** Tokens as the provider counts them; null where it says nothing, or was not asked. */
  readonly tokens: number | null;
}

interface TextOptions extends EmbedOptions {
  /** @default the built-in embedder only */
  readonly profiles?: ProfileEmbedders | undefined;
  readonly onCost?: ((cost: EmbeddingCost) => void) | undefined;
}

/** Null where the collection has no embedder. Throws `invalid` when the text cannot be embedded. */
export async function embedText(
  collection: Collection,
  text: string,
  purpose: Purpose,
  { profiles = noProviders, onCost, ...options }: TextOptions = {},
): Promise<Float32Array | null> {
  const embedder = await embedderOf(collection, profiles);
  if (embedder === null) return null;
  const startMs = performance.now();
  const { vectors, tokens } = await embedder.embed([text], purpose, options);
  onCost?.({ milliseconds: Math.round((performance.now() - startMs) * 10) / 10, tokens });
  return vectors[0]!;
}

/**
 * A query by text becomes one by vector: the text is embedded once, when it is known which collection is asked. Throws
 * `invalid` where the collection has no embedder.
 */
export function embedQuery<Call extends { readonly text?: string | undefined; readonly vector?: unknown }>(
  { text, ...call }: Call,
  options: TextOptions = {},
): Omit<Call, "text"> {
  if (text === undefined) return call;
  let known: { readonly id: string; readonly vector: Promise<Float32Array | null> } | null = null;
  const vector = async (collection: Collection): Promise<Float32Array> => {
    // A collection that was made again may embed otherwise.
    if (known?.id !== collection.id)
      known = { id: collection.id, vector: embedText(collection, text, "query", options) };
    const found = await known.vector;
    if (found !== null) return found;
    throw invalid(`text: collection ${collection.name} has no embedder; embed the text and give the vector`);
  };
  return { ...call, vector };
}

/** The record as it is, or with its document's vector where it came without one and the collection embeds texts. */
export async function embedMissing(collection: Collection, record: unknown): Promise<unknown> {
  if (!isPlainObject(record) || record.vector !== undefined || typeof record.document !== "string")
    return record;
  const embedded = await embedText(collection, record.document, "document");
  return embedded === null ? record : { ...record, vector: vectorToBase64(embedded) };
}
