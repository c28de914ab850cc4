/** A collection read in parts and merged: the answers are those of one reader of all its shards. */
import { SiltstoneError } from "../../../lib/core/model/errors.ts";
import { createCollection, deleteCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { FanOut } from "../../../lib/engine/read/fan-out.ts";
import {
  mergeProvenance,
  mergeRecords,
  mergeResults,
  mergeStats,
} from "../../../lib/engine/read/merge-answers.ts";
import type { AskGroup } from "../../../lib/engine/read/query-groups.ts";
import type { Provenance } from "../../../lib/engine/read/read-request.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const dims = 8;
const shards = 5;
const groups = 2;
const rows = 400;
const longMs = 60_000;
const vectorOf = (n: number): number[] =>
  Array.from({ length: dims }, (_, i) => Math.sin(n * 7.3 + i * 1.7 + 1));

/** Readers of their own behind a fan-out, as functions are; events and answers go through JSON. */
function grouped(world: MemoryWorld, refreshSeconds = 0) {
  const readers = Array.from(
    { length: groups },
    () => new Reader(world, { refreshSeconds, cacheBytesMax: 1e9, traffic: world.traffic }),
  );
  const asked: { group: number; op: string; shards: number[] }[] = [];
  const failing = new Map<number, Error>();
  const ask: AskGroup = async (group, event, waitMs) => {
    const { op, ...call } = JSON.parse(JSON.stringify(event));
    asked.push({ group, op, shards: call.part?.shards });
    expect(waitMs).toBeLessThanOrEqual(longMs);
    const failure = failing.get(group);
    if (failure) throw failure;
    if (op === "health") return readers[group]!.health(call);
    const reader = readers[group]! as unknown as Record<string, (call: object) => Promise<object>>;
    return JSON.parse(JSON.stringify(await reader[op]!(call)));
  };
  const fan = new FanOut({ store: world.store, groups, ask });
  const close = async () => {
    for (const reader of readers) await reader.close();
  };
  return { fan, asked, failing, close };
}

const recordsOf = (count: number) =>
  Array.from({ length: count }, (_, n) => ({
    id: `r${n}`,
    vector: vectorOf(n),
    document: `document ${n}`,
    metadata: { kind: n % 3 === 0 ? "fizz" : "plain" },
  }));
const compactAll = (world: MemoryWorld) =>
  compact(world, { ingest: true, upkeep: true, deadlineMs: world.clock.nowMs() + 1e6 });
/** What must not differ; time and traffic may. */
function comparable<T extends Provenance>({ milliseconds: _, requests: __, bytesRead: ___, ...rest }: T) {
  return { ...rest, shards: rest.shards.map(({ shard, version }) => ({ shard, version })) };
}

describe.each(["cosine", "l2"] as const)("%s", (metric) => {
  let world: MemoryWorld;
  let whole: Reader;
  let parts: ReturnType<typeof grouped>;
  let token: string | null;

  beforeAll(async () => {
    world = memoryWorld();
    await createCollection(world, { name: "docs", dims, metric, shards, fields: { kind: "string" } });
    await produce(world, { collection: "docs", records: recordsOf(rows) });
    await compactAll(world);
    // In the backlog, in one shard each.
    ({ token } = await produce(world, { collection: "docs", records: [{ id: "new", vector: vectorOf(7) }] }));
    await produce(world, { collection: "docs", deletes: ["r7"] });
    whole = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
    parts = grouped(world);
  });
  afterAll(async () => {
    await whole.close();
    await parts.close();
  });
  beforeEach(() => {
    parts.asked.length = 0;
    parts.failing.clear();
  });

  test.each([
    { vector: vectorOf(7) },
    { vector: vectorOf(7), consistency: "strong" as const },
    { vector: vectorOf(7), topK: 1_000, filter: { kind: "fizz" }, include: ["vector" as const] },
    { vector: vectorOf(9), topK: 30, minScore: 0.5, excludeIds: ["r9", "r12"] },
    { vector: vectorOf(9), topK: 0 },
    { id: "r11", topK: 25 },
    { id: "r11", topK: 0 },
    { id: "new", consistency: "strong" as const },
  ])("query %j", async (question) => {
    const call = { collection: "docs", ...question };
    const answer = await parts.fan.query(call, longMs);
    expect(answer).not.toHaveProperty("queryVector");
    expect(comparable(answer)).toEqual(comparable(await whole.query(call)));
    expect(answer.results.length > 0).toBe(question.topK !== 0);
    // Each group once, for its own shards.
    expect(parts.asked.map(({ group, shards }) => `${group}: ${shards}`).sort()).toEqual([
      "0: 0,2,4",
      "1: 1,3",
    ]);
  });

  test("a token is seen by the group that has its delta", async () => {
    const call = { collection: "docs", vector: vectorOf(7), atLeast: [token!] };
    const answer = await parts.fan.query(call, longMs);
    expect(answer.deltasOverlaid).toBe(1);
    expect(comparable(answer)).toEqual(comparable(await whole.query(call)));
    expect(answer.results.map(({ id }) => id)).toEqual(expect.arrayContaining(["new", "r7"]));
  });

  test("get: the order of the ids, and only the groups that have them", async () => {
    const ids = ["r5", "none", "r1", "r300", "r5"];
    const pick = ({ records, missing }: Awaited<ReturnType<Reader["get"]>>) => ({ records, missing });
    expect(pick(await parts.fan.get({ collection: "docs", ids }, longMs))).toEqual(
      pick(await whole.get({ collection: "docs", ids })),
    );
    parts.asked.length = 0;
    const one = await parts.fan.get({ collection: "docs", ids: ["r5"] }, longMs);
    expect(one.records).toMatchObject([{ id: "r5", document: "document 5" }]);
    expect(parts.asked).toHaveLength(1);
    expect(await parts.fan.get({ collection: "docs", ids: [] }, longMs)).toMatchObject({
      records: [],
      missing: [],
      shards: { length: shards },
    });
  });

  test("count and stats", async () => {
    for (const call of [{}, { filter: { kind: "fizz" } }, { consistency: "strong" as const }]) {
      const asked = { collection: "docs", ...call };
      expect(comparable(await parts.fan.count(asked, longMs))).toEqual(comparable(await whole.count(asked)));
    }
    const stats = comparable(await parts.fan.stats({ collection: "docs" }, longMs));
    expect(stats).toEqual(comparable(await whole.stats({ collection: "docs" })));
    expect(stats).toMatchObject({ vectors: rows, pendingDeltas: 2 });
  });

  test("health is of all groups: counts, and the shards of a collection that is named", async () => {
    const held = { shards: 5, faults: 0, bytes: expect.any(Number) };
    expect(await parts.fan.health({}, longMs)).toEqual({ status: "ok", held });
    const { shards, ...named } = await parts.fan.health({ collection: "docs" }, longMs);
    expect(named).toEqual({ status: "ok", held });
    expect(shards!.map(({ shard }) => shard).sort()).toEqual([0, 1, 2, 3, 4].map((n) => `docs/${n}`));
    await expect(parts.fan.health({ collection: "No name" }, longMs)).rejects.toMatchObject({
      kind: "invalid",
    });
    parts.failing.set(1, new Error("Runtime exited"));
    await expect(parts.fan.health({}, longMs)).rejects.toMatchObject({
      kind: "unavailable",
      message: "query group 1: Runtime exited",
    });
  });

  test("a wrong call is refused in the words of one function", async () => {
    for (const call of [{ vector: [1] }, { id: "none" }, { id: "r1", vector: vectorOf(1) }]) {
      const error = await whole.query({ collection: "docs", ...call }).catch((thrown) => thrown);
      const refused = parts.fan.query({ collection: "docs", ...call, allowPartial: true }, longMs);
      await expect(refused).rejects.toMatchObject({ kind: error.kind, message: error.message });
    }
    const wrong = { collection: "docs", vector: vectorOf(1), deadlineMs: 0 };
    await expect(parts.fan.query(wrong, longMs)).rejects.toThrow(/^deadlineMs: /);
    const part = { collectionId: "x", shards: [0] };
    await expect(parts.fan.count({ collection: "docs", part }, longMs)).rejects.toThrow(/^part: /);
  });

  test("a group that fails is an error with its shards and its reason", async () => {
    parts.failing.set(1, new SiltstoneError("unavailable", "Group1 did not answer: no answer within 9 ms"));
    await expect(parts.fan.count({ collection: "docs" }, longMs)).rejects.toMatchObject({
      kind: "unavailable",
      message: "collection docs: query group 1 (shards 1, 3): Group1 did not answer: no answer within 9 ms",
    });
    parts.failing.set(1, new SiltstoneError("corrupt", "docs/3/pointer.json is corrupt"));
    await expect(parts.fan.stats({ collection: "docs" }, longMs)).rejects.toMatchObject({ kind: "corrupt" });
  });

  test("a call with allowPartial is answered with what the other groups have, and told what is missing", async () => {
    const call = { collection: "docs", vector: vectorOf(3), topK: 1_000 };
    const all = await parts.fan.query(call, longMs);
    parts.failing.set(1, new Error("Runtime exited"));
    const answer = await parts.fan.query({ ...call, allowPartial: true }, longMs);
    expect(answer.partial).toEqual({
      missingShards: [1, 3],
      reasons: ["query group 1 (shards 1, 3): Runtime exited"],
    });
    expect(answer.shards.map(({ shard }) => shard)).toEqual([0, 2, 4]);
    const found = new Set(answer.results.map(({ id }) => id));
    expect(found.size).toBeGreaterThan(0);
    expect(answer.results).toEqual(all.results.filter(({ id }) => found.has(id)));
    const { count } = await parts.fan.count({ collection: "docs", allowPartial: true }, longMs);
    expect(count).toBe(found.size);
    parts.failing.set(0, new Error("Runtime exited"));
    await expect(parts.fan.query({ ...call, allowPartial: true }, longMs)).rejects.toThrow(
      /group 0.*group 1/,
    );
  });

  test("a query by id fails without the group that has the id", async () => {
    for (const group of [0, 1]) parts.failing.set(group, new Error("Runtime exited"));
    const call = { collection: "docs", id: "r1", allowPartial: true };
    await expect(parts.fan.query(call, longMs)).rejects.toMatchObject({ kind: "unavailable" });
    expect(parts.asked).toHaveLength(1);
  });
});

test("a collection without any version is an error; a shard without a version is not when another has one", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: "docs", dims, metric: "l2", shards });
  const { fan, asked, failing, close } = grouped(world);
  const ids = ["r0"];
  await expect(fan.get({ collection: "docs", ids }, longMs)).rejects.toThrow(/has no snapshot yet/);
  await expect(fan.count({ collection: "docs" }, longMs)).rejects.toMatchObject({ kind: "unavailable" });
  expect(await fan.count({ collection: "docs", consistency: "strong" }, longMs)).toMatchObject({ count: 0 });
  await produce(world, { collection: "docs", records: recordsOf(1) });
  await compactAll(world);
  expect(await fan.count({ collection: "docs" }, longMs)).toMatchObject({ count: 1, snapshotVersion: 1 });
  // Ids of every shard, one at a time: none fails.
  for (let n = 1; n < 20; n++) {
    const { missing } = await fan.get({ collection: "docs", ids: [`r${n}`] }, longMs);
    expect(missing).toEqual([`r${n}`]);
  }
  // The only group with a version fails: what the other has is not an empty collection.
  asked.length = 0;
  await fan.get({ collection: "docs", ids }, longMs);
  failing.set(asked[0]!.group, new Error("Runtime exited"));
  const partial = fan.count({ collection: "docs", allowPartial: true }, longMs);
  await expect(partial).rejects.toThrow(/Runtime exited/);
  await close();
});

