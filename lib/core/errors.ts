/**
 * The one error class. Its kind names the caller's next move; its message says what was wrong, where, and what to do.
 */

/**
 * - `invalid`: fix the call (4xx).
 * - `notFound`: the named collection, version or record does not exist (404).
 * - `conflict`: reload and retry (409).
 * - `fenced`: somebody newer holds the lock: stop.
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

export class SiltstoneError extends Error {
  readonly kind: ErrorKind;
  readonly problems: readonly Problem[];
  /** What failed is of a format that newer code writes: whole, and not ours to judge. */
  readonly isOfNewerFormat: boolean;

  constructor(
    kind: ErrorKind,
    message: string,
    options: { cause?: unknown; problems?: readonly Problem[]; isOfNewerFormat?: boolean } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "SiltstoneError";
    this.kind = kind;
    this.problems = options.problems ?? [];
    this.isOfNewerFormat = options.isOfNewerFormat ?? false;
  }
}

export const invalid = (message: string, problems: readonly Problem[] = []): SiltstoneError =>
  new SiltstoneError("invalid", message, { problems });

/** Stored bytes that cannot be trusted. `object` is the key or file that is wrong. */
export const corrupt = (object: string, reason: string, cause?: unknown): SiltstoneError =>
  new SiltstoneError("corrupt", `${object} is corrupt: ${reason}`, { cause });

/**
 * Stored bytes of a format above `known`: not damage. Whoever meets them leaves them as they are, says so, and is
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
