/**
 * Hostile input at the handlers of the producer and the query function: whatever comes is answered, or refused as the
 * caller's fault (4xx), and what is refused writes nothing. The handlers, schemas and engine are those of the handlers.
 */
import fc from "fast-check";
import { producerEvent } from "../../lambdas/producer/event.ts";
import { parseQueryEvent } from "../../lambdas/query/event.ts";
import { lambdaHandler, type UrlReply } from "../../lib/aws/lambda-handler.ts";
import { parseEvent } from "../../lib/aws/parse-event.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import type { QueryRequest } from "../../lib/engine/read/read-request.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { type MemoryWorld, memoryWorld } from "../support/memory/world.ts";

const dims = 3;
const context = { awsRequestId: "request-1", getRemainingTimeInMillis: () => 1_000 };
const overUrl = (body: string): object => ({
  version: "2.0",
  rawPath: "/",
  requestContext: { http: { method: "POST" } },
  body,
  isBase64Encoded: false,
});

let world: MemoryWorld;
let reader: Reader;
let handlers: Record<
  "producer" | "query",
  (body: string) => Promise<{ status: number; body: Record<string, unknown> }>
>;

beforeAll(async () => {
  world = memoryWorld();
  const fields = { kind: "string", size: "number", tags: "string[]" } as const;
  await createCollection(world, { name: "docs", dims, metric: "cosine", fields });
  await produce(world, {
    collection: "docs",
    records: [{ id: "a", vector: [1, 2, 3], metadata: { kind: "x" } }],
  });
  reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  const options = { telemetry: { log: () => {}, emit: () => {} }, failureMetric: "QueryErrors" as const };
  const producer = lambdaHandler(options, (event) => produce(world, parseEvent(producerEvent, event)));
  const query = lambdaHandler(options, async (event) => {
    const { op, call } = parseQueryEvent(event);
    return op === "query" ? reader.query({ consistency: "strong", ...(call as QueryRequest) }) : { op };
  });
  const knock = (handler: typeof producer) => async (body: string) => {
    const reply = (await handler(overUrl(body), context)) as UrlReply;
    return { status: reply.statusCode, body: JSON.parse(reply.body) as Record<string, unknown> };
  };
  handlers = { producer: knock(producer), query: knock(query) };
});
afterAll(() => reader.close());

/** Answered, or refused as the caller's fault; refused writes nothing. */
async function holds(handler: "producer" | "query", body: string): Promise<void> {
  const before = world.store.keys("");
  const answer = await handlers[handler](body);
  expect([200, 400, 404]).toContain(answer.status);
  if (answer.status !== 200 || handler === "query") expect(world.store.keys("")).toEqual(before);
  if (answer.status !== 200) expect(answer.body.message).toEqual(expect.any(String));
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
}

const nasty = fc.oneof(
  fc.constantFrom(
    "../../etc/passwd",
    "docs/../docs",
    "..",
    "",
    "\u0000",
    "a\nb",
    "\ud800",
    "' OR 1=1 --",
    '"; DROP TABLE rows; --',
    "__proto__",
    "constructor",
    "prototype",
    "docs",
    "a",
    "x".repeat(600),
    "NaN",
    "Infinity",
  ),
  fc.string({ unit: "binary" }),
);
const number = fc.constantFrom(0, -0, -1, 1, 0.5, 1e39, -1e39, 1e308, 5e-324, 2 ** 53, 1e21, null);
const json = fc.oneof(fc.jsonValue({ maxDepth: 4, noUnicodeString: false }), nasty, number);
const metadata = fc.oneof(json, fc.dictionary(nasty, json, { maxKeys: 4 }));
const vector = fc.oneof(
  fc.array(number, { minLength: dims, maxLength: dims }),
  fc.array(number, { maxLength: 5 }),
  nasty,
  json,
);
const text = (value: unknown): string =>
  JSON.stringify(value, (_, one: unknown) => (one === undefined ? null : one));
const record = fc.record({ id: json, vector, document: json, metadata, version: json }, { requiredKeys: [] });
/** JSON in which "__proto__" is a key of its own, as it is on the wire. */
const polluting = (body: string) => body.replace(/"kind":/g, '"__proto__":');

const runs = { numRuns: 300 };

test("producer: records of any shape", async () => {
  const call = fc.record(
    {
      collection: fc.oneof(fc.constant("docs"), json),
      records: fc.oneof(fc.array(record, { maxLength: 4 }), json),
      deletes: json,
      onInvalid: json,
    },
    { requiredKeys: ["collection"] },
  );
  await fc.assert(
    fc.asyncProperty(call, (value) => holds("producer", text(value))),
    runs,
  );
});

test("producer: good shapes with one hostile part, and keys of the prototype", async () => {
  const good = fc.record({ id: nasty, vector: fc.constant([1, 2, 3]), metadata: fc.record({ kind: json }) });
  await fc.assert(
    fc.asyncProperty(good, async (one) => {
      await holds("producer", text({ collection: "docs", records: [one] }));
      await holds(
        "producer",
        polluting(text({ collection: "docs", records: [one], kind: { polluted: true } })),
      );
      await holds(
        "producer",
        polluting(text({ collection: "docs", records: [{ ...one, metadata: { kind: { polluted: 1 } } }] })),
      );
    }),
    runs,
  );
});

test("query: filters, fields, ranges and names of any shape", async () => {
  const filter = fc.oneof(
    json,
    fc.dictionary(
      fc.oneof(fc.constantFrom("kind", "size", "tags", "$and", "$or", "$eq", "$in"), nasty),
      json,
    ),
  );
  const call = fc.record(
    {
      collection: fc.oneof(fc.constant("docs"), json),
      vector,
      id: json,
      text: json,
      topK: json,
      filter,
      minScore: json,
      excludeIds: json,
      include: json,
      consistency: json,
      atLeast: json,
      op: json,
    },
    { requiredKeys: ["collection"] },
  );
  await fc.assert(
    fc.asyncProperty(call, (value) => holds("query", text(value))),
    runs,
  );
  const plain = fc.record({ filter, excludeIds: fc.array(nasty, { maxLength: 3 }) });
  await fc.assert(
    fc.asyncProperty(plain, (value) =>
      holds("query", text({ collection: "docs", vector: [1, 2, 3], ...value })),
    ),
    runs,
  );
});

test("bodies that are no JSON, too deep, or huge", async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: "binary" }), (body) => holds("producer", body)),
    runs,
  );
  const deep = (n: number) => `${'{"a":'.repeat(n)}1${"}".repeat(n)}`;
  for (const body of [
    deep(50),
    deep(100_000),
    `[${"[".repeat(100_000)}`,
    '{"collection":"docs","vector":[NaN]}',
    "9".repeat(400_000),
  ]) {
    await holds("producer", body);
    await holds("query", body);
  }
  await holds(
    "producer",
    text({ collection: "docs", records: [{ id: "x".repeat(5_000_000), vector: [1, 2, 3] }] }),
  );
  await holds("query", text({ collection: "docs", id: "x".repeat(5_000_000) }));
});

test("a million deletes are refused by their number, not written", async () => {
  const before = world.store.keys("");
  const deletes = Array.from({ length: 1_000_000 }, (_, i) => String(i));
  await expect(produce(world, { collection: "docs", deletes })).rejects.toMatchObject({ kind: "invalid" });
  expect(world.store.keys("")).toEqual(before);
});
