/**
 * The handler of every function: one Lambda event in, one answer or one error out, the same over a direct invocation and
 * over a function URL (payload format 2.0).
 *
 * - Direct: the event is the call; the answer is the result; an error is thrown with errorType = its kind and
 *   errorMessage = JSON {kind, message, problems}.
 * - URL: the call is the JSON body of a POST to /, or the query string of a GET, whose path is the operation (GET
 *   /health is {"op": "health"}); the answer and the error are JSON bodies, the error's with the HTTP status of its kind.
 *
 * An error that is no SiltstoneError is a defect: kind "internal" (500), its details in the log only.
 */
import { inspect } from "node:util";
import type { MetricName } from "../contract/metrics.ts";
import { answerBytesMax, answerTooLarge } from "../core/model/answer-size.ts";
import {
  type ErrorKind,
  httpStatus,
  invalid,
  type Problem,
  problemsShownMax,
  SiltstoneError,
} from "../core/model/errors.ts";
import { isPlainObject, shown } from "../core/model/metadata.ts";
import { checkJsonBounds, parseJson } from "./json-text.ts";
import { errorFacts, type Telemetry } from "./telemetry.ts";

/** Lambda's cap on a call: what a producer's may have. */
export const bodyBytesMax = 6 * 1024 * 1024;

/** What the functions use of Lambda's context. */
export interface InvocationContext {
  readonly awsRequestId: string;
  getRemainingTimeInMillis(): number;
}

/** A reply of a function URL. */
export interface UrlReply {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface HandlerOptions {
  readonly telemetry: Telemetry;
  /** Counted for every failure that is not the caller's; null where nothing watches but Lambda's own metrics. */
  readonly failureMetric: MetricName | null;
  /** Of a call over a URL, in bytes of JSON. @default Lambda's cap, 6 MiB */
  readonly bodyBytesMax?: number;
}

export type LambdaHandler = (event: unknown, context: InvocationContext) => Promise<unknown>;

export function lambdaHandler(
  options: HandlerOptions,
  answer: (call: unknown, context: InvocationContext) => Promise<object>,
): LambdaHandler {
  return async (event, context) => {
    const url = isUrlEvent(event);
    try {
      const call = url ? urlCall(event, options.bodyBytesMax ?? bodyBytesMax) : event;
      if (!url) checkJsonBounds(call);
      const result = await answer(call, context);
      if (url) return urlReply(200, boundedJson(result, url));
      // Lambda makes JSON of it: made here as well only where it might be too large.
      if (jsonBytesMost(result) > answerBytesMax) boundedJson(result, url);
      return result;
    } catch (error) {
      const failure = reportFailure(error, options, context);
      if (!url) throw new InvocationFailure(failure);
      return urlReply(failure.kind === "internal" ? 500 : httpStatus(failure.kind), JSON.stringify(failure));
    } finally {
      reportMemory(options.telemetry);
    }
  };
}

/** Lambda does not say how much memory a process has until it is ended for it: said when it is much. */
const memoryPercentLeast = 75;

function reportMemory(telemetry: Telemetry): void {
  const ofFunction = Number(process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE) * 2 ** 20;
  let rss: number;
  try {
    rss = process.memoryUsage.rss();
  } catch {
    return; // It is read from a file, and there may be no descriptor left. The call's own answer matters more.
  }
  const percent = (100 * rss) / ofFunction;
  if (percent > memoryPercentLeast) telemetry.emit(null, { MemoryUsed: Math.round(percent) });
}

export interface Failure {
  readonly kind: ErrorKind | "internal";
  readonly message: string;
  readonly problems: readonly Problem[];
  /** Problems beyond those listed. */
  readonly problemsOmitted?: number;
}

/** Lambda makes an error's name its errorType, and its message its errorMessage. */
class InvocationFailure extends Error {
  constructor(failure: Failure) {
    super(JSON.stringify(failure));
    this.name = failure.kind;
    this.stack = ""; // It would repeat the message.
  }

