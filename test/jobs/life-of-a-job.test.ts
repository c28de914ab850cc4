/** A job from its save to its end, one thing at a time. */
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { ProviderRefusal, type RefusalKind } from "../../lib/embedding/provider.ts";
import { deleteCollection } from "../../lib/engine/catalog/collections.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { cancelJob, retryJob } from "../../lib/jobs/administer.ts";
import { changeSettings } from "../../lib/jobs/control.ts";
import { expiryMs } from "../../lib/jobs/item.ts";
import { sweep } from "../../lib/jobs/sweep.ts";
import { type JobTestWorld, jobWorld, rowsOf, save, textOf, visible, workAll } from "./job-world.ts";

let world: JobTestWorld;
beforeEach(async () => {
  world = await jobWorld();
});
const record = (item = "a") => world.table.all.find((one) => one.item === item)!;
const minute = 60_000;
const refusing =
  (kind: RefusalKind, texts = /./) =>
  async (_: unknown, asked: readonly string[]) => ({
    outcomes: asked.map((text) =>
      texts.test(text)
        ? new SiltstoneError("unavailable", `embedding: ${kind}`, { cause: new ProviderRefusal(kind, kind) })
        : new Float32Array([1, 0, 0, 0]),
    ),
    tokens: null,
  });

test("a save is answered before anything is embedded; a worker makes the chunks, which carry item, place, span and hash", async () => {
  const text = textOf("alpha", 3);
  const answer = await save(world, { id: "a", text, metadata: { lang: "en" } });
  expect(answer).toMatchObject({
    notified: true,
    items: [{ id: "a", outcome: "saved", job: expect.any(String) }],
  });
  expect(world.embedded).toEqual([]);
  expect(record()).toMatchObject({
    status: "pending",
    operation: "create",
    priority: "normal",
    attempts: 0,
    attemptsMax: 3,
    contentHash: expect.stringMatching(/^[0-9a-f]{64}$/),
    embeddingVersion: "lexical-1",
    lease: null,
  });
  expect(await workAll(world)).toMatchObject({
    completed: 1,
    chunks: 3,
    failed: 0,
    postponed: 0,
    superseded: 0,
  });
  expect(visible(world).a!.join("")).toBe(text);
  expect(record()).toMatchObject({ status: "completed", chunks: 3, highWater: 3, attempts: 1, lease: null });
  const [first] = rowsOf(world);
  expect(JSON.parse(first!.metadata!)).toEqual({
    ...{ lang: "en", item: "a", chunk: 0, chunkStart: 0, contentHash: record().contentHash },
    chunkLimit: visible(world).a![0]!.length,
  });
  expect(first!.version).toBe(record().version);
});

test("a text that shrinks loses its old chunks with the delta that brings the new; a deleted item loses all", async () => {
  await save(world, { id: "a", text: textOf("old", 5) });
  await workAll(world);
  await save(world, { id: "a", text: textOf("new", 2) });
  expect(visible(world).a).toHaveLength(5);
  const puts = world.memory.store.keys("notes/0/deltas/").length;
  await workAll(world);
  expect(world.memory.store.keys("notes/0/deltas/")).toHaveLength(puts + 1);
  expect(visible(world).a!.join("")).toBe(textOf("new", 2));
  expect(record()).toMatchObject({ operation: "update", highWater: 5, chunks: 2 });
  await save(world, { id: "a", operation: "delete" });
  await workAll(world);
  expect(visible(world)).toEqual({});
  expect(record()).toMatchObject({ operation: "delete", status: "completed", text: null });
});

test("the same content is no job, another one is, and of 100 edits the last stays", async () => {
  await save(world, { id: "a", text: "one" });
  expect(await save(world, { id: "a", text: "one" })).toMatchObject({
    items: [{ outcome: "unchanged", job: null }],
  });
  await workAll(world);
  expect(await save(world, { id: "a", text: "one" })).toMatchObject({ items: [{ outcome: "unchanged" }] });
  const edits = Array.from({ length: 100 }, (_, i) => `edit ${i}`);
  for (const text of edits) await save(world, { id: "a", text });
  expect(await workAll(world)).toMatchObject({ completed: 1, left: 0 });
  expect(visible(world).a).toEqual(["edit 99"]);
  expect(world.embedded).toEqual(["one", "edit 99"]);
  expect(await world.table.readCounts(record().collectionId)).toMatchObject({
    saved: 101,
    completed: 2,
    superseded: 99,
  });
});

