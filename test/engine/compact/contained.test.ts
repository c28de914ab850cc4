/** CMP-4: what is damaged, or does not answer, concerns itself alone; the others are compacted, and the run says so. */

import { encodeCollection } from "../../../lib/core/format/collection-json.ts";
import { encodeSealed } from "../../../lib/core/format/sealed-json.ts";
import { newCollection } from "../../../lib/core/model/collection.ts";
import { SiltstoneError } from "../../../lib/core/model/errors.ts";
import {
  createCollection,
  deleteCollection,
  listCollections,
} from "../../../lib/engine/catalog/collections.ts";
import { type CompactReport, compact } from "../../../lib/engine/compact/compact.ts";
import { noteRun, summarizeRun } from "../../../lib/engine/compact/run-summary.ts";
import { shardStatus } from "../../../lib/engine/operate/status.ts";
import type { DeltaQueue } from "../../../lib/engine/ports.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { effects } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const dims = 2;
const run = (world: Parameters<typeof compact>[0], upkeep = false): Promise<CompactReport> =>
  compact(world, { ingest: true, upkeep, deadlineMs: 9e15 });
const create = (world: MemoryWorld, name: string, shards = 1) =>
  createCollection(world, { name, dims, metric: "l2", shards });
const write = (world: MemoryWorld, collection: string, ...ids: string[]) =>
  produce(world, { collection, records: ids.map((id) => ({ id, vector: [1, 2] })) });
const versionOf = async (world: MemoryWorld, name: string, shard = 0) => {
  const collection = (await listCollections(world.store)).collections.find((one) => one.name === name)!;
  return (await readHead(world.store, collection, shard)).manifest.version;
};

const sound = newCollection({ name: "a", dims, metric: "l2" }, "01ARZ3NDEKTSV4RRFFQ69G5FAV", 0);
const damages: readonly [string, string | Buffer][] = [
  ["{}", "{}"],
  ["text", "hello"],
  ["nothing", ""],
  ["null", "null"],
  ["a list", "[]"],
  ["cut off", encodeCollection(sound).subarray(0, 100)],
  ["of another name", encodeCollection({ ...sound, name: "b" })],
  ["of a newer format", encodeSealed({ ...sound, format: 7 })],
  ["without fields", encodeSealed({ ...sound, fields: null })],
  ["without a time", encodeSealed({ ...sound, createdAt: undefined })],
  ["one flipped bit", Buffer.from(encodeCollection(sound).map((byte, i) => (i === 40 ? byte ^ 1 : byte)))],
];

test.each(damages)(
  "a configuration that is damaged (%s) stops no other collection, and can be deleted",
  async (what, body) => {
    const kind = what === "of a newer format" ? "unavailable" : "corrupt";
    const world = memoryWorld();
    await world.store.put("a/collection.json", Buffer.from(body));
    await create(world, "docs");
    await write(world, "docs", "x");
    const listed = await listCollections(world.store);
    expect(listed.collections.map(({ name }) => name)).toEqual(["docs"]);
    expect(listed.unreadable).toMatchObject([{ name: "a", error: { kind } }]);

    // Also a message that names it is left alone: its delta may be there.
    const delta = world.clock.ulid();
    await world.queue.send(JSON.stringify({ format: 1, collection: "a", shard: 0, delta }));
    const report = await run(world, true);
    expect(report).toMatchObject({
      shards: [{ collection: "docs", ingest: { deltas: 1 } }],
      faults: [{ part: "collection a", kind, message: expect.stringContaining("a/collection.json") }],
      messages: { settled: 1, gone: 0, deadLettered: 0, left: 1 },
    });
    expect(report.shards[0]!.error).toBeUndefined();
    expect(await versionOf(world, "docs")).toBe(1);

    expect(await deleteCollection(world.store, "a")).toBe(1);
    expect(await deleteCollection(world.store, "a")).toBe(0);
    expect((await run(world)).faults).toEqual([]);
  },
);

test("a folder whose configuration is a folder is not a collection", async () => {
  const world = memoryWorld();
  await world.store.put("a/collection.json/x", Buffer.from("x"));
  await world.store.put("b/", Buffer.alloc(0));
  await create(world, "docs");
  await write(world, "docs", "x");
  expect(await run(world)).toMatchObject({ shards: [{ ingest: { deltas: 1 } }], faults: [] });
});

test("a configuration that cannot be fetched stops its collection alone", async () => {
  const world = memoryWorld();
  for (const name of ["a", "docs"]) {
    await create(world, name);
    await write(world, name, "x");
  }
  const failing = effects(world, ({ operation, key }, moment) =>
    operation === "get" && key === "a/collection.json" && moment === "before"
      ? { kind: "refuse" }
      : undefined,
  );
  expect(await run(failing)).toMatchObject({
    shards: [{ collection: "docs", ingest: { deltas: 1 } }],
    faults: [{ part: "collection a", kind: "unavailable" }],
    messages: { settled: 1, left: 1 },
  });
  world.queue.redeliver();
  expect(await run(world)).toMatchObject({ faults: [], messages: { settled: 1, left: 0 } });
});

