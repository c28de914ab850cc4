/** Whole collections: how their items stand by what is stored, bulk runs that queue what is not embedded, and the way back. */
import { jest } from "@jest/globals";
import { corrupt, SiltstoneError } from "../../lib/core/model/errors.ts";
import { ProviderRefusal } from "../../lib/embedding/provider.ts";
import { readCollection } from "../../lib/engine/shard/head.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { cancelJob } from "../../lib/jobs/administer.ts";
import { analyze, rateOf } from "../../lib/jobs/embed-all/analysis.ts";
import {
  type BulkCounts,
  type BulkWorld,
  bulkStatus,
  isOfStage,
  newRun,
  runBulk,
} from "../../lib/jobs/embed-all/bulk-run.ts";
import { rollBack } from "../../lib/jobs/embed-all/rollback.ts";
import type { BulkRun } from "../../lib/jobs/ports.ts";
import { saveItems } from "../../lib/jobs/save.ts";
import { sweep } from "../../lib/jobs/sweep.ts";
import {
  type JobTestWorld,
  jobWorld,
  readChunks,
  rowsOf,
  save,
  textOf,
  visible,
  withEmbedder,
  workAll,
} from "./job-world.ts";

let world: JobTestWorld;
let bulk: BulkWorld;
beforeEach(async () => {
  world = await jobWorld();
  bulk = { ...world, readChunks: readChunks(world) };
});
const collection = () => readCollection(world.store, "notes");
const record = (item: string) => world.table.all.find((one) => one.item === item)!;
const standings = async (pricePerMillion: number | null = null) =>
  analyze(bulk, await collection(), { batchItems: 3, pricePerMillion });
const later = (ms = 5) => world.memory.clock.advance(ms);
/** A record of a user's own, or its delete, in a chunk's place. */
const write = (call: object) => {
  later();
  return produce(world.memory, { collection: "notes", ...call });
};
const idOf = (item: string, chunk = 0) =>
  rowsOf(world).find(
    ({ metadata }) => metadata?.includes(`"chunk":${chunk},`) && metadata.includes(`"item":"${item}"`),
  )!.id;

const asked = { priority: "low", batchItems: 3, stagePercent: 100, tag: null, by: "test" } as const;
async function run(
  change: Partial<BulkRun> = {},
  { dryRun = false, after = Number.POSITIVE_INFINITY } = {},
): Promise<{ run: BulkRun; counts: BulkCounts }> {
  const begun = { ...newRun(bulk, await collection(), asked), ...change };
  let batches = 0;
  const counts = await runBulk(bulk, await collection(), begun, {
    dryRun,
    isInterrupted: () => ++batches > after,
    onProgress: () => {},
  });
  return { run: begun, counts };
}

/** One of each standing. */
async function oneOfEach(): Promise<void> {
  const ids = ["with", "without", "fewer", "other", "failed", "deleted", "undeleted"];
  await save(
    world,
    ...ids.map((id) => ({ id, text: textOf(id, 2), source: id === "fewer" ? "wiki" : "mine" })),
  );
  await workAll(world);
  await save(world, { id: "deleted", operation: "delete" }, { id: "undeleted", operation: "delete" });
  const again = idOf("undeleted");
  await workAll(world);
  await write({ deletes: [idOf("without"), idOf("without", 1), idOf("fewer", 1)] });
  await write({
    records: [
      { id: again, vector: [1, 0, 0, 0], metadata: { item: "undeleted" } },
      { id: idOf("other"), vector: [1, 0, 0, 0], document: "by hand" },
    ],
  });
  later();
  await save(world, { id: "failed", text: "never" });
  world.provider = async (_, texts) => ({
    outcomes: texts.map(
      () => new SiltstoneError("invalid", "no", { cause: new ProviderRefusal("input", "no") }),
    ),
    tokens: null,
  });
  await workAll(world);
  world.provider = null;
  await save(world, { id: "pending", text: "soon" });
}

