/** The part of Lambda's API that clients call: Invoke, and reading what functions there are. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Asked, Denial } from "../iam/access.ts";
import { askedOfInvoke } from "../iam/requests.ts";
import { guarded } from "../request-guard.ts";
import { eventBytesMax, type FunctionDefinition, LambdaApiError, requestBytesMax } from "./function.ts";
import type { FunctionPool } from "./function-pool.ts";

export interface InvokeTarget {
  find(name: string): FunctionPool | undefined;
  all(): FunctionPool[];
  /** Why the sender of the request may not do what it asks; null when it may. */
  denialOf(request: IncomingMessage, asked: readonly Asked[]): Denial | null;
  /** Runs an asynchronous invocation to its end, whatever that is. */
  invokeLater(pool: FunctionPool, payload: Buffer): void;
}

const functionsPath = /^\/2015-03-31\/functions(?:\/([^/]+)?(?:\/(invocations|configuration))?)?\/?$/;

export function createInvokeApi(target: InvokeTarget): Server {
  const server = createServer(
    guarded((request, response) => {
      handle(target, request, response).catch((error) => sendError(request, response, error));
    }),
  );
  server.keepAliveTimeout = 10 * 60_000;
  server.requestTimeout = 0;
  return server;
}

async function handle(
  target: InvokeTarget,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? "/", "http://127.0.0.1");
  const match = functionsPath.exec(url.pathname);
  if (!match) throw new LambdaApiError("ResourceNotFoundException", `Not implemented here: ${url.pathname}`);
  const [, encodedName, action] = match;
  const authorize = (asked: readonly Asked[]) => {
    const denial = target.denialOf(request, asked);
    if (denial === null) return;
    const code = denial.kind === "unknownKey" ? "UnrecognizedClientException" : "AccessDeniedException";
    throw new LambdaApiError(code, denial.message);
  };
  if (encodedName === undefined) {
    authorize([{ action: "lambda:ListFunctions", resource: "*" }]);
    sendJson(response, { Functions: target.all().map((pool) => configuration(pool.definition)) });
    return;
  }
  const { pool, arn } = findFunction(target, decoded(encodedName), url.searchParams.get("Qualifier"));
  if (action === "invocations") authorize(askedOfInvoke(arn));
  else if (action === "configuration")
    authorize([{ action: "lambda:GetFunctionConfiguration", resource: arn }]);
  else authorize([{ action: "lambda:GetFunction", resource: arn }]);
  if (request.method === "GET" && action === "configuration")
    sendJson(response, configuration(pool.definition));
  else if (request.method === "GET" && action === undefined) sendJson(response, described(pool.definition));
  else if (request.method === "POST" && action === "invocations")
    await invoke(target, pool, request, response);
  else
    throw new LambdaApiError(
      "ResourceNotFoundException",
      `Not implemented here: ${request.method} ${action}`,
    );
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    throw new LambdaApiError("InvalidParameterValueException", "The function's name has a malformed escape");
  }
}

/**
 * The function of a name, partial ARN or ARN, with or without a qualifier: $LATEST, or one of its aliases. Rights are those to what
 * is named: to an alias they are others than to its function.
 */
function findFunction(
  target: InvokeTarget,
  reference: string,
  given: string | null,
): { readonly pool: FunctionPool; readonly arn: string } {
  const [name = "", named] = (/(?:^|:)function:(.+)/.exec(reference)?.[1] ?? reference).split(":");
  const pool = target.find(name);
  const alias = [given ?? named].find((one) => one !== "$LATEST");
  const isKnown = alias === undefined || pool?.definition.aliases?.includes(alias);
  if (!pool || !isKnown)
    throw new LambdaApiError("ResourceNotFoundException", `Function not found: ${reference}`);
  const { arn } = pool.definition;
  return { pool, arn: alias === undefined ? arn : `${arn}:${alias}` };
}

async function invoke(
  target: InvokeTarget,
  pool: FunctionPool,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const type = request.headers["x-amz-invocation-type"] ?? "RequestResponse";
  const payload = await readPayload(request, type === "Event" ? eventBytesMax : requestBytesMax);
  if (type === "DryRun") {
    response.writeHead(204).end();
    return;
  }
  if (type === "Event") {
    target.invokeLater(pool, payload);
    response.writeHead(202).end();
    return;
  }
  const { requestId, outcome, logTail } = await pool.invoke(payload);
  response.writeHead(200, {
    "content-type": "application/json",
    "x-amzn-requestid": requestId,
    "x-amz-executed-version": "$LATEST",
    ...(outcome.kind === "failed" ? { "x-amz-function-error": "Unhandled" } : {}),
    ...(request.headers["x-amz-log-type"] === "Tail"
      ? { "x-amz-log-result": Buffer.from(logTail).toString("base64") }
      : {}),
  });
  response.end(outcome.payload);
}

/** The event as JSON text; an empty body is an empty event. */
export async function readPayload(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const payload = await readBody(request, bytesMax);
  if (payload.length === 0) return Buffer.from("{}");
  try {
    JSON.parse(payload.toString());
  } catch (error) {
    const message = `Could not parse request body into json: ${(error as Error).message}`;
    throw new LambdaApiError("InvalidRequestContentException", message);
  }
  return payload;
}

export async function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes <= bytesMax) chunks.push(chunk);
  }
  if (bytes > bytesMax) {
    const message = `Request must be smaller than ${bytesMax} bytes for the InvokeFunction operation`;
    throw new LambdaApiError("RequestTooLargeException", message);
  }
  return Buffer.concat(chunks);
}

function configuration(definition: FunctionDefinition) {
  return {
    FunctionName: definition.name,
    FunctionArn: definition.arn,
    Runtime: definition.runtime,
    Handler: definition.handler,
    Timeout: definition.timeoutMs / 1000,
    MemorySize: definition.memoryMegabytes,
    Environment: { Variables: definition.environment },
    LoggingConfig: { LogGroup: definition.logGroup ?? `/aws/lambda/${definition.name}` },
    PackageType: "Zip",
    State: "Active",
    LastUpdateStatus: "Successful",
    Version: "$LATEST",
  };
}

function described(definition: FunctionDefinition) {
  const { reservedConcurrency } = definition;
  return {
    Configuration: configuration(definition),
    Code: { Location: definition.codeFolder },
    ...(reservedConcurrency === undefined
      ? {}
      : { Concurrency: { ReservedConcurrentExecutions: reservedConcurrency } }),
  };
}

function sendJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
}

function sendError(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  if (response.destroyed || response.headersSent) {
    response.destroy();
    return;
  }
  request.resume();
  if (!(error instanceof LambdaApiError)) console.error(error);
  const known =
    error instanceof LambdaApiError ? error : new LambdaApiError("ServiceException", String(error));
  response.writeHead(known.status, { "content-type": "application/json", "x-amzn-errortype": known.code });
  response.end(
    JSON.stringify({ Type: "User", Reason: known.reason, message: known.message, Message: known.message }),
  );
}
