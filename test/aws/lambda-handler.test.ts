import * as z from "zod/mini";
import { type LambdaHandler, lambdaHandler, type UrlReply } from "../../lib/aws/lambda-handler.ts";
import { parseEvent } from "../../lib/aws/parse-event.ts";
import type { Telemetry } from "../../lib/aws/telemetry.ts";
import { answerBytesMax } from "../../lib/core/model/answer-size.ts";
import { invalid, SiltstoneError } from "../../lib/core/model/errors.ts";

const context = { awsRequestId: "request-1", getRemainingTimeInMillis: () => 1_000 };
const url = (method: string, body?: string, more: object = {}): object => ({
  version: "2.0",
  rawPath: "/",
  requestContext: { http: { method } },
  ...(body === undefined ? {} : { body }),
  isBase64Encoded: false,
  ...more,
});

let log: string[];
let service: Telemetry;
let emitted: [string | null, object][];
beforeEach(() => {
  log = [];
  emitted = [];
  service = {
    log: (...parts) => void log.push(JSON.stringify(parts)),
    emit: (collection, values) => void emitted.push([collection, values]),
  };
});

const handler = (answer: (call: unknown) => Promise<object>): LambdaHandler =>
  lambdaHandler({ telemetry: service, failureMetric: "QueryErrors" }, answer);
const echo: LambdaHandler = (event, context) => handler(async (call) => ({ call }))(event, context);
const overUrl = async (handler: LambdaHandler, event: object): Promise<{ status: number; body: unknown }> => {
  const reply = (await handler(event, context)) as UrlReply;
  expect(reply.headers).toEqual({ "content-type": "application/json" });
  return { status: reply.statusCode, body: JSON.parse(reply.body) };
};

test("a direct event is the call, and the answer is the result", async () => {
  expect(await echo({ collection: "docs", version: "2.0" }, context)).toEqual({
    call: { collection: "docs", version: "2.0" },
  });
});

test("over a URL: the JSON body of a POST, plain or base64, and the query string of a GET", async () => {
  const text = '{"text":"é 😀"}';
  const expected = { status: 200, body: { call: { text: "é 😀" } } };
  expect(await overUrl(echo, url("POST", text))).toEqual(expected);
  const base64 = Buffer.from(text).toString("base64");
  expect(await overUrl(echo, url("POST", base64, { isBase64Encoded: true }))).toEqual(expected);
  const query = { queryStringParameters: { op: "health" } };
  expect(await overUrl(echo, url("GET", undefined, query))).toEqual({
    status: 200,
    body: { call: { op: "health" } },
  });
});

test.each(["/health", "//health", "/health/"])("GET %s under a URL that ends in a slash", async (rawPath) => {
  const answer = await overUrl(echo, url("GET", undefined, { rawPath }));
  expect(answer).toEqual({ status: 200, body: { call: { op: "health" } } });
});

test.each([
  ["[1,2,x]", 5],
  ['{"a":1,}', 7],
  ['{"a": tru', 9],
  ['{"a":"b', 7],
  ["{a:1}", 1],
  ['{"a":1} x', 8],
  ['{"a":\n"b\u0000"}', 8],
  [`{"records":[${"[0.25],".repeat(2_000)}}]}`, 12 + 7 * 2_000],
])("a body that is not JSON is 400 and names the position: %#", async (body, position) => {
  const answer = await overUrl(echo, url("POST", body));
  expect(answer).toMatchObject({ status: 400, body: { kind: "invalid", problems: [{ field: "body" }] } });
  expect((answer.body as { message: string }).message).toContain(`not JSON at position ${position} (line `);
});

test("an empty body, bytes that are not UTF-8, another method: 400 with the reason", async () => {
  const messages: string[] = [];
  for (const event of [url("POST"), url("POST", "//79", { isBase64Encoded: true }), url("DELETE")]) {
    const { status, body } = await overUrl(echo, event);
    expect(status).toBe(400);
    messages.push((body as { message: string }).message);
  }
  expect(messages).toEqual([
    "body: is empty; a JSON object is expected",
    "body: is not UTF-8 text",
    "method: DELETE is not served; use POST with a JSON body, or GET",
  ]);
});

test("nesting without end is refused, over both ways in, and the process lives", async () => {
  const deep = `${"[".repeat(500_000)}${"]".repeat(500_000)}`;
  expect(await overUrl(echo, url("POST", deep))).toMatchObject({
    status: 400,
    body: { message: "body: nested deeper than 34 levels, at position 34 (line 1, column 35)" },
  });
  await expect(echo(JSON.parse(deep), context)).rejects.toMatchObject({ name: "invalid" });
  await expect(echo(JSON.parse(`${"[".repeat(34)}${"]".repeat(34)}`), context)).resolves.toBeDefined();
});

test("an error keeps its kind and problems: thrown when invoked, as status and body over a URL", async () => {
  const problems = [{ id: "a", index: 0, field: "vector", reason: "has 3 numbers" }];
  const failing = handler(async () => {
    throw invalid("1 record is wrong", problems);
  });
  const failure = { kind: "invalid", message: "1 record is wrong", problems };
  await expect(failing({}, context)).rejects.toMatchObject({
    name: "invalid",
    message: JSON.stringify(failure),
  });
  expect(await overUrl(failing, url("POST", "{}"))).toEqual({ status: 400, body: failure });
  expect(emitted).toEqual([]);
});

