/** Documents that are embedded each for itself: one that cannot be has an outcome of its own, and holds up no other. */
import type { Collection } from "../core/model/collection.ts";
import { invalid } from "../core/model/errors.ts";
import { embedderOf, type ProfileEmbedders } from "./collection-embedder.ts";
import type { EachEmbedded, EmbedOptions } from "./embedder.ts";

export type EmbedDocuments = (
  collection: Collection,
  texts: readonly string[],
  options?: EmbedOptions,
) => Promise<EachEmbedded>;

/** By the collection's embedder. Throws `invalid` where it has none, or the stage has no access to its provider. */
export const documentEmbedder =
  (profiles: ProfileEmbedders): EmbedDocuments =>
  async (collection, texts, options) => {
    const embedder = await embedderOf(collection, profiles);
    if (embedder === null)
      throw invalid(`collection ${collection.name} has no embedder; write its records with vectors`);
    return embedder.embedEach(texts, "document", options);
  };
