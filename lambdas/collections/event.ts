/** What the collections function is asked for: a collection, by a caller or by the stack. */
import * as z from "zod/mini";
import { parseJson } from "../../lib/aws/json-text.ts";
import { parseEvent } from "../../lib/aws/parse-event.ts";
import type { StackEvent } from "../../lib/aws/stack-event.ts";
import type { CollectionOptions } from "../../lib/core/model/collection.ts";

/** The engine checks the values, and names every one that is wrong. */
const options = z.strictObject({
  name: z.string(),
  dims: z.number(),
  metric: z.string(),
  embeddingVersion: z.optional(z.string()),
  embedder: z.optional(z.unknown()),
  index: z.optional(
    z.strictObject({
      M: z.optional(z.number()),
      efConstruction: z.optional(z.number()),
      efSearch: z.optional(z.number()),
    }),
  ),
  fields: z.optional(z.record(z.string(), z.string())),
  shards: z.optional(z.number()),
  ordering: z.optional(z.string()),
  tombstoneRetention: z.optional(z.union([z.number(), z.string()])),
});

export const parseCollection = (call: unknown): CollectionOptions =>
  parseEvent(options, call) as CollectionOptions;

/** A stack's properties are all text; the configuration is JSON in one of them (lib/constructs/collections.ts). */
export const collectionOfStack = ({ ResourceProperties }: StackEvent): CollectionOptions =>
  parseCollection(parseJson(String(ResourceProperties.Configuration)));
