/**
 * SQS as a process of its own: fauxqs in memory, on 127.0.0.1 (its own command listens on every address), behind the
 * guard and the template's access rules, in both of SQS's protocols. `node scripts/local/sqs/main.ts '{"port":…,"region":…,"access":…}'`. Ends with
 * its parent, whose end of standard input closes.
 */
import { randomUUID } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { buildApp } from "fauxqs";
import { AccessControl, type AccessRules, accessKeyOf } from "../iam/access.ts";
import { askedOfSqs, isOperation } from "../iam/requests.ts";
import { refusalOf } from "../request-guard.ts";
import { accountId } from "../resource-names.ts";
import { answerXml, errorXml, parseQuery } from "./query-protocol.ts";

interface Settings {
  readonly port: number;
  readonly region: string;
  readonly access: AccessRules;
}
interface Call {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: unknown;
}
/** HTTP status, and the names by which the query protocol and the JSON protocol know it. */
const refusals = {
  unknownKey: [403, "InvalidClientTokenId", "com.amazon.coral.service#InvalidClientTokenIdException"],
  denied: [403, "AccessDenied", "com.amazon.coral.service#AccessDeniedException"],
  key: [400, "KMS.AccessDeniedException", "com.amazonaws.sqs#KmsAccessDenied"],
} as const;
const { port, region, access } = JSON.parse(process.argv[2] ?? "{}") as Settings;
const control = new AccessControl(access, accountId);
const app = buildApp({ logger: false, defaultRegion: region });
app.addHook("onRequest", async (request, reply) => {
  const refusal = refusalOf(request.raw);
  if (refusal !== null) await reply.code(403).type("text/plain").send(`Forbidden: ${refusal}.\n`);
});
app.setErrorHandler(async (error: Error & { statusCode?: number }, _request, reply) => {
  // fauxqs reads a body without a look at whether it is JSON.
  const status = error instanceof SyntaxError ? 400 : (error.statusCode ?? 500);
  await reply.code(status).send({ __type: "com.amazon.coral.service#SerializationException" });
});
app.addHook("preHandler", async (request, reply) => {
  const target = request.headers["x-amz-target"];
  if (typeof target !== "string") {
    const { status, text } = await answerOfQuery(request);
    await reply.code(status).type("text/xml").send(text);
    return;
  }
  if (!isJsonCall(request)) {
    const type = "com.amazon.coral.service#UnknownOperationException";
    await reply
      .code(400)
      .type("application/x-amz-json-1.0")
      .send(JSON.stringify({ __type: type }));
    return;
  }
  const asked = askedOfSqs(target, request.body as Readonly<Record<string, unknown>>, region);
  const denial = control.denialOf(accessKeyOf(request.headers.authorization), asked);
  if (denial === null) return;
  const [status, code, type] = refusals[denial.asked?.action.startsWith("kms:") ? "key" : denial.kind];
  await reply
    .code(status)
    .header("x-amzn-query-error", `${code};Sender`)
    .type("application/x-amz-json-1.0")
    .send(JSON.stringify({ __type: type, message: denial.message }));
});
/** fauxqs has S3, SNS and pages of its own at other paths and with other contents: none of them is judged, or the stack's. */
const isJsonCall = (request: Pick<Call, "method" | "url" | "headers" | "body">): boolean =>
  request.method === "POST" &&
  request.url === "/" &&
  request.headers["content-type"] === "application/x-amz-json-1.0" &&
  String(request.headers["x-amz-target"]).startsWith("AmazonSQS.") &&
  isOperation(request.body);

/** Asks in the JSON protocol, under the caller's own signature: so it is judged as any call. What is no call of SQS is refused. */
async function answerOfQuery({ body, headers, url }: Call): Promise<{ status: number; text: string }> {
  const requestId = randomUUID();
  const path = new URL(url, `http://${headers.host}`).pathname;
  const queueUrl = path === "/" ? null : `http://${headers.host}${path}`;
  const isForm = headers["content-type"]?.startsWith("application/x-www-form-urlencoded") === true;
  const call = isForm ? parseQuery((body ?? {}) as Record<string, string>, queueUrl) : null;
  if (call === null)
    return { status: 400, text: errorXml("InvalidAction;Sender", "This is no call of SQS.", requestId) };
  const answer = await app.inject({
    method: "POST",
    url: "/",
    headers: {
      host: headers.host,
      authorization: headers.authorization,
      "content-type": "application/x-amz-json-1.0",
      "x-amz-target": `AmazonSQS.${call.operation}`,
    },
    payload: JSON.stringify(call.body),
  });
  const value = JSON.parse(answer.payload) as Record<string, unknown>;
  const error = String(answer.headers["x-amzn-query-error"] ?? "InternalError;Receiver");
  const isDone = answer.statusCode < 300;
  return {
    status: answer.statusCode,
    text: isDone ? answerXml(call, value, requestId) : errorXml(error, String(value.message), requestId),
  };
}

await app.listen({ port, host: "127.0.0.1" });
process.stdin.resume().once("end", () => process.exit(0));