  // Lambda's runtime logs what is thrown, as JSON or as text. The message is the caller's, and shows his values.
  toJSON(): object {
    return { errorType: this.name };
  }
  [inspect.custom](): string {
    return this.name;
  }
}

export function firstProblems(all: readonly Problem[]): { problems: readonly Problem[]; omitted: number } {
  return { problems: all.slice(0, problemsShownMax), omitted: Math.max(0, all.length - problemsShownMax) };
}

function reportFailure(
  error: unknown,
  { telemetry, failureMetric }: HandlerOptions,
  { awsRequestId: requestId }: InvocationContext,
): Failure {
  if (!(error instanceof SiltstoneError)) {
    telemetry.log("error", "internal error", { requestId, ...errorFacts(error) });
    if (failureMetric !== null) telemetry.emit(null, { [failureMetric]: 1 });
    const message = `internal error; the log of request ${requestId} has the details`;
    return { kind: "internal", message, problems: [] };
  }
  const { kind, message } = error;
  // A caller's mistake is no fault of the system: no error line, no failure counted.
  if (httpStatus(kind) < 500) {
    const problems = error.problems.length;
    telemetry.log("info", "refused", { requestId, kind, fields: fieldsOf(error), problems });
  } else {
    telemetry.log("error", kind, { requestId, ...errorFacts(error) });
    if (failureMetric !== null) telemetry.emit(null, { [failureMetric]: 1 });
  }
  const { problems, omitted } = firstProblems(error.problems);
  return { kind, message, problems, ...(omitted > 0 ? { problemsOmitted: omitted } : {}) };
}

/** What a field begins with, where that is one of a call's own: below them, and instead of them, are the caller's words. */
const callFields = new Set(
  (
    "allowPartial answer atLeast body collection consistency deadlineMs delete deletes document ef embeddingVersion event " +
    "excludeIds filter id ids include items maxAgeSeconds metadata method minScore onInvalid op operation part path priority queries recallTarget record records routingKey shard " +
    "snapshot_path source text topK vector vectorFormat version"
  ).split(" "),
);

/** Of a refused call: which of its fields were wrong, each once. */
function fieldsOf({ message, problems }: SiltstoneError): string[] {
  const named = problems.length > 0 ? problems.map(({ field }) => field) : [message];
  const heads = new Set(named.map((field) => /^[A-Za-z_]+/.exec(field)?.[0] ?? ""));
  return [...new Set([...heads].map((head) => (callFields.has(head) ? head : "other")))];
}

const pathCharsMax = 80;

/**
 * The parts of a function URL's event that matter here. A caller that invokes the function directly may write an event of this
 * form himself, with parts of any type.
 */
interface UrlEvent {
  readonly rawPath?: unknown;
  readonly requestContext: { readonly http: { readonly method: string } };
  readonly body?: unknown;
  readonly isBase64Encoded?: unknown;
  readonly queryStringParameters?: unknown;
}

function isUrlEvent(event: unknown): event is UrlEvent {
  const { version, requestContext } = (event ?? {}) as {
    version?: unknown;
    requestContext?: { http?: { method?: unknown } };
  };
  return version === "2.0" && typeof requestContext?.http?.method === "string";
}

function urlCall(event: UrlEvent, bytesMax: number): unknown {
  const { method } = event.requestContext.http;
  const path = event.rawPath ?? "/";
  if (typeof path !== "string") throw invalid(`path: must be text, got ${shown(path)}`);
  if (path.length > pathCharsMax) throw invalid(`path: no served path has ${path.length} characters`);
  if (method === "GET") {
    // A function URL ends in "/", so that `${URL}/health` has two.
    const op = path.replaceAll(/^\/+|\/+$/g, "");
    const query = event.queryStringParameters ?? {};
    if (!isPlainObject(query))
      throw invalid(`event: its query string must be an object, got ${shown(query)}`);
    checkJsonBounds(query);
    return { ...query, ...(op === "" ? {} : { op }) };
  }
  if (method !== "POST")
    throw invalid(`method: ${method.slice(0, 20)} is not served; use POST with a JSON body, or GET`);
  if (path !== "/") throw invalid(`path: ${path} is not served; POST to /`);
  return parseJson(bodyText(event, bytesMax));
}

function bodyText({ body = "", isBase64Encoded = false }: UrlEvent, bytesMax: number): string {
  if (typeof body !== "string") throw bodyProblem("is not text");
  const bytes = isBase64Encoded === true ? Buffer.from(body, "base64") : null;
  const length = bytes?.length ?? Buffer.byteLength(body);
  if (length === 0) throw bodyProblem("is empty; a JSON object is expected");
  if (length > bytesMax) throw bodyProblem(`has ${length} bytes; at most ${bytesMax} are taken`);
  if (bytes === null) return body;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw bodyProblem("is not UTF-8 text");
  }
}

