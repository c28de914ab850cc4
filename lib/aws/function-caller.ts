/**
 * Calling one of the functions by direct invocation. What the function's handler (lib/aws/lambda-handler.ts) threw comes out
 * here as the same SiltstoneError.
 */
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { type ErrorKind, invalid, type Problem, SiltstoneError } from "../core/model/errors.ts";
import { parseExactly } from "../core/model/exact-json.ts";
import { invocationBounds } from "../core/policy/time-bounds.ts";
import { type AwsAccess, accessTo, ownAccess } from "./access.ts";
import { failure } from "./failure.ts";
import { bodyBytesMax } from "./lambda-handler.ts";

/** A query function calls all its groups at once. */
const socketsMax = 64;

const kinds: readonly string[] = [
  "invalid",
  "notFound",
  "conflict",
  "fenced",
  "unavailable",
  "uncertain",
  "corrupt",
] satisfies ErrorKind[];

export class FunctionCaller {
  readonly #client: LambdaClient;

  constructor(access: AwsAccess = ownAccess) {
    this.#client = new LambdaClient({
      ...accessTo("lambda", access),
      requestHandler: {
        connectionTimeout: invocationBounds.connectMs,
        requestTimeout: invocationBounds.answerMs,
        throwOnRequestTimeout: true,
        httpAgent: { keepAlive: true, maxSockets: socketsMax },
        httpsAgent: { keepAlive: true, maxSockets: socketsMax },
      },
    });
  }

  /**
   * The function's answer. `writes` says whether a call without an answer may have changed anything; `waitMs` how long
   * to wait for one, repetitions of a throttled call included.
   */
  async call(
    functionName: string,
    event: object,
    options: { writes: boolean; waitMs?: number },
  ): Promise<unknown> {
    const payload = Buffer.from(JSON.stringify(event));
    if (payload.length > bodyBytesMax) {
      throw invalid(`the call has ${payload.length} bytes; a Lambda takes at most ${bodyBytesMax} at a time`);
    }
    const command = new InvokeCommand({ FunctionName: functionName, Payload: payload });
    const { waitMs } = options;
    const abortSignal = waitMs === undefined ? undefined : AbortSignal.timeout(waitMs);
    const answer = await this.#client
      .send(command, abortSignal && { abortSignal })
      .catch((error: unknown) => {
        if (abortSignal?.aborted) throw silent(functionName, `no answer within ${waitMs} ms`, options.writes);
        const permission = "lambda:InvokeFunction";
        throw failure(error, { call: "Lambda Invoke", subject: functionName, permission, ...options });
      });
    const text = Buffer.from(answer.Payload ?? []).toString("utf8");
    if (answer.FunctionError !== undefined) throw functionFailure(functionName, text, options.writes);
    return parseExactly(text);
  }
}

/** An error of the handler as it was; anything else (a timeout, a dead process) happened around it. */
function functionFailure(functionName: string, text: string, writes: boolean): Error {
  const { errorType, errorMessage } = JSON.parse(text) as { errorType?: string; errorMessage?: string };
  if (errorType !== undefined && kinds.includes(errorType)) {
    const { kind, message, problems } = JSON.parse(errorMessage ?? "{}") as {
      kind: ErrorKind;
      message: string;
      problems: readonly Problem[];
    };
    return new SiltstoneError(kind, message, { problems });
  }
  if (errorType === "internal") return new Error(`${functionName}: ${internalMessage(errorMessage)}`);
  return silent(functionName, `${errorType ?? "error"}: ${errorMessage ?? text}`, writes);
}

const silent = (functionName: string, why: string, writes: boolean): SiltstoneError =>
  new SiltstoneError(writes ? "uncertain" : "unavailable", `${functionName} did not answer: ${why}`);

function internalMessage(errorMessage: string | undefined): string {
  try {
    return (JSON.parse(errorMessage ?? "") as { message: string }).message;
  } catch {
    return errorMessage ?? "internal error";
  }
}