test("a collection that is deleted and made again is noticed by every group, whichever is first", async () => {
  const world = memoryWorld();
  const options = { name: "docs", dims, metric: "l2" } as const;
  await createCollection(world, { ...options, shards: 3 });
  await produce(world, { collection: "docs", records: recordsOf(30) });
  await compactAll(world);
  const { fan, close } = grouped(world, 300);
  expect(await fan.count({ collection: "docs" }, longMs)).toMatchObject({ count: 30 });
  await deleteCollection(world.store, "docs");
  await createCollection(world, { ...options, shards: 5 });
  await produce(world, { collection: "docs", records: recordsOf(50) });
  await compactAll(world);
  const fresh = { collection: "docs", consistency: "strong" } as const;
  expect(await fan.count(fresh, longMs)).toMatchObject({ count: 50, shards: { length: 5 } });
  await deleteCollection(world.store, "docs");
  await expect(fan.count(fresh, longMs)).rejects.toMatchObject({ kind: "notFound" });
  await close();
});

test("a part names shards that there are, each once", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims, metric: "l2", shards });
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  for (const wrong of [[5], [-1], [0.5], [1, 1]]) {
    const part = { collectionId: collection.id, shards: wrong };
    await expect(reader.count({ collection: "docs", part })).rejects.toThrow(/^part\.shards: /);
  }
  const part = { collectionId: collection.id, shards: [1] };
  const elsewhere = reader.get({ collection: "docs", part, ids: ["r0", "r1", "r2", "r3"] });
  await expect(elsewhere).rejects.toThrow(/^part: the id is of shard/);
  await reader.close();
});

