/** Deltas made to take a process: small on S3, and of any size in the memory of their readers. */
import { decodeDelta, encodeDelta } from "../../lib/core/format/delta.ts";
import type { DeltaHeader } from "../../lib/core/format/delta-header.ts";
import { deltaKey } from "../../lib/core/format/keys.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import type { DeltaRow } from "../../lib/core/model/row.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { listQuarantine } from "../../lib/engine/shard/quarantine.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { memoryWorld } from "../support/memory/world.ts";
import { type Craft, craftDelta, craftNulls } from "./crafted-delta.ts";

const mebibyte = 1024 * 1024;
const at = { key: "docs/0/deltas/x.arrow", delta: deltaId("01JD0000000000000000000001") };
const header: DeltaHeader = {
  collection: "docs",
  collectionId: "01JD0000000000000000000000",
  shard: 0,
  embeddingVersion: "1",
  dims: 2,
  producer: "elsewhere",
  createdAtMs: 1_732_000_000_000,
};
const row = (more: Partial<DeltaRow> = {}): DeltaRow => ({
  id: "a",
  version: 1,
  vector: Float32Array.of(1, 2),
  document: null,
  metadata: null,
  ...more,
});
const large = (bytes: number) => "x".repeat(bytes);

/** Why it is refused, how long that took, and by how much memory grew at most. */
function refusal(bytes: Uint8Array): { reason: string; milliseconds: number; grown: number } {
  const before = process.memoryUsage().rss;
  const startedMs = performance.now();
  let reason = "read";
  try {
    decodeDelta(bytes, at);
  } catch (error) {
    reason = (error as Error).message;
  }
  return { reason, milliseconds: performance.now() - startedMs, grown: process.memoryUsage().rss - before };
}

test("a crafted footer that says nothing new is read like the one it stands for", () => {
  const good = encodeDelta(header, [row(), row({ id: "b", vector: null })]);
  expect(decodeDelta(craftDelta(good, {}), at)).toEqual(decodeDelta(good, at));
  const shared = { text: "a note for whom it may concern", entries: 40 };
  expect(decodeDelta(craftDelta(good, { shared }), at)).toEqual(decodeDelta(good, at));
});

test.each<[string, Craft, RegExp]>([
  [
    "one text of 8 MB, named 448 times",
    { shared: { text: large(8e6), entries: 54 } },
    /its footer has 80\d+ bytes/,
  ],
  [
    "a text of 100 KiB, named 800 times",
    { shared: { text: large(100 * 1024), entries: 50 } },
    /names texts of/,
  ],
  [
    "column names that are one long text",
    { shared: { text: large(200_000), entries: 0 }, sharedAs: "column names" },
    /names texts of/,
  ],
  [
    "a type with a text of its own",
    { shared: { text: large(1000), entries: 0 }, sharedAs: "time zones" },
    /of Arrow type/,
  ],
  ["a footer that is mostly padding", { padding: 300_000 }, /its footer has 30\d+ bytes/],
  ["more entries than a delta needs", { shared: { text: "x", entries: 60 } }, /too many metadata entries/],
])("metadata: %s", (_, craft, reason) => {
  const crafted = craftDelta(encodeDelta(header, [row()]), craft);
  const refused = refusal(crafted);
  expect(refused.reason).toMatch(reason);
  expect(refused.reason.length).toBeLessThan(300);
  expect(refused.milliseconds).toBeLessThan(500);
  expect(refused.grown).toBeLessThan(64 * mebibyte);
});

test("one body of 16 MiB, named by 1,024 batches, is not decoded to 16 GiB", () => {
  const rows = Array.from({ length: 64 }, (_, i) => row({ id: `r${i}`, document: large(256 * 1024 - i) }));
  const good = encodeDelta(header, rows);
  for (const batchTimes of [2, 1024]) {
    const count = String(rows.length * batchTimes);
    const refused = refusal(craftDelta(good, { batchTimes, header: { "siltstone.count": count } }));
    expect(refused.reason).toMatch("record batch 1: its buffers name bytes that others have named already");
    expect(refused.milliseconds).toBeLessThan(500);
  }
});