test("items stand by what is stored: a deleted chunk, another's record in its place, a chunk too many are found, whatever their jobs say", async () => {
  await oneOfEach();
  expect(await standings()).toMatchObject({
    total: 7,
    standings: { with: 1, without: 1, stale: 3, failed: 1, pending: 1, deleted: 1, unreadable: 0 },
    toEmbed: { items: 5, chunks: 2 + 2 + 2 + 0 + 1 },
    sources: [
      { source: "mine", items: 4 },
      { source: "wiki", items: 1 },
    ],
  });
  expect(record("without")).toMatchObject({ status: "completed" });
});

test("an item whose job failed or was cancelled is with its chunks when they are those of its text", async () => {
  await save(world, { id: "a", text: "x" });
  await workAll(world);
  const { stamp: _, ...item } = record("a");
  for (const status of ["failed", "cancelled"] as const) {
    await world.table.swap(record("a"), { ...item, stamp: world.clock.ulid(), status });
    expect(await standings()).toMatchObject({ standings: { with: 1, failed: 0 }, toEmbed: { items: 0 } });
  }
});

test("an item whose text is lost or damaged is unreadable, named, and holds up no other", async () => {
  await save(world, { id: "lost", text: textOf("lost", 12) }, { id: "a", text: "x" });
  const [key] = world.memory.store.keys("notes/texts/");
  await world.memory.store.delete([key!]);
  expect(await standings()).toMatchObject({
    standings: { pending: 1, unreadable: 1 },
    unreadable: [{ item: "lost", reason: expect.stringContaining("not on S3") }],
  });
  await world.memory.store.put(key!, Buffer.from("another"), { ifAbsent: true });
  expect(await standings()).toMatchObject({ standings: { unreadable: 1 } });
  expect((await run()).counts).toMatchObject({ unreadable: 1, pending: 1, queued: 0 });
});

test("an item whose record is damaged is unreadable, named, and holds up no other, also on the way back", async () => {
  await save(world, { id: "bad", text: "x" }, { id: "a", text: "y" });
  const { read } = world.table;
  const spied = jest.spyOn(world.table, "read").mockImplementation(async (key) => {
    if (key.item === "bad") throw corrupt("jobs#notes#bad", "it is no item");
    return read.call(world.table, key);
  });
  try {
    expect(await standings()).toMatchObject({
      standings: { pending: 1, unreadable: 1 },
      unreadable: [{ item: "bad", reason: expect.stringContaining("it is no item") }],
    });
    expect((await run()).counts).toMatchObject({ looked: 2, unreadable: 1, pending: 1, queued: 0 });
    const back = await rollBack(world, await collection(), { who: "test", dryRun: false });
    expect(back).toEqual({ cancelled: 1 });
  } finally {
    spied.mockRestore();
  }
});

test("a run that is resumed after a rollback queues again what that cancelled", async () => {
  await save(world, { id: "a", text: "x" });
  await cancelJob(world, record("a"), "test");
  const first = await run();
  expect(first.counts).toMatchObject({ queued: 1 });
  await rollBack(world, await collection(), { who: "test", dryRun: false });
  expect((await run({ id: first.run.id })).counts).toMatchObject({ before: 0, queued: 1 });
  await workAll(world);
  expect(await standings()).toMatchObject({ standings: { with: 1 } });
});

test("a dry run counts what the run queues, changes nothing, and after the work all items are with their chunks", async () => {
  await oneOfEach();
  const before = JSON.stringify(world.table.all);
  const dry = await run({}, { dryRun: true });
  expect(JSON.stringify(world.table.all)).toBe(before);
  expect(await world.table.runs(dry.run.collectionId, 9)).toEqual([]);
  const real = await run();
  expect(real.counts).toEqual(dry.counts);
  expect(real.counts).toMatchObject({
    queued: 5,
    without: 1,
    stale: 3,
    failed: 1,
    embedded: 1,
    pending: 1,
    deleted: 1,
  });
  expect(record("without")).toMatchObject({ status: "pending", priority: "low", operationId: real.run.id });
  expect(record("without").source).toBe("mine");
  expect((await bulkStatus(bulk, await collection(), { ...real.run, queued: 5 })).now).toMatchObject({
    pending: 5,
  });
  await workAll(world);
  expect((await standings()).standings).toMatchObject({
    with: 6,
    deleted: 2,
    without: 0,
    stale: 0,
    failed: 0,
    pending: 0,
  });
  expect(visible(world).other!.join("")).toBe(textOf("other", 2));
  expect((await run()).counts).toMatchObject({ queued: 0, embedded: 6, deleted: 2 });
});