test("where the source orders, an older version is stale and the same one no job", async () => {
  world = await jobWorld({ ordering: "source" });
  const outcome = async (version: number, text: string) =>
    (await save(world, { id: "a", text, version })).items[0]!.outcome;
  expect(await outcome(10, "ten")).toBe("saved");
  expect(await outcome(9, "nine")).toBe("stale");
  expect(await outcome(10, "ten")).toBe("unchanged");
  expect(await outcome(10, "another")).toBe("stale");
  expect(await outcome(11, "ten")).toBe("saved");
  await expect(save(world, { id: "b", text: "x" })).rejects.toMatchObject({ kind: "invalid" });
});

test("a bad item refuses the call, with what is wrong named, and nothing is saved", async () => {
  const items = [
    { id: "good", text: "x" },
    { id: "a\u0000", text: "x" },
    { id: "b" },
    { id: "c", text: " \n" },
    { id: "d", text: "x", metadata: { item: "mine", deep: {} } },
    { id: "e", text: "x", priority: "urgent", colour: 1 },
    { id: "f", text: "x".repeat(4 * 2 ** 20 + 1) },
    { id: "good", text: "y" },
  ];
  const error = await save(world, ...items).then(
    () => null,
    (thrown: SiltstoneError) => thrown,
  );
  expect(error?.kind).toBe("invalid");
  expect(error?.problems.map(({ index, field }) => [index, field])).toEqual(
    expect.arrayContaining([
      [1, "id"],
      [2, "text"],
      [3, "text"],
      [4, "metadata.item"],
      [4, "metadata.deep"],
      [5, "priority"],
      [5, "colour"],
      [6, "text"],
      [7, "id"],
    ]),
  );
  expect(world.table.all).toEqual([]);
});

test.each<[RefusalKind, object]>([
  ["throttled", { status: "pending", attempts: 0 }],
  ["outage", { status: "pending", attempts: 0 }],
  ["broken", { status: "pending", attempts: 1 }],
  ["denied", { status: "pending", attempts: 1 }],
  ["input", { status: "failed", attempts: 1 }],
])("a provider that answers %s", async (kind, expected) => {
  await save(world, { id: "a", text: "bad text" }, { id: "b", text: "good text" });
  world.provider = refusing(kind, /bad/);
  await workAll(world);
  expect(record("a")).toMatchObject({ ...expected, error: { kind } });
  expect(record("b").status).toBe("completed");
});

test("a job that fails runs exactly as often as it may, later each time; --force begins anew", async () => {
  await save(world, { id: "a", text: "x" });
  world.provider = refusing("broken");
  const waits: number[] = [];
  for (let run = 1; run <= 3; run++) {
    expect(record().attempts).toBe(run - 1);
    await workAll(world);
    waits.push(record().scheduledAtMs - world.clock.nowMs());
    world.memory.clock.advance(10 * minute);
    await sweep(world, {});
  }
  expect(record()).toMatchObject({ status: "failed", attempts: 3, error: { kind: "broken" } });
  expect(waits[1]).toBe(2 * waits[0]!);
  world.provider = null;
  expect(await workAll(world)).toMatchObject({ completed: 0 });
  await expect(retryJob(world, record(), { force: false })).rejects.toMatchObject({ kind: "conflict" });
  await retryJob(world, record(), { force: true });
  expect(await workAll(world)).toMatchObject({ completed: 1 });
  expect(visible(world).a).toEqual(["x"]);
});

