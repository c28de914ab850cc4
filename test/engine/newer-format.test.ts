/**
 * ENV-4: what newer code has written is left alone, reported as that, and never put aside or called damage: a fleet that is
 * upgraded one function after the other loses nothing from sight.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Table, tableFromIPC, tableToIPC } from "apache-arrow";
import { encodeCollection } from "../../lib/core/format/collection-json.ts";
import {
  collectionKey,
  deltaKey,
  pinKey,
  pointerKey,
  type SegmentFile,
  segmentKey,
} from "../../lib/core/format/keys.ts";
import { encodeManifest, type FileEntry, type Manifest } from "../../lib/core/format/manifest.ts";
import { encodePointer, pointerTo } from "../../lib/core/format/pointer.ts";
import { encodeSealed } from "../../lib/core/format/sealed-json.ts";
import { encodeToken } from "../../lib/core/format/token.ts";
import { commitId, deltaId, segmentId, snapshotVersion } from "../../lib/core/model/ids.ts";
import { ulidFloor } from "../../lib/core/model/ulid.ts";
import { createCollection, deleteCollection } from "../../lib/engine/catalog/collections.ts";
import { collectGarbage } from "../../lib/engine/compact/collect-garbage.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { merge } from "../../lib/engine/compact/merge.ts";
import { summarizeRun } from "../../lib/engine/compact/run-summary.ts";
import { repairPointer } from "../../lib/engine/operate/repair.ts";
import { rollback } from "../../lib/engine/operate/rollback.ts";
import { verify } from "../../lib/engine/operate/verify.ts";
import type { World } from "../../lib/engine/ports.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import { listQuarantine } from "../../lib/engine/shard/quarantine.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { effects } from "../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../support/memory/world.ts";

const name = "docs";
const ref = { collection: name, shard: 0 };
const hour = 3_600_000;
/** A merge makes a graph of more than 20 rows, with clusters. */
const limits = {
  ...{ flatSegmentsMax: 1, flatRowsMax: 20, growth: 1, deadShareMax: 0.25, staleMsMax: 1e15 },
  ...{ uncountedMsMax: 1e15, segmentComponentsMax: 1e9, clusteredComponentsMin: 1, segmentWeightMax: 1e9 },
};
const newer = {
  kind: "unavailable",
  message: expect.stringMatching(
    /has format (?:2 and this version reads 1|3 and this version reads 2): newer code wrote it.*upgrade/,
  ),
};

async function prepare() {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name, dims: 2, metric: "l2" });
  const write = async (id: string, into = name) =>
    (await produce(world, { collection: into, records: [{ id, vector: [1, 2] }] })).deltas[0]!.delta;
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  return { world, collection, write, reader };
}
const run = async (world: World, upkeep = false) =>
  compact(world, { ingest: true, upkeep, deadlineMs: world.clock.nowMs() + hour });
const count = async (reader: Reader, more: object = {}) =>
  (await reader.count({ collection: name, ...more })).count;
const cold = (world: MemoryWorld) =>
  new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });

/** A delta as format 2 might be: other columns, and its number where every format has it. */
function deltaOfFormat2(): Buffer {
  const table = tableFromIPC(readFileSync(join(import.meta.dirname, "../golden/delta-v1.arrow"))).select([
    "id",
    "op",
  ]);
  table.schema.metadata.set("siltstone.format", "2");
  return Buffer.from(tableToIPC(new Table(table.schema, table.batches), "file"));
}

