/**
 * Bytes that no client of HTTP sends, to every local port but S3's (raw-http.test.ts): none of them gets an answer that is a service's, and
 * each port serves the next request as before.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseQuery } from "../../scripts/local/sqs/query-protocol.ts";
import { type LocalStack, startLocalStack } from "../../scripts/local/stack.ts";
import { codeFolders, template } from "../local/stack-template.ts";

let stateDir: string;
let stack: LocalStack;

beforeAll(async () => {
  stateDir = mkdtempSync(join(tmpdir(), "siltstone-ports-"));
  const ports = { s3: 0, sqs: 0, dynamodb: 0, lambda: 0, functionUrl: 0 };
  stack = await startLocalStack({
    stackName: "Test",
    template,
    codeFolders,
    stateDir,
    ports,
    scheduleEveryMs: null,
  });
});
afterAll(async () => {
  await stack?.stop();
  rmSync(stateDir, { recursive: true });
});

const credential = (service: string) =>
  `Authorization: AWS4-HMAC-SHA256 Credential=local/20261127/us-east-1/${service}/aws4_request, SignedHeaders=host, Signature=00`;

/** What each port serves: the request that it answers with 200. */
interface Port {
  readonly service: string;
  readonly port: number;
  readonly path: string;
  readonly headers: readonly string[];
  readonly body: string;
}
const json = (target: string): string[] => [
  `X-Amz-Target: ${target}`,
  "Content-Type: application/x-amz-json-1.0",
  "X-Amz-Date: 20261127T000000Z",
];
function ports(): Port[] {
  const portOf = (url: string) => Number(new URL(url).port);
  const { sqs, dynamodb, lambda } = stack.endpoints;
  return [
    {
      service: "sqs",
      port: portOf(sqs),
      path: "/",
      headers: [credential("sqs"), ...json("AmazonSQS.ListQueues")],
      body: "{}",
    },
    {
      service: "dynamodb",
      port: portOf(dynamodb),
      path: "/",
      headers: [credential("dynamodb"), ...json("DynamoDB_20120810.ListTables")],
      body: "{}",
    },
    {
      service: "lambda",
      port: portOf(lambda),
      path: `/2015-03-31/functions/${stack.functions[0]}/invocations`,
      headers: [credential("lambda")],
      body: '{"x":1}',
    },
    {
      service: "function URL",
      port: portOf(stack.outputs.WebUrl!),
      path: "/",
      headers: [credential("lambda"), "Content-Type: application/json"],
      body: "{}",
    },
  ];
}

const head = ({ path, headers }: Pick<Port, "path" | "headers">, method: string, ...more: string[]): string =>
  [`${method} ${path} HTTP/1.1`, "Host: 127.0.0.1", "Connection: close", ...headers, ...more, "", ""].join(
    "\r\n",
  );
const whole = (one: Port, method = "POST"): string =>
  `${head(one, method, `Content-Length: ${Buffer.byteLength(one.body)}`)}${one.body}`;

function answerTo(
  port: number,
  bytes: string | Buffer,
  { silentMs = 3_000, ends = false } = {},
): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let answer = "";
    const done = () => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(silentMs, done);
    socket.on("data", (chunk) => {
      answer += chunk.toString("latin1");
    });
    socket.on("error", done).on("close", done);
    socket.write(bytes);
    if (ends) socket.end();
  });
}
const statusesOf = (answer: string): number[] =>
  [...answer.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status));