test("throttling for ten minutes loses nothing, counts no attempt, and embeds nothing twice", async () => {
  const items = Array.from({ length: 40 }, (_, i) => ({ id: `i${i}`, text: `text ${i}` }));
  await save(world, ...items);
  world.provider = refusing("throttled");
  for (let passed = 0; passed < 10; passed++) {
    await workAll(world);
    world.memory.clock.advance(minute);
    await sweep(world, {});
  }
  world.provider = null;
  expect(await workAll(world)).toMatchObject({ completed: 40 });
  expect(world.table.all.every(({ attempts }) => attempts === 1)).toBe(true);
  expect([...world.embedded].sort()).toEqual(items.map(({ text }) => text).sort());
});

test("a worker that dies leaves its jobs to the next, after the lease; one that dies for ever fails its job", async () => {
  await save(world, { id: "a", text: "x" });
  world.provider = () => Promise.reject(new Error("killed"));
  const { swap } = world.table;
  for (let death = 1; death <= 9; death++) {
    world.table.swap = async (seen, next) =>
      next.status === "processing"
        ? swap.call(world.table, seen, next)
        : Promise.reject(new SiltstoneError("unavailable", "dead"));
    await expect(workAll(world)).rejects.toThrow("dead");
    world.table.swap = swap;
    await sweep(world, {});
    expect(await workAll(world)).toMatchObject({ completed: 0, failed: 0 });
    world.memory.clock.advance(31 * minute);
    await sweep(world, {});
  }
  await workAll(world);
  expect(record()).toMatchObject({ status: "failed", error: { kind: "died" } });
  world.provider = null;
  await retryJob(world, record(), { force: true });
  expect(await workAll(world)).toMatchObject({ completed: 1 });
});

test("a lost message is no lost item: the sweep wakes it, once in a while", async () => {
  world.wake.failure = new SiltstoneError("unavailable", "no queue");
  expect(await save(world, { id: "a", text: "x" })).toMatchObject({ notified: false });
  world.wake.failure = null;
  expect(await sweep(world, {})).toMatchObject({ woken: 0 });
  world.memory.clock.advance(11 * minute);
  expect(await sweep(world, {})).toMatchObject({ woken: 1 });
  expect(await sweep(world, {})).toMatchObject({ woken: 0 });
  expect(await workAll(world)).toMatchObject({ completed: 1 });
});

test("a job that is cancelled, superseded or deleted while it runs puts nothing, and its neighbours land", async () => {
  await save(
    world,
    { id: "a", text: "a1" },
    { id: "b", text: "b1" },
    { id: "c", text: "c1" },
    { id: "d", text: "d1" },
  );
  world.provider = async (_, texts) => {
    world.provider = null;
    await save(world, { id: "a", text: "a2" });
    await save(world, { id: "b", operation: "delete" });
    await cancelJob(world, record("c"));
    return { outcomes: texts.map(() => new Float32Array([1, 0, 0, 0])), tokens: null };
  };
  expect(await workAll(world)).toMatchObject({ completed: 1, superseded: 3 });
  expect(visible(world)).toEqual({ d: ["d1"] });
  expect(record("c")).toMatchObject({ status: "cancelled", highWater: 0 });
  expect(await workAll(world)).toMatchObject({ completed: 2 });
  expect(visible(world)).toEqual({ a: ["a2"], d: ["d1"] });
});

test("a user's later write of a chunk's record stands, and a later save replaces it", async () => {
  await save(world, { id: "a", text: "x" });
  const versionOfSave = record().version;
  await workAll(world);
  world.memory.clock.advance(5);
  await produce(world.memory, { collection: "notes", deletes: [rowsOf(world)[0]!.id] });
  expect(visible(world)).toEqual({});
  world.memory.clock.advance(5);
  await save(world, { id: "a", text: "y" });
  expect(record().version).toBeGreaterThan(versionOfSave);
  await workAll(world);
  expect(visible(world).a).toEqual(["y"]);
});

