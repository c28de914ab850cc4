/** QRY-4: S3 does not answer, or takes long: who has a view to answer from is held up for a short bound, and no longer. */
import { graphsHoldMs, refreshHoldMs } from "../../../lib/core/policy/time-bounds.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { merge } from "../../../lib/engine/compact/merge.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { effects } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const collection = "docs";
const hour = 3_600_000;
const limits = {
  flatSegmentsMax: 1,
  flatRowsMax: 2,
  growth: 4,
  deadShareMax: 0.25,
  staleMsMax: 1e15,
  uncountedMsMax: 1e15,
  segmentComponentsMax: 1e6,
  clusteredComponentsMin: 1,
  segmentWeightMax: 1e9,
};

const publish = async (world: MemoryWorld, ...ids: string[]) => {
  await produce(world, { collection, records: ids.map((id, n) => ({ id, vector: [n, 1] })) });
  await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });
};

/** A reader to which S3 does not answer a GET of the keys that `silence` names, until `speak`. */
async function silentWorld(shards = 1) {
  const world = memoryWorld();
  const { collection: configuration } = await createCollection(world, {
    name: collection,
    dims: 2,
    metric: "l2",
    shards,
  });
  let silent: RegExp | null = null;
  let answered = Promise.withResolvers<void>();
  const waiting: string[] = [];
  const store = effects(world, async ({ key, operation }, moment) => {
    if (moment === "after" || operation !== "get" || !silent?.test(key)) return undefined;
    waiting.push(key);
    await answered.promise;
    return undefined;
  });
  const reader = new Reader(store, { refreshSeconds: 10, cacheBytesMax: 1e9, traffic: world.traffic });
  return {
    world,
    configuration,
    reader,
    waiting,
    silence: (keys: RegExp) => (silent = keys),
    speak: () => {
      silent = null;
      answered.resolve();
      answered = Promise.withResolvers();
    },
  };
}
/** Files take their time. */
const until = async (isSo: () => boolean) => {
  for (let tries = 0; !isSo(); tries++) {
    if (tries > 1_000) throw new Error("it never happened");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};
/** The event loop has turned often enough for everything that waits for nothing but itself. */
const settle = async () => {
  for (let i = 0; i < 200; i++) await new Promise(setImmediate);
};
/** What a call answers when exactly the hold passes, and nothing before. */
async function held<T>(world: MemoryWorld, call: Promise<T>, isReady = () => true): Promise<T> {
  let isOver = false;
  void call.then(
    () => (isOver = true),
    () => (isOver = true),
  );
  await until(isReady);
  await settle();
  expect(isOver).toBe(false);
  world.clock.advance(refreshHoldMs - 1);
  await settle();
  expect(isOver).toBe(false);
  world.clock.advance(1);
  await until(() => isOver);
  return call;
}
const count = { collection };
const versions = (reader: Reader) => reader.shards.map(({ version }) => version);

test.each([
  ["the pointer", /pointer\.json/],
  ["the manifest", /manifests/],
  ["a large file of the new version", /records\.db/],
])(
  "%s: an eventual read answers from its view, with a warning, and goes on when S3 does",
  async (_, keys) => {
    const { world, reader, waiting, silence, speak } = await silentWorld();
    await publish(world, "a");
    expect((await reader.count(count)).count).toBe(1);
    await publish(world, "b");
    world.clock.advance(60_000);
    silence(keys);
    const answer = await held(world, reader.count(count), () => waiting.length > 0);
    expect(answer).toMatchObject({ count: 1, warning: expect.stringContaining("S3 is slow or silent") });
    expect(answer.shards[0]!.ageSeconds).toBe(62);
    expect((await reader.health({})).status).toBe("degraded");
    // Who comes within the refresh interval waits no more, and asks nothing.
    expect(await reader.count(count)).toMatchObject({ count: 1, requests: 0, warning: answer.warning });
    const asked = waiting.length;
    world.clock.advance(10_000);
    expect((await held(world, reader.count(count))).count).toBe(1);
    expect(waiting.length).toBe(asked);
    speak();
    await until(() => versions(reader)[0] === 2);
    await settle();
    // What was on its way has arrived meanwhile: no read waits for it, and nothing is fetched again.
    const later = await reader.count(count);
    expect(later).toMatchObject({ count: 2, requests: 0 });
    expect(later).not.toHaveProperty("warning");
    expect((await reader.health({})).status).toBe("ok");
    await reader.close();
  },
);

test("strong, bounded and token reads wait for the silent store", async () => {
  const { world, reader, silence, speak } = await silentWorld();
  await publish(world, "a");
  await reader.count(count);
  await publish(world, "b");
  silence(/pointer\.json/);
  const promised = [
    reader.count({ ...count, consistency: "strong" }),
    reader.count({ ...count, consistency: "bounded", maxAgeSeconds: 0 }),
  ];
  world.clock.advance(10 * refreshHoldMs);
  await settle();
  speak();
  expect((await Promise.all(promised)).map((one) => one.count)).toEqual([2, 2]);
  await reader.close();
});

test("one silent shard of several holds no call up for longer", async () => {
  const { world, reader, silence, speak } = await silentWorld(3);
  await publish(world, ..."abcdefghijklmnop");
  const before = await reader.count(count);
  await publish(world, ..."ABCDEFGHIJKLMNOP");
  world.clock.advance(60_000);
  silence(/docs\/1\/pointer\.json/);
  const others = () => versions(reader)[0] === 2 && versions(reader)[2] === 2;
  const answer = await held(world, reader.count(count), others);
  expect(answer.count).toBeGreaterThan(before.count);
  expect(answer.warning).toContain("docs/1");
  expect(answer.shards.map(({ ageSeconds }) => ageSeconds)).toEqual([2, 62, 2]);
  speak();
  await reader.close();
});

test("the question whether the collection is still there, after damage, holds no call up either", async () => {
  const { world, reader, silence, speak } = await silentWorld();
  await publish(world, "a");
  await reader.count(count);
  await world.store.delete([`${collection}/0/pointer.json`]);
  world.clock.advance(60_000);
  silence(/collection\.json/);
  expect((await held(world, reader.count(count))).count).toBe(1);
  speak();
  await reader.close();
});

test("a shard that had nothing published at the last look: the error is the silence", async () => {
  const { world, reader, silence, speak } = await silentWorld();
  await expect(reader.count(count)).rejects.toThrow("nothing has been published");
  world.clock.advance(60_000);
  silence(/pointer\.json/);
  await expect(held(world, reader.count(count))).rejects.toMatchObject({
    kind: "unavailable",
    message: expect.stringContaining("S3 is slow or silent"),
  });
  speak();
  await reader.close();
});

test("a cold view whose pointer cannot be asked serves like any other", async () => {
  const { world, configuration, reader, silence, speak } = await silentWorld();
  await publish(world, "a", "b", "c", "d");
  await merge(world, configuration, 0, { deadlineMs: world.clock.nowMs() + hour, limits });
  silence(/index\.hnsw/);
  const question = { collection, vector: [0, 1], topK: 1 };
  expect(await reader.query(question)).toMatchObject({ cold: true });
  world.clock.advance(60_000);
  silence(/index\.hnsw|pointer\.json/);
  // The graphs should have been there by now: they are waited for first.
  const asked = reader.query(question);
  await settle();
  world.clock.advance(graphsHoldMs);
  const answer = await held(world, asked);
  expect(answer).toMatchObject({ cold: true, warning: expect.stringContaining("S3 is slow or silent") });
  expect(answer.shards[0]!.ageSeconds).toBe(82);
  expect(await reader.query(question)).toMatchObject({ cold: true, warning: answer.warning });
  speak();
  await reader.close();
});
