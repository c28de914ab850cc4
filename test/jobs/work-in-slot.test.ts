/** Runs at a time: no more than the settings say, some of them kept for what is urgent; a run that gets no place loses nothing. */
import { changeSettings } from "../../lib/jobs/control.ts";
import { sweep } from "../../lib/jobs/sweep.ts";
import type { WorkReport } from "../../lib/jobs/work.ts";
import { workInSlot } from "../../lib/jobs/work-in-slot.ts";
import { type JobTestWorld, jobWorld, save, workAll } from "./job-world.ts";

const report: WorkReport = {
  ...{ completed: 0, failed: 0, postponed: 0, superseded: 0, left: 0, chunks: 0, tokens: 0 },
  ...{ waitedMsMax: 0, errors: [] },
};
const runMs = 60_000;
let world: JobTestWorld;
beforeEach(async () => {
  world = await jobWorld();
  await changeSettings(world, { concurrency: 8 }, "test");
});

/** Begins a run that goes on until it is let go; null where there is no place for it. */
async function begin(owner: string, urgent = false): Promise<(() => Promise<void>) | null> {
  let end = () => {};
  const going = new Promise<void>((ended) => {
    end = ended;
  });
  let isRunning = false;
  const options = { owner, urgent, untilMs: world.clock.nowMs() + runMs };
  const outcome = workInSlot(world, world.memory.leases, [], options, async () => {
    isRunning = true;
    await going;
    return report;
  });
  await Promise.race([outcome, eventually(() => isRunning)]);
  if (!isRunning) {
    expect(await outcome).toBeNull();
    return null;
  }
  return async () => {
    end();
    await outcome;
  };
}

async function eventually(isSo: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1_000 && !isSo(); turn++) await new Promise((passed) => setImmediate(passed));
}

/** Begins runs until one gets no place. */
async function beginAll(urgent: boolean): Promise<(() => Promise<void>)[]> {
  const begun: (() => Promise<void>)[] = [];
  for (let n = 0; n < 100; n++) {
    const one = await begin(`run-${urgent}-${n}`, urgent);
    if (one === null) return begun;
    begun.push(one);
  }
  throw new Error("there is always a place");
}

test("of eight places two are kept for urgent runs, which may have all that are free", async () => {
  const others = await beginAll(false);
  expect(others).toHaveLength(6);
  const urgent = await beginAll(true);
  expect(urgent).toHaveLength(2);
  for (const end of [...others, ...urgent]) await end();
  expect(await beginAll(true)).toHaveLength(8);
});

test.each([
  [1, 1],
  [2, 1],
  [3, 2],
  [4, 3],
  [64, 48],
])("of %i places %i are for others, so that an urgent run has one", async (concurrency, open) => {
  await changeSettings(world, { concurrency }, "test");
  world.memory.clock.advance(3_000);
  expect(await beginAll(false)).toHaveLength(open);
  // Of one place none can be kept.
  if (concurrency > 1) expect(await begin("urgent", true)).not.toBeNull();
});

test("a place comes back when its run ends, fails, or is over its time", async () => {
  const [first] = await beginAll(false);
  await first!();
  const again = await begin("again");
  expect(again).not.toBeNull();
  expect(await begin("no")).toBeNull();
  const failing = workInSlot(
    world,
    world.memory.leases,
    [],
    { owner: "f", untilMs: world.clock.nowMs() + runMs, urgent: true },
    () => Promise.reject(new Error("of memory")),
  );
  await expect(failing).rejects.toThrow("of memory");
  expect(await beginAll(true)).toHaveLength(2);
  // Those who were killed.
  world.memory.clock.advance(runMs + 1);
  expect(await beginAll(false)).toHaveLength(6);
});

test("fewer places hold for runs that begin from then on, and no run is ended for it", async () => {
  const begun = await beginAll(false);
  await changeSettings(world, { concurrency: 2 }, "test");
  world.memory.clock.advance(3_000);
  const since = await beginAll(false);
  expect(since).toHaveLength(1);
  for (const end of begun) await end();
  expect(await begin("no")).toBeNull();
  expect(await beginAll(true)).toHaveLength(1);
});

test("items of a run that gets no place are woken again within half a minute, and lose nothing", async () => {
  await save(world, { id: "a", text: "x" });
  const keys = world.table.all.map(({ collectionId, item }) => ({ collectionId, item }));
  world.wake.take();
  await beginAll(false);
  const outcome = await workInSlot(
    world,
    world.memory.leases,
    keys,
    { owner: "late", untilMs: world.clock.nowMs() + runMs },
    () => {
      throw new Error("it has no place");
    },
  );
  expect(outcome).toBeNull();
  expect(world.table.all).toMatchObject([{ status: "pending", attempts: 0 }]);
  world.memory.clock.advance(31_000);
  expect(await sweep(world, {})).toMatchObject({ woken: 1 });
  expect(await workAll(world)).toMatchObject({ completed: 1 });
});

test("behind a bulk load of 100,000 lows a high waits for no more than one batch, whenever it comes", async () => {
  const [lows, runItems, batchItems, batchMs] = [100_000, 200, 50, 1_000];
  const { clock } = world.memory;
  const { settings } = world;
  let left = lows;
  let batches = 0;
  const runs: { owner: string; until: number; end: (() => Promise<void>) | null }[] = [];
  const waits: number[] = [];
  // Each pass is a batch's time; the queue of lows has a run for every place that is free, all the time.
  for (let pass = 0; left > 0; pass++) {
    for (const one of runs.filter(({ until }) => until <= clock.nowMs())) {
      await one.end!();
      runs.splice(runs.indexOf(one), 1);
    }
    const { concurrency } = await settings();
    while (left > 0 && runs.length < concurrency) {
      const owner = `low-${left}`;
      const end = await begin(owner);
      if (end === null) break;
      const items = Math.min(runItems, left);
      left -= items;
      batches += Math.ceil(items / batchItems);
      runs.push({ owner, until: clock.nowMs() + Math.ceil(items / batchItems) * batchMs, end });
    }
    if (pass % 10 === 0) {
      const savedMs = clock.nowMs();
      let end = await begin(`high-${pass}`, true);
      while (end === null) {
        clock.advance(batchMs);
        end = await begin(`high-${pass}-again`, true);
      }
      await end();
      waits.push((clock.nowMs() - savedMs) / batchMs);
    }
    clock.advance(batchMs);
  }
  expect(batches).toBe(lows / batchItems);
  expect(waits.length).toBeGreaterThan(30);
  expect(Math.max(...waits)).toBeLessThanOrEqual(1);
}, 60_000);