test("a run that is interrupted at any batch, or killed between a save and its note, goes on without a double", async () => {
  const ids = Array.from({ length: 10 }, (_, i) => `i${i}`);
  await save(world, ...ids.map((id) => ({ id, text: id })));
  await workAll(world);
  await write({ deletes: ids.map((id) => idOf(id)) });
  later();
  const first = await run({}, { after: 1 });
  expect(first.counts.queued).toBe(3);
  expect(await world.table.readRun(first.run.collectionId, first.run.id)).toMatchObject({
    state: "interrupted",
    queued: 3,
  });
  await workAll(world);
  // What was queued is deleted once more: this run has done its part of it.
  await write({ deletes: [record("i0"), record("i1"), record("i2")].map(({ item }) => idOf(item)) });
  later();
  const { writeRun } = world.table;
  let notes = 0;
  world.table.writeRun = async (...given) => {
    if (++notes === 2) throw new SiltstoneError("unavailable", "killed");
    return writeRun.apply(world.table, given);
  };
  const kept = await world.table.readRun(first.run.collectionId, first.run.id);
  await expect(run(kept!)).rejects.toThrow("killed");
  world.table.writeRun = writeRun;
  const last = await run((await world.table.readRun(first.run.collectionId, first.run.id))!);
  expect(last.counts.queued).toBeGreaterThan(0);
  expect(world.table.all.map(({ revision }) => revision)).toEqual(ids.map(() => 2));
  await workAll(world);
  const embedded = world.embedded.filter((text) => ids.includes(text));
  expect(embedded.sort()).toEqual([...ids, ...ids].sort());
});

test("a save that comes between the look and the queueing does the work itself", async () => {
  await save(world, { id: "a", text: "one" }, { id: "b", text: "b" });
  await workAll(world);
  await write({ deletes: [idOf("a"), idOf("b")] });
  later();
  const { read } = bulk.table;
  let reads = 0;
  bulk.table.read = async (key) => {
    const item = await read.call(world.table, key);
    if (key.item === "a" && ++reads === 1)
      await saveItems(world, { collection: "notes", items: [{ id: "a", text: "two" }] });
    return item;
  };
  expect((await run()).counts).toMatchObject({ queued: 1, changed: 1 });
  bulk.table.read = read;
  await workAll(world);
  expect(visible(world)).toEqual({ a: ["two"], b: ["b"] });
  expect(record("a").revision).toBe(2);
});

test("stages are the same items every time, each within the next, and 100 is all", async () => {
  const ids = Array.from({ length: 2_000 }, (_, i) => `item ${i}`);
  const of = (percent: number) => ids.filter((id) => isOfStage(id, percent));
  expect(of(100)).toEqual(ids);
  expect(of(10).every((id) => isOfStage(id, 30))).toBe(true);
  expect(Math.abs(of(10).length - 200)).toBeLessThan(60);
  await save(world, ...ids.slice(0, 50).map((id) => ({ id, text: id })));
  for (const item of world.table.all) await cancelJob(world, item);
  const inFirst = ids.slice(0, 50).filter((id) => isOfStage(id, 30)).length;
  expect((await run({ stagePercent: 30 })).counts).toMatchObject({ queued: inFirst, later: 50 - inFirst });
  expect((await run()).counts).toMatchObject({ queued: 50 - inFirst, pending: inFirst });
});

