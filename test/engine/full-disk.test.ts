/**
 * The local disk of a function is full: `unavailable`, with what to do, and never a raw error. Nothing is lost or put
 * aside by it, an old view goes on serving, and with space again everything goes on.
 */
import { mergeLimits } from "../../lib/core/policy/merge-plan.ts";
import { refreshBehindMs } from "../../lib/core/policy/time-bounds.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { merge } from "../../lib/engine/compact/merge.ts";
import type { World } from "../../lib/engine/ports.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { listQuarantine } from "../../lib/engine/shard/quarantine.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { localDisk, makeIoSynchronous } from "../sim/synchronous-io.ts";
import { memoryWorld } from "../support/memory/world.ts";

const hour = 3_600_000;
const ref = { collection: "docs", shard: 0 };
const limits = { ...mergeLimits, flatSegmentsMax: 1, flatRowsMax: 2 };
const shortage = {
  kind: "unavailable",
  message: expect.stringMatching(/no space is left on the local disk, in \/.*ephemeral storage/),
};

let undo = (): void => undefined;
beforeAll(() => {
  undo = makeIoSynchronous();
});
afterEach(() => {
  localDisk.isFull = false;
});
afterAll(() => undo());

async function prepare() {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: ref.collection, dims: 2, metric: "l2" });
  const write = async (id: string) =>
    produce(world, { collection: collection.name, records: [{ id, vector: [id.length, 1] }] });
  const reader = new Reader(world, { refreshSeconds: 60, cacheBytesMax: 1e9, traffic: world.traffic });
  return { world, collection, write, reader };
}
const ingest = (world: World) =>
  compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });

test("a compactor says so, and leaves the deltas where they are", async () => {
  const { world, write } = await prepare();
  await write("a");
  localDisk.isFull = true;
  expect((await ingest(world)).shards).toMatchObject([{ error: shortage }]);
  localDisk.isFull = false;
  expect(await listQuarantine(world.store, ref)).toEqual([]);
  expect((await ingest(world)).shards).toMatchObject([{ ingest: { outcome: "done", deltas: 1 } }]);
});

test("a merge says so, and changes nothing", async () => {
  const { world, collection, write } = await prepare();
  for (const id of ["a", "b", "c"]) {
    await write(id);
    await ingest(world);
  }
  const before = world.store.keys().sort();
  const options = { deadlineMs: world.clock.nowMs() + hour, limits };
  localDisk.isFull = true;
  await expect(merge(world, collection, 0, options)).rejects.toMatchObject(shortage);
  localDisk.isFull = false;
  expect(world.store.keys().sort()).toEqual(before);
  expect((await merge(world, collection, 0, options)).merges).not.toEqual([]);
});

test("a reader that has a view goes on with it, and says why; who may not have it is told what to do", async () => {
  const { world, collection, write, reader } = await prepare();
  const all = { collection: collection.name };
  await write("a");
  await ingest(world);
  expect((await reader.count({ ...all, consistency: "eventual" })).count).toBe(1);
  await write("b");
  await ingest(world);
  world.clock.advance(refreshBehindMs(60_000));
  localDisk.isFull = true;
  const answer = await reader.count({ ...all, consistency: "eventual" });
  expect(answer.count).toBe(1);
  expect(answer.warning).toMatch(/no space is left/);
  await expect(reader.count({ ...all, consistency: "strong" })).rejects.toMatchObject(shortage);
  localDisk.isFull = false;
  expect(await reader.count({ ...all, consistency: "strong" })).toMatchObject({ count: 2 });
  await reader.close();
});

test("a backlog cannot be laid over on a full disk: a strong read says so, and leaves nothing behind", async () => {
  const { collection, write, reader } = await prepare();
  const strong = { collection: collection.name, consistency: "strong" } as const;
  await write("a");
  localDisk.isFull = true;
  await expect(reader.count(strong)).rejects.toMatchObject(shortage);
  localDisk.isFull = false;
  expect(await reader.count(strong)).toMatchObject({ count: 1, deltasOverlaid: 1 });
  await reader.close();
});
