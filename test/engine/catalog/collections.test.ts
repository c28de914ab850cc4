/** COL-1, I2, I9: a collection is made, lost, deleted and made again; whatever the moment, nothing that was published is replaced. */
import { createCollection, deleteCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { Sweep } from "../../../lib/engine/compact/sweep.ts";
import { repairPointer } from "../../../lib/engine/operate/repair.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { crashAt, type Effect, effects } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const options = { name: "docs", dims: 2, metric: "l2" as const };
const pointer = "docs/0/pointer.json";

async function publish(world: MemoryWorld, ...ids: string[]): Promise<void> {
  await produce(world, { collection: "docs", records: ids.map((id) => ({ id, vector: [1, 2] })) });
  await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 3_600_000 });
}
async function idsIn(world: MemoryWorld): Promise<string[]> {
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  try {
    const question = { collection: "docs", vector: [1, 2], topK: 10, consistency: "strong" as const };
    return (await reader.query(question)).results.map(({ id }) => id).sort();
  } finally {
    await reader.close();
  }
}
/** Does `work` once, just before the first effect that `meets` accepts. */
function inBetween(world: MemoryWorld, meets: (effect: Effect) => boolean, work: () => Promise<unknown>) {
  let done = false;
  return effects(world, async (effect, moment) => {
    if (done || moment !== "before" || !meets(effect)) return undefined;
    done = true;
    await work();
    return undefined;
  });
}
const putsPointer = ({ operation, key }: Effect) => operation === "put" && key === pointer;

test("a collection that is created again gets no empty pointer in place of a lost one; repair brings everything back", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, options);
  await publish(world, "a", "b");
  await world.store.delete([pointer]);
  await expect(createCollection(world, options)).rejects.toMatchObject({
    kind: "corrupt",
    message: expect.stringContaining("silt snapshot repair docs --shard 0"),
  });
  expect(world.store.bytes(pointer)).toBeNull();
  expect(await repairPointer(world, collection, 0)).toMatchObject({ outcome: "repaired", version: 1 });
  expect(await idsIn(world)).toEqual(["a", "b"]);
  expect(await createCollection(world, options)).toMatchObject({ created: false });
});

test("a reader that meets no pointer, and manifests that came after it, is told to repeat the call: nothing is corrupt", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, options);
  await world.store.delete([pointer]);
  const lists = ({ operation, key }: Effect) => operation === "list" && key === "docs/0/manifests/";
  const slow = inBetween(world, lists, async () => {
    await createCollection(world, options);
    await publish(world, "a");
  });
  await expect(readHead(slow.store, collection, 0)).rejects.toMatchObject({
    kind: "unavailable",
    message: expect.stringContaining("repeat the call"),
  });
  expect(await readHead(world.store, collection, 0)).toMatchObject({ pointer: { version: 1 } });
});

test("a slow creator replaces nothing that was published meanwhile", async () => {
  const world = memoryWorld();
  const slow = inBetween(world, putsPointer, async () => {
    await createCollection(world, options);
    await publish(world, "a");
  });
  expect(await createCollection(slow, options)).toMatchObject({ created: true });
  expect(await idsIn(world)).toEqual(["a"]);
});

test("a collection that is being created has nothing to compact, and reads are told to wait: nothing is corrupt", async () => {
  const world = memoryWorld();
  const request = { ingest: true, upkeep: true, deadlineMs: 9e15 };
  const errors: unknown[] = [];
  const kinds = new Set<string>();
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  const slow = effects(world, async (_effect, moment) => {
    if (moment !== "before") return undefined;
    const report = await compact(world, request);
    errors.push(...report.shards.flatMap(({ error }) => error ?? []));
    await reader.query({ collection: "docs", vector: [1, 2], topK: 1 }).catch(({ kind }) => kinds.add(kind));
    return undefined;
  });
  await createCollection(slow, { ...options, shards: 3 });
  await reader.close();
  expect(errors).toEqual([]);
  expect([...kinds].sort()).toEqual(["notFound", "unavailable"]);
});

