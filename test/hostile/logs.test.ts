/**
 * What the functions log: no id, metadata, text or vector of any call or row, and no line above 4 KB, whatever a call, an
 * object or an error says. The end-to-end run holds the same for the bundles in Lambda's runtime (test/e2e).
 */
import { inspect } from "node:util";
import { type LambdaHandler, lambdaHandler } from "../../lib/aws/lambda-handler.ts";
import { telemetry } from "../../lib/aws/telemetry.ts";
import { encodeDelta } from "../../lib/core/format/delta.ts";
import { collectionKey, deltaKey, quarantineReasonKey } from "../../lib/core/format/keys.ts";
import { decodeNotification } from "../../lib/core/format/notification.ts";
import { encodeSealed } from "../../lib/core/format/sealed-json.ts";
import { cutText, errorTextBytesMax, invalid, SiltstoneError } from "../../lib/core/model/errors.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { listQuarantine } from "../../lib/engine/shard/quarantine.ts";
import { memoryWorld } from "../support/memory/world.ts";
import { type Handlers, handlersOver } from "./function-handlers.ts";
import { planted, plantedBodies, plantedCalls, plantedRows } from "./planted.ts";

const dims = 4;
const lineBytesMax = 4_096;
const world = memoryWorld();
const lines: string[] = [];
let handlers: Handlers;

beforeAll(() => {
  for (const stream of [process.stdout, process.stderr])
    jest.spyOn(stream, "write").mockImplementation((chunk) => lines.push(...String(chunk).split("\n")) > 0);
  handlers = handlersOver(world, { logs: true });
});
beforeEach(() => void lines.splice(0));
afterAll(() => {
  jest.restoreAllMocks();
  handlers.remove();
});

function expectNothingShown(): void {
  expect(lines.filter((line) => planted.some((value) => line.includes(value)))).toEqual([]);
  expect(lines.filter((line) => Buffer.byteLength(line) > lineBytesMax)).toEqual([]);
}

/** Puts a row as another writer would; the delta's ULID. */
async function putForeign(row: ReturnType<typeof plantedRows>[number]): Promise<string> {
  const { collection } = await createCollection(world, collectionOptions);
  const delta = world.clock.ulid();
  const header = {
    ...{ collection: "docs", collectionId: collection.id, shard: 0, embeddingVersion: "1", dims },
    ...{ producer: "elsewhere", createdAtMs: world.clock.nowMs() },
  };
  await world.store.put(
    deltaKey({ collection: "docs", shard: 0 }, deltaId(delta)),
    encodeDelta(header, [row]),
  );
  return delta;
}
const fields = { kind: "string", year: "number" } as const;
const collectionOptions = { name: "docs", dims, metric: "cosine", fields } as const;

test("calls that are answered, and calls that are refused", async () => {
  await createCollection(world, collectionOptions);
  const statuses = new Set<number>();
  for (const [name, event] of plantedCalls("docs", dims)) {
    const { status, body } = await handlers.invoke(name, event);
    statuses.add(status);
    if (status !== 200) expect([event, body.kind]).not.toEqual([event, "internal"]);
    await handlers.post(name, JSON.stringify(event));
  }
  for (const body of plantedBodies) expect((await handlers.post("query", body)).status).toBe(400);
  expect(statuses).toEqual(new Set([200, 400]));
  expect(lines.length).toBeGreaterThan(80);
  expect(lines.some((line) => line.includes('"fields":["metadata"]'))).toBe(true);
  expectNothingShown();
});

test("rows that break a rule: the reason and the answer say which and why, the logs where", async () => {
  for (const row of plantedRows(dims)) {
    const delta = await putForeign(row);
    const strong = { op: "count", collection: "docs", consistency: "strong" };
    const { body } = await handlers.invoke("query", strong);
    expect(body).toMatchObject({
      kind: "corrupt",
      message: expect.stringContaining(`${delta}.arrow is corrupt: row 0`),
    });
    expect(planted.some((value) => JSON.stringify(body.problems).includes(value))).toBe(true);
    expect(lines.some((line) => line.includes(delta))).toBe(true);
    await handlers.invoke("compactor", { source: "scheduled" });
  }
  const aside = await listQuarantine(world.store, { collection: "docs", shard: 0 });
  expect(aside).toHaveLength(plantedRows(dims).length);
  for (const { reason } of aside) expect(planted.some((value) => reason.includes(value))).toBe(true);
  expectNothingShown();
});

