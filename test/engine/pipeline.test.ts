import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { verify } from "../../lib/engine/operate/verify.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { memoryWorld } from "../support/memory/world.ts";

const dims = 8;
const vectorOf = (n: number): number[] =>
  Array.from({ length: dims }, (_, i) => Math.sin(n * 7.3 + i * 1.7 + 1));

test("a record goes from the producer to an answer", async () => {
  const world = memoryWorld();
  const { collection } = await createCollection(world, {
    name: "docs",
    dims,
    metric: "cosine",
    fields: { kind: "string" },
  });
  const records = Array.from({ length: 50 }, (_, n) => ({
    id: `r${n}`,
    vector: vectorOf(n),
    document: `document ${n}`,
    metadata: { kind: n % 2 === 0 ? "even" : "odd" },
  }));
  const written = await produce(world, { collection: "docs", records });
  expect(written).toMatchObject({ written: 50, deleted: 0, notified: true });
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  await expect(reader.query({ collection: "docs", vector: vectorOf(3) })).rejects.toMatchObject({
    kind: "unavailable",
  });
  const strong = await reader.query({
    collection: "docs",
    vector: vectorOf(3),
    topK: 3,
    consistency: "strong",
  });
  expect(strong.results[0]).toMatchObject({ id: "r3", document: "document 3", metadata: { kind: "odd" } });
  expect(strong.deltasOverlaid).toBe(1);

  const report = await compact(world, { ingest: true, upkeep: true, deadlineMs: world.clock.nowMs() + 1e6 });
  expect(report).toMatchObject({ pending: 0, messages: { settled: 1 } });
  const answer = await reader.query({
    collection: "docs",
    vector: vectorOf(3),
    topK: 5,
    filter: { kind: "even" },
  });
  expect(answer.results).toHaveLength(5);
  expect(answer.results.every(({ metadata }) => metadata?.kind === "even")).toBe(true);
  expect(await reader.count({ collection: "docs" })).toMatchObject({ count: 50, snapshotVersion: 1 });

  await produce(world, {
    collection: "docs",
    records: [{ id: "r3", vector: vectorOf(99) }],
    deletes: ["r4", "never"],
  });
  const overlaid = await reader.count({ collection: "docs", consistency: "strong" });
  expect(overlaid.count).toBe(49);
  await compact(world, { ingest: true, upkeep: true, deadlineMs: world.clock.nowMs() + 1e6 });
  expect(await reader.count({ collection: "docs" })).toMatchObject({ count: 49, snapshotVersion: 2 });
  const got = await reader.get({
    collection: "docs",
    ids: ["r3", "r4", "r5"],
    include: ["vector", "document"],
  });
  expect(got.missing).toEqual(["r4"]);
  expect(got.records.map(({ id }) => id)).toEqual(["r3", "r5"]);
  expect(got.records[0]!.vector![0]).toBeCloseTo(vectorOf(99)[0]!, 6);
  const near = await reader.query({ collection: "docs", id: "r3", topK: 1 });
  expect(near.results[0]!.id).toBe("r3");
  expect(await verify(world, collection, 0)).toMatchObject({ faults: [], rows: 51, tombstones: 2 });
  await reader.close();
});
