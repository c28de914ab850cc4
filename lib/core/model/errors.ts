/**
 * The one error class. Its kind names the caller's next move; its message says what was wrong, where, and what to do.
 */

/**
 * - `invalid`: fix the call (4xx).
 * - `notFound`: the named collection, version or record does not exist (404).
 * - `conflict`: reload and retry (409).
 * - `fenced`: a newer holder has the lease: stop.
 * - `unavailable`: back off and retry (503).
 * - `uncertain`: the effect may have happened: re-read before doing anything (503).
 * - `corrupt`: stored bytes are not what they should be: page a human (500).
 */
export type ErrorKind =
  | "invalid"
  | "notFound"
  | "conflict"
  | "fenced"
  | "unavailable"
  | "uncertain"
  | "corrupt";

/** One thing that is wrong with one record or one field of a call. */
export interface Problem {
  /** Id of the record, where the problem is a record's. */
  readonly id?: string;
  /** Position in the call's list, from 0. */
  readonly index?: number;
  readonly field: string;
  readonly reason: string;
}

/** Problems named in one answer: with ids and reasons of any length they stay below Lambda's cap. */
export const problemsShownMax = 1_000;

/**
 * What is shown of others' input is short already; this bounds all texts of an error, wherever they come from, so that an
 * answer, a stored reason and a log line of one stay below 4 KB. In bytes of JSON.
 */
export const errorTextBytesMax = 1_800;
const problemTextBytesMax = 1_200;

/** A text of an error. It may name keys, ULIDs, fields and counts; ids and values of records go into `problems`. */
export class SiltstoneError extends Error {
  readonly kind: ErrorKind;
  readonly problems: readonly Problem[];
  /** What failed is of a format that newer code writes: whole, and not ours to judge. */
  readonly isOfNewerFormat: boolean;
  /** No collection has the name that was given; an alias may. */
  readonly isNoCollection: boolean;

  constructor(
    kind: ErrorKind,
    message: string,
    options: {
      cause?: unknown;
      problems?: readonly Problem[];
      isOfNewerFormat?: boolean;
      isNoCollection?: boolean;
    } = {},
  ) {
    const cause = options.cause === undefined ? undefined : { cause: options.cause };
    super(cutText(message, errorTextBytesMax), cause);
    this.name = "SiltstoneError";
    this.kind = kind;
    this.problems = (options.problems ?? []).map(boundedProblem);
    this.isOfNewerFormat = options.isOfNewerFormat ?? false;
    this.isNoCollection = options.isNoCollection ?? false;
  }
}

const boundedProblem = ({ id, index, field, reason }: Problem): Problem => ({
  ...(id === undefined ? {} : { id: cutText(id, problemTextBytesMax) }),
  ...(index === undefined ? {} : { index }),
  field: cutText(field, problemTextBytesMax),
  reason: cutText(reason, problemTextBytesMax),
});

/** The longest start of a text that fits into so many bytes of JSON, with an ellipsis where it was cut; well-formed. */
export function cutText(text: string, bytesMax: number): string {
  // It fits whatever its characters are: a refusal of 65,536 records has as many texts.
  if (text.length * unitBytesMax <= bytesMax) return text.toWellFormed();
  // What follows cannot fit: every unit is a byte at least.
  const start = text.slice(0, bytesMax + 1).toWellFormed();
  let [bytes, length, cutLength] = [0, 0, 0];
  for (const char of start) {
    bytes += jsonBytes(char);
    if (bytes > bytesMax) return `${start.slice(0, cutLength)}…`;
    length += char.length;
    if (bytes <= bytesMax - ellipsisBytes) cutLength = length;
  }
  return start;
}

const ellipsisBytes = 3;
/** Most bytes of JSON for one UTF-16 unit. */
const unitBytesMax = 6;

function jsonBytes(char: string): number {
  const code = char.codePointAt(0)!;
  if (code < 0x20) return 6;
  if (code < 0x80) return char === '"' || char === "\\" ? 2 : 1;
  return code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

export const invalid = (message: string, problems: readonly Problem[] = []): SiltstoneError =>
  new SiltstoneError("invalid", message, { problems });

/** Stored bytes that cannot be trusted. `object` is the key or file that is wrong; what the reason shows of it may command no terminal. */
export const corrupt = (object: string, reason: string, cause?: unknown): SiltstoneError =>
  new SiltstoneError("corrupt", `${object} is corrupt: ${reason.replace(commandPattern, codePoint)}`, {
    cause,
  });

const commandPattern = /[\p{Cc}\p{Bidi_Control}]/gu;
const codePoint = (char: string): string => `\\u{${char.codePointAt(0)!.toString(16)}}`;

/**
 * Stored bytes of a format above `known`: not damage. Code that meets them leaves them as they are, says so, and is
 * `unavailable` until it is replaced by code that knows them.
 */
export const newerFormat = (object: string, format: number, known: number): SiltstoneError =>
  new SiltstoneError(
    "unavailable",
    `${object} has format ${format} and this version reads ${known}: newer code wrote it. It is left as it is; ` +
      "upgrade this function or command",
    { isOfNewerFormat: true },
  );

export const isNewerFormat = (error: unknown): error is SiltstoneError =>
  error instanceof SiltstoneError && error.isOfNewerFormat;

/** Whether an object is damaged, or of a format that newer code writes: to read it again gives nothing else. */
export const isUnreadable = (error: unknown): error is SiltstoneError =>
  isKind(error, "corrupt") || isNewerFormat(error);

/** The message with what its problems say: for callers that may see the records. */
export const explained = ({ message, problems }: SiltstoneError): string =>
  [
    message,
    ...problems.map(
      ({ id, field, reason }) => `${id === undefined ? "" : `id ${JSON.stringify(id)}: `}${field} ${reason}`,
    ),
  ].join("; ");

export const isKind = (error: unknown, kind: ErrorKind): error is SiltstoneError =>
  error instanceof SiltstoneError && error.kind === kind;

/** HTTP status of an error kind, for function URLs. */
export function httpStatus(kind: ErrorKind): number {
  switch (kind) {
    case "invalid":
      return 400;
    case "notFound":
      return 404;
    case "conflict":
    case "fenced":
      return 409;
    case "unavailable":
    case "uncertain":
      return 503;
    case "corrupt":
      return 500;
    default:
      return unreachable(kind);
  }
}

/** Ends a total switch: the compiler proves that no case is missing. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${JSON.stringify(value)}`);
}