test("a large text lies on S3 for as long as it is the newest, and not beside a small one", async () => {
  const texts = () => world.memory.store.keys("notes/texts/");
  const large = textOf("large", 12);
  await save(world, { id: "a", text: large });
  expect(texts()).toHaveLength(1);
  expect(JSON.stringify(record()).length).toBeLessThan(1_000);
  await save(world, { id: "a", text: large });
  expect(texts()).toHaveLength(1);
  await workAll(world);
  expect(visible(world).a!.join("")).toBe(large);
  await save(world, { id: "a", text: `${large}!` });
  expect(texts()).toHaveLength(1);
  await save(world, { id: "a", text: "small" });
  expect(texts()).toEqual([]);
  await workAll(world);
  expect(visible(world).a).toEqual(["small"]);
});

test("pause leaves what waits, stop gives back what runs, and both act between two provider calls", async () => {
  await changeSettings(world, { batchItems: 1 }, "test");
  await save(world, ...["a", "b", "c"].map((id) => ({ id, text: id })));
  world.provider = async (_, texts) => {
    world.memory.clock.advance(3_000);
    await changeSettings(world, { state: "stopped" }, "test");
    return { outcomes: texts.map(() => new Float32Array([1, 0, 0, 0])), tokens: null };
  };
  expect(await workAll(world)).toMatchObject({ completed: 1, postponed: 2 });
  world.memory.clock.advance(3_000);
  expect(await sweep(world, {})).toMatchObject({ woken: 0 });
  await save(world, { id: "d", text: "d" });
  expect(await workAll(world)).toMatchObject({ left: 1 });
  world.provider = null;
  await changeSettings(world, { state: "running" }, "test");
  world.memory.clock.advance(3_000);
  expect(await sweep(world, { all: true })).toMatchObject({ woken: 3 });
  expect(await workAll(world)).toMatchObject({ completed: 3 });
  expect((await world.table.audit(10)).map(({ what }) => what)).toEqual([
    "settings: state = running",
    "settings: state = stopped",
    "settings: batchItems = 1",
  ]);
});

test("a run begins no batch for which it has no time, and gives the rest back", async () => {
  await changeSettings(world, { batchItems: 2 }, "test");
  await save(world, ...["a", "b", "c", "d", "e"].map((id) => ({ id, text: id })));
  const untilMs = world.clock.nowMs() + 25_000;
  world.provider = async (_, texts) => {
    world.memory.clock.advance(10_000);
    return { outcomes: texts.map(() => new Float32Array([1, 0, 0, 0])), tokens: null };
  };
  expect(await workAll(world, untilMs)).toMatchObject({ completed: 4, postponed: 1 });
  expect(world.table.all.filter(({ status }) => status === "pending")).toMatchObject([{ attempts: 0 }]);
});

test("jobs of a collection that was deleted are cancelled, those of the one that was made again are its own", async () => {
  await save(world, { id: "a", text: "x" });
  await deleteCollection(world.store, "notes");
  expect(await workAll(world)).toMatchObject({ completed: 0, superseded: 1 });
  expect(record()).toMatchObject({ status: "cancelled", error: { kind: "notFound" } });
});

test("a run that slept for over 15 minutes between recording and writing puts nothing", async () => {
  await save(world, { id: "a", text: "x" });
  const { swap } = world.table;
  world.table.swap = async (seen, next) => {
    const isSwapped = await swap.call(world.table, seen, next);
    if (next.highWater > (seen?.highWater ?? 0)) world.memory.clock.advance(16 * minute);
    return isSwapped;
  };
  expect(await workAll(world)).toMatchObject({ completed: 0, postponed: 1 });
  expect(rowsOf(world)).toEqual([]);
  expect(record()).toMatchObject({ status: "pending", attempts: 0, highWater: 1 });
});

test("a record goes when nothing can be left of its chunks, and not before", async () => {
  await save(world, { id: "a", text: "x" });
  expect(expiryMs(record())).toBeNull();
  await workAll(world);
  expect(expiryMs(record())).toBeNull();
  await save(world, { id: "a", operation: "delete" });
  expect(expiryMs(record())).toBeNull();
  await workAll(world);
  expect(expiryMs(record())).toBeGreaterThan(world.clock.nowMs() + 30 * 86_400_000);
  world.memory.clock.advance(41 * 86_400_000);
  expect(world.table.all).toEqual([]);
});
