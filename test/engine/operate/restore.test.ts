/**
 * Restoring what was deleted: after a rollback, after a hand that deleted what waited. What is restored has its old place in
 * the order of writes, and the tokens of its writes find it.
 */
import { deltaBytesMax } from "../../../lib/core/format/delta-header.ts";
import { deltaKey } from "../../../lib/core/format/keys.ts";
import { deltaId } from "../../../lib/core/model/ids.ts";
import { ulidTimeMs } from "../../../lib/core/model/ulid.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { listDeleted, restoreDelta } from "../../../lib/engine/operate/restore.ts";
import { rollback } from "../../../lib/engine/operate/rollback.ts";
import { verify } from "../../../lib/engine/operate/verify.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { listQuarantine, retryQuarantined } from "../../../lib/engine/shard/quarantine.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { MemoryDeletedObjects } from "../../support/memory/deleted-objects.ts";
import { memoryWorld } from "../../support/memory/world.ts";

const name = "docs";
const ref = { collection: name, shard: 0 };
const hour = 3_600_000;
const always = { sinceMs: 0, untilMs: Number.MAX_SAFE_INTEGER };

async function prepare(ordering: "arrival" | "source" = "arrival") {
  const world = memoryWorld();
  const deleted = new MemoryDeletedObjects(world.store);
  const { collection } = await createCollection(world, { name, dims: 2, metric: "l2", ordering });
  /** A write of one record, or, of no document, its delete. */
  const write = async (id: string, document: string | null, version?: number) => {
    const of = { id, ...(version === undefined ? {} : { version }) };
    const call = document === null ? { deletes: [of] } : { records: [{ ...of, vector: [1, 2], document }] };
    const { token, deltas } = await produce(world, { collection: name, ...call });
    return { token: token!, delta: deltas[0]!.delta };
  };
  const run = (upkeep = false) =>
    compact(world, { ingest: true, upkeep, deadlineMs: world.clock.nowMs() + hour });
  const documents = async (more: object = { consistency: "strong" }) => {
    const reader = new Reader(world, { refreshSeconds: 300, cacheBytesMax: 1e9, traffic: world.traffic });
    const { records } = await reader.get({ collection: name, ids: ["a", "b", "c"], ...more });
    await reader.close();
    return Object.fromEntries(records.map(({ id, document }) => [id, document]));
  };
  /** What an answer says of writes that were taken back. */
  const said = async (more: object) => {
    const reader = new Reader(world, { refreshSeconds: 300, cacheBytesMax: 1e9, traffic: world.traffic });
    const { takenBack } = await reader.get({ collection: name, ids: ["a"], ...more });
    await reader.close();
    return takenBack;
  };
  const version = async () => (await readHead(world.store, collection, 0)).manifest.version;
  const restoreAll = async () => {
    const again: string[] = [];
    for (const one of await listDeleted(world.store, deleted, ref, always))
      again.push(await restoreDelta(world, deleted, ref, one));
    return again;
  };
  return { world, deleted, collection, write, run, documents, said, version, restoreAll };
}

test.each(["arrival", "source"] as const)(
  "what a rollback took back comes back as it was, and beats nothing that was written since (%s)",
  async (ordering) => {
    const { world, collection, write, run, documents, version, restoreAll } = await prepare(ordering);
    const of = ordering === "source" ? 7 : undefined;
    await write("a", "old", of);
    await write("b", "old", of);
    await run();
    const before = await version();
    await write("a", "first", of);
    await write("a", "second", of);
    await write("b", null, of);
    await write("c", "new", of);
    await run();
    expect(await documents()).toEqual({ a: "second", c: "new" });
    await rollback(world, collection, 0, before);
    expect(await documents()).toEqual({ a: "old", b: "old" });

    const after = await write("c", "after", of);
    const again = await restoreAll();
    expect(again.length).toBe(6);
    expect(Math.min(...again.map(ulidTimeMs))).toBeGreaterThanOrEqual(ulidTimeMs(after.delta));
    const restored = { a: "second", c: "after" };
    expect(await documents()).toEqual(restored);
    await run();
    expect(await documents()).toEqual(restored);
    // Again, though nothing is missing.
    await restoreAll();
    await run(true);
    expect(await documents()).toEqual(restored);
    expect(await listQuarantine(world.store, ref)).toEqual([]);
    expect((await verify(world, collection, 0)).faults).toEqual([]);
  },
);

