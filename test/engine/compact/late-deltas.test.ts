/** LISTs do not walk over history: they begin at the watermark, or at a bound from it. What came late is found all the same. */
import { deltaKey } from "../../../lib/core/format/keys.ts";
import { deltaId } from "../../../lib/core/model/ids.ts";
import { ulidFloor, ulidTimeMs } from "../../../lib/core/model/ulid.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { collectGarbage } from "../../../lib/engine/compact/collect-garbage.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { Sweep } from "../../../lib/engine/compact/sweep.ts";
import type { ObjectStore, World } from "../../../lib/engine/ports.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { listQuarantine } from "../../../lib/engine/shard/quarantine.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const hour = 3_600_000;
const ref = { collection: "docs", shard: 0 };

/** Where LISTs of deltas begin, in hours before now; null: at the very beginning. */
function watched(world: MemoryWorld): { world: World; begins: (number | null)[] } {
  const begins: (number | null)[] = [];
  const store: ObjectStore = Object.create(world.store, {
    list: {
      value: (prefix: string, options: { startAfter?: string } = {}) => {
        const ulid = options.startAfter?.split("/").at(-1)?.replace(".arrow", "") ?? "";
        const isWhole = ulid === "" || /^0+$/.test(ulid);
        if (prefix.includes("/deltas/"))
          begins.push(isWhole ? null : (world.clock.nowMs() - ulidTimeMs(ulid)) / hour);
        return world.store.list(prefix, options);
      },
    },
  });
  const through = new Proxy(world.store, {
    get: (target, name) => (name === "list" ? store.list : Reflect.get(target, name).bind(target)),
  });
  return { world: { ...world, store: through }, begins };
}

async function busy(shards = 1) {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2", shards });
  const write = async (id: string) => {
    // Of every shard: one that never published has no watermark yet.
    const records = Array.from({ length: 12 }, (_, i) => ({ id: `${id}-${i}`, vector: [1, 2] }));
    await produce(world, { collection: "docs", records });
    await compact(world, { ingest: true, upkeep: false, deadlineMs: 9e15 });
  };
  for (let n = 0; n < 5; n++) {
    world.clock.advance(hour);
    await write(`r${n}`);
  }
  return { world, collection, write };
}

test("no LIST of a run, of upkeep or of a cold strong read begins at the very beginning, but once a day", async () => {
  const { world, collection, write } = await busy();
  const { world: through, begins } = watched(world);
  let whole = 0;
  for (let run = 0; run < 24; run++) {
    world.clock.advance(hour);
    if (run % 5 === 0) await write(`x${run}`);
    begins.length = 0;
    await collectGarbage(through, collection, 0);
    expect(begins).toHaveLength(1);
    if (begins[0] === null) whole += 1;
    else expect(begins[0]).toBeLessThanOrEqual(1 + 2 + 5);
    begins.length = 0;
    await compact(through, { ingest: true, upkeep: false, deadlineMs: 9e15 });
    const reader = new Reader(through, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
    await reader.count({ collection: "docs", consistency: "strong" });
    await reader.close();
    expect(begins.length).toBeGreaterThanOrEqual(2);
    expect(begins).not.toContain(null);
  }
  expect(whole).toBe(2);
});

test("a delta that comes late, however late, is put aside within a day and two hours", async () => {
  for (const hoursLate of [1.5, 2.9, 4, 30, 24 * 400]) {
    const { world, write } = await busy(3);
    const sweep = new Sweep();
    const upkeep = () => compact(world, { ingest: false, upkeep: true, deadlineMs: 9e15, sweep });
    await upkeep();
    const late = ulidFloor(world.clock.nowMs() - hoursLate * hour);
    await write("now");
    for (let shard = 0; shard < 3; shard++)
      await world.store.put(deltaKey({ ...ref, shard }, deltaId(late)), Buffer.from("late"));
    const startedMs = world.clock.nowMs();
    const left = () =>
      world.store.keys("docs/").filter((key) => key.includes(late) && key.includes("/deltas/"));
    while (left().length > 0) {
      world.clock.advance(5 * 60_000);
      await upkeep();
      expect(world.clock.nowMs() - startedMs).toBeLessThanOrEqual(26 * hour);
    }
    for (let shard = 0; shard < 3; shard++)
      expect(await listQuarantine(world.store, { ...ref, shard })).toMatchObject([
        { delta: late, reason: expect.stringContaining("too late") },
      ]);
  }
});

test("a run by hand finds a late delta at once, whatever the time of the day", async () => {
  for (const hours of [0, 2]) {
    const { world, collection } = await busy();
    world.clock.advance(hours * hour);
    const late = ulidFloor(0);
    await world.store.put(deltaKey(ref, deltaId(late)), Buffer.from("late"));
    const { lateDeltas } = await collectGarbage(world, collection, 0, { thorough: true });
    expect(lateDeltas).toEqual([late]);
    expect(world.store.keys("docs/0/deltas/")).toEqual([]);
  }
});
