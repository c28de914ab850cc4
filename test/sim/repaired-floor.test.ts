/** The oracle's own rule for the floor of a repaired pointer (docs/protocol.md, "Repair"): no lower and no higher than documented. */
import { pointerKey } from "../../lib/core/format/keys.ts";
import { encodePointer } from "../../lib/core/format/pointer.ts";
import { snapshotVersion } from "../../lib/core/model/ids.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { repairPointer } from "../../lib/engine/operate/repair.ts";
import type { World } from "../../lib/engine/ports.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import { defaultRetention } from "../../lib/engine/shard/retention.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { Crash, effects } from "../support/effects.ts";
import { memoryWorld } from "../support/memory/world.ts";
import { Oracle } from "./oracle.ts";
import { watchedStore } from "./sim-world.ts";
import { vectorOf } from "./writes.ts";

const dayMs = 86_400_000;
const ref = { collection: "docs", shard: 0 };

/** Two versions, and the manifests of a third that were never published, so many days after each other; no pointer. */
async function rivals(daysBetween: number) {
  const memory = memoryWorld();
  const oracle = new Oracle(memory.store, memory.clock);
  oracle.retention = defaultRetention;
  const world = { ...memory, store: watchedStore(memory.store, oracle) };
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  let writes = 0;
  const ingest = async (into: World) => {
    const document = `w${++writes}`;
    const records = [{ id: "a", vector: vectorOf(document, 2), document }];
    oracle.acked((await produce(world, { collection: "docs", records })).deltas);
    await compact(into, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + dayMs });
  };
  await ingest(world);
  await ingest(world);
  for (let i = 0; i < 2; i++) {
    const dying = effects(world, ({ operation, key }, moment) => {
      if (operation === "put" && key === pointerKey(ref) && moment === "before")
        throw new Crash("before the commit");
    });
    await ingest(dying).catch((error: unknown) => {
      if (!(error instanceof Crash)) throw error;
    });
    memory.clock.advance(daysBetween * dayMs);
  }
  const { pointer } = await readHead(world.store, collection, 0);
  await world.store.delete([pointerKey(ref)]);
  return { world, oracle, collection, pointer };
}

test("the age of a rival that was never published gives up the version before it", async () => {
  const { world, oracle, collection } = await rivals(31);
  expect(await repairPointer(world, collection, 0)).toMatchObject({ outcome: "repaired", version: 3 });
  expect((await readHead(world.store, collection, 0)).pointer.floor.version).toBe(3);
  expect(oracle.events.get("repair gave up a young version")).toBe(1);
  expect(oracle.violation).toBeNull();
  oracle.close();
});

test("young rivals give up nothing, and a floor higher or lower than the rule is seen", async () => {
  const { world, oracle, collection } = await rivals(0.01);
  await repairPointer(world, collection, 0);
  const { pointer } = await readHead(world.store, collection, 0);
  expect([pointer.version, pointer.floor.version, oracle.violation]).toEqual([3, 1, null]);
  const replace = async (version: number) => {
    await world.store.delete([pointerKey(ref)]);
    const floor = { ...pointer.floor, version: snapshotVersion(version) };
    await world.store.put(pointerKey(ref), encodePointer({ ...pointer, floor }));
  };
  await replace(2);
  expect(oracle.violation).toMatch(
    /the floor was 1, and was repaired to 2, over a version that was superseded/,
  );
  oracle.violation = null;
  await replace(0);
  expect(oracle.violation).toMatch(/the floor was 2, and was repaired to 0 \(I2\)/);
  oracle.close();
});
