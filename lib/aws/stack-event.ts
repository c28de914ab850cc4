/**
 * CloudFormation's custom resources: a stack invokes the function with an event, and waits for an answer that is put to the
 * event's URL. Without one the stack waits for its timeout: whatever happens is answered.
 */
import { cutText, SiltstoneError } from "../core/model/errors.ts";
import { isPlainObject } from "../core/model/metadata.ts";

export interface StackEvent {
  readonly RequestType: "Create" | "Update" | "Delete";
  readonly ResponseURL: string;
  readonly StackId: string;
  readonly RequestId: string;
  readonly LogicalResourceId: string;
  /** What the answer to the resource's creation named; absent at its creation. */
  readonly PhysicalResourceId?: string;
  readonly ResourceProperties: Readonly<Record<string, unknown>>;
}

export const isStackEvent = (event: unknown): event is StackEvent =>
  isPlainObject(event) &&
  ["RequestType", "ResponseURL", "StackId", "RequestId", "LogicalResourceId"].every(
    (name) => typeof event[name] === "string",
  ) &&
  isPlainObject(event.ResourceProperties);

/** The answer has at most 4 KB. */
const reasonBytesMax = 2_000;
const attemptsMax = 3;
const answerMs = 5_000;

/** `name` is the resource's own: with another one than before, the stack goes on to delete what had that one. */
export async function answerStack(
  event: StackEvent,
  { name, failure }: { name: string | undefined; failure?: string },
): Promise<void> {
  const { StackId, RequestId, LogicalResourceId } = event;
  const body = JSON.stringify({
    Status: failure === undefined ? "SUCCESS" : "FAILED",
    ...(failure === undefined ? {} : { Reason: cutText(failure, reasonBytesMax) }),
    // A creation that failed has no name yet, but must give one.
    PhysicalResourceId: name ?? `none-${RequestId}`,
    ...{ StackId, RequestId, LogicalResourceId },
  });
  let last: unknown;
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    try {
      // The URL is signed for a request without a content type.
      const headers = { "content-type": "" };
      const signal = AbortSignal.timeout(answerMs);
      const answer = await fetch(event.ResponseURL, { method: "PUT", headers, body, signal });
      if (answer.ok) return;
      last = new Error(`status ${answer.status}`);
    } catch (error) {
      last = error;
    }
  }
  throw new SiltstoneError("unavailable", "the stack could not be answered", { cause: last });
}
