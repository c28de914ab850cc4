/** What the embedder is woken by: messages of the job queues, its schedule, or a person. */
import * as z from "zod/mini";
import { isPlainObject } from "../../lib/core/model/metadata.ts";

export const embedderEvent = z.strictObject({
  /** `resume` wakes all that waits, told of lately or not. */
  source: z.enum(["sweep", "resume"]),
});

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