test.each([
  ["notFound", 404, 0],
  ["conflict", 409, 0],
  ["fenced", 409, 0],
  ["unavailable", 503, 1],
  ["uncertain", 503, 1],
  ["corrupt", 500, 1],
] as const)("%s is HTTP %d, and counts %d failures", async (kind, status, failures) => {
  const failing = handler(async () => {
    throw new SiltstoneError(kind, "why");
  });
  expect(await overUrl(failing, url("POST", "{}"))).toEqual({
    status,
    body: { kind, message: "why", problems: [] },
  });
  expect(emitted).toEqual(Array(failures).fill([null, { QueryErrors: 1 }]));
});

test("a defect is internal, counted and logged, and its details stay in the log", async () => {
  const failing = handler(async () => {
    throw new TypeError("secret detail");
  });
  const failure = {
    kind: "internal",
    message: "internal error; the log of request request-1 has the details",
    problems: [],
  };
  expect(await overUrl(failing, url("POST", "{}"))).toEqual({ status: 500, body: failure });
  await expect(failing({}, context)).rejects.toMatchObject({
    name: "internal",
    message: JSON.stringify(failure),
  });
  expect(emitted).toHaveLength(2);
  expect(JSON.parse(log[0]!)).toEqual([
    "error",
    "internal error",
    {
      requestId: "request-1",
      class: "TypeError",
      frames: expect.arrayContaining([expect.stringMatching(/^at .*lambda-handler\.test\.ts/)]),
    },
  ]);
  expect(log.join()).not.toContain("secret");
});

test("an answer above Lambda's cap is an error that says what to lower, over both ways", async () => {
  const fits = handler(async () => ({ text: "x".repeat(answerBytesMax - 100) }));
  expect((await overUrl(fits, url("POST", "{}"))).status).toBe(200);
  // Escaped quotes double inside a URL's reply.
  const quotes = handler(async () => ({ text: '"'.repeat(answerBytesMax / 3) }));
  await expect(quotes({}, context)).resolves.toBeDefined();
  const tooLarge = await overUrl(quotes, url("POST", "{}"));
  expect(tooLarge).toMatchObject({ status: 400, body: { kind: "invalid" } });
  expect((tooLarge.body as { message: string }).message).toMatch(
    /lower topK, ask for fewer ids, or include less$/,
  );
  const large = handler(async () => ({ text: "é".repeat(answerBytesMax / 2) }));
  await expect(large({}, context)).rejects.toMatchObject({ name: "invalid" });
});

test("a caller's input is not logged", async () => {
  const failing = handler(async (call) => parseEvent(z.object({ vector: z.array(z.number()) }), call));
  await overUrl(failing, url("POST", '{"vector":[0.123456,"secret"]}'));
  await overUrl(failing, url("POST", '{"vector":[0.123456,secret]}'));
  expect(log).toHaveLength(2);
  expect(log.join()).not.toMatch(/0\.123456|secret/);
});

describe("parseEvent", () => {
  const schema = z.strictObject({
    collection: z.string(),
    topK: z.optional(z.int().check(z.gte(0), z.lte(1000))),
    records: z.optional(z.array(z.object({ id: z.string() }))),
  });
  const problemsOf = (value: unknown): unknown => {
    try {
      return parseEvent(schema, value);
    } catch (error) {
      return (error as SiltstoneError).problems;
    }
  };

  test("gives back what fits", () => {
    expect(parseEvent(schema, { collection: "docs", topK: 0 })).toEqual({ collection: "docs", topK: 0 });
  });

  test("names every field that does not, with the reason", () => {
    expect(problemsOf({ topK: 1001, records: [{ id: "a" }, { id: 7 }], extra: 1 })).toEqual([
      { field: "collection", reason: "expected string, received undefined" },
      { field: "topK", reason: "Too big: expected number to be <=1000" },
      { index: 1, field: "records.1.id", reason: "expected string, received number" },
      { field: "event", reason: 'Unrecognized key: "extra"' },
    ]);
    expect(problemsOf(null)).toEqual([{ field: "event", reason: "expected object, received null" }]);
  });

  test("the message shows the first ten", () => {
    const records = Array.from({ length: 25 }, () => ({}));
    expect(() => parseEvent(schema, { collection: "docs", records })).toThrow(
      /^records\.0\.id: expected string, received undefined; .*; and 15 more$/,
    );
  });
});

test("over a URL a GET's path is the operation, and a POST goes to /", async () => {
  const get = { ...url("GET"), rawPath: "/stats", queryStringParameters: { collection: "docs" } };
  expect(await overUrl(echo, get)).toEqual({
    status: 200,
    body: { call: { op: "stats", collection: "docs" } },
  });
  expect(await overUrl(echo, { ...url("POST", "{}"), rawPath: "/query" })).toMatchObject({
    status: 400,
    body: { message: "path: /query is not served; POST to /" },
  });
});

test("a refusal with tens of thousands of problems says how many it leaves out, and fits", async () => {
  const id = "\u0000".repeat(512);
  const problems = Array.from({ length: 50_000 }, (_, index) => ({
    id,
    index,
    field: "vector",
    reason: "why",
  }));
  const failing = handler(async () => {
    throw invalid("50000 records are bad", problems);
  });
  const reply = (await failing(url("POST", "{}"), context)) as UrlReply;
  expect(Buffer.byteLength(JSON.stringify(reply))).toBeLessThan(answerBytesMax);
  const body = JSON.parse(reply.body) as { problems: object[]; problemsOmitted: number };
  expect([body.problems.length, body.problemsOmitted]).toEqual([1_000, 49_000]);
});
