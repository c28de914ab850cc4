/** Messages of any sender to the queue: a run holds nothing of those that are not notifications, and no run waits for them. */
import { compactorEvent } from "../../lambdas/compactor/event.ts";
import { embedderEvent, messagesOf } from "../../lambdas/embedder/event.ts";
import { parseEvent } from "../../lib/aws/parse-event.ts";
import {
  decodeNotification,
  encodeNotification,
  notificationCharsMax,
} from "../../lib/core/format/notification.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { memoryWorld } from "../support/memory/world.ts";

const mebibyte = 1024 * 1024;
const padded = (notice: string, bytes: number) => `${notice.slice(0, -1)},"more":"${"x".repeat(bytes)}"}`;

test("messages of a mebibyte, whatever is in them, are dead letters at once; their neighbours are settled", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  const notice = encodeNotification({
    ...{ collection: "docs", collectionId: world.clock.ulid(), shard: 0, delta: deltaId(world.clock.ulid()) },
  });
  for (const body of [padded(notice, mebibyte - 300), "[".repeat(mebibyte), "x".repeat(mebibyte)])
    for (let i = 0; i < 20; i++) await world.queue.send(body);
  await produce(world, { collection: "docs", records: [{ id: "a", vector: [1, 2] }] });
  const { messages, faults } = await compact(world, {
    ...{ ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 1e9 },
  });
  expect({ messages, faults }).toEqual({
    ...{ messages: { settled: 1, gone: 0, deadLettered: 60, left: 0 }, faults: [] },
  });
  for (const { reason } of world.queue.deadLetters)
    expect(reason).toMatch(/^the message has \d+ characters; a notification has at most 1024$/);
});

test("every notification that is sent fits, and what later versions add to one as well", () => {
  const longest = {
    ...{ collection: "a".repeat(63), collectionId: "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", shard: 1_023 },
    delta: deltaId("7ZZZZZZZZZZZZZZZZZZZZZZZZZ"),
  };
  const body = encodeNotification(longest);
  expect(4 * body.length).toBeLessThan(notificationCharsMax);
  expect(decodeNotification(padded(body, 500))).toEqual(longest);
});

const deep = JSON.parse(`${"[".repeat(100_000)}${"]".repeat(100_000)}`) as unknown;
const events: [what: string, event: unknown][] = [
  [
    "EventBridge's own",
    { version: "0", id: "1", "detail-type": "Scheduled Event", source: "aws.events", detail: {} },
  ],
  ["EventBridge's, with our source", { version: "0", "detail-type": "x", source: "scheduled", detail: deep }],
  ["S3's", { Records: [{ eventSource: "aws:s3", s3: { object: { key: "docs/0/deltas/x" } } }] }],
  ["a failed invocation's", { requestContext: {}, requestPayload: { source: "manual" } }],
  ["a collection that is a path", { source: "manual", collection: { toString: 1 } }],
  ["a shard that is a text", { source: "manual", collection: "docs", shard: "0" }],
  ["a shard of none", { source: "manual", collection: "docs", shard: 1e300 }],
  ["a megabyte of keys", Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`key${i}`, 1]))],
  ["a key of a megabyte", { ["k".repeat(1e6)]: 1 }],
  ["a list", [deep]],
  ["a text", "manual"],
  ["nothing", null],
];
test.each(events)("an event of another shape is refused at once, in few words: %s", (_, event) => {
  for (const schema of [compactorEvent, embedderEvent]) {
    const started = process.cpuUsage();
    let said = "";
    try {
      parseEvent<unknown>(schema, event);
    } catch (error) {
      expect(error).toMatchObject({ kind: "invalid" });
      said = (error as Error).message;
    }
    expect(said).not.toBe("");
    expect(Buffer.byteLength(said)).toBeLessThan(4_000);
    const { user, system } = process.cpuUsage(started);
    expect((user + system) / 1e6).toBeLessThan(0.5);
  }
  expect(messagesOf(event)).toBeNull();
});
