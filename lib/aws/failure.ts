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

/** As S3, SQS, DynamoDB, Lambda and CloudFormation, and the SDK's own providers, name them. */
const expiredNames = new Set([
  "ExpiredToken",
  "ExpiredTokenException",
  "TokenRefreshRequired",
  "RequestExpired",
  "CredentialsExpiredException",
  "TokenProviderError",
]);
const unknownNames = new Set([
  "InvalidAccessKeyId",
  "InvalidClientTokenId",
  "InvalidToken",
  "UnrecognizedClientException",
  "SignatureDoesNotMatch",
  "InvalidSignatureException",
]);
const deniedNames = new Set(["AccessDenied", "AccessDeniedException", "Forbidden", "AccessDeniedFault"]);

export function failure(error: unknown, failed: FailedCall): SiltstoneError {
  if (error instanceof SiltstoneError) return error;
  const { name, message, status } = partsOf(error);
  const what = `${failed.call} ${failed.subject}`;
  const credentials = credentialsProblem(name, message);
  if (credentials !== null)
    return new SiltstoneError("unavailable", `${what}: ${credentials} (${name}: ${message})`, {
      cause: error,
    });
  if (deniedNames.has(name) || status === 403) {
    return new SiltstoneError(
      "unavailable",
      `${what}: access denied; the role needs ${failed.permission} (${message})`,
      { cause: error },
    );
  }
  const refused = status !== null && status >= 400 && status < 500 && status !== 408 && status !== 429;
  const kind = failed.writes && !refused ? "uncertain" : "unavailable";
  const advice = kind === "uncertain" ? "; it may have happened" : "";
  return new SiltstoneError(kind, `${what}: ${name}: ${message}${advice}`, { cause: error });
}

/** What is wrong with who asks, rather than with what they may do; null where it is neither. Nothing happened. */
function credentialsProblem(name: string, message: string): string | null {
  const isExpired = /\bexpired\b/i.test(message);
  if (expiredNames.has(name) || (unknownNames.has(name) && isExpired))
    return "the AWS credentials have expired; sign in again, e.g. with `aws sso login`";
  if (name === "CredentialsProviderError")
    return "there are no AWS credentials; sign in, e.g. with `aws sso login`, or set AWS_PROFILE or AWS_ACCESS_KEY_ID";
  if (unknownNames.has(name))
    return "AWS does not know these credentials; `aws sts get-caller-identity` shows whose they are";
  return null;
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