test("merging: sums, order and ties, whatever the order of the parts", () => {
  const provenance = (shard: number): Provenance => ({
    snapshotVersion: 2,
    shards: [{ shard, version: 2, ageSeconds: shard }],
    consistency: "eventual",
    segments: 3,
    deltasOverlaid: 1,
    milliseconds: 9,
    requests: 4,
    bytesRead: 100,
    ...(shard === 1 ? { warning: "docs/1: damaged" } : {}),
  });
  const merged = mergeProvenance([provenance(2), provenance(1)]);
  expect(merged).toEqual({
    snapshotVersion: 4,
    shards: [
      { shard: 1, version: 2, ageSeconds: 1 },
      { shard: 2, version: 2, ageSeconds: 2 },
    ],
    consistency: "eventual",
    segments: 6,
    deltasOverlaid: 2,
    requests: 8,
    bytesRead: 200,
    warning: "docs/1: damaged",
  });
  const hit = (id: string, distance: number) => ({ id, distance, score: 1 - distance, version: 1 });
  const lists = [{ results: [hit("b", 0.1), hit("d", 0.4)] }, { results: [hit("a", 0.1), hit("c", 0.3)] }];
  for (const order of [lists, lists.toReversed()])
    expect(mergeResults(order, 3).results.map(({ id }) => id)).toEqual(["a", "b", "c"]);
  const record = (id: string) => ({ id, version: 1 });
  expect(
    mergeRecords([{ records: [record("b")] }, { records: [record("a")] }], ["a", "x", "b", "a"]),
  ).toEqual({
    records: [record("a"), record("b"), record("a")],
    missing: ["x"],
  });
  const stats = { dims, metric: "l2", embeddingVersion: "v", vectors: 5, bytes: 7, pendingDeltas: 1 };
  expect(
    mergeStats([
      { ...stats, lagSeconds: 3 },
      { ...stats, lagSeconds: 8 },
    ]),
  ).toEqual({
    ...stats,
    vectors: 10,
    bytes: 14,
    pendingDeltas: 2,
    lagSeconds: 8,
  });
});
