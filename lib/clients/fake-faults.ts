/** The faults that the fake provider has when it is asked for them. */
import type { OutgoingHttpHeaders } from "node:http";
import type { Embedding } from "./fake-apis.ts";

export const faultKinds = [
  "throttled", // 429, with retry-after where `retryAfterSeconds` is given
  "errorInside", // an error in an answer of status 200
  "outage", // 500
  "tooLarge", // 413
  "refused", // 400, of requests with an input that contains `input`
  "denied", // 401
  "slow", // answers after `seconds`
  "hanging", // never answers
  "cut", // half an answer
  "fewer", // a vector too few
  "reordered", // vectors in another order, with their index
  "unordered", // vectors in another order, with wrong index: twice the same
  "empty", // vectors without values
  "wrongDims", // a value too many
  "notFinite", // null among the values, as JSON has no NaN
] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface Fault {
  readonly kind: FaultKind;
  /** Requests that it happens to. @default all, until `heal` */
  readonly times?: number;
  /** Only requests that have an input with this in it. */
  readonly input?: string;
  /** Where an error's text stands. @default "error" */
  readonly under?: "error" | "detail" | "message";
  readonly retryAfterSeconds?: number;
  /** How slow. @default 1 */
  readonly seconds?: number;
}

/** The vectors as the fault leaves them. */
export function spoiled(vectors: readonly Embedding[], fault: Fault | null): readonly Embedding[] {
  switch (fault?.kind) {
    case "fewer":
      return vectors.slice(1);
    case "reordered":
      return vectors.toReversed();
    case "unordered":
      return vectors.map((vector) => ({ ...vector, index: 0 }));
    case "empty":
      return vectors.map((vector) => ({ ...vector, values: [] }));
    case "wrongDims":
      return vectors.map((vector) => ({ ...vector, values: [...vector.values, 0] }));
    case "notFinite":
      return vectors.map(({ index, values }) => ({ index, values: [null, ...values.slice(1)] }));
    default:
      return vectors;
  }
}

const statuses: Readonly<
  Partial<Record<FaultKind, readonly [status: number, name: string, message: string]>>
> = {
  throttled: [429, "ThrottlingException", "Rate limit reached for requests"],
  errorInside: [200, "", "the model is overloaded"],
  outage: [500, "InternalServerException", "the server had an error"],
  tooLarge: [413, "RequestEntityTooLarge", "the request is too large"],
  refused: [400, "ValidationException", "an input is not acceptable"],
  denied: [401, "AccessDeniedException", "Incorrect API key provided"],
};

/** What a request is refused with. */
export function refusalOf({
  kind,
  under = "error",
  retryAfterSeconds,
}: Fault): [status: number, body: object, headers: OutgoingHttpHeaders] {
  const [status, name, message] = statuses[kind]!;
  const error = { message, type: kind, code: kind === "errorInside" ? 503 : null };
  const bodies = { error: { error, message }, detail: { detail: [{ msg: message }] }, message: { message } };
  const headers = {
    ...(retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) }),
    ...(name === "" ? {} : { "x-amzn-errortype": name }),
  };
  return [status, bodies[under], headers];
}
