/** QRY-10, CST-3: a shard that is written fast is ingested before strong reads have to refuse it; all others cost what they did. */
import { bounds } from "../../../lib/core/model/bounds.ts";
import { busyPollMs, busyRunMs } from "../../../lib/core/policy/time-bounds.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { Sweep } from "../../../lib/engine/compact/sweep.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { memoryWorld } from "../../support/memory/world.ts";
import { underBounds } from "../../support/small-bounds.ts";

const small = { ...bounds, overlaidDeltas: 80, batchDeltas: 40, listedDeltas: 400, appliedDeltas: 500 };

/** A store that is written while its runs wait, so many deltas a second, for so long. */
async function written(perSecond: number, forMs: number) {
  const world = memoryWorld();
  await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  const { clock } = world;
  const endMs = clock.nowMs() + forMs;
  const backlog = () => world.store.keys("docs/0/deltas/").length;
  let n = 0;
  let most = 0;
  const pass = async (ms: number) => {
    for (let due = (ms * perSecond) / 1_000; due > 0 && clock.nowMs() < endMs; due--) {
      clock.advance(1_000 / perSecond);
      await produce(world, { collection: "docs", records: [{ id: `r${n++}`, vector: [n, 1] }] });
      most = Math.max(most, backlog());
    }
    clock.advance(1);
  };
  clock.onSleep = pass;
  const sweep = new Sweep();
  const run = async () => {
    const startMs = clock.nowMs();
    const deadlineMs = startMs + 840_000;
    await compact(world, { ingest: true, upkeep: false, deadlineMs, busyMs: busyRunMs, sweep });
    return clock.nowMs() - startMs;
  };
  return { world, pass, run, backlog, mostWaiting: () => most };
}

test("a shard that gets a read's bound of deltas in a minute has a fraction of it waiting from its first run on", async () => {
  await underBounds(small, async () => {
    // 120 a minute; the bound is 80.
    const { pass, run, backlog, mostWaiting } = await written(2, 150_000);
    await pass(15_000);
    expect(backlog()).toBe(30);
    for (let minute = 0; minute < 3; minute++) {
      const tookMs = await run();
      expect(tookMs).toBeLessThanOrEqual(busyRunMs + busyPollMs);
      // The schedule's next run is a minute after this one.
      await pass(Math.max(0, 60_000 - tookMs));
    }
    expect(mostWaiting()).toBe(30);
    await run();
    expect(backlog()).toBe(0);
  });
});

test("a run ends at once where messages come slowly, and five seconds after the last of a burst", async () => {
  await underBounds(small, async () => {
    const slow = await written(0.2, 60_000);
    await slow.pass(60_000);
    expect(await slow.run()).toBeLessThan(busyPollMs);
    const burst = await written(10, 3_000);
    await burst.pass(3_000);
    const took = await burst.run();
    expect(took).toBeLessThanOrEqual(2 * busyPollMs);
    expect(burst.backlog()).toBe(0);
  });
});