const chunked = "Transfer-Encoding: chunked";
const inputs: [string, (port: Port) => string | Buffer][] = [
  ["a header of a megabyte", (one) => head(one, "POST", `X-A: ${"a".repeat(1_000_000)}`)],
  ["a path of a megabyte", (one) => head({ ...one, path: `/${"a".repeat(1_000_000)}` }, "POST")],
  ["two lengths", (one) => `${head(one, "POST", "Content-Length: 2", "Content-Length: 90")}{}${whole(one)}`],
  [
    "a length and chunks",
    (one) => `${head(one, "POST", "Content-Length: 5", chunked)}0\r\n\r\n${whole(one)}`,
  ],
  ["another coding", (one) => `${head(one, "POST", "Transfer-Encoding: xchunked")}${whole(one)}`],
  [
    "two codings",
    (one) => `${head(one, "POST", "Transfer-Encoding: chunked, identity")}0\r\n\r\n${whole(one)}`,
  ],
  ["a chunk of a malformed size", (one) => `${head(one, "POST", chunked)}zz\r\n{}\r\n0\r\n\r\n`],
  ["a length below zero", (one) => head(one, "POST", "Content-Length: -1")],
  ["a folded header", (one) => head(one, "POST", "X-A: a\r\n Host: evil.example")],
  ["a space before a colon", (one) => head(one, "POST", "Content-Length : 2")],
  ["bare line feeds", (one) => whole(one).replaceAll("\r\n", "\n")],
  ["no HTTP", () => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n"],
  ["another host", (one) => whole(one).replace("127.0.0.1", "evil.example")],
  ["two hosts", (one) => head(one, "POST", "Host: evil.example", "Content-Length: 0")],
  ["no host", (one) => whole(one).replace("Host: 127.0.0.1\r\n", "").replace("HTTP/1.1", "HTTP/1.0")],
  [
    "a proxy's form",
    (one) => whole({ ...one, path: `http://evil.example${one.path}` }).replace("127.0.0.1", "evil.example"),
  ],
  ["a tunnel", (one) => head({ ...one, path: "127.0.0.1:22" }, "CONNECT")],
  [
    "another protocol",
    (one) => head(one, "GET", "Upgrade: websocket", "Connection: Upgrade", "Origin: https://evil.example"),
  ],
  ["a method of nobody's", (one) => whole(one, "HACK")],
  ["a body that ends too early", (one) => `${head(one, "POST", "Content-Length: 100")}{}`],
];

/** Refused with a status that says it is the sender's fault, or by the end of the connection; and the next request is served. */
async function holds(one: Port, bytes: string | Buffer, { mayEnd = false } = {}): Promise<void> {
  const { service } = one;
  const statuses = statusesOf(await answerTo(one.port, bytes, { ends: mayEnd }));
  const isRefused = statuses.length <= 1 && statuses.every((status) => status >= 400 && status < 500);
  expect({ service, statuses, isRefused }).toMatchObject({ isRefused: true });
  // Of who is answered while he still sends, the connection may be reset before he has read it.
  const mayBeReset = mayEnd || bytes.length > 1_000_000;
  if (!mayBeReset) expect({ service, statuses }).not.toEqual({ service, statuses: [] });
  const [served] = statusesOf(await answerTo(one.port, whole(one)));
  expect({ service, served }).toEqual({ service, served: service === "function URL" ? 201 : 200 });
}

test.each(inputs)("%s: no port does anything", async (_, make) => {
  for (const one of ports()) await holds(one, make(one), { mayEnd: true });
});

const portOf = (service: string) => ports().find((one) => one.service === service)!;
const withHeaders = (one: Port, change: (headers: string[]) => string[]): Port => ({
  ...one,
  headers: change([...one.headers]),
});
const without = (name: RegExp) => (headers: string[]) => headers.filter((header) => !name.test(header));
const form = (body: string): Port => ({
  ...withHeaders(portOf("sqs"), (headers) => [
    ...without(/^(X-Amz-Target|Content-Type)/)(headers),
    "Content-Type: application/x-www-form-urlencoded",
  ]),
  body,
});
const stranger = (one: Port) =>
  withHeaders(one, (headers) => headers.map((header) => header.replace("=local/", "=nobody/")));
const posted = (service: string, more: Partial<Port>) => (): Port => ({ ...portOf(service), ...more });
const nested = (length: number) => `Action=SendMessage&${Array(length).fill("a").join(".")}=1`;

const calls: [string, () => Port][] = [
  ...["sqs", "dynamodb"].flatMap((service): [string, () => Port][] => [
    [`${service}: no object`, posted(service, { body: "null" })],
    [`${service}: a list`, posted(service, { body: "[]" })],
    [`${service}: nothing`, posted(service, { body: "" })],
    [
      `${service}: a mark before its JSON, from a stranger`,
      () => stranger({ ...portOf(service), body: "\ufeff{}" }),
    ],
    [`${service}: a million brackets`, posted(service, { body: "[".repeat(1_000_000) })],
    [
      `${service}: what is larger than all that it takes`,
      posted(service, { body: `"${"a".repeat(34_000_000)}"` }),
    ],
    [
      `${service}: an operation of another service`,
      () =>
        withHeaders(portOf(service), (headers) => [
          ...without(/^X-Amz-Target/)(headers),
          "X-Amz-Target: AmazonSNS.ListTopics",
        ]),
    ],
    [
      `${service}: two operations`,
      () =>
        withHeaders(portOf(service), (headers) => [
          ...headers,
          "X-Amz-Target: DynamoDB_20120810.DeleteTable",
        ]),
    ],
    [
      `${service}: no operation, from a stranger`,
      () => stranger(withHeaders(portOf(service), without(/^X-Amz-Target/))),
    ],
    [`${service}: a path that goes up`, posted(service, { path: "/../../etc/passwd" })],
    [`${service}: a path that is none`, posted(service, { path: "//" })],
  ]),
  ["sqs: a bucket of the emulator's own", posted("sqs", { path: "/bucket?delete" })],
  [
    "sqs: a topic of the emulator's own",
    () =>
      withHeaders(portOf("sqs"), (headers) =>
        headers.map((one) => one.replace("x-amz-json-1.0", "x-www-form-urlencoded")),
      ),
  ],
  ["sqs: a form of 300,000 levels", () => form(nested(300_000))],
  ["sqs: a form of seven levels", () => form(nested(7))],
  [
    "sqs: a form whose lists are none",
    () => form("Action=SetQueueAttributes&Attribute.1=a&Attribute.1.Name.x=1&AttributeName=1&__proto__.a=1"),
  ],
  [
    "sqs: a batch whose entries are none",
    () => form("Action=SendMessageBatch&SendMessageBatchRequestEntry=1&SendMessageBatchRequestEntry.1=x"),
  ],
  [
    "lambda: a name with a malformed escape",
    posted("lambda", { path: "/2015-03-31/functions/%zz/invocations" }),
  ],
  [
    "lambda: a name of every object's",
    posted("lambda", { path: "/2015-03-31/functions/__proto__/invocations" }),
  ],
  ["lambda: a path that is none", posted("lambda", { path: "//" })],
  ["lambda: an event above the limit", posted("lambda", { body: `"${"a".repeat(6_400_000)}"` })],
  ["lambda: an event that is no JSON", posted("lambda", { body: "\ufeff{}" })],
  ["lambda: an event from a stranger", () => stranger(portOf("lambda"))],
  ["function URL: a path that is none", posted("function URL", { path: "//" })],
  ["function URL: an event above the limit", posted("function URL", { body: "a".repeat(6_400_000) })],
  ["function URL: an event from a stranger", () => stranger(portOf("function URL"))],
];

test.each(calls)("%s: refused", async (_, make) => {
  const one = make();
  await holds({ ...portOf(one.service) }, whole(one));
});

test("a form of any depth is refused at once", () => {
  const before = process.cpuUsage();
  expect(parseQuery({ Action: "SendMessage", [Array(300_000).fill("a").join(".")]: "1" }, null)).toBeNull();
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1_000).toBeLessThan(500);
});

test("no caller sees the pages of the emulator of SQS", async () => {
  const one = portOf("sqs");
  for (const path of ["/_fauxqs/queues", "/_fauxqs/queues/Test-Dead", "/health", "/bucket"])
    await holds(one, whole({ ...one, path }, "GET"));
});

test("a hundred bodies that do not come hold nobody up", async () => {
  const waiting = ports().map(async (one) => {
    const partly = `${head(one, "POST", "Content-Length: 100")}{`;
    const slow = Array.from({ length: 100 }, () => answerTo(one.port, partly, { silentMs: 1_500 }));
    expect(statusesOf(await answerTo(one.port, whole(one)))[0]).toBeLessThan(300);
    expect((await Promise.all(slow)).flatMap(statusesOf)).toEqual([]);
  });
  await Promise.all(waiting);
});
