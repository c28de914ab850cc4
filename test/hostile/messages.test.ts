/** Messages of any sender to the queue: a run holds nothing of those that are not notifications, and no run waits for them. */
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
