/**
 * I4, I5, COL-1: a process that began with a collection and goes on when another has its name changes nothing of that one,
 * does not keep it from being made, and leaves what garbage collection takes away. At every effect of every operation.
 */

import type { Collection } from "../../../lib/core/model/collection.ts";
import { SiltstoneError } from "../../../lib/core/model/errors.ts";
import { segmentId, snapshotVersion } from "../../../lib/core/model/ids.ts";
import { createCollection, deleteCollection } from "../../../lib/engine/catalog/collections.ts";
import { collectGarbage } from "../../../lib/engine/compact/collect-garbage.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { ingest } from "../../../lib/engine/compact/ingest.ts";
import { merge } from "../../../lib/engine/compact/merge.ts";
import { rollback } from "../../../lib/engine/operate/rollback.ts";
import type { World } from "../../../lib/engine/ports.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { pinVersion } from "../../../lib/engine/shard/history.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { effects } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const options = { name: "docs", dims: 2, metric: "l2" as const };
const hour = 3_600_000;
const write = (world: World, ...ids: string[]) =>
  produce(world, { collection: "docs", records: ids.map((id) => ({ id, vector: [1, 2] })) });
const ingestRun = (world: World) =>
  compact(world, { collection: "docs", ingest: true, upkeep: false, deadlineMs: 9e15 });

const operations: Readonly<Record<string, (world: World, collection: Collection) => Promise<unknown>>> = {
  produce: (world) => write(world, "late"),
  ingest: (world, collection) => ingest(world, collection, 0, { outOfTime: () => false }),
  compact: ingestRun,
  merge: (world, collection) => merge(world, collection, 0, { deadlineMs: 9e15 }),
  collect: (world, collection) => collectGarbage(world, collection, 0),
  rollback: (world, collection) => rollback(world, collection, 0, snapshotVersion(1)),
  pin: (world, collection) =>
    pinVersion(world, () => readHead(world.store, collection, 0), { name: "p", version: snapshotVersion(2) }),
};

/** Two versions, and deltas that wait. */
async function former(seed: number) {
  const world = memoryWorld({ seed });
  const { collection } = await createCollection(world, options);
  for (const id of ["a", "b"]) {
    await write(world, id);
    await ingestRun(world);
  }
  for (const id of ["c", "d"]) await write(world, id);
  return { world, collection };
}

async function idsIn(world: MemoryWorld): Promise<string[]> {
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  try {
    const question = { collection: "docs", vector: [1, 2], topK: 10, consistency: "strong" as const };
    return (await reader.query(question)).results.map(({ id }) => id).sort();
  } finally {
    await reader.close();
  }
}

/** Every acknowledged write of the new one is there, nothing of the former, and after a while no trace of that. */
async function judge(world: MemoryWorld, collection: Collection, expected: string[]) {
  const { shards } = await ingestRun(world);
  expect(shards.flatMap(({ error }) => error?.message ?? [])).toEqual([]);
  expect(await idsIn(world)).toEqual(expected);
  await ingestRun(world);
  world.clock.advance(48 * hour);
  await write(world, "y");
  await ingestRun(world);
  world.clock.advance(hour);
  await collectGarbage(world, collection, 0, { thorough: true });
  const { manifest } = await readHead(world.store, collection, 0);
  const named = new Set(manifest.segments.map(({ id }) => id));
  const orphans = world.store
    .keys("docs/0/segments/")
    .filter((key) => !named.has(segmentId(key.split("/")[3]!)));
  expect(orphans).toEqual([]);
  expect(await idsIn(world)).toEqual([...expected, "y"]);
}

describe.each(Object.keys(operations))("%s, while the collection is deleted and made again", (name) => {
  test("at once", async () => {
    for (let index = 1, isOver = false; !isOver; index++) {
      const { world, collection } = await former(index);
      let made: Collection | null = null;
      const slow = effects(world, async (effect, moment) => {
        if (effect.index !== index || moment !== "before") return undefined;
        await deleteCollection(world.store, "docs");
        made = (await createCollection(world, options)).collection;
        await write(world, "x");
        return undefined;
      });
      await operations[name]!(slow, collection).catch((error: unknown) => {
        if (!(error instanceof SiltstoneError)) throw error;
      });
      isOver = made === null;
      expect(index).toBeLessThan(100);
      if (made !== null) {
        const isLate = name === "produce" && index === 1;
        await judge(world, made, isLate ? ["late", "x"] : ["x"]);
      }
    }
  });

  test("and it goes on before the shards are placed", async () => {
    for (let index = 1, isOver = false; !isOver; index++) {
      const { world, collection } = await former(index);
      const goOn = Promise.withResolvers<void>();
      let isDeleted = false;
      const deleted = Promise.withResolvers<void>();
      const slow = effects(world, async (effect, moment) => {
        if (effect.index !== index || moment !== "before") return undefined;
        isDeleted = true;
        deleted.resolve();
        await goOn.promise;
        return undefined;
      });
      const ended = operations[name]!(slow, collection).catch((error: unknown) => {
        if (!(error instanceof SiltstoneError)) throw error;
      });
      await Promise.race([deleted.promise, ended]);
      isOver = !isDeleted;
      if (isOver) break;
      // What it did side by side with that effect was done after the deletion: that is repeated.
      await new Promise((resolve) => setImmediate(resolve));
      await deleteCollection(world.store, "docs");
      const creating = effects(world, async ({ operation, key }, moment) => {
        if (moment === "before" && operation === "list" && key === "docs/0/manifests/") {
          goOn.resolve();
          await ended;
        }
        return undefined;
      });
      const made = (await createCollection(creating, options)).collection;
      await write(world, "x");
      const isLate = name === "produce" && index === 1;
      await judge(world, made, isLate ? ["late", "x"] : ["x"]);
    }
  });
});
