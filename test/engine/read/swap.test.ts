/** A view is swapped, or pushed out of the cache, while a read of it has not ended: its segments stay open, and on disk, until it has. */
import { snapshotVersion } from "../../../lib/core/model/ids.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { merge } from "../../../lib/engine/compact/merge.ts";
import { rollback } from "../../../lib/engine/operate/rollback.ts";
import { heldBytes } from "../../../lib/engine/read/open-segments.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readCollection, readHead } from "../../../lib/engine/shard/head.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { effects, type Verdict } from "../../support/effects.ts";
import { memoryWorld } from "../../support/memory/world.ts";

const hour = 3_600_000;
const limits = {
  flatSegmentsMax: 1,
  flatRowsMax: 2,
  growth: 4,
  deadShareMax: 0.25,
  staleMsMax: 1e15,
  uncountedMsMax: 1e15,
  segmentComponentsMax: 1e6,
  clusteredComponentsMin: 1e9,
  segmentWeightMax: 1e9,
};
const question = {
  collection: "docs",
  vector: [2, 1],
  topK: 3,
  include: ["vector", "document"] as const,
};
const nearest = [
  ["r2", "d2", [2, 1]],
  ["r1", "d1", [1, 1]],
  ["r3", "d3", [3, 1]],
];
const shown = ({ results }: Awaited<ReturnType<Reader["query"]>>) =>
  results.map(({ id, document, vector }) => [id, document, vector]);

/** A graph of four records, and a query of it that waits for the vectors as they were given. */
async function queryInTheMiddle() {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  const publish = async (...numbers: number[]) => {
    const records = numbers.map((n) => ({ id: `r${n}`, vector: [n, 1], document: `d${n}` }));
    await produce(world, { collection: "docs", records });
    await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });
    await merge(world, collection, 0, { deadlineMs: world.clock.nowMs() + hour, limits });
  };
  await publish(1, 2, 3, 4);
  const arrival = Promise.withResolvers<void>();
  const released = Promise.withResolvers<Verdict | undefined>();
  let held = false;
  const slow = effects(world, async ({ key, operation }, moment) => {
    if (held || moment !== "before" || operation !== "get" || !key.endsWith("vectors.f32")) return undefined;
    held = true;
    arrival.resolve();
    return released.promise;
  });
  const reader = new Reader(slow, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  const first = reader.query(question);
  await arrival.promise;
  return {
    world,
    collection,
    publish,
    reader,
    first,
    release: (verdict?: Verdict) => released.resolve(verdict),
  };
}

test("shards that push each other out while their graphs arrive are answered, and found again", async () => {
  const world = memoryWorld();
  for (const name of ["a", "b"]) {
    const { collection } = await createCollection(world, { name, dims: 2, metric: "l2" });
    const records = Array.from({ length: 8 }, (_, i) => ({ id: `r${i}`, vector: [i, 1] }));
    await produce(world, { collection: name, records });
    await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });
    const clustered = { ...limits, clusteredComponentsMin: 1 };
    await merge(world, collection, 0, { deadlineMs: world.clock.nowMs() + hour, limits: clustered });
  }
  const { manifest } = await readHead(world.store, await readCollection(world.store, "a"), 0);
  const cacheBytesMax = Math.floor(heldBytes(manifest.segments) * 1.5);
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax, traffic: world.traffic });
  for (let i = 0; i < 3; i++) {
    for (const [asked, next] of [
      ["a", "b"],
      ["b", "a"],
    ] as const) {
      // Answered from clusters; its graphs are on their way when the other one needs the space.
      const { results } = await reader.query({ collection: asked, vector: [3, 1], topK: 1 });
      expect(results[0]!.id).toBe("r3");
      expect((await reader.count({ collection: next })).count).toBe(8);
    }
  }
  await reader.close();
});

test("a query answers rightly although another read has swapped the view", async () => {
  const { publish, reader, first, release } = await queryInTheMiddle();
  await publish(5, 6, 7, 8);
  const second = await reader.count({ collection: "docs" });
  expect(second).toMatchObject({ count: 8, segments: 1 });
  release();
  const answer = await first;
  expect(answer.snapshotVersion).toBeLessThan(second.snapshotVersion);
  expect(shown(answer)).toEqual(nearest);
  await reader.close();
});

test("the end of a query takes nothing from a rollback that brought its segment back", async () => {
  const { world, collection, publish, reader, first, release } = await queryInTheMiddle();
  await publish(5, 6, 7, 8);
  await reader.count({ collection: "docs" });
  await rollback(world, collection, 0, snapshotVersion(2));
  expect(shown(await reader.query(question))).toEqual(nearest);
  release();
  expect(shown(await first)).toEqual(nearest);
  expect(shown(await reader.query(question))).toEqual(nearest);
  await reader.close();
});

test("a query that fails to fetch vectors takes them from no other query", async () => {
  const { reader, first, release } = await queryInTheMiddle();
  const second = reader.query(question).then(shown, ({ kind }) => kind);
  await new Promise((resolve) => setTimeout(resolve, 50));
  release({ kind: "refuse" });
  await expect(first).rejects.toMatchObject({ kind: "unavailable" });
  expect([nearest, "unavailable"]).toContainEqual(await second);
  expect(shown(await reader.query(question))).toEqual(nearest);
  await reader.close();
});

test("a version that the cache cannot hold is an error that says so, and not that nothing has been published", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1_000, traffic: world.traffic });
  await expect(reader.count({ collection: "docs" })).rejects.toThrow("nothing has been published");
  await produce(world, { collection: "docs", records: [{ id: "a", vector: [1, 1] }] });
  await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });
  await expect(reader.count({ collection: "docs" })).rejects.toThrow("bytes of cache");
  await reader.close();
});
