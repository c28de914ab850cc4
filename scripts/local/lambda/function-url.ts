/**
 * A function URL: plain HTTP in, payload format 2.0 to the function, and its answer back as HTTP. Signatures are not
 * checked; with IAM auth the event says so as AWS's would, with a local caller in it.
 */
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Denial } from "../iam/access.ts";
import { guarded } from "../request-guard.ts";
import { LambdaApiError, requestBytesMax } from "./function.ts";
import type { FunctionPool } from "./function-pool.ts";
import { readBody } from "./invoke-api.ts";

export type UrlAuth = "AWS_IAM" | "NONE";

export function createFunctionUrl(
  poolNow: () => FunctionPool,
  auth: UrlAuth,
  denialOf: (request: IncomingMessage) => Denial | null,
): Server {
  const server = createServer(
    guarded((request, response) => {
      // As AWS: a caller without the right learns nothing.
      if (auth === "AWS_IAM" && denialOf(request) !== null) {
        request.resume();
        return sendMessage(response, 403, "Forbidden");
      }
      handle(poolNow(), auth, request, response).catch((error) => {
        const status = error instanceof LambdaApiError ? error.status : 502;
        if (!response.headersSent)
          sendMessage(response, status, status === 502 ? "Internal Server Error" : error.message);
      });
    }),
  );
  server.keepAliveTimeout = 10 * 60_000;
  server.requestTimeout = 0;
  return server;
}

async function handle(
  pool: FunctionPool,
  auth: UrlAuth,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const event = toEvent(request, await readBody(request, requestBytesMax), auth);
  const { outcome } = await pool.invoke(Buffer.from(JSON.stringify(event)));
  if (outcome.kind === "failed") sendMessage(response, 502, "Internal Server Error");
  else sendResult(response, JSON.parse(outcome.payload.toString()));
}

/** API Gateway's payload format 2.0. */
function toEvent(request: IncomingMessage, body: Buffer, auth: UrlAuth) {
  const url = new URL(request.url ?? "/", "http://127.0.0.1");
  const { cookie, ...rest } = request.headers;
  const headers = Object.fromEntries(
    Object.entries(rest).map(([name, value]) => [name, [value].flat().join(",")]),
  );
  const parameters = [...new Set(url.searchParams.keys())].map((name) => [
    name,
    url.searchParams.getAll(name).join(","),
  ]);
  const isText = /^(text\/|application\/(json|xml|javascript|x-www-form-urlencoded))/.test(
    headers["content-type"] ?? "",
  );
  const now = new Date();
  const accessKey = /Credential=([^/]+)/.exec(headers.authorization ?? "")?.[1] ?? "local";
  const iam = {
    accessKey,
    accountId: "000000000000",
    callerId: accessKey,
    userArn: "arn:aws:iam::000000000000:user/local",
  };
  return {
    version: "2.0",
    routeKey: "$default",
    rawPath: url.pathname,
    rawQueryString: url.search.slice(1),
    ...(cookie === undefined ? {} : { cookies: cookie.split(/;\s*/) }),
    headers,
    ...(parameters.length === 0 ? {} : { queryStringParameters: Object.fromEntries(parameters) }),
    requestContext: {
      accountId: auth === "AWS_IAM" ? "000000000000" : "anonymous",
      apiId: "local",
      ...(auth === "AWS_IAM" ? { authorizer: { iam } } : {}),
      domainName: headers.host ?? "127.0.0.1",
      domainPrefix: "local",
      http: {
        method: request.method,
        path: url.pathname,
        protocol: "HTTP/1.1",
        sourceIp: "127.0.0.1",
        userAgent: headers["user-agent"] ?? "",
      },
      requestId: randomUUID(),
      routeKey: "$default",
      stage: "$default",
      time: now.toUTCString(),
      timeEpoch: now.getTime(),
    },
    ...(body.length === 0 ? {} : { body: body.toString(isText ? "utf8" : "base64") }),
    isBase64Encoded: body.length > 0 && !isText,
  };
}

interface HttpResult {
  readonly statusCode?: number;
  readonly headers?: Readonly<Record<string, string | number | boolean>>;
  readonly cookies?: readonly string[];
  readonly body?: string;
  readonly isBase64Encoded?: boolean;
}

/** An object with a statusCode is an HTTP answer; anything else is the JSON body of a 200. */
function sendResult(response: ServerResponse, result: unknown): void {
  const isHttp = typeof result === "object" && result !== null && "statusCode" in result;
  if (!isHttp) {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(typeof result === "string" ? result : JSON.stringify(result));
    return;
  }
  const { statusCode, headers, cookies, body, isBase64Encoded } = result as HttpResult;
  response.setHeader("content-type", "application/json");
  for (const [name, value] of Object.entries(headers ?? {})) response.setHeader(name, String(value));
  if (cookies) response.setHeader("set-cookie", cookies);
  response.writeHead(Number(statusCode));
  response.end(Buffer.from(body ?? "", isBase64Encoded ? "base64" : "utf8"));
}

function sendMessage(response: ServerResponse, status: number, Message: string): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify({ Message }));
}
