import { bounds } from "../../../lib/core/model/bounds.ts";
import { shardOf } from "../../../lib/core/model/shard-of.ts";
import { ingestEstimate } from "../../../lib/core/policy/resource-estimate.ts";
import { createCollection, deleteCollection } from "../../../lib/engine/catalog/collections.ts";
import { type CompactReport, compact } from "../../../lib/engine/compact/compact.ts";
import { Sweep } from "../../../lib/engine/compact/sweep.ts";
import { verify } from "../../../lib/engine/operate/verify.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { listQuarantine, retryQuarantined } from "../../../lib/engine/shard/quarantine.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { effects } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";
import { underBounds } from "../../support/small-bounds.ts";

const dims = 4;
const vectorOf = (n: number) => [1, Math.sin(n), Math.cos(n), Math.sin(n * 3)];
const count = async (world: MemoryWorld, collection: string) => {
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  try {
    return (await reader.count({ collection })).count;
  } finally {
    await reader.close();
  }
};
const run = (world: MemoryWorld, deadlineMs = 9e15): Promise<CompactReport> =>
  compact(world, { ingest: true, upkeep: false, deadlineMs });

test("5,000 pending deltas drain, in runs that each end in time (CMP-7)", async () => {
  const world = memoryWorld({ visibilityMs: 1 });
  const { collection } = await createCollection(world, { name: "many", dims, metric: "l2", shards: 2 });
  /** A record for each shard, so that every call makes two deltas. */
  const idOn = (n: number, shard: number): string => {
    for (let k = 0; ; k++) if (shardOf(`r${n}-${k}`, 2) === shard) return `r${n}-${k}`;
  };
  for (let n = 0; n < 2_500; n++) {
    await produce(world, {
      collection: "many",
      records: [0, 1].map((shard) => ({ id: idOn(n, shard), vector: vectorOf(n + shard) })),
    });
  }
  const backlog = () => world.store.keys("many/").filter((key) => key.includes("/deltas/")).length;
  const before = backlog();
  expect(before).toBe(5_000);
  // Every effect takes 20 ms, and batches are smaller, so that a run of one minute does a part of the work.
  const { clock } = world;
  const slow = effects(world, () => {
    clock.advance(10);
    return undefined;
  });
  let runs = 0;
  let left = before;
  while (left > 0 && runs < 20) {
    await underBounds({ ...bounds, batchDeltas: 500 }, () =>
      compact(slow, { ingest: true, upkeep: false, deadlineMs: clock.nowMs() + 60_000 }),
    );
    runs += 1;
    expect(backlog()).toBeLessThan(left);
    left = backlog();
  }
  expect(runs).toBeGreaterThan(1);
  await run(world);
  expect(world.queue.bodies()).toEqual([]);
  expect(await count(world, "many")).toBe(5_000);
  for (const shard of [0, 1]) expect((await verify(world, collection, shard)).faults).toEqual([]);
}, 180_000);

test("a message that is not a notification reaches the dead-letter queue with its reason; its neighbours succeed (ING-4)", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: "docs", dims, metric: "cosine" });
  await world.queue.send("{");
  await produce(world, { collection: "docs", records: [{ id: "a", vector: vectorOf(1) }] });
  await world.queue.send(
    JSON.stringify({ format: 1, collection: "docs", shard: 7, delta: "01ARZ3NDEKTSV4RRFFQ69G5FAV" }),
  );
  await world.queue.send(JSON.stringify({ format: 2 }));
  const report = await run(world);
  expect(report.messages).toMatchObject({ settled: 1, deadLettered: 3 });
  expect(world.queue.deadLetters.map(({ reason }) => reason).sort()).toEqual([
    "its collection or shard does not exist",
    "message format 2; this version reads 1",
    "the message is not JSON",
  ]);
  expect(await count(world, "docs")).toBe(1);
});