test("half created, with writes waiting, compaction says what is missing; creating it again finishes it", async () => {
  const world = memoryWorld();
  const dying = effects(world, (effect, moment) => {
    if (moment === "before" && putsPointer(effect)) throw new Error("died");
    return undefined;
  });
  await expect(createCollection(dying, options)).rejects.toThrow("died");
  await produce(world, { collection: "docs", records: [{ id: "a", vector: [1, 2] }] });
  const { shards } = await compact(world, { ingest: true, upkeep: true, deadlineMs: 9e15 });
  expect(shards[0]!.error).toMatchObject({
    kind: "unavailable",
    message: expect.stringContaining("silt collection create docs"),
  });
  await createCollection(world, options);
  expect(await idsIn(world)).toEqual(["a"]);
});

test.each([
  { comes: "is placed", isNamed: true },
  { comes: "is placed", isNamed: false },
  { comes: "is repaired", isNamed: true },
  { comes: "is repaired", isNamed: false },
])(
  "a first pointer that $comes while a run is at work: writes wait with their message, or are ingested (named by one: $isNamed)",
  async ({ comes, isNamed }) => {
    let [moments, ingested] = [0, 0];
    for (let isOver = false; !isOver; moments++) {
      const world = memoryWorld();
      const { collection } = await createCollection(world, options);
      await world.store.delete([pointer]);
      await produce(world, { collection: "docs", records: [{ id: "a", vector: [1, 2] }] });
      if (!isNamed) await world.queue.delete(await world.queue.receive());
      const place = () =>
        comes === "is placed" ? createCollection(world, options) : repairPointer(world, collection, 0);
      let effectsLeft = moments;
      const meeting = inBetween(world, () => effectsLeft-- === 0, place);
      const request = { ingest: true, upkeep: false, deadlineMs: 9e15, sweep: new Sweep() };
      const { shards, messages } = await compact(meeting, request);
      isOver = effectsLeft >= 0;

      const waiting = world.store.keys("docs/0/deltas/").length;
      expect({ moments, waiting, kept: world.queue.bodies().length }).toMatchObject({
        moments,
        kept: isNamed ? waiting : 0,
      });
      // What it found and left it says, so that the shard does not rest.
      expect({ moments, error: shards[0]!.error?.kind }).toEqual({
        moments,
        error: waiting > 0 ? "unavailable" : undefined,
      });
      expect(messages.deadLettered).toBe(0);
      if (waiting === 0) ingested += 1;
      world.queue.redeliver();
      if (isOver) await place();
      await compact(world, request);
      expect([...world.store.keys("docs/0/deltas/"), ...world.queue.bodies()]).toEqual([]);
      expect(await idsIn(world)).toEqual(["a"]);
    }
    expect(ingested).toBeGreaterThan(5);
    expect(moments - ingested).toBeGreaterThan(2);
  },
);

test("a creation whose own PUT won unnoticed says that it created", async () => {
  const world = memoryWorld();
  const unnoticed = effects(world, ({ operation, key }, moment) =>
    moment === "after" && operation === "put" && key === "docs/collection.json"
      ? { kind: "answer", value: { kind: "preconditionFailed" } }
      : undefined,
  );
  expect(await createCollection(unnoticed, options)).toMatchObject({ created: true });
});

test("one of two that create a collection at once with different configurations wins, and the other is told the difference", async () => {
  const world = memoryWorld();
  const slow = inBetween(
    world,
    ({ operation, key }) => operation === "put" && key === "docs/collection.json",
    () => createCollection(world, { ...options, dims: 3 }),
  );
  await expect(createCollection(slow, options)).rejects.toMatchObject({
    kind: "conflict",
    message: expect.stringContaining("dims is 3, not 2"),
  });
});

test("a slow repair does not replace a pointer that was repaired and moved on meanwhile", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, options);
  await publish(world, "a");
  await world.store.delete([pointer]);
  const slow = inBetween(world, putsPointer, async () => {
    await repairPointer(world, collection, 0);
    await publish(world, "b");
  });
  await expect(repairPointer(slow, collection, 0)).rejects.toMatchObject({ kind: "conflict" });
  expect(await idsIn(world)).toEqual(["a", "b"]);
});

test("a collection whose deletion crashed at any effect is refused until the deletion is finished, and then made empty", async () => {
  for (let index = 1, crashed = true; crashed; index++) {
    const world = memoryWorld({ seed: index });
    await createCollection(world, options);
    await publish(world, "a");
    await produce(world, { collection: "docs", records: [{ id: "b", vector: [1, 2] }] });
    const dying = effects(world, crashAt(index, "after"));
    crashed = await deleteCollection(dying.store, "docs").then(
      () => false,
      () => true,
    );
    expect(index).toBeLessThan(40);
    // Once its configuration is gone, it is no collection, and not yet free for another one; with its claim alone it is.
    const left = world.store.keys().filter((key) => key !== "docs/name.json");
    if (left.length > 0 && world.store.bytes("docs/collection.json") === null)
      await expect(createCollection(world, options)).rejects.toMatchObject({ kind: "conflict" });
    await deleteCollection(world.store, "docs");
    expect(world.store.keys()).toEqual([]);
    await createCollection(world, options);
    expect(await idsIn(world)).toEqual([]);
  }
});