test("where the source orders, an item that is made once more keeps its place in the order", async () => {
  world = await jobWorld({ ordering: "source" });
  bulk = { ...world, readChunks: readChunks(world) };
  await save(world, { id: "a", text: "x", version: 7 });
  await cancelJob(world, record("a"));
  expect((await run()).counts).toMatchObject({ queued: 1 });
  await workAll(world);
  expect(record("a")).toMatchObject({ version: 7, revision: 2, status: "completed" });
  expect(await save(world, { id: "a", text: "y", version: 6 })).toMatchObject({
    items: [{ outcome: "stale" }],
  });
});

test("the status of a run is of what it queued, by what is stored, with what was saved anew since apart", async () => {
  await save(world, ...["a", "b", "c"].map((id) => ({ id, text: id })));
  for (const item of world.table.all) await cancelJob(world, item);
  const { run: begun } = await run();
  later();
  await save(world, { id: "c", text: "newer" });
  world.provider = async (_, texts) => ({
    outcomes: texts.map((text) =>
      text === "b"
        ? new SiltstoneError("invalid", "no", { cause: new ProviderRefusal("input", "no") })
        : new Float32Array([1, 0, 0, 0]),
    ),
    tokens: 2 * texts.join("").length,
  });
  await workAll(world);
  const status = await bulkStatus(
    bulk,
    await collection(),
    (await world.table.readRun(begun.collectionId, begun.id))!,
  );
  expect(status).toMatchObject({
    now: { with: 1, failed: 1, pending: 0 },
    superseded: 1,
    failures: [{ item: "b" }],
  });
});

test("time and tokens are estimated by what was measured of the collection, and unknown where nothing was", async () => {
  const ids = Array.from({ length: 25 }, (_, i) => `i${i}`);
  world.provider = async (_, texts) => ({
    outcomes: texts.map(() => new Float32Array([1, 0, 0, 0])),
    tokens: texts.reduce((sum, text) => sum + text.length / 4, 0),
  });
  expect((await standings()).estimate).toMatchObject({
    seconds: 0,
    chunksPerSecond: null,
    tokensPerByte: null,
  });
  for (const id of ids) {
    await save(world, { id, text: "12345678" });
    later(500);
    await workAll(world);
  }
  await save(world, ...Array.from({ length: 4 }, (_, i) => ({ id: `new${i}`, text: "1234" })));
  for (const item of world.table.all) await cancelJob(world, item);
  const { estimate, toEmbed } = await standings();
  expect(toEmbed).toEqual({ items: 4, chunks: 4, bytes: 16 });
  expect(estimate).toMatchObject({ tokensPerByte: 0.25, dollars: { provider: 0 } });
  expect(estimate.chunksPerSecond).toBeCloseTo(2, 0);
  expect(estimate.seconds).toBe(2);
  expect(estimate.dollars.aws).toBeGreaterThan(0);
});

test("a rate is of the time in which something was finished: a pause is none of it", () => {
  const at = (seconds: number) => ({ completedAtMs: seconds * 1_000, chunks: 2 });
  const half = Array.from({ length: 11 }, (_, i) => at(i));
  expect(rateOf(half)).toBeNull();
  expect(
    rateOf([...half, ...half.map(({ completedAtMs }) => at(completedAtMs / 1_000 + 5_000))]),
  ).toBeCloseTo(2);
});