test("a delta of a newer format waits: others are ingested past it, it is never late, and promises say why they cannot be kept", async () => {
  const { world, collection, write, reader } = await prepare();
  const first = await write("first");
  const known = Buffer.from(world.store.bytes(deltaKey(ref, first))!);
  await run(world);
  // The first name of its millisecond, too.
  const waiting = [world.clock.ulid(), ulidFloor(world.clock.nowMs())].sort();
  world.clock.advance(5);
  for (const delta of waiting) await world.store.put(deltaKey(ref, deltaId(delta)), deltaOfFormat2());
  for (let i = 0; i < 5; i++) {
    await write(`r${i}`);
    const [shard] = (await run(world, true)).shards;
    expect(shard).toMatchObject({ ingest: { outcome: "done", deltas: 1, quarantined: 0, pending: waiting } });
    expect(shard!.error).toBeUndefined();
    expect(shard!.ingest!.left).toEqual(waiting.map((delta) => ({ delta, reason: newer.message })));
    world.clock.advance(7 * hour);
    expect((await collectGarbage(world, collection, 0)).lateDeltas).toEqual([]);
  }
  // Alone, they are not a failure of a run, and are reported.
  const report = await run(world);
  expect(report.shards[0]!.error).toBeUndefined();
  const summary = summarizeRun(report, { source: "scheduled", startMs: 0, endMs: 1 });
  expect(summary.shards[0]).toMatchObject({ left: { deltas: 2, reason: newer.message } });
  expect(await listQuarantine(world.store, ref)).toEqual([]);
  for (const delta of waiting) expect(world.store.bytes(deltaKey(ref, deltaId(delta)))).not.toBeNull();
  const { manifest } = await readHead(world.store, collection, 0);
  expect(manifest.watermark < waiting[0]!).toBe(true);

  expect(await count(reader)).toBe(6);
  const token = encodeToken({
    collection: name,
    collectionId: collection.id,
    deltas: [{ shard: 0, delta: deltaId(waiting[0]!) }],
  });
  await expect(count(reader, { consistency: "strong" })).rejects.toMatchObject(newer);
  await expect(count(reader, { atLeast: [token] })).rejects.toMatchObject(newer);

  // Code that knows the format: the same objects read as what they are.
  await write("last");
  const { store } = effects(world, () => undefined);
  const upgraded: World = {
    ...world,
    store: {
      ...store,
      getBounded: async (key, bytesMax) =>
        waiting.some((delta) => key.includes(delta))
          ? { kind: "found", body: Buffer.from(known), modifiedMs: world.clock.nowMs() }
          : store.getBounded(key, bytesMax),
    },
  };
  expect((await run(upgraded)).shards[0]).toMatchObject({ ingest: { deltas: 3, pending: [] } });
  expect(await count(reader, { consistency: "strong" })).toBe(7);
  await reader.close();
});

const nextOf = (manifest: Manifest, { clock }: World): Manifest => ({
  ...manifest,
  version: snapshotVersion(manifest.version + 1),
  parent: { version: manifest.version, commit: manifest.commit },
  commit: commitId(clock.ulid()),
});

/** Publishes a version that newer code has made: everything in order, but for the number. */
async function publishNewer(world: MemoryWorld, change: (manifest: Manifest) => Manifest): Promise<void> {
  const collection = (await createCollection(world, { name, dims: 2, metric: "l2" })).collection;
  const { manifest, pointer } = await readHead(world.store, collection, 0);
  const next = change(nextOf(manifest, world));
  const moved = pointerTo(next, pointer.floor);
  await world.store.put(moved.manifest!, encodeManifest(next));
  await world.store.put(pointerKey(ref), encodePointer(moved));
}

/**
 * Publishes the newest segment under a new name, with one file as newer code might have written it. Where its layout is not told
 * by a number in the file, `more` has the manifest's.
 */
async function publishFile(
  world: MemoryWorld,
  file: SegmentFile,
  change: (body: Buffer) => { body: Buffer; head?: FileEntry },
  more: object = {},
): Promise<string> {
  const { collection } = await createCollection(world, { name, dims: 2, metric: "l2" });
  const { manifest } = await readHead(world.store, collection, 0);
  const before = manifest.segments.at(-1)!;
  const id = segmentId(world.clock.ulid());
  for (const one of Object.keys(before.files) as SegmentFile[])
    await world.store.put(segmentKey(ref, id, one), world.store.bytes(segmentKey(ref, before.id, one))!);
  const { body, head } = change(world.store.bytes(segmentKey(ref, before.id, file)) ?? Buffer.alloc(0));
  const key = segmentKey(ref, id, file);
  await world.store.put(key, body);
  const files = { ...before.files, [file]: { ...entryOf(body), ...(head && { head }) } };
  const segments = [...manifest.segments.slice(0, -1), { ...before, id, files }];
  await publishNewer(world, (next) => ({ ...next, segments, ...more }) as Manifest);
  return key;
}
const entryOf = (body: Buffer): FileEntry => ({
  bytes: body.length,
  sha256: createHash("sha256").update(body).digest("hex"),
});

