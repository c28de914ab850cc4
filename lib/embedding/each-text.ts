/** Documents that are embedded each for itself: one that cannot be has an outcome of its own, and holds up no other. */
import type { Collection } from "../core/model/collection.ts";
import { invalid, SiltstoneError } from "../core/model/errors.ts";
import type { EachEmbedded } from "./batched-embedder.ts";
import type { EmbedOptions } from "./embedder.ts";
import { lexicalEmbedder } from "./lexical-embedder.ts";
import type { BatchedEmbedders } from "./profile-embedders.ts";

export type EmbedDocuments = (
  collection: Collection,
  texts: readonly string[],
  options?: EmbedOptions,
) => Promise<EachEmbedded>;

/** By the collection's profile, or the built-in embedder. Throws `invalid` where the stage has no access to the profile's provider. */
export const documentEmbedder =
  (embedders: BatchedEmbedders): EmbedDocuments =>
  async (collection, texts, options) => {
    const { embedder, dims, name } = collection;
    if (embedder === null)
      throw invalid(`collection ${name} has no embedder; write its records with vectors`);
    if (embedder !== "lexical")
      return (await embedders(collection, embedder)).embedEach(texts, "document", options);
    const lexical = lexicalEmbedder(dims);
    const outcomes = await Promise.all(
      texts.map((text) =>
        lexical.embed([text], "document").then(
          ({ vectors }) => vectors[0]!,
          (error: unknown) => {
            if (error instanceof SiltstoneError) return error;
            throw error;
          },
        ),
      ),
    );
    return { outcomes, tokens: null };
  };