test.each([
  ["pointer.json", /pointer\.json is corrupt/],
  ["manifests", /its sha256 is not the one in the pointer/],
])("a damaged %s is its shard's alone, in a run and in what is shown of it", async (object, message) => {
  const world = memoryWorld();
  const { collection } = await create(world, "docs", 3);
  const ids = Array.from({ length: 30 }, (_, i) => `r${i}`);
  await write(world, "docs", ...ids);
  await run(world);
  const [key] = world.store.keys("docs/1/").filter((one) => one.includes(object));
  world.store.bytes(key!)![40]! ^= 1;
  await write(world, "docs", ...ids);
  const report = await run(world, true);
  expect(report.shards.map(({ error }) => error?.kind)).toEqual([undefined, "corrupt", undefined]);
  expect(await versionOf(world, "docs", 0)).toBe(2);
  expect(await versionOf(world, "docs", 2)).toBe(2);
  const states = await Promise.all([0, 1, 2].map((shard) => shardStatus(world, collection, shard)));
  expect(states.map(({ faults }) => faults.length)).toEqual([0, 1, 0]);
  expect(states[1]).toMatchObject({
    snapshot: null,
    quarantined: 0,
    faults: [{ part: "snapshot", kind: "corrupt", message: expect.stringMatching(message) }],
  });
});

test("a damaged pin and a damaged segment are their shard's alone; merging that fails does not keep garbage collection from running", async () => {
  const world = memoryWorld();
  await create(world, "docs", 2);
  const ids = Array.from({ length: 30 }, (_, i) => `r${i}`);
  for (let n = 0; n < 12; n++) {
    await write(world, "docs", ...ids);
    await run(world);
  }
  await world.store.put("docs/0/pins/v1.json", Buffer.from("{}"));
  const [segment] = world.store.keys("docs/1/segments/").filter((key) => key.endsWith("records.db"));
  world.store.bytes(segment!)![99]! ^= 1;
  const { shards } = await run(world, true);
  expect(shards).toMatchObject([
    {
      shard: 0,
      merge: { merges: [{}] },
      error: { kind: "corrupt", message: expect.stringContaining("pins/v1.json") },
    },
    {
      shard: 1,
      collect: { outcome: "nothing" },
      error: { kind: "corrupt", message: expect.stringContaining(segment!) },
    },
  ]);
  // A message is not kept from being settled by what has nothing to do with its delta.
  expect(world.queue.bodies()).toEqual([]);
});

const queueParts: readonly [string, string, object][] = [
  ["queue: receive", "receive", { settled: 0, gone: 0, deadLettered: 0, left: 0 }],
  ["queue: delete", "delete", { settled: 0, gone: 0, deadLettered: 1, left: 2 }],
  ["dead-letter queue", "deadLetter", { settled: 2, gone: 0, deadLettered: 0, left: 0 }],
];
test.each(queueParts)(
  "%s fails: every shard is ingested, and the run says so",
  async (part, failing, messages) => {
    for (const how of ["unavailable", "uncertain"] as const) {
      const world = memoryWorld();
      for (const name of ["a", "b"]) {
        await create(world, name);
        await write(world, name, "x");
      }
      await world.queue.send("no JSON");
      let asked = 0;
      const broken: DeltaQueue = {
        send: (...bodies) => world.queue.send(...bodies),
        receive: () => world.queue.receive(),
        delete: (sent) => world.queue.delete(sent),
        deadLetter: (message, reason) => world.queue.deadLetter(message, reason),
        [failing]: () => {
          asked += 1;
          return Promise.reject(new SiltstoneError(how, `${failing} does not answer`));
        },
      };
      const report = await run({ ...world, queue: broken });
      expect(report).toMatchObject({
        shards: [{ ingest: { deltas: 1 } }, { ingest: { deltas: 1 } }],
        faults: [{ part, kind: how, message: `${failing} does not answer` }],
        messages,
      });
      expect(asked).toBe(1);
      // The messages come back, and find their deltas ingested.
      world.queue.redeliver();
      expect(await run(world)).toMatchObject({ faults: [], messages: { left: 0 } });
      expect(world.queue.bodies()).toEqual([]);
    }
  },
);

test("a lease that cannot be taken stops its shard alone; notes that fail stop no shard", async () => {
  const world = memoryWorld();
  for (const name of ["a", "b"]) {
    await create(world, name);
    await write(world, name, "x");
  }
  const failing = effects(world, ({ port, operation, key }, moment) =>
    moment === "before" && port === "leases" && (key.endsWith("a/0") || operation === "note")
      ? { kind: "refuse" }
      : undefined,
  );
  const report = await run(failing, true);
  expect(report).toMatchObject({
    shards: [
      { collection: "a", error: { kind: "unavailable", message: expect.stringContaining("ingest/a/0") } },
      { collection: "b", ingest: { deltas: 1 }, collect: { outcome: "nothing" } },
    ],
    messages: { settled: 1, left: 1 },
  });
  const summary = summarizeRun(report, { source: "manual", startMs: 0, endMs: 1 });
  await expect(noteRun(failing.leases, summary)).rejects.toMatchObject({ kind: "unavailable" });
  expect(await versionOf(world, "b")).toBe(1);
});

test("a lease table that does not answer hides nothing of what is on S3", async () => {
  const world = memoryWorld();
  const { collection } = await create(world, "docs");
  await write(world, "docs", "x");
  const silent = effects(world, ({ port }, moment) =>
    moment === "before" && port === "leases" ? { kind: "refuse" } : undefined,
  );
  const status = await shardStatus(silent, collection, 0);
  expect(status).toMatchObject({ snapshot: { version: 0 }, backlog: { deltas: 1 } });
  expect(status.faults.map(({ part, kind }) => `${part} ${kind}`).sort()).toEqual([
    "last run unavailable",
    "leases unavailable",
  ]);
});