test.each(["document", "metadata"] as const)(
  "a count of nulls that lies about %s does not make every row as long as the file",
  (column) => {
    const rows = Array.from({ length: 8_000 }, (_, i) =>
      row({ id: `r${i}`, [column]: i === 0 ? null : `{"a":"${large(1_000)}"}` }),
    );
    const refused = refusal(craftNulls(encodeDelta(header, rows), column));
    // 8,000 rows of 8 MB each would be read for the digest.
    expect(refused.reason).toBe(`${at.key} is corrupt: column ${column} is shorter than its rows`);
    expect(refused.milliseconds).toBeLessThan(1_000);
  },
);

test("a small file with many rows, and more rows than a delta has in all its batches", () => {
  const rows = Array.from({ length: 40_000 }, (_, i) => row({ id: `${i}` }));
  const crafted = craftDelta(encodeDelta(header, rows), {
    batchTimes: 2,
    header: { "siltstone.count": "80000" },
  });
  expect(refusal(crafted).reason).toMatch("beyond the 65536 rows that are allowed in all");
});

test("metadata of 30 MB, whether JSON or not, is refused by its length before anything parses it", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  const shard = { collection: "docs", shard: 0 };
  const mine = { ...header, collectionId: collection.id, createdAtMs: world.clock.nowMs() };
  const bad: string[] = [];
  for (const metadata of [
    `{"a":1}${" ".repeat(30e6)}`,
    "[".repeat(30e6),
    `{"a":${"1".repeat(30e6)}}`,
    `{${" ".repeat(41_000)}}`,
  ]) {
    const delta = world.clock.ulid();
    await world.store.put(deltaKey(shard, deltaId(delta)), encodeDelta(mine, [row({ metadata })]));
    bad.push(delta);
  }
  await produce(world, { collection: "docs", records: [{ id: "good", vector: [1, 2] }] });
  const startedMs = performance.now();
  const [report] = (await compact(world, { ingest: true, upkeep: false, deadlineMs: 9e15 })).shards;
  expect(performance.now() - startedMs).toBeLessThan(5_000);
  expect(report).toMatchObject({ ingest: { outcome: "done", deltas: 1, quarantined: 4 } });
  const aside = await listQuarantine(world.store, shard);
  expect(aside.map(({ delta }) => delta)).toEqual(bad);
  for (const { reason } of aside) expect(reason).toMatch(/metadata has \d+ bytes; at most 40960 are allowed/);
});

test("a strong read refuses it by the same rules, and says which delta it is", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  const mine = { ...header, collectionId: collection.id, createdAtMs: world.clock.nowMs() };
  const delta = world.clock.ulid();
  const crafted = craftDelta(encodeDelta(mine, [row()]), { shared: { text: large(8e6), entries: 54 } });
  await world.store.put(deltaKey({ collection: "docs", shard: 0 }, deltaId(delta)), crafted);
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  await expect(reader.count({ collection: "docs", consistency: "strong" })).rejects.toMatchObject({
    kind: "corrupt",
    message: expect.stringMatching(`${delta}.arrow is corrupt: its footer has`),
  });
  await compact(world, { ingest: true, upkeep: false, deadlineMs: 9e15 });
  expect((await reader.count({ collection: "docs", consistency: "strong" })).count).toBe(0);
  await reader.close();
});

test("a producer's name is bounded before it is written", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  const call = { collection: "docs", records: [{ id: "a", vector: [1, 2] }] };
  await expect(produce(world, { ...call, producer: large(1025) })).rejects.toMatchObject({
    kind: "invalid",
    message: "producer: has 1025 bytes; at most 1024 are allowed",
  });
  expect(world.store.keys("docs/0/deltas/")).toEqual([]);
  expect((await produce(world, { ...call, producer: "ü".repeat(512) })).written).toBe(1);
});
