/**
 * Clocks that are set while an operation is under way: S3 judges the clock that signs a request, so a time that was taken
 * before one and is used after it may be one that S3 never saw. test/aws/clock.test.ts has the clocks that S3 does see.
 */
import type { Collection } from "../../lib/core/model/collection.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { watermarkLagMs } from "../../lib/core/policy/time-bounds.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { collectGarbage } from "../../lib/engine/compact/collect-garbage.ts";
import { ingest } from "../../lib/engine/compact/ingest.ts";
import { merge } from "../../lib/engine/compact/merge.ts";
import type { World } from "../../lib/engine/ports.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import { retryQuarantined } from "../../lib/engine/shard/quarantine.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { limits } from "../crash/scenarios.ts";
import { type Effect, effects } from "../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../support/memory/world.ts";

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const always = { outOfTime: () => false };
let world: MemoryWorld;
let collection: Collection;
beforeEach(async () => {
  world = memoryWorld();
  ({ collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2" }));
});

const write = (by: World, id: string) =>
  produce(by, { collection: "docs", records: [{ id, vector: [1, 0] }] });
const deltas = () => world.store.keys("docs/0/deltas/");
const isGet = ({ operation, key }: Effect) => operation === "get" && key.includes("/deltas/");

/** A process whose clock is off from after the first effect of one kind until before (or after) the next of another. */
function off(
  aheadMs: number,
  { from, until, after = false }: Record<"from" | "until", (effect: Effect) => boolean> & { after?: boolean },
): World {
  const clock = world.clock.fork({ seed: 99, skewMs: 0 });
  let state: "right" | "off" | "set" = "right";
  return effects({ ...world, clock }, (effect, moment) => {
    if (state === "off" && until(effect) && moment === (after ? "after" : "before")) {
      clock.offMs = 0;
      state = "set";
    }
    if (state === "right" && from(effect) && moment === "after") {
      clock.offMs = aheadMs;
      state = "off";
    }
    return undefined;
  });
}

test.each([-2 * hour, 2 * hour])(
  "a delta named by a clock %i ms ahead is not acknowledged, though S3 took it",
  async (aheadMs) => {
    const producer = off(aheadMs, {
      from: ({ key }) => key.endsWith("collection.json"),
      until: ({ operation }) => operation === "put",
    });
    await expect(write(producer, "a")).rejects.toMatchObject({
      kind: "uncertain",
      message: expect.stringContaining("the clock was set meanwhile"),
    });
    expect(deltas()).toHaveLength(1);
    // ULIDs do not go back: what this process would write next is from the future as well.
    if (aheadMs < 0) return void (await write(producer, "b"));
    await expect(write(producer, "b")).rejects.toMatchObject({
      kind: "unavailable",
      message: expect.stringContaining("start this process again"),
    });
    expect(deltas()).toHaveLength(1);
  },
);

test("a compactor whose clock was hours ahead just before its LIST hides nothing", async () => {
  const compactor = off(3 * hour, {
    from: ({ key }) => key.endsWith("pointer.json"),
    until: ({ operation }) => operation === "list",
  });
  // Its delta is older than what the compactor lists, and appears after it.
  const slow = effects(world, async ({ operation }, moment) => {
    if (operation !== "put" || moment !== "before") return undefined;
    world.clock.advance(5 * minute);
    await write(world, "b");
    await expect(ingest(compactor, collection, 0, always)).rejects.toMatchObject({
      kind: "unavailable",
      message: "docs/0: the clock was set back meanwhile; run again",
    });
    return undefined;
  });
  await write(slow, "a");
  await ingest(world, collection, 0, always);
  const { manifest } = await readHead(world.store, collection, 0);
  expect(manifest.segments.map(({ rows }) => rows)).toEqual([2]);
  expect(deltas()).toEqual([]);
});

test("a clock that jumps ahead after the LIST moves the watermark no further", async () => {
  await write(world, "a");
  world.clock.advance(2 * hour);
  await ingest(world, collection, 0, always);
  await write(world, "b");
  const compactor = off(10 * minute, { from: ({ operation }) => operation === "list", until: () => false });
  await ingest(compactor, collection, 0, always);
  const { manifest } = await readHead(world.store, collection, 0);
  expect(manifest.watermark <= world.clock.fork({ seed: 3, skewMs: -watermarkLagMs }).ulid()).toBe(true);
});

test("a delta within its horizon is ingested, though the clock jumped past it while it was read", async () => {
  await write(world, "a");
  world.clock.advance(30 * day - hour);
  const compactor = off(3 * hour, { from: isGet, until: ({ operation }) => operation !== "get" });
  expect(await ingest(compactor, collection, 0, always)).toMatchObject({ deltas: 1, quarantined: 0 });
});

test("a quarantined delta that a clock hours behind has put back stays in quarantine", async () => {
  await world.store.put("docs/0/quarantine/01KDVDQADMQ11H8HQWJJ2KH29Z.arrow", Buffer.from("a delta"));
  const operator = off(-3 * hour, {
    from: ({ operation }) => operation === "get",
    until: ({ operation }) => operation === "put",
  });
  const shard = { collection: "docs", shard: 0 };
  const retried = retryQuarantined(operator, shard, deltaId("01KDVDQADMQ11H8HQWJJ2KH29Z"));
  await expect(retried).rejects.toMatchObject({ kind: "uncertain" });
  expect(world.store.keys("docs/0/quarantine/")).toHaveLength(1);
});

test("a version within its time is kept by a collector whose clock jumped past it", async () => {
  for (const id of ["a", "b", "c"]) {
    await write(world, id);
    await ingest(world, collection, 0, always);
    world.clock.advance(minute);
  }
  const versions = () => world.store.keys("docs/0/manifests/").length;
  expect(versions()).toBe(3);
  const collector = off(3 * hour, {
    from: ({ operation, key }) => operation === "get" && key.includes("/manifests/"),
    until: ({ operation }) => operation === "put",
  });
  const retention = { versionsKept: 1, keptMs: hour, keptMsMax: 1e15, orphanMs: day };
  await collectGarbage(collector, collection, 0, { retention });
  expect(versions()).toBe(3);
  world.clock.advance(2 * hour);
  await collectGarbage(world, collection, 0, { retention });
  expect(versions()).toBe(2);
});

test("a merge whose clock jumps past a tombstone's time stops, and the tombstone stays", async () => {
  for (const id of ["a", "b", "c"]) await write(world, id);
  await ingest(world, collection, 0, always);
  await produce(world, { collection: "docs", deletes: ["a"] });
  await ingest(world, collection, 0, always);
  world.clock.advance(30 * day);
  const merger = off(3 * hour, { from: ({ key }) => key.includes("/segments/"), until: () => false });
  const merged = merge(merger, collection, 0, { deadlineMs: Number.POSITIVE_INFINITY, limits });
  await expect(merged).rejects.toMatchObject({ kind: "fenced" });
  const { segments } = (await readHead(world.store, collection, 0)).manifest;
  expect(segments.map(({ tombstones }) => tombstones)).toEqual([0, 1]);
});