describe("messages of a collection that is gone are settled and counted, and are no dead letters", () => {
  const create = (world: MemoryWorld, shards: number) =>
    createCollection(world, { name: "docs", dims, metric: "cosine", shards });
  const write = (world: MemoryWorld) =>
    produce(world, {
      collection: "docs",
      records: Array.from({ length: 20 }, (_, n) => ({ id: `r${n}`, vector: vectorOf(n) })),
    });
  test.each([
    ["never seen by this process", false, null, { settled: 4, gone: 4 }],
    ["remembered by this process", true, null, { settled: 4, gone: 4 }],
    // Its shards are looked at, and lack the deltas.
    ["made again, with as many shards", true, 4, { settled: 4, gone: 0 }],
    ["made again, with fewer shards", true, 2, { settled: 4, gone: 2 }],
  ])("one that was %s", async (_, isRemembered, shards, counts) => {
    const world = memoryWorld();
    const sweep = new Sweep();
    const request = { ingest: true, upkeep: false, deadlineMs: 9e15, sweep };
    await create(world, 4);
    if (isRemembered) await compact(world, request);
    await write(world);
    expect(world.queue.bodies()).toHaveLength(4);
    await deleteCollection(world.store, "docs");
    if (shards !== null) await create(world, shards);
    const { messages, faults } = await compact(world, request);
    expect({ messages, faults }).toEqual({ messages: { deadLettered: 0, left: 0, ...counts }, faults: [] });
    expect([world.queue.bodies(), world.queue.deadLetters]).toEqual([[], []]);
  });

  test("a message that names no collection's id, or an existing collection's shard that is none, is a dead letter as before", async () => {
    const world = memoryWorld();
    const { collection } = await create(world, 1);
    const delta = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    await world.queue.send(JSON.stringify({ format: 1, collection: "other", shard: 0, delta }));
    const own = { format: 1, collection: "docs", collectionId: collection.id, shard: 7, delta };
    await world.queue.send(JSON.stringify(own));
    expect((await run(world)).messages).toEqual({ settled: 0, gone: 0, deadLettered: 2, left: 0 });
  });
});

test("a delta whose message was lost is ingested (ING-3); nothing to do publishes nothing (CMP-11)", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims, metric: "cosine" });
  const send = world.queue.send.bind(world.queue);
  world.queue.send = () => Promise.resolve();
  await produce(world, { collection: "docs", records: [{ id: "a", vector: vectorOf(1) }] });
  world.queue.send = send;
  await run(world);
  expect(await count(world, "docs")).toBe(1);
  const keys = world.store.keys("");
  const { etag } = await readHead(world.store, collection, 0);
  await run(world);
  expect(world.store.keys("")).toEqual(keys);
  expect((await readHead(world.store, collection, 0)).etag).toBe(etag);
});

test("a corrupt delta is quarantined with its reason, others are ingested, and it can be put back (CMP-6)", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: "docs", dims, metric: "cosine" });
  const shard = { collection: "docs", shard: 0 };
  const { deltas } = await produce(world, {
    collection: "docs",
    records: [{ id: "bad", vector: vectorOf(1) }],
  });
  await produce(world, { collection: "docs", records: [{ id: "good", vector: vectorOf(2) }] });
  const bytes = world.store.bytes(`docs/0/deltas/${deltas[0]!.delta}.arrow`)!;
  const intact = Buffer.from(bytes);
  bytes[Math.floor(bytes.length / 2)]! ^= 1;
  const report = await run(world);
  expect(report.shards[0]!.ingest).toMatchObject({ outcome: "done", quarantined: 1, deltas: 1 });
  expect(await count(world, "docs")).toBe(1);
  const [aside] = await listQuarantine(world.store, shard);
  expect(aside).toMatchObject({ delta: deltas[0]!.delta, reason: expect.stringContaining("is corrupt") });
  await world.store.put(`docs/0/quarantine/${aside!.delta}.arrow`, intact);
  await retryQuarantined(world, shard, aside!.delta);
  await run(world);
  expect(await count(world, "docs")).toBe(2);
  expect(await listQuarantine(world.store, shard)).toEqual([]);
});

test("a delta of another embedding space is put aside, not mixed in (COL-2)", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: "docs", dims, metric: "cosine", embeddingVersion: "model-a" });
  await expect(
    produce(world, {
      collection: "docs",
      embeddingVersion: "model-b",
      records: [{ id: "a", vector: vectorOf(1) }],
    }),
  ).rejects.toMatchObject({ kind: "invalid", message: expect.stringContaining("model-b") });
  // Written by a stale process, for the collection that had this name before.
  const stale = memoryWorld({ seed: 9 });
  await createCollection(stale, { name: "docs", dims, metric: "cosine", embeddingVersion: "model-b" });
  await produce(stale, { collection: "docs", records: [{ id: "a", vector: vectorOf(1) }] });
  const [key] = stale.store.keys("docs/0/deltas/");
  await world.store.put(key!, stale.store.bytes(key!)!);
  const report = await run(world);
  expect(report.shards[0]!.ingest).toMatchObject({ quarantined: 1, deltas: 0 });
});

