/** SNP-4: garbage collection beside a writer that publishes faster than a shard is surveyed. */
import { snapshotVersion } from "../../../lib/core/model/ids.ts";
import { mergeLimits } from "../../../lib/core/policy/merge-plan.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { collectGarbage } from "../../../lib/engine/compact/collect-garbage.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { merge } from "../../../lib/engine/compact/merge.ts";
import { rollback } from "../../../lib/engine/operate/rollback.ts";
import { verify } from "../../../lib/engine/operate/verify.ts";
import type { Retention } from "../../../lib/engine/shard/retention.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { effects } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const name = "busy";
const retention: Retention = { versionsKept: 3, keptMs: 0, keptMsMax: 1e15, orphanMs: 3_600_000 };
/** Raising the floor on a fresh head takes three effects: pointer, manifest, pointer. A survey takes many more. */
const effectsPerVersion = 5;

async function publish(world: MemoryWorld, times = 1): Promise<void> {
  for (let n = 0; n < times; n++) {
    world.clock.advance(200);
    await produce(world, { collection: name, records: [{ id: "r", vector: [1, 2] }] });
    const report = await compact(world, { ingest: true, upkeep: false, deadlineMs: 9e15 });
    expect(report.shards[0]?.error).toBeUndefined();
  }
}
const manifests = ({ store }: MemoryWorld) => store.keys(`${name}/0/manifests/`);

async function busyShard(versions: number) {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name, dims: 2, metric: "l2" });
  await publish(world, versions);
  return { world, collection };
}

test("keeps up with several versions published within each survey", async () => {
  const { world, collection } = await busyShard(40);
  for (let round = 0; round < 3; round++) {
    let published = 0;
    const beside = effects(world, async ({ index }, moment) => {
      if (moment === "before" && index % effectsPerVersion === 0) {
        published += 1;
        await publish(world);
      }
      return undefined;
    });
    const report = await collectGarbage(beside, collection, 0, { retention });
    expect(report.outcome).toBe("done");
    expect(published).toBeGreaterThan(3);
    // Those that came since the head was first read are for the next run.
    expect(manifests(world).length).toBeLessThanOrEqual(retention.versionsKept + 1 + published);
    expect((await verify(world, collection, 0)).faults).toEqual([]);
    await publish(world, 20);
  }
});

test("a writer that is always faster is left alone, and nothing is deleted", async () => {
  const { world, collection } = await busyShard(10);
  const faster = effects(world, async ({ operation, key }, moment) => {
    if (moment === "before" && operation === "put" && key.endsWith("pointer.json")) await publish(world);
    return undefined;
  });
  const report = await collectGarbage(faster, collection, 0, { retention });
  expect(report).toMatchObject({ outcome: "conflict", keys: [] });
  expect(manifests(world).length).toBeGreaterThan(10);
});

test("reads every manifest once, many at a time", async () => {
  const { world, collection } = await busyShard(100);
  const reads = new Map<string, number>();
  let [reading, readingMost] = [0, 0];
  const watched = effects(world, ({ operation, key }, moment) => {
    if (operation !== "get" || !key.includes("/manifests/")) return undefined;
    reading += moment === "before" ? 1 : -1;
    readingMost = Math.max(readingMost, reading);
    if (moment === "before") reads.set(key, (reads.get(key) ?? 0) + 1);
    return undefined;
  });
  const versions = manifests(world).length;
  await collectGarbage(watched, collection, 0, { retention });
  expect(reads.size).toBe(versions);
  expect(Math.max(...reads.values())).toBe(1);
  expect(readingMost).toBeGreaterThan(4);
});

test("a rollback that wins the pointer first keeps what it brought back", async () => {
  const { world, collection } = await busyShard(2);
  const limits = { ...mergeLimits, flatSegmentsMax: 1, flatRowsMax: 2 };
  await merge(world, collection, 0, { deadlineMs: 9e15, limits });
  await publish(world, 4);
  let lost = false;
  const beside = effects(world, async ({ operation, key }, moment) => {
    if (lost || moment !== "before" || operation !== "put" || !key.endsWith("pointer.json")) return undefined;
    lost = true;
    await rollback(world, collection, 0, snapshotVersion(1));
    return undefined;
  });
  const report = await collectGarbage(beside, collection, 0, { retention });
  expect(lost).toBe(true);
  expect(report.outcome).toBe("done");
  expect((await verify(world, collection, 0)).faults).toEqual([]);
});

test("a version that was superseded a minute ago is kept, however long its successor's publisher had slept", async () => {
  const hour = 3_600_000;
  const { world, collection } = await busyShard(2);
  const sleeper = effects(world, async ({ operation, key }, moment) => {
    if (moment === "before" && operation === "put" && key.endsWith("pointer.json"))
      world.clock.advance(3 * hour);
    return undefined;
  });
  await produce(world, { collection: name, records: [{ id: "r", vector: [3, 4] }] });
  await compact(sleeper, { ingest: true, upkeep: false, deadlineMs: 9e15 });
  await publish(world, 1);
  world.clock.advance(60_000);
  const kept = { versionsKept: 1, keptMs: hour, keptMsMax: 1e15, orphanMs: 24 * hour };
  // Version 2 was current until a minute ago; version 1 was superseded three hours ago.
  const collected = async () =>
    (await collectGarbage(world, collection, 0, { retention: kept })).versionsCollected;
  expect(await collected()).toEqual([1]);
  expect((await verify(world, collection, 0)).faults).toEqual([]);
  world.clock.advance(hour);
  expect(await collected()).toEqual([2]);
});

test("versions are kept for their number for three days after they were superseded, in an idle shard as well", async () => {
  const [hour, day] = [3_600_000, 24 * 3_600_000];
  const { world, collection } = await busyShard(2);
  const sleeper = effects(world, async ({ operation, key }, moment) => {
    if (moment === "before" && operation === "put" && key.endsWith("pointer.json"))
      world.clock.advance(9 * day);
    return undefined;
  });
  await produce(world, { collection: name, records: [{ id: "r", vector: [3, 4] }] });
  await compact(sleeper, { ingest: true, upkeep: false, deadlineMs: 9e15 });
  const versions = async () => {
    await collectGarbage(world, collection, 0);
    return manifests(world).map((key) => Number(/manifests\/(\d+)/.exec(key)![1]));
  };
  // The newest was made nine days ago, and is current since now; the first was superseded before.
  expect(await versions()).toEqual([2, 3]);
  world.clock.advance(3 * day - hour);
  expect(await versions()).toEqual([2, 3]);
  world.clock.advance(2 * hour);
  expect(await versions()).toEqual([3]);
  expect((await verify(world, collection, 0)).faults).toEqual([]);
});
