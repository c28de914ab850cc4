/** SNP-6, ROL-4: what a rollback reports of itself, whatever other processes do. */
import type { Collection } from "../../../lib/core/model/collection.ts";
import { snapshotVersion } from "../../../lib/core/model/ids.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { rollback } from "../../../lib/engine/operate/rollback.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { type Effect, effects, type Verdict } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

async function threeVersions(): Promise<{ world: MemoryWorld; collection: Collection }> {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  for (const id of ["a", "b", "c"]) await publish(world, id);
  return { world, collection };
}
async function publish(world: MemoryWorld, id: string): Promise<void> {
  world.clock.advance(1_000);
  await produce(world, { collection: "docs", records: [{ id, vector: [1, 2] }] });
  const { shards } = await compact(world, { ingest: true, upkeep: false, deadlineMs: 9e15 });
  expect(shards[0]!.error).toBeUndefined();
}
const rowsOf = async (world: MemoryWorld, collection: Collection) => {
  const { manifest } = await readHead(world.store, collection, 0);
  return manifest.segments.reduce((sum, { rows }) => sum + rows, 0);
};
/** `meets`: what happens at the first PUT of the pointer. */
function atPointer(
  world: MemoryWorld,
  moment: "before" | "after",
  meets: () => Promise<Verdict | undefined>,
) {
  let done = false;
  return effects(world, async ({ operation, key }: Effect, now) => {
    if (done || now !== moment || operation !== "put" || !key.endsWith("pointer.json")) return undefined;
    done = true;
    return meets();
  });
}

test("another process's rollback of the same epoch is not reported as one's own, with the lease table lost", async () => {
  const { world, collection } = await threeVersions();
  const epochs: number[] = [];
  const slow = atPointer(world, "before", async () => {
    world.leases.lose();
    await rollback(world, collection, 0, snapshotVersion(2));
    epochs.push((await readHead(world.store, collection, 0)).manifest.epoch);
    return undefined;
  });
  const done = await rollback(slow, collection, 0, snapshotVersion(1));
  const { manifest } = await readHead(world.store, collection, 0);
  expect(manifest.epoch).toBe(epochs[0]); // Else this test shows nothing.
  expect(done).toEqual({ outcome: "done", version: 5 });
  expect(manifest.version).toBe(5);
  expect(await rowsOf(world, collection)).toBe(1);
});

test("another process's ingestion of the same epoch is not reported as a rollback, with the lease table lost", async () => {
  const { world, collection } = await threeVersions();
  const slow = atPointer(world, "before", async () => {
    world.leases.lose();
    await publish(world, "d");
    return undefined;
  });
  expect(await rollback(slow, collection, 0, snapshotVersion(1))).toEqual({ outcome: "done", version: 5 });
  expect(await rowsOf(world, collection)).toBe(1);
});

test("a rollback that landed unnoticed is reported with its own version, and not made again, though others came after it", async () => {
  const { world, collection } = await threeVersions();
  const unnoticed = atPointer(world, "after", async () => {
    world.clock.advance(180_000); // Its lease has run out.
    await publish(world, "d");
    await publish(world, "e");
    return { kind: "answer", value: { kind: "preconditionFailed" } };
  });
  expect(await rollback(unnoticed, collection, 0, snapshotVersion(1))).toEqual({
    outcome: "done",
    version: 4,
  });
  expect((await readHead(world.store, collection, 0)).manifest.version).toBe(6);
  expect(await rowsOf(world, collection)).toBe(3);
});

test("a rollback to the current version changes nothing, and says so", async () => {
  const { world, collection } = await threeVersions();
  expect(await rollback(world, collection, 0, snapshotVersion(3))).toEqual({
    outcome: "current",
    version: 3,
  });
  expect((await readHead(world.store, collection, 0)).manifest.version).toBe(3);
});
