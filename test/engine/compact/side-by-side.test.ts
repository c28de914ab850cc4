/** CMP-7: a run ingests many shards side by side, each under its own lease, within one budget of memory and disk. */
import type { ResourceBudget } from "../../../lib/core/policy/resource-estimate.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { SharedBudget } from "../../../lib/engine/compact/shared-budget.ts";
import { Sweep } from "../../../lib/engine/compact/sweep.ts";
import type { World } from "../../../lib/engine/ports.ts";
import { listQuarantine } from "../../../lib/engine/shard/quarantine.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { Crash, effects } from "../../support/effects.ts";
import { memoryWorld } from "../../support/memory/world.ts";

const hour = 3_600_000;
/** A round of requests: more than the disk takes for what is done between two of them. */
const roundMs = 20;
const vector = [1, 2];
const run = (world: World, budget?: ResourceBudget) =>
  compact(world, {
    ingest: true,
    upkeep: false,
    deadlineMs: world.clock.nowMs() + hour,
    ...(budget ? { budget } : {}),
  });

/** A world whose every request takes one round: all that are under way are answered together. */
function inRounds(world: World) {
  let most = 0;
  let waiting: (() => void)[] = [];
  const answer = () => {
    most = Math.max(most, waiting.length);
    const now = waiting;
    waiting = [];
    for (const one of now) one();
  };
  const store = effects(world, async (_, moment) => {
    if (moment !== "before") return undefined;
    await new Promise<void>((resolve) => {
      if (waiting.push(resolve) === 1) setTimeout(answer, roundMs);
    });
    return undefined;
  });
  return { store, mostAtOnce: () => most };
}

test("collections with a delta each are ingested sixteen at a time, by eight requests to S3 each, nine where there is a manifest", async () => {
  const world = memoryWorld();
  const collections = 64;
  const write = async (id: string) => {
    for (let i = 0; i < collections; i++)
      await produce(world, { collection: `docs-${i}`, records: [{ id, vector }] });
  };
  for (let i = 0; i < collections; i++)
    await createCollection(world, { name: `docs-${i}`, dims: 2, metric: "l2" });
  const sweep = new Sweep();
  await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour, sweep });
  await write("a");
  const { store, mostAtOnce } = inRounds(world);
  const ingestFrom = async (through: World) => {
    const before = world.traffic.snapshot();
    const deadlineMs = world.clock.nowMs() + hour;
    const report = await compact(through, { ingest: true, upkeep: false, deadlineMs, sweep });
    expect(report.shards.filter(({ ingest }) => ingest?.deltas === 1)).toHaveLength(collections);
    expect(report.messages).toMatchObject({ settled: collections, left: 0 });
    return world.traffic.since(before).requests;
  };
  // A list of the collections, and of each: pointer, LIST, delta, two files, manifest, pointer, deletion.
  expect(await ingestFrom(store)).toBeLessThanOrEqual(1 + 8 * collections);
  const most = mostAtOnce();
  expect(most).toBeGreaterThanOrEqual(12);
  expect(most).toBeLessThanOrEqual(2 * 16);
  await write("b");
  expect(await ingestFrom(world)).toBeLessThanOrEqual(1 + 9 * collections);
});

test("shards share one budget: what does not fit beside others waits for them, and what fits alone is not refused", async () => {
  const world = memoryWorld();
  const shards = 8;
  await createCollection(world, { name: "docs", dims: 256, metric: "l2", shards });
  const records = Array.from({ length: 2_000 }, (_, i) => ({
    id: `r${i}`,
    vector: Array.from({ length: 256 }, (_, n) => n + i),
  }));
  await produce(world, { collection: "docs", records });
  // Of these batches one fits, with what the process takes itself.
  const report = await run(world, { memoryBytes: 292e6, diskBytes: 1e9 });
  expect(report.shards.map(({ ingest, error }) => [ingest?.outcome, error])).toEqual(
    Array(shards).fill(["done", undefined]),
  );
  expect(report.shards.reduce((sum, { ingest }) => sum + (ingest?.rows ?? 0), 0)).toBe(2_000);
});

test("a delta that kills every run is put aside, and none of another shard that was beside it", async () => {
  const world = memoryWorld();
  const names = ["killer", "innocent"];
  const deltas: string[] = [];
  for (const name of names) {
    await createCollection(world, { name, dims: 2, metric: "l2" });
    const { deltas: written } = await produce(world, { collection: name, records: [{ id: "a", vector }] });
    deltas.push(written[0]!.delta);
  }
  const pause = () => new Promise((resolve) => setTimeout(resolve, 100));
  let deaths = 0;
  for (; deaths < 10; deaths++) {
    // The other one is always in the middle of its own batch.
    const dying = effects(world, async ({ operation, key }, moment) => {
      if (moment !== "before" || operation !== "get") return undefined;
      if (deltas.some((delta) => key.includes(delta))) await pause();
      if (key.includes(deltas[0]!)) throw new Crash("out of memory");
      return undefined;
    });
    const isAlive = await run(dying).then(
      () => true,
      () => false,
    );
    if (isAlive) break;
    world.clock.advance(180_000);
  }
  expect(deaths).toBe(2);
  const quarantined = await Promise.all(
    names.map((collection) => listQuarantine(world.store, { collection, shard: 0 })),
  );
  expect(quarantined).toMatchObject([[{ delta: deltas[0] }], []]);
});

describe("the shared budget", () => {
  const idle = { memoryBytes: 290e6, diskBytes: 0 };
  const whole = { memoryBytes: 300e6, diskBytes: 1e9 };
  const need = (bytes: number) => ({ memoryBytes: idle.memoryBytes + bytes, diskBytes: 0 });
  /** Begins a batch of so many bytes; answers how to end it. */
  function begin(budget: SharedBudget, bytes: number, begun: string[], name: string, alone = false) {
    const end = Promise.withResolvers<void>();
    const done = budget.use(
      (free) => ({
        need: free === undefined || free.memoryBytes >= need(bytes).memoryBytes ? need(bytes) : null,
      }),
      async (choice) => {
        begun.push(choice.need === null ? `${name} refused` : name);
        await end.promise;
      },
      { alone },
    );
    return { end: () => (end.resolve(), done) };
  }
  const settled = () => new Promise((resolve) => setTimeout(resolve, 5));

  test("what is free is taken in the order of asking, and none takes what others have", async () => {
    const budget = new SharedBudget(whole);
    const begun: string[] = [];
    const [a, b] = [begin(budget, 6e6, begun, "a"), begin(budget, 6e6, begun, "b")];
    const c = begin(budget, 1e6, begun, "c");
    await settled();
    expect(begun).toEqual(["a"]);
    await a.end();
    await settled();
    expect(begun).toEqual(["a", "b", "c"]);
    await Promise.all([b.end(), c.end()]);
    const d = begin(budget, 11e6, begun, "d");
    await d.end();
    expect(begun.at(-1)).toBe("d refused");
  });

  test("who asks to be alone is, and others come after", async () => {
    const budget = new SharedBudget(undefined);
    const begun: string[] = [];
    const a = begin(budget, 1, begun, "a");
    const b = begin(budget, 1, begun, "b", true);
    const c = begin(budget, 1, begun, "c");
    await settled();
    expect(begun).toEqual(["a"]);
    await a.end();
    await settled();
    expect(begun).toEqual(["a", "b"]);
    await b.end();
    await settled();
    expect(begun).toEqual(["a", "b", "c"]);
    await c.end();
  });
});
