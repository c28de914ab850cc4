/**
 * The producer's call. Records and deletes are counted, and checked one by one, by the engine, which names every problem of each; to have
 * zod go through 65,536 of them would cost more than to refuse them.
 */
import * as z from "zod/mini";

const list = z.custom<readonly unknown[]>(Array.isArray, "must be a list");
export const producerEvent = z.strictObject({
  collection: z.string(),
  items: z.optional(list),
  priority: z.optional(z.string()),
  records: z.optional(list),
  deletes: z.optional(list),
  onInvalid: z.optional(z.enum(["refuse", "skip"])),
  embeddingVersion: z.optional(z.string()),
});
export type ProducerCall = z.infer<typeof producerEvent>;
