/** The producer's call. Records and deletes are checked one by one by the engine, which names every problem of each. */
import * as z from "zod/mini";
import { listOf } from "../../lib/aws/parse-event.ts";
import { callRowsMax } from "../../lib/core/model/check-records.ts";

export const producerEvent = z.strictObject({
  collection: z.string(),
  records: z.optional(listOf(z.unknown(), callRowsMax)),
  deletes: z.optional(listOf(z.unknown(), callRowsMax)),
  onInvalid: z.optional(z.enum(["refuse", "skip"])),
  embeddingVersion: z.optional(z.string()),
});