const bodyProblem = (reason: string): SiltstoneError =>
  invalid(`body: ${reason}`, [{ field: "body", reason }]);

/** An answer as JSON, measured record by record. Over a URL it is a text in the reply, where it is escaped once more. */
function boundedJson(answer: object, url: boolean): string {
  const pieces: string[] = [];
  let bytes = url ? 2 : 0;
  const add = (piece: string, tooLarge = answerTooLarge) => {
    bytes += Buffer.byteLength(piece) + (url ? escapedIn(piece) : 0);
    if (bytes > answerBytesMax) throw tooLarge();
    pieces.push(piece);
  };
  let separator = "{";
  for (const [key, value] of Object.entries(answer) as [string, unknown][]) {
    if (value === undefined) continue;
    add(`${separator}${JSON.stringify(key)}:`);
    separator = ",";
    if (!Array.isArray(value)) {
      add(JSON.stringify(value));
      continue;
    }
    add("[");
    for (const [i, record] of value.entries()) {
      const tooLarge = () =>
        answerTooLarge({ added: i, records: value.length, largest: largestPart(record) });
      add(`${i === 0 ? "" : ","}${JSON.stringify(record) ?? "null"}`, tooLarge);
    }
    add("]");
  }
  add(separator === "{" ? "{}" : "}");
  return pieces.join("");
}

/** Characters that are escaped where a JSON text is put into another: of control characters it has none. */
function escapedIn(json: string): number {
  let escaped = 0;
  for (const character of ['"', "\\"])
    for (let at = json.indexOf(character); at >= 0; at = json.indexOf(character, at + 1)) escaped += 1;
  return escaped;
}

/** -1.7976931348623157e+308 */
const numberBytesMost = 24;
/** A control character is escaped by six bytes. */
const unitBytesMost = 6;

/** No fewer bytes than a value has as JSON, by a look at its parts. */
function jsonBytesMost(value: unknown): number {
  if (typeof value === "string") return unitBytesMost * value.length + 2;
  if (typeof value !== "object" || value === null) return numberBytesMost;
  if (Array.isArray(value)) {
    if (typeof value[0] === "number" && value.every((one) => typeof one === "number"))
      return 2 + value.length * (numberBytesMost + 1);
    return value.reduce((sum: number, part) => sum + jsonBytesMost(part) + 1, 2);
  }
  return Object.entries(value).reduce(
    (sum, [key, part]) => sum + unitBytesMost * key.length + 4 + jsonBytesMost(part),
    2,
  );
}

/** Of a record that did not fit: the name of its part with most JSON. */
function largestPart(record: unknown): string {
  const sizes = Object.entries((record ?? {}) as object).map(
    ([part, value]: [string, unknown]): [string, number] => [part, JSON.stringify(value)?.length ?? 0],
  );
  return sizes.sort(([, a], [, b]) => b - a)[0]?.[0] ?? "text";
}

const urlReply = (statusCode: number, body: string): UrlReply => ({
  statusCode,
  headers: { "content-type": "application/json" },
  body,
});
