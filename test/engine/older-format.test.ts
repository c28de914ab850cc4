/**
 * ENV-4: test/golden/shard-v1.json.gz holds every object of a shard as the first code of format 1 wrote them, in November
 * 2026: a graph with clusters.bin, a flat segment with tombstones, three manifests, a pin, a delta that waits and one that
 * was put aside. Every later version reads it, and goes on from it. It is never written again.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { snapshotVersion } from "../../lib/core/model/ids.ts";
import { mergeLimits } from "../../lib/core/policy/merge-plan.ts";
import { collectGarbage } from "../../lib/engine/compact/collect-garbage.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { merge } from "../../lib/engine/compact/merge.ts";
import { repairPointer } from "../../lib/engine/operate/repair.ts";
import { rollback } from "../../lib/engine/operate/rollback.ts";
import { verify } from "../../lib/engine/operate/verify.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { readCollection, readHead } from "../../lib/engine/shard/head.ts";
import { listPins } from "../../lib/engine/shard/history.ts";
import { listQuarantine } from "../../lib/engine/shard/quarantine.ts";
import { defaultRetention } from "../../lib/engine/shard/retention.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { memoryWorld } from "../support/memory/world.ts";

const name = "golden";
const ref = { collection: name, shard: 0 };
const hour = 3_600_000;
const vectorOf = (n: number): number[] =>
  Array.from({ length: 8 }, (_, i) => Math.sin(n * 7.3 + i * 1.7 + 1));
/** What was ingested: r4 is deleted, r3 has a new document, r60 came later. Waiting: r61, and the delete of r5. */
const ingested = Array.from({ length: 61 }, (_, n) => n).filter((n) => n !== 4);
const all = [...ingested.filter((n) => n !== 5), 61];
const documentOf = (n: number): string => (n === 3 ? "document 3, again" : `document ${n} Ω`);
const recordOf = (n: number) => ({
  id: `r${n}`,
  document: documentOf(n),
  metadata: { kind: n % 3 === 0 ? "fizz" : "plain", n, tags: [`t${n % 4}`] },
});

async function older() {
  const packed = readFileSync(join(import.meta.dirname, "../golden/shard-v1.json.gz"));
  const { nowMs, objects } = JSON.parse(gunzipSync(packed).toString("utf8")) as {
    nowMs: number;
    objects: Record<string, string>;
  };
  const world = memoryWorld();
  world.clock.advance(nowMs - world.clock.nowMs());
  for (const [key, body] of Object.entries(objects)) await world.store.put(key, Buffer.from(body, "base64"));
  const collection = await readCollection(world.store, name);
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  return { world, collection, reader };
}
type Older = Awaited<ReturnType<typeof older>>;

async function expectRecords(
  { reader }: Older,
  numbers: readonly number[],
  consistency: "strong" | "eventual",
) {
  const ids = Array.from({ length: 63 }, (_, n) => `r${n}`);
  const include = ["document", "metadata", "vector"] as const;
  const { records } = await reader.get({ collection: name, ids, consistency, include: [...include] });
  expect(records.map(({ id, document, metadata }) => ({ id, document, metadata }))).toEqual(
    numbers.map(recordOf),
  );
  for (const [i, { vector }] of records.entries())
    expect([...vector!]).toEqual([...new Float32Array(vectorOf(numbers[i]!))]);
  const fizz = { collection: name, consistency, filter: { kind: "fizz" } } as const;
  expect((await reader.count(fizz)).count).toBe(numbers.filter((n) => n % 3 === 0).length);
  const query = { collection: name, consistency, vector: vectorOf(20), topK: 3 };
  expect((await reader.query(query)).results[0]).toMatchObject({ id: "r20", score: 1 });
}

test("the shard is read: cold, from its graph, with its backlog laid over it, and proved", async () => {
  const there = await older();
  const { world, collection, reader } = there;
  const cold = await reader.query({ collection: name, vector: vectorOf(7), topK: 1 });
  expect(cold).toMatchObject({ cold: true, results: [{ id: "r7" }] });
  await expectRecords(there, ingested, "eventual");
  await expectRecords(there, all, "strong");
  expect((await verify(world, collection, 0)).faults).toEqual([]);
  expect(await listQuarantine(world.store, ref)).toHaveLength(1);
  expect(await listPins(world.store, ref)).toMatchObject([{ name: "kept", version: 2 }]);
  await reader.close();
});

test("the shard goes on: deltas are ingested, segments merged, garbage collected, versions rolled back, the pointer repaired", async () => {
  const there = await older();
  const { world, collection, reader } = there;
  const ingest = () =>
    compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });
  expect((await ingest()).shards).toMatchObject([{ ingest: { outcome: "done", deltas: 1, version: 4 } }]);
  await expectRecords(there, all, "eventual");
  await produce(world, { collection: name, records: [{ ...recordOf(62), vector: vectorOf(62) }] });
  await ingest();
  const limits = { ...mergeLimits, flatSegmentsMax: 0, flatRowsMax: 1, growth: 1, clusteredComponentsMin: 1 };
  await merge(world, collection, 0, { deadlineMs: world.clock.nowMs() + hour, limits });
  const { manifest } = await readHead(world.store, collection, 0);
  expect(manifest.segments.map(({ kind }) => kind)).not.toContain("flat");
  await expectRecords(there, [...all, 62], "eventual");
  world.clock.advance(40 * 24 * hour);
  const collected = await collectGarbage(world, collection, 0, {
    retention: { ...defaultRetention, versionsKept: 1 },
  });
  expect(collected).toMatchObject({ outcome: "done" });
  expect((await verify(world, collection, 0)).faults).toEqual([]);
  await expectRecords(there, [...all, 62], "eventual");

  // Version 2 is there for its pin alone.
  await rollback(world, collection, 0, snapshotVersion(2));
  expect((await reader.count({ collection: name })).count).toBe(60);
  await world.store.delete([`${name}/0/pointer.json`]);
  await repairPointer(world, collection, 0);
  expect((await reader.count({ collection: name, consistency: "strong" })).count).toBe(60);
  expect((await verify(world, collection, 0)).faults).toEqual([]);
  await reader.close();
});