test("a delta that was deleted before it was ingested is found by its token as soon as it is restored", async () => {
  const { world, write, run, documents, restoreAll } = await prepare();
  await write("b", "old");
  await run();
  const { token, delta } = await write("a", "written");
  await world.store.delete([deltaKey(ref, delta)]);
  expect(await documents({ atLeast: [token] })).toEqual({ b: "old" });
  await restoreAll();
  expect(await documents({ atLeast: [token] })).toEqual({ a: "written", b: "old" });
  await run();
  expect(await documents({ atLeast: [token] })).toEqual({ a: "written", b: "old" });
});

test("a delta that was taken back is found by its token as soon as it is restored, once its name is forgotten", async () => {
  const { world, collection, write, run, documents, said, version, restoreAll } = await prepare();
  await write("b", "old");
  await run();
  const before = await version();
  const { token, delta } = await write("a", "written");
  await run();
  await rollback(world, collection, 0, before);
  expect(await documents({ atLeast: [token] })).toEqual({ b: "old" });
  expect(await said({ atLeast: [token] })).toHaveLength(1);
  world.clock.advance(1_000);
  const later = await write("b", "later");
  await run();
  expect(await documents({ atLeast: [token] })).toEqual({ b: "later" });
  expect(await said({ atLeast: [token] })).toEqual([{ shard: 0, delta, version: before }]);
  // Of what was written after it, and of reads without its token, nothing is to be said.
  expect(await said({ atLeast: [later.token] })).toBeUndefined();
  expect(await said({ consistency: "strong" })).toBeUndefined();
  await restoreAll();
  expect(await documents({ atLeast: [token] })).toEqual({ a: "written", b: "later" });
  await run();
  expect(await documents({ atLeast: [token] })).toEqual({ a: "written", b: "later" });
});

test("what the first of two roll backs took back is said after the second as well", async () => {
  const { world, collection, write, run, said, version } = await prepare();
  await write("b", "old");
  await run();
  const first = await version();
  world.clock.advance(2 * hour);
  const { token, delta } = await write("a", "written");
  await run();
  const whole = await version();
  // The watermark moves on over it.
  world.clock.advance(2 * hour);
  await write("c", "between");
  await run();
  await rollback(world, collection, 0, first);
  const without = await version();
  world.clock.advance(2 * hour);
  const second = await write("b", "later");
  await run();
  world.clock.advance(2 * hour);
  await write("b", "last");
  await run();
  await rollback(world, collection, 0, without);
  for (const lost of [
    { token, delta },
    { token: second.token, delta: second.delta },
  ])
    expect(await said({ atLeast: [lost.token] })).toEqual([
      { shard: 0, delta: lost.delta, version: without },
    ]);
  // Forward again: the first write is there, the watermark of that version does not reach so far, so it may be named.
  await rollback(world, collection, 0, whole);
  expect(await said({ atLeast: [second.token] })).toMatchObject([{ delta: second.delta, version: whole }]);
});

test("a delta that is copied back under its old name is deleted or put aside again; it can be restored from both", async () => {
  const { world, collection, write, run, documents, version, deleted, restoreAll } = await prepare();
  await write("b", "old");
  await run();
  const before = await version();
  const { delta } = await write("a", "written");
  await run();
  const body = (await deleted.get({ key: deltaKey(ref, delta), bytes: 0, versionId: "" }))!;
  await rollback(world, collection, 0, before);

  await world.store.put(deltaKey(ref, delta), body);
  await run();
  expect(world.store.bytes(deltaKey(ref, delta))).toBeNull();
  expect(await documents()).toEqual({ b: "old" });
  await restoreAll();
  await run();
  expect(await documents()).toEqual({ a: "written", b: "old" });

  await rollback(world, collection, 0, before);
  for (let i = 0; i < 3; i++) {
    world.clock.advance(2 * hour);
    await write("b", `later ${i}`);
    await run(true);
  }
  await world.store.put(deltaKey(ref, delta), body);
  for (let i = 0; i < 24; i++) {
    world.clock.advance(2 * hour);
    await run(true);
  }
  expect(await listQuarantine(world.store, ref)).toMatchObject([{ delta }]);
  expect(await documents()).toEqual({ b: "later 2" });
  await retryQuarantined(world, ref, delta);
  await run();
  expect(await documents()).toEqual({ a: "written", b: "later 2" });
});

