/**
 * What an AWS SDK error means to the engine. A write that got no answer, or a server's error as its answer, may have
 * happened (`uncertain`); a refusal (4xx) and every failed read did nothing (`unavailable`).
 */
import { SiltstoneError } from "../core/errors.ts";

export interface FailedCall {
  /** Service and operation, as AWS writes them: "S3 PutObject". */
  readonly call: string;
  /** What it was about: "s3://bucket/key". */
  readonly subject: string;
  readonly writes: boolean;
  /** Which permission the call needs, for the message of a denial. */
  readonly permission: string;
}

const deniedNames = new Set(["AccessDenied", "AccessDeniedException", "Forbidden", "AccessDeniedFault"]);

export function failure(error: unknown, failed: FailedCall): SiltstoneError {
  if (error instanceof SiltstoneError) return error;
  const { name, message, status } = partsOf(error);
  const what = `${failed.call} ${failed.subject}`;
  if (deniedNames.has(name) || status === 403) {
    return new SiltstoneError(
      "unavailable",
      `${what}: access denied; the role needs ${failed.permission} (${message})`,
      { cause: error },
    );
  }
  const refused = status !== null && status >= 400 && status < 500 && status !== 408 && status !== 429;
  // Without credentials nothing is sent.
  const sent = name !== "CredentialsProviderError";
  const kind = failed.writes && sent && !refused ? "uncertain" : "unavailable";
  const advice = kind === "uncertain" ? "; it may have happened" : "";
  return new SiltstoneError(kind, `${what}: ${name}: ${message}${advice}`, { cause: error });
}

/** HTTP status of the answer that an SDK error stands for; null when no answer came. */
export const statusOf = (error: unknown): number | null => partsOf(error).status;

function partsOf(error: unknown): { name: string; message: string; status: number | null } {
  if (!(error instanceof Error)) return { name: "Error", message: String(error), status: null };
  const { $metadata } = error as { $metadata?: { httpStatusCode?: number } };
  const { code } = error as { code?: unknown };
  return {
    name: error.name === "Error" && typeof code === "string" ? code : error.name,
    message: error.message,
    status: $metadata?.httpStatusCode ?? null,
  };
}