test.each<[string, (world: MemoryWorld) => Promise<unknown>]>([
  [
    "a manifest",
    (world) => publishNewer(world, (manifest) => ({ ...manifest, format: 2 }) as unknown as Manifest),
  ],
  [
    "a pointer",
    async (world) => {
      const collection = (await createCollection(world, { name, dims: 2, metric: "l2" })).collection;
      const { pointer } = await readHead(world.store, collection, 0);
      await world.store.put(
        pointerKey(ref),
        encodeSealed({ ...pointer, format: 2, version: pointer.version + 1 }),
      );
    },
  ],
  [
    "a records.db",
    (world) =>
      publishFile(world, "records.db", (body) => {
        const path = join(mkdtempSync(join(tmpdir(), "newer-")), "records.db");
        writeFileSync(path, body);
        const db = new DatabaseSync(path);
        db.exec("PRAGMA user_version = 2");
        db.close();
        return { body: readFileSync(path) };
      }),
  ],
  // These two have no number of their own: the manifest that names them has a higher one.
  [
    "a vectors.f32",
    (world) =>
      publishFile(world, "vectors.f32", (body) => ({ body: body.subarray(body.length / 2) }), { format: 2 }),
  ],
  [
    "an index.hnsw",
    async (world) => {
      await publishFile(world, "index.hnsw", () => ({ body: Buffer.from("another graph") }), { format: 2 });
    },
  ],
])(
  "%s of a newer format: warm eventual reads go on, others and every write say why; nothing is touched",
  async (what, upgrade) => {
    const { world, collection, write, reader } = await prepare();
    await write("a");
    await run(world);
    expect(await count(reader)).toBe(1);
    await upgrade(world);
    const delta = await write("b");
    const before = world.store.keys().map((key) => [key, world.store.bytes(key)]);

    const answer = await reader.count({ collection: name });
    expect([answer.count, answer.warning]).toEqual([1, newer.message]);
    expect(await reader.health({})).toMatchObject({ status: "degraded" });
    await expect(count(reader, { consistency: "strong" })).rejects.toMatchObject(newer);
    await expect(count(reader, { consistency: "bounded", maxAgeSeconds: 0 })).rejects.toMatchObject(newer);
    const token = encodeToken({
      collection: name,
      collectionId: collection.id,
      deltas: [{ shard: 0, delta }],
    });
    await expect(count(reader, { atLeast: [token] })).rejects.toMatchObject(newer);
    const started = cold(world);
    await expect(count(started)).rejects.toMatchObject(newer);
    await started.close();
    if (what !== "a records.db") {
      expect((await run(world, true)).shards).toMatchObject([{ error: newer }]);
      await expect(rollback(world, collection, 0, snapshotVersion(1))).rejects.toMatchObject(newer);
      await expect(collectGarbage(world, collection, 0)).rejects.toMatchObject(newer);
      expect(world.store.keys().map((key) => [key, world.store.bytes(key)])).toEqual(before);
    }
    await expect(verify(world, collection, 0)).rejects.toMatchObject(newer);
    await reader.close();
  },
);