test("a copy from elsewhere is put into quarantine/ by hand, and back by a retry", async () => {
  const { world, write, run, documents, deleted } = await prepare();
  const { delta, token } = await write("a", "written");
  const key = deltaKey(ref, delta);
  await world.store.delete([key]);
  world.clock.advance(3 * hour);
  await write("b", "later");
  await run();
  const body = await deleted.get({ key, bytes: 0, versionId: "" });
  await world.store.put(`docs/0/quarantine/${delta}.arrow`, body!);
  expect(await listQuarantine(world.store, ref)).toMatchObject([
    { delta, reason: expect.stringMatching(/^unknown/) },
  ]);
  await retryQuarantined(world, ref, delta);
  expect(await documents({ atLeast: [token] })).toEqual({ a: "written", b: "later" });
  await run();
  expect(await documents()).toEqual({ a: "written", b: "later" });
});

test("deleted deltas are listed by their time, and those that are there are not", async () => {
  const { world, write, deleted } = await prepare();
  const writes: string[] = [];
  for (let i = 0; i < 4; i++) {
    world.clock.advance(hour);
    writes.push((await write("a", `${i}`)).delta);
  }
  await world.store.delete(writes.slice(0, 3).map((delta) => deltaKey(ref, deltaId(delta))));
  await world.store.put("docs/0/deltas/notes.txt", Buffer.from("mine"));
  await world.store.delete(["docs/0/deltas/notes.txt"]);
  const list = async (sinceMs: number, untilMs: number) =>
    (await listDeleted(world.store, deleted, ref, { sinceMs, untilMs })).map(({ delta }) => delta);
  expect(await list(0, Number.MAX_SAFE_INTEGER)).toEqual(writes.slice(0, 3));
  const [first, second] = writes.map(ulidTimeMs) as [number, number];
  expect(await list(first, first + 1)).toEqual(writes.slice(0, 1));
  expect(await list(first + 1, second)).toEqual([]);
  expect(await list(first + 1, second + 1)).toEqual(writes.slice(1, 2));
});

test("a delta in quarantine is not restored: a retry puts it back", async () => {
  const { world, deleted, run } = await prepare();
  const delta = world.clock.ulid();
  await world.store.put(deltaKey(ref, deltaId(delta)), Buffer.from("no arrow"));
  await run();
  expect(await listQuarantine(world.store, ref)).toMatchObject([{ delta }]);
  expect(world.store.bytes(deltaKey(ref, deltaId(delta)))).toBeNull();
  expect(await listDeleted(world.store, deleted, ref, always)).toEqual([]);
});

test("a delta that is unreadable, too large or gone is reported as that, and nothing is put", async () => {
  const { world, deleted, run } = await prepare();
  const delta = world.clock.ulid();
  const key = deltaKey(ref, deltaId(delta));
  await world.store.put(key, Buffer.from("no arrow"));
  await world.store.delete([key]);
  const [one] = await listDeleted(world.store, deleted, ref, always);
  await expect(restoreDelta(world, deleted, ref, one!)).rejects.toMatchObject({ kind: "corrupt" });
  const large = { delta: deltaId(delta), object: { ...one!.object, bytes: deltaBytesMax + 1 } };
  await expect(restoreDelta(world, deleted, ref, large)).rejects.toMatchObject({ kind: "corrupt" });
  deleted.forget(key);
  await expect(restoreDelta(world, deleted, ref, one!)).rejects.toMatchObject({ kind: "notFound" });
  expect((await run()).shards).toMatchObject([{ look: { kind: "idle", version: 0 } }]);
});
