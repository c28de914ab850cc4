/**
 * What an AWS SDK error means to the engine. A write that got no answer, or a server's error as its answer, may have
 * happened (`uncertain`); a refusal (4xx) of the first attempt and every failed read did nothing (`unavailable`).
 */
import { SiltstoneError } from "../core/model/errors.ts";
import { clockSkewMaxMs } from "../core/policy/time-bounds.ts";

export interface FailedCall {
  /** Service and operation, as AWS writes them: "S3 PutObject". */
  readonly call: string;
  /** What it was about: "s3://bucket/key". */
  readonly subject: string;
  readonly writes: boolean;
  /** Which permission the call needs, for the message of a denial. */
  readonly permission: string;
}

/** The names that S3, SQS, DynamoDB, Lambda, CloudFormation and the SDK's own providers give to expired credentials. */
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
const deniedNames = new Set([
  "AccessDenied",
  "AccessDeniedException",
  "Forbidden",
  "AccessDeniedFault",
  // SQS, of the queue's key.
  "KmsAccessDenied",
  "KMS.AccessDeniedException",
]);
/** What is there lies in another region, or the region's name is none. */
const regionNames = new Set(["PermanentRedirect", "AuthorizationHeaderMalformed", "IncorrectEndpoint"]);

/** What a person has to do first when AWS refuses a call, whatever it was about. */
export type Refusal = "denied" | "credentials" | "region" | "noStack";

/** No stack is as it was looked for; AWS says so itself of a name only. */
export class NoSuchStack extends Error {}

/** Why AWS refused what an error stands for; null for every other failure. */
export function refusalOf(error: unknown): Refusal | null {
  const cause = error instanceof SiltstoneError ? error.cause : error;
  if (!(cause instanceof Error) || clockProblem(cause) !== null) return null;
  const { name, message } = partsOf(cause);
  if (regionProblem(cause) !== null) return "region";
  if (credentialsProblem(name, message) !== null) return "credentials";
  if (cause instanceof NoSuchStack) return "noStack";
  if (name === "ValidationError" && /^Stack .* does not exist$/.test(message)) return "noStack";
  return isDenied(cause) ? "denied" : null;
}

export function failure(error: unknown, failed: FailedCall): SiltstoneError {
  if (error instanceof SiltstoneError) return error;
  const { name, message, status, attempts } = partsOf(error);
  const refused = status !== null && status >= 400 && status < 500 && status !== 408 && status !== 429;
  // Without credentials or a region nothing is sent. A later attempt's refusal says nothing of the first, which may have won.
  const nothingHappened =
    name === "CredentialsProviderError" || message === regionMissing || (refused && attempts <= 1);
  const kind = failed.writes && !nothingHappened ? "uncertain" : "unavailable";
  const reason =
    clockProblem(error) ??
    regionProblem(error) ??
    credentialsProblem(name, message) ??
    (isDenied(error)
      ? `access denied; the role needs ${deniedKeyAction(message) ?? failed.permission}`
      : null);
  const said = reason === null ? `${name}: ${message}` : `${reason} (${name}: ${message})`;
  const advice = kind === "uncertain" ? "; it may have happened" : "";
  return new SiltstoneError(kind, `${failed.call} ${failed.subject}: ${said}${advice}`, { cause: error });
}

/** Within this an answer's Date says nothing about the clock. */
const clockToleranceMs = 2 * 60_000;

/**
 * What is wrong with this machine's clock, or with the time that a request took; null where it is neither. An answer
 * without a body (to a HEAD) does not name its reason, but has the server's Date.
 */
function clockProblem(error: unknown): string | null {
  const { name, message, status, serverDate } = partsOf(error);
  const aheadMs = Date.now() - Date.parse(serverDate ?? "");
  const isRefused =
    name === "RequestTimeTooSkewed" ||
    /^Signature (expired|not yet current)/.test(message) ||
    (status === 403 && Math.abs(aheadMs) > clockSkewMaxMs);
  if (!isRefused) return null;
  if (!(Math.abs(aheadMs) > clockToleranceMs))
    return "it arrived too long after it was signed; repeat the call";
  const minutes = Math.round(Math.abs(aheadMs) / 60_000);
  const off = minutes < 120 ? `${minutes} minutes` : `${Math.round(minutes / 60)} hours`;
  return (
    `this machine's clock is ${off} ${aheadMs > 0 ? "ahead of" : "behind"} AWS's, which refuses that; set it ` +
    "(`timedatectl set-ntp true`; a virtual machine may have to be started again) and repeat the call"
  );
}

/** What a service was not let do with a KMS key in the caller's name, as its message says; null where it was no key's. */
export function deniedKeyAction(message: string): string | null {
  const [, action] = /not authorized to perform: (kms:\w+)/.exec(message) ?? [];
  return action === undefined ? null : `${action} on the key by which it is encrypted`;
}

function isDenied(error: unknown): boolean {
  const { name, status } = partsOf(error);
  return deniedNames.has(name) || status === 403;
}

/** The SDK's own words, in an error without a name. */
const regionMissing = "Region is missing";

/** What is wrong with the region that was asked; null where it is nothing. Nothing happened. */
function regionProblem(error: unknown): string | null {
  const { name, message } = partsOf(error);
  if (message === regionMissing) return "no region is set; say where the stage is deployed: AWS_REGION=…";
  if (regionNames.has(name)) return "it is in another region; say which: AWS_REGION=…";
  if (name !== "ENOTFOUND") return null;
  return "AWS has no such address: is AWS_REGION spelled right, and is this machine online?";
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

interface ErrorParts {
  readonly name: string;
  readonly message: string;
  readonly status: number | null;
  readonly attempts: number;
  readonly serverDate: string | undefined;
}

function partsOf(error: unknown): ErrorParts {
  if (!(error instanceof Error))
    return { name: "Error", message: String(error), status: null, attempts: 0, serverDate: undefined };
  const { $metadata, $response, code } = error as {
    $metadata?: { httpStatusCode?: number; attempts?: number };
    $response?: { headers?: Readonly<Record<string, string>> };
    code?: unknown;
  };
  return {
    name: error.name === "Error" && typeof code === "string" ? code : error.name,
    message: error.message,
    status: $metadata?.httpStatusCode ?? null,
    attempts: $metadata?.attempts ?? 0,
    serverDate: $response?.headers?.date,
  };
}