test("a collection that is made again under a warm reader is looked up anew: nothing of its former self is answered", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, options);
  await publish(world, "a", "b");
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  const question = { collection: "docs", vector: [1, 2], topK: 10 };
  const pending = await produce(world, { collection: "docs", records: [{ id: "c", vector: [1, 2] }] });
  const late = world.store.bytes(`docs/0/deltas/${pending.deltas[0]!.delta}.arrow`)!;
  try {
    expect((await reader.query(question)).results).toHaveLength(2);
    await deleteCollection(world.store, "docs");
    await expect(reader.query(question)).rejects.toMatchObject({ kind: "notFound" });
    const again = await createCollection(world, options);
    expect(again.collection.id).not.toBe(collection.id);
    // A writer of the former collection was slow.
    await world.store.put(`docs/0/deltas/${world.clock.ulid()}.arrow`, late);
    await publish(world, "x");
    expect((await reader.query(question)).results.map(({ id }) => id)).toEqual(["x"]);

    // Deleted and made again between two reads: the second is told to repeat its call.
    await deleteCollection(world.store, "docs");
    const third = await createCollection(world, options);
    await publish(world, "y");
    await expect(reader.query(question)).rejects.toMatchObject({ kind: "conflict" });
    expect((await reader.query(question)).results.map(({ id }) => id)).toEqual(["y"]);
    await expect(readHead(world.store, collection, 0)).rejects.toMatchObject({ kind: "corrupt" });
    expect((await readHead(world.store, third.collection, 0)).manifest.version).toBe(1);
  } finally {
    await reader.close();
  }
});

describe("a collection that a reader has cached", () => {
  /** Its view is asked for once; another collection is asked later. */
  async function cached() {
    const world = memoryWorld();
    for (const name of ["docs", "other"]) {
      await createCollection(world, { ...options, name });
      await produce(world, { collection: name, records: [{ id: "a", vector: [1, 2] }] });
    }
    await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 3_600_000 });
    const reader = new Reader(world, { refreshSeconds: 300, cacheBytesMax: 1e9, traffic: world.traffic });
    for (const collection of ["docs", "other"]) expect((await reader.count({ collection })).count).toBe(1);
    const held = () => reader.shards.map(({ shard }) => shard);
    expect(held()).toEqual(["docs/0", "other/0"]);
    return { world, reader, held };
  }
  const settled = () => new Promise((resolve) => setTimeout(resolve, 50));

  test("is closed five minutes after it was deleted, though it is not asked for again", async () => {
    const { world, reader, held } = await cached();
    await deleteCollection(world.store, "docs");
    world.clock.advance(299_000);
    await reader.count({ collection: "other" });
    await settled();
    expect(held()).toEqual(["docs/0", "other/0"]);
    world.clock.advance(2_000);
    await reader.count({ collection: "other" });
    await settled();
    expect(held()).toEqual(["other/0"]);
    await reader.close();
  });

  test("is answered from no longer than that when its deletion died after its configuration", async () => {
    const { world, reader } = await cached();
    await world.store.delete(["docs/collection.json"]);
    world.clock.advance(301_000);
    // Beside this call it is found out.
    await reader.count({ collection: "docs" });
    await settled();
    await expect(reader.count({ collection: "docs" })).rejects.toMatchObject({ kind: "notFound" });
    await reader.close();
  });

  test("stays when its configuration cannot be looked at", async () => {
    const { world, reader, held } = await cached();
    const body = world.store.bytes("docs/collection.json")!;
    await world.store.put("docs/collection.json", Buffer.from("hello"));
    world.clock.advance(301_000);
    await reader.count({ collection: "other" });
    await settled();
    expect(held()).toEqual(["docs/0", "other/0"]);
    await world.store.put("docs/collection.json", body);
    expect((await reader.count({ collection: "docs" })).count).toBe(1);
    await reader.close();
  });
});
