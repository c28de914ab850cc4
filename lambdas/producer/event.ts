/** The producer's call. Records and deletes are checked one by one by the engine, which names every problem of each. */
import * as z from "zod/mini";

export const producerEvent = z.strictObject({
  collection: z.string(),
  records: z.optional(z.array(z.unknown())),
  deletes: z.optional(z.array(z.unknown())),
  onInvalid: z.optional(z.enum(["refuse", "skip"])),
  embeddingVersion: z.optional(z.string()),
});