test("two compactors at once publish nothing twice", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims, metric: "cosine" });
  for (let n = 0; n < 20; n++)
    await produce(world, { collection: "docs", records: [{ id: `r${n}`, vector: vectorOf(n) }] });
  const reports = await Promise.all([run(world), run(world), run(world)]);
  const outcomes = reports.map((report) => report.shards[0]!.ingest!.outcome);
  expect(outcomes.filter((outcome) => outcome === "done")).not.toHaveLength(0);
  const { manifest } = await readHead(world.store, collection, 0);
  expect(manifest.ledger.ingested.rows).toBe(20);
  expect(await count(world, "docs")).toBe(20);
});

test("a merge that would not fit is not begun, and says what it needs; writes and garbage collection go on (CMP-8)", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims, metric: "cosine" });
  const upkeep = (memoryBytes: number) =>
    compact(world, {
      ingest: true,
      upkeep: true,
      deadlineMs: 9e15,
      budget: { memoryBytes, diskBytes: 1e9 },
    });
  // One flat segment a run, until there are more than a shard keeps.
  const write = async (n: number) => {
    await produce(world, { collection: "docs", records: [{ id: `r${n}`, vector: vectorOf(n) }] });
    return upkeep(ingestEstimate(1, 3_000, collection).memoryBytes);
  };
  let report = await write(0);
  for (let n = 1; n < 12; n++) report = await write(n);
  const [shard] = report.shards;
  expect(shard).toMatchObject({
    ingest: { outcome: "done", deltas: 1 },
    merge: { outcome: "overBudget", merges: [] },
    collect: { outcome: "nothing" },
    error: { kind: "unavailable" },
  });
  expect(shard!.error!.message).toMatch(
    /^docs\/0: merging 12 segments would need about \d+ MB of memory \(there are \d+ MB\); raise compaction.memoryMiB/,
  );
  expect(await count(world, "docs")).toBe(12);
  expect((await readHead(world.store, collection, 0)).manifest.segments).toHaveLength(12);

  const [roomy] = (await upkeep(1e9)).shards;
  expect(roomy).toMatchObject({ merge: { outcome: "done", merges: [{ inputs: 12 }] } });
  expect(roomy!.error).toBeUndefined();
  expect(await count(world, "docs")).toBe(12);
});

test("batches are as large as memory allows, and a delta that does not fit is named and stays (CMP-8)", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims, metric: "cosine" });
  const bytes: number[] = [];
  for (let n = 0; n < 6; n++) {
    const records = Array.from({ length: 50 }, (_, i) => ({
      id: `r${n}-${i}`,
      vector: vectorOf(n * 50 + i),
    }));
    bytes.push((await produce(world, { collection: "docs", records })).deltas[0]!.bytes);
  }
  const runWith = (deltas: number, deltaBytes: number) =>
    compact(world, {
      ...{ ingest: true, upkeep: false, deadlineMs: 9e15 },
      budget: { ...ingestEstimate(deltas, deltaBytes, collection), diskBytes: 1e9 },
    });
  const refused = await runWith(1, Math.min(...bytes) - 100);
  expect(refused).toMatchObject({
    pending: 6,
    shards: [{ ingest: { outcome: "overBudget", deltas: 0 }, error: { kind: "unavailable" } }],
  });
  expect(refused.shards[0]!.error!.message).toMatch(
    /^docs\/0\/deltas\/\w{26}\.arrow has \d+ bytes; to ingest it would need about \d+ MB of memory \(there are \d+ MB\); raise compaction.memoryMiB/,
  );
  expect(await count(world, "docs").catch((error: Error) => error.message)).toMatch("nothing");
  const [done] = (await runWith(2, Math.max(...bytes) * 2)).shards;
  expect(done).toMatchObject({ ingest: { outcome: "done", version: 3, deltas: 6, rows: 300 } });
  expect(await count(world, "docs")).toBe(300);
});