test("a clusters.bin of a newer format costs cold answers alone: reads and merges go on without it, and verify says why", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name, dims: 2, metric: "l2" });
  const write = async (first: number, count: number) => {
    const records = Array.from({ length: count }, (_, i) => ({
      id: `r${first + i}`,
      vector: [first + i, 1],
    }));
    await produce(world, { collection: name, records });
    await run(world);
  };
  const mergeAll = () => merge(world, collection, 0, { deadlineMs: world.clock.nowMs() + hour, limits });
  await write(0, 40);
  await mergeAll();
  const [segment] = (await readHead(world.store, collection, 0)).manifest.segments;
  const headBytes = segment!.files["clusters.bin"]!.head!.bytes;
  const key = await publishFile(world, "clusters.bin", (body) => {
    const text = body.toString("latin1").replace('"format":1', '"format":2');
    const changed = Buffer.from(text, "latin1");
    return { body: changed, head: entryOf(changed.subarray(0, headBytes)) };
  });
  const newest = Buffer.from(world.store.bytes(key)!);

  const reader = cold(world);
  const request = { collection: name, vector: [7, 1], topK: 2 };
  const answer = await reader.query(request);
  expect(answer.results.map(({ id }) => id)).toEqual(["r7", "r6"]);
  expect([answer.cold, answer.warning]).toEqual([undefined, undefined]);
  for (let i = 0; i < 3; i++) await write(40 + i, 1);
  expect(await mergeAll()).toMatchObject({ outcome: "done" });
  expect(await count(reader, { consistency: "strong" })).toBe(43);
  await expect(verify(world, collection, 0)).rejects.toMatchObject(newer);
  expect(await listQuarantine(world.store, ref)).toEqual([]);
  expect(world.store.bytes(key)).toEqual(newest);
  await reader.close();
});

test("a lost pointer is not repaired past a manifest of a newer format", async () => {
  const { world, collection, write } = await prepare();
  await write("a");
  await run(world);
  await publishNewer(world, (manifest) => ({ ...manifest, format: 2 }) as unknown as Manifest);
  await world.store.delete([pointerKey(ref)]);
  await expect(repairPointer(world, collection, 0)).rejects.toMatchObject(newer);
  expect(world.store.bytes(pointerKey(ref))).toBeNull();
});

test("a collection of a newer format is its own concern, and is no damage; a pin keeps everything", async () => {
  const { world, collection, write, reader } = await prepare();
  await createCollection(world, { name: "other", dims: 2, metric: "l2" });
  await write("a");
  await write("x", "other");
  await run(world);
  expect(await count(reader)).toBe(1);
  await world.store.put(pinKey(ref, "kept"), encodeSealed({ format: 2, name: "kept", version: 1 }));
  await expect(collectGarbage(world, collection, 0)).rejects.toMatchObject(newer);

  // A configuration never changes: a newer one under the name is another collection's.
  await deleteCollection(world.store, name);
  await world.store.put(
    collectionKey(name),
    encodeSealed({ ...collection, format: 3, id: world.clock.ulid() }),
  );
  await world.store.put(pointerKey(ref), encodeSealed({ format: 2, collection: name }));
  await expect(count(reader)).rejects.toMatchObject(newer);
  await expect(createCollection(world, { name, dims: 2, metric: "l2" })).rejects.toMatchObject(newer);
  await expect(produce(world, { collection: name, deletes: ["a"] })).rejects.toMatchObject(newer);
  await write("y", "other");
  const report = await run(world);
  expect(report.shards).toMatchObject([{ collection: "other", ingest: { deltas: 1 } }]);
  expect(report.faults).toMatchObject([{ part: "collection docs", ...newer }]);
  await reader.close();
});

test("a flipped byte makes no newer format of JSON, and a sealed one of no format is damage", async () => {
  const { world, collection } = await prepare();
  const key = collectionKey(name);
  const text = encodeCollection(collection).toString();
  await world.store.put(key, Buffer.from(text.replace('"format": 1', '"format": 3')));
  const started = cold(world);
  await expect(count(started)).rejects.toMatchObject({ kind: "corrupt" });
  for (const format of [0, 1.5, "2", null]) {
    await world.store.put(key, encodeSealed({ ...collection, format }));
    await expect(count(started)).rejects.toMatchObject({
      kind: "corrupt",
      message: expect.stringMatching("format version"),
    });
  }
  await started.close();
});