describe("a rollback", () => {
  const saveInCall = (...items: object[]) => saveItems(withEmbedder(world), { collection: "notes", items });

  test("cancels what waits and what runs, fails nothing, and from then on a save embeds before it answers", async () => {
    await save(world, { id: "a", text: "a" }, { id: "b", text: "b" });
    world.provider = async (_, texts) => {
      world.provider = null;
      await save(world, { id: "c", text: "c" });
      expect(await rollBack(world, await collection(), { who: "test", dryRun: true })).toEqual({
        cancelled: 3,
      });
      expect(await rollBack(world, await collection(), { who: "test", dryRun: false })).toEqual({
        cancelled: 3,
      });
      return { outcomes: texts.map(() => new Float32Array([1, 0, 0, 0])), tokens: null };
    };
    expect(await workAll(world)).toMatchObject({ completed: 0, failed: 0, superseded: 2 });
    expect(rowsOf(world)).toEqual([]);
    expect(world.table.all.map(({ status }) => status)).toEqual(["cancelled", "cancelled", "cancelled"]);
    later(3_000);
    expect(await saveInCall({ id: "a", text: "a" })).toMatchObject({ items: [{ outcome: "saved" }] });
    expect(visible(world)).toEqual({ a: ["a"] });
    expect(world.wake.take()).toHaveLength(1);
    expect((await standings()).standings).toMatchObject({ with: 1, without: 2 });
  });

  test("leaves workers nothing to do, and a bulk run gives it back to them", async () => {
    await rollBack(world, await collection(), { who: "test", dryRun: false });
    later(3_000);
    const refusal = await saveItems(world, { collection: "notes", items: [{ id: "a", text: "a" }] }).then(
      () => null,
      ({ kind, message }: SiltstoneError) => ({ kind, message }),
    );
    expect(refusal).toMatchObject({
      kind: "unavailable",
      message: expect.stringContaining("grantSaveItems"),
    });
    expect(world.table.all).toEqual([]);
    world.provider = async () => Promise.reject(new SiltstoneError("unavailable", "down"));
    await expect(saveInCall({ id: "a", text: "a" })).rejects.toMatchObject({
      kind: "unavailable",
      message: expect.stringContaining("1 of 1 items are saved and not embedded"),
    });
    world.provider = null;
    later(20 * 60_000);
    await sweep(world, {});
    expect(await workAll(world)).toMatchObject({ left: 1, completed: 0 });
    // The same call embeds what it could not before.
    expect(await saveInCall({ id: "a", text: "a" })).toMatchObject({ items: [{ outcome: "unchanged" }] });
    expect(visible(world)).toEqual({ a: ["a"] });
    await run();
    later(3_000);
    await save(world, { id: "b", text: "b" });
    expect(await workAll(world)).toMatchObject({ completed: 1 });
    expect((await world.table.audit(1))[0]!.what).toContain("embedded by workers again");
  });

  test("that begins while a save is on its way leaves it to the call, or cancels it: nothing waits for ever", async () => {
    const inCall = withEmbedder(world);
    const { swap } = world.table;
    for (const before of [true, false]) {
      const id = `a-${before}`;
      let isOnce = true;
      world.table.swap = async (seen, next) => {
        const once = isOnce && next.item === id;
        isOnce &&= !once;
        if (once && before) await rollBack(world, await collection(), { who: "test", dryRun: false });
        const isSwapped = await swap.call(world.table, seen, next);
        if (once && !before) await rollBack(world, await collection(), { who: "test", dryRun: false });
        return isSwapped;
      };
      await saveItems(inCall, { collection: "notes", items: [{ id, text: id }] }).catch(() => {});
      world.table.swap = swap;
      expect(["completed", "cancelled"]).toContain(record(id).status);
      await run();
      later(3_000);
      await workAll(world);
    }
  });

  test("refused texts are named to the caller, and their neighbours are embedded", async () => {
    await rollBack(world, await collection(), { who: "test", dryRun: false });
    later(3_000);
    world.provider = async (_, texts) => ({
      outcomes: texts.map((text) =>
        text === "bad"
          ? new SiltstoneError("invalid", "no", { cause: new ProviderRefusal("input", "no") })
          : new Float32Array([1, 0, 0, 0]),
      ),
      tokens: null,
    });
    await expect(saveInCall({ id: "a", text: "good" }, { id: "b", text: "bad" })).rejects.toMatchObject({
      kind: "invalid",
      problems: [{ id: "b", index: 1, field: "text", reason: expect.stringContaining("failed: no") }],
    });
    expect(visible(world)).toEqual({ a: ["good"] });
  });
});