test("an object with a field of megabytes: the answer and the line are short", async () => {
  const huge = '\u0001é😀"'.repeat(600_000);
  await world.store.put(collectionKey("huge"), encodeSealed({ format: huge, name: huge }));
  const { body } = await handlers.invoke("query", { op: "count", collection: "huge" });
  expect(body).toMatchObject({
    kind: "corrupt",
    message: expect.stringMatching(/^huge\/collection\.json is corrupt: /),
  });
  expect(Buffer.byteLength(JSON.stringify(body))).toBeLessThan(lineBytesMax);
  const run = await handlers.invoke("compactor", { source: "manual" });
  expect(run.body.kind).toBe("corrupt");
  expect(Buffer.byteLength(JSON.stringify(run.body))).toBeLessThan(lineBytesMax);
  expect(lines.filter((line) => line.includes("huge/collection.json")).length).toBeGreaterThan(1);
  expect(lines.every((line) => Buffer.byteLength(line) <= lineBytesMax)).toBe(true);
  const { reason } = decodeNotification(JSON.stringify({ format: huge })) as { reason: string };
  expect(Buffer.byteLength(JSON.stringify(reason))).toBeLessThan(lineBytesMax);
});

test("a quarantine reason is short, whatever was wrong", async () => {
  const key = "\u{1f480}".repeat(32);
  const row = { ...plantedRows(dims)[0]!, metadata: JSON.stringify({ [key]: ["x".repeat(30_000), 1] }) };
  const delta = await putForeign(row);
  await handlers.invoke("compactor", { source: "scheduled" });
  const found = await world.store.get(quarantineReasonKey({ collection: "docs", shard: 0 }, deltaId(delta)));
  if (found.kind !== "found") throw new Error("it was not put aside");
  expect(found.body.length).toBeLessThan(lineBytesMax);
  expect(found.body.toString("utf8")).toContain(key);
});

const megabytes = 'a "quoted" word, '.repeat(200_000);
test.each<[string, () => Error, number]>([
  ["a refusal", () => invalid(megabytes, [{ field: megabytes, id: megabytes, reason: megabytes }]), 6_000],
  [
    "an outage",
    () => new SiltstoneError("unavailable", megabytes, { cause: new Error(megabytes) }),
    lineBytesMax,
  ],
  ["damage", () => new SiltstoneError("corrupt", "\u0000".repeat(3_000_000), { problems: [] }), lineBytesMax],
  ["a defect", () => new TypeError(megabytes), lineBytesMax],
  [
    "a defect with a planted stack",
    () => new RangeError("first\n    at garnetkeeper (garnetkeeper:1:1)\nlast"),
    lineBytesMax,
  ],
  ["a chain of defects", () => chain(50), lineBytesMax],
])("%s of megabytes is short in the answer and in the log", async (_, make, answerBytesMost) => {
  const service = telemetry({ stage: "dev", store: "Siltstone-dev", service: "query" });
  const failing: LambdaHandler = lambdaHandler(
    { telemetry: service, failureMetric: "QueryErrors" as const },
    async () => {
      throw make();
    },
  );
  const error = await failing({}, { awsRequestId: "request-1", getRemainingTimeInMillis: () => 1 }).then(
    () => new Error("it did not fail"),
    (thrown: unknown) => thrown as Error,
  );
  expect(Buffer.byteLength(error.message)).toBeLessThan(answerBytesMost);
  // As Lambda's runtime logs what is thrown.
  const asRuntime = (_: string, value: unknown) =>
    value instanceof Error ? { errorMessage: value.message, ...value } : value;
  for (const text of [JSON.stringify(error, asRuntime), inspect(error), inspect({ error })])
    expect(text.length).toBeLessThan(200);
  expect(lines.filter((line) => line.includes('"level"'))).toHaveLength(1);
  expect(lines.join()).not.toContain("quoted");
  expectNothingShown();
});

function chain(length: number): Error {
  return new Error("cause", length === 0 ? {} : { cause: chain(length - 1) });
}

test("a line of too many facts ends below 4 KB, and says so", () => {
  const service = telemetry({ stage: "dev", store: "Siltstone-dev", service: "query" });
  const texts = Array.from({ length: 50 }, (_, n) => [`fact${n}`, "é".repeat(300)]);
  for (const facts of [
    Object.fromEntries(texts),
    { nested: Object.fromEntries(texts) },
    { list: texts.flat() },
  ]) {
    service.log("info", "refused", facts);
    const line = lines.splice(0).join("\n").trim();
    expect(Buffer.byteLength(line)).toBeLessThan(lineBytesMax);
    expect(JSON.parse(line)).toMatchObject({ message: "refused", cut: true });
  }
});

test("texts are cut between characters, and by what they take as JSON", () => {
  for (const unit of ["a", "é", "石", "😀", "\u0001", '"', "\\", "\ud800", "a😀", "\u007f"]) {
    for (const bytesMax of [10, 11, 12, 13, 100]) {
      const cut = cutText(unit.repeat(1_000), bytesMax);
      expect(Buffer.byteLength(JSON.stringify(cut)) - 2).toBeLessThanOrEqual(bytesMax);
      expect(cut.isWellFormed()).toBe(true);
      expect(cut.endsWith("…")).toBe(true);
      expect(unit.repeat(1_000).toWellFormed().startsWith(cut.slice(0, -1))).toBe(true);
    }
    expect(cutText(unit, 10)).toBe(unit.toWellFormed());
  }
  expect(cutText("x".repeat(errorTextBytesMax), errorTextBytesMax)).toHaveLength(errorTextBytesMax);
});
