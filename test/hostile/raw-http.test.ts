/**
 * Bytes that no client of HTTP sends, to the local S3: what each is answered, and that neither an object, nor a file beside the
 * store, nor the next request takes harm. Whatever is not understood is refused, and the connection with it.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RunningS3, startS3Server } from "../../scripts/local/s3/server.ts";

const folder = mkdtempSync(join(tmpdir(), "siltstone-raw-"));
const kept = "what was there";
let server: RunningS3;

beforeAll(async () => {
  const access = { callers: {}, resources: {} };
  server = await startS3Server({ folder: join(folder, "s3"), port: 0, region: "us-east-1", access });
  for (const [path, body] of [
    ["/docs", ""],
    ["/docs/a", kept],
  ] as const)
    expect(await statusesOf(request("PUT", path, body))).toEqual([200]);
});
afterAll(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const signed =
  "Authorization: AWS4-HMAC-SHA256 Credential=local/20261127/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00";
const head = (method: string, path: string, ...headers: string[]): string =>
  [`${method} ${path} HTTP/1.1`, "Host: 127.0.0.1", "Connection: close", signed, ...headers, "", ""].join(
    "\r\n",
  );
const request = (method: string, path: string, body = ""): string =>
  `${head(method, path, `Content-Length: ${Buffer.byteLength(body)}`)}${body}`;

/** All that comes back before the server closes, or before it has been silent for so long. */
function answerTo(bytes: string | Buffer, { silentMs = 1_000, ends = false } = {}): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(server.port, "127.0.0.1");
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
const statusesOf = async (bytes: string | Buffer, options = {}): Promise<number[]> =>
  [...(await answerTo(bytes, options)).matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status));

const smuggled = "GET /docs/a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
const chunked = "Transfer-Encoding: chunked";
const unsigned = (authorization: string) => request("GET", "/docs/a").replace(signed, authorization);
const bad = (faults: string): [string, string, number[]] => [
  `a fault injection of ${faults}`,
  request("PUT", "/_local/fault-injection", faults),
  [400],
];
/** What is sent, and the statuses that come back; none where the connection ends, or waits for more. */
const inputs: [string, string | Buffer, number[]][] = [
  ["a header of a megabyte", head("GET", "/docs/a", `X-A: ${"a".repeat(1_000_000)}`), [431]],
  ["ten thousand headers", head("GET", "/docs/a", ...Array<string>(10_000).fill("X-A: a")), [431]],
  ["a path of a megabyte", head("GET", `/docs/${"a".repeat(1_000_000)}`), [431]],
  ["two lengths", `${head("PUT", "/docs/a", "Content-Length: 1", "Content-Length: 50")}x${smuggled}`, [400]],
  [
    "a length and chunks",
    `${head("PUT", "/docs/a", "Content-Length: 4", chunked)}0\r\n\r\n${smuggled}`,
    [400],
  ],
  ["chunks of another coding", `${head("PUT", "/docs/a", "Transfer-Encoding: xchunked")}${smuggled}`, [400]],
  ["a length below zero", head("PUT", "/docs/a", "Content-Length: -1"), [400]],
  ["a length that is no number", head("PUT", "/docs/a", "Content-Length: 0x10"), [400]],
  ["a length beyond all", head("PUT", "/docs/a", "Content-Length: 99999999999999999999999"), [400]],
  ["a chunk of a malformed size", `${head("PUT", "/docs/a", chunked)}zz\r\nab\r\n0\r\n\r\n`, [400]],
  ["a folded header", head("GET", "/docs/a", "X-A: a\r\n Host: evil.example"), [400]],
  ["a header with a zero byte", head("GET", "/docs/a", "X-A: \0"), [400]],
  ["a space before a colon", head("PUT", "/docs/a", "Content-Length : 1"), [400]],
  ["no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc", [400]],
  ["bare line feeds", "GET /docs/a HTTP/1.1\nHost: evil.example\n\n", [400]],
  ["another host", request("GET", "/docs/a").replace("127.0.0.1", "evil.example"), [403]],
  ["two hosts", head("GET", "/docs/a", "Host: evil.example"), [403]],
  [
    "a proxy's form",
    request("GET", "http://evil.example/docs/a").replace("127.0.0.1", "evil.example"),
    [403],
  ],
  ["another method", request("TRACE", "/docs/a"), [501]],
  ["a method of nobody's", request("HACK", "/docs/a"), [400]],
  ["no signature", unsigned("X-A: a"), [403]],
  ["an unknown key", unsigned(signed.replace("local", "nobody")), [403]],
  ["a key of every object's", unsigned(signed.replace("local", "__proto__")), [403]],
  ["an empty key", unsigned(signed.replace("local", "")), [403]],
  ["a signature of another kind", unsigned("Authorization: AWS local:AAAA"), [403]],
  [
    "a signature by another hour",
    request("GET", "/docs/a").replace(signed, `${signed}\r\nX-Amz-Date: 20010101T000000Z`),
    [403],
  ],
  ["a path that goes up", request("GET", "/docs/../../../../etc/passwd"), [404]],
  ["a path that goes up, escaped", request("GET", "/docs/%2e%2e%2f%2e%2e%2fetc%2fpasswd"), [404]],
  ["a bucket that goes up", request("PUT", "/%2e%2e", ""), [400]],
  ["a malformed escape", request("GET", "/docs/%zz"), [400]],
  ["a key with a zero byte", request("GET", "/docs/%00"), [404]],
  ["a key beyond its bytes", request("PUT", `/docs/${"k".repeat(1_025)}`, "x"), [400]],
  ["faults that are none", request("PUT", "/_local/fault-injection", "null"), [400]],
  ...["[]", "7", '{"faults":7}', '{"faults":{"seed":1,"rules":[{"kind":"none"}]}}'].map(bad),
  ...['{"throttle":{"totalBytesPerSecond":0}}', '{"clockAheadMs":"x"}', '{"x":1}'].map(bad),
  ["faults that are no JSON", request("PUT", "/_local/fault-injection", "{"), [400]],
];

test.each(inputs)("%s is refused, and nothing is changed", async (_, bytes, expected) => {
  expect(await statusesOf(bytes)).toEqual(expected);
  expect(await answerTo(request("GET", "/docs/a"))).toMatch(
    new RegExp(`^HTTP/1\\.1 200 [^]*\r\n\r\n${kept}$`),
  );
  expect(readdirSync(folder)).toEqual(["s3"]);
});

test("a body that does not come, or ends too early, makes no object and holds nobody up", async () => {
  const partly = `${head("PUT", "/docs/a", "Content-Length: 100")}half`;
  const slow = statusesOf(partly, { silentMs: 3_000 });
  expect(await statusesOf(partly, { ends: true })).not.toContain(200);
  expect(await answerTo(request("GET", "/docs/a"))).toContain(kept);
  expect(await slow).toEqual([]);
  const many = Array.from({ length: 200 }, () =>
    statusesOf("PUT /docs/b HTTP/1.1\r\nHost: 127.", { silentMs: 2_000 }),
  );
  expect(await answerTo(request("GET", "/docs/a"))).toContain(kept);
  await Promise.all(many);
  expect(await statusesOf(request("GET", "/docs/b"))).toEqual([404]);
  expect(existsSync(join(folder, "s3"))).toBe(true);
});
