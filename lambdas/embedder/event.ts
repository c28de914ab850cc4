/** What the embedder is woken by: messages of the job queues, its schedule, a save that waits for it, or a person. */
import * as z from "zod/mini";
import { listOf } from "../../lib/aws/parse-event.ts";
import { isPlainObject } from "../../lib/core/model/metadata.ts";
import { itemsMax } from "../../lib/jobs/save.ts";

export const embedderEvent = z.discriminatedUnion("source", [
  /** `resume` wakes all that waits, told of lately or not. */
  z.strictObject({ source: z.enum(["sweep", "resume"]) }),
  /** Items that were just saved, as [collection id, item], which are embedded now. */
  z.strictObject({
    source: z.literal("call"),
    items: listOf(z.tuple([z.string(), z.string()]), itemsMax),
  }),
]);

export interface JobMessage {
  readonly messageId: string;
  readonly body: string;
  /** ARN of the queue. */
  readonly eventSourceARN?: unknown;
}

/** The messages of an event source, or null when it is none. */
export function messagesOf(event: unknown): readonly JobMessage[] | null {
  if (!isPlainObject(event) || !Array.isArray(event.Records)) return null;
  const isMessage = (one: unknown): one is JobMessage =>
    isPlainObject(one) && typeof one.messageId === "string" && typeof one.body === "string";
  return event.Records.every(isMessage) ? event.Records : null;
}
