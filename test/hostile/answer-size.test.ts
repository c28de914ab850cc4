/**
 * Answers larger than a Lambda gives: refused while they are built, so that a thousand of the largest documents, or vectors,
 * take no more memory and time than what would fit. By direct invocation, over a URL (where JSON is escaped twice), and
 * over query groups.
 */
import { lambdaHandler, type UrlReply } from "../../lib/aws/lambda-handler.ts";
import { answerBytesMax } from "../../lib/core/model/answer-size.ts";
import { documentBytesMax } from "../../lib/core/model/check-records.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { memoryWorld } from "../support/memory/world.ts";
import { type Handlers, handlersOver } from "./function-handlers.ts";

jest.setTimeout(120_000);

const world = memoryWorld();
const one: Handlers = handlersOver(world);
const grouped: Handlers = handlersOver(world, { groups: 2 });
const vector = (dims: number, n: number) =>
  Array.from({ length: dims }, (_, i) => Math.sin(n * 7.3 + i) + 0.001);

/** Every character of the first is six bytes of JSON, and seven over a URL. */
const largest = 350;
const documents: Record<string, string> = {
  controls: "\u0001".repeat(documentBytesMax),
  quotes: '"'.repeat(20_000),
  plain: "x".repeat(20_000),
};

beforeAll(async () => {
  for (const [name, document] of Object.entries(documents)) {
    await createCollection(world, { name, dims: 4, metric: "cosine", shards: 2 });
    for (let start = 0; start < largest; start += 50) {
      const records = Array.from({ length: 50 }, (_, i) => ({
        id: `r${start + i}`,
        vector: vector(4, start + i),
        document,
      }));
      await produce(world, { collection: name, records });
    }
  }
  await createCollection(world, { name: "wide", dims: 4_096, metric: "cosine", shards: 2 });
  const records = Array.from({ length: 1_000 }, (_, n) => ({ id: `r${n}`, vector: vector(4_096, n) }));
  await produce(world, { collection: "wide", records });
  await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 1e9 });
});

afterAll(() => {
  grouped.remove();
  one.remove();
});

const ways = (call: object) => [
  () => one.invoke("query", call),
  () => one.post("query", JSON.stringify(call)),
  () => grouped.invoke("query", call),
  () => grouped.post("query", JSON.stringify(call)),
];

/** The longest text that JSON.stringify makes meanwhile. */
async function longestJson<T>(work: () => Promise<T>): Promise<{ answer: T; length: number }> {
  const stringify = JSON.stringify;
  let length = 0;
  const spy = jest.spyOn(JSON, "stringify").mockImplementation((...given: Parameters<typeof stringify>) => {
    const text = stringify(...given);
    length = Math.max(length, text?.length ?? 0);
    return text;
  });
  try {
    return { answer: await work(), length };
  } finally {
    spy.mockRestore();
  }
}

const ids = (count: number) => Array.from({ length: count }, (_, n) => `r${n}`);
const query = (collection: string, topK: number, more: object = {}) => ({
  collection,
  vector: vector(collection === "wide" ? 4_096 : 4, 1),
  topK,
  ...more,
});

/** And how many records are made at least before it is: what is counted first is the length of texts, not of their JSON. */
test.each<[string, object, string, number]>([
  ["results with documents of control characters", query("controls", 1_000), "document", 23],
  [
    "records with documents of control characters",
    { op: "get", collection: "controls", ids: ids(350) },
    "document",
    23,
  ],
  ["results with wide vectors", query("wide", 1_000, { include: ["vector"] }), "vector", 70],
  [
    "records with wide vectors",
    { op: "get", collection: "wide", ids: ids(1_000), include: ["vector"] },
    "vector",
    70,
  ],
  ["results with documents of letters", query("plain", 350), "document", 300],
])(
  "%s: refused before it is built, and the refusal says what to lower",
  async (_, call, largestPart, least) => {
    for (const way of ways(call)) {
      const { answer, length } = await longestJson(way);
      expect([answer.status, answer.body.kind]).toEqual([400, "invalid"]);
      expect(answer.body.message).toMatch(
        /^the answer would have more than the 6287360 bytes that a Lambda answers with; \d+ of (up to )?\d+ records fill it, mostly with their (\w+): lower topK, ask for fewer ids, or include less$/,
      );
      expect(answer.body.message).toContain(`their ${largestPart}:`);
      expect(Number(/; (\d+) of/.exec(answer.body.message)![1])).toBeGreaterThanOrEqual(least);
      expect(length).toBeLessThan(1.2 * answerBytesMax);
    }
  },
);

test("an answer that fits is given, by every way, and parts that are not included cost nothing", async () => {
  // 3 and 20 of them fit, whatever is made of their characters.
  for (const call of [
    query("controls", 3),
    query("wide", 20, { include: ["vector"] }),
    query("controls", 350, { include: [] }),
  ]) {
    const answers = await Promise.all(ways(call).map((way) => way()));
    for (const { status, body } of answers) {
      expect([status, body.results.length]).toEqual([200, call.topK]);
      expect(body.results).toEqual(answers[0]!.body.results);
    }
  }
});

test("quotes take one byte more over a URL: what fits by direct invocation may not fit there", async () => {
  const call = query("quotes", 110);
  expect((await one.invoke("query", call)).status).toBe(200);
  const over = await one.post("query", JSON.stringify(call));
  expect([over.status, over.body.kind]).toEqual([400, "invalid"]);
  expect(over.body.message).toMatch(/; \d+ of (up to )?110 records fill it, mostly with their document: /);
  expect((await one.post("query", JSON.stringify(query("quotes", 70)))).status).toBe(200);
});

test("the text of an answer is what JSON.stringify makes of it", async () => {
  const options = { telemetry: { log: () => {}, emit: () => {} }, failureMetric: "QueryErrors" as const };
  for (const answer of [
    {},
    { a: undefined },
    { list: [] },
    { list: [undefined, null, { b: undefined, c: [1, [2]] }], a: undefined, text: 'é\u0001"', no: null },
  ]) {
    const handler = lambdaHandler(options, async () => answer);
    const event = { version: "2.0", requestContext: { http: { method: "GET" } } };
    const { body } = (await handler(event, {
      awsRequestId: "1",
      getRemainingTimeInMillis: () => 1,
    })) as UrlReply;
    expect(body).toBe(JSON.stringify(answer));
  }
});
