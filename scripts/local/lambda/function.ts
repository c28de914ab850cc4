/** What the host knows of a function, Lambda's limits, and the errors of its API. */

export interface FunctionDefinition {
  readonly name: string;
  readonly arn: string;
  /** Folder that is unpacked as the task root. */
  readonly codeFolder: string;
  readonly handler: string;
  readonly runtime: string;
  readonly memoryMegabytes: number;
  readonly timeoutMs: number;
  readonly environment: Readonly<Record<string, string>>;
  /** Where CloudWatch would keep what it logs. */
  readonly logGroup?: string;
  /** Queue that is told of an asynchronous invocation that failed. */
  readonly failureQueueUrl?: string;
  /** Its aliases, all of which are of what is deployed. */
  readonly aliases?: readonly string[];
  /** Processes that are started before they are asked for, and kept: what its aliases provision. */
  readonly provisionedConcurrency?: number;
  /** Concurrent executions reserved for it, which is also its limit. */
  readonly reservedConcurrency?: number;
}

export const requestBytesMax = 6 * 1024 * 1024;
export const eventBytesMax = 1024 * 1024;
export const responseBytesMax = 6_291_556;
export const initMs = 10_000;
export const logTailBytes = 4096;

/** What came of one invocation. */
export type Outcome =
  | { readonly kind: "succeeded"; readonly payload: Buffer }
  | { readonly kind: "failed"; readonly payload: Buffer };

export function failed(errorType: string, errorMessage: string): Outcome {
  return { kind: "failed", payload: Buffer.from(JSON.stringify({ errorType, errorMessage })) };
}

/** An error of the Lambda API itself, as its clients know it. */
export class LambdaApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly reason: string | undefined;

  constructor(code: LambdaErrorCode, message: string, reason?: string) {
    super(message);
    this.name = "LambdaApiError";
    this.status = statusOf[code];
    this.code = code;
    this.reason = reason;
  }
}

const statusOf = {
  AccessDeniedException: 403,
  InvalidParameterValueException: 400,
  InvalidRequestContentException: 400,
  RequestTooLargeException: 413,
  ResourceNotFoundException: 404,
  ServiceException: 500,
  TooManyRequestsException: 429,
  UnrecognizedClientException: 403,
} as const;
export type LambdaErrorCode = keyof typeof statusOf;
