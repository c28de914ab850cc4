/** The sweep (docs/protocol.md): idle shards cost little, and a delta whose message was lost is found within its bound. */
import type { Collection } from "../../../lib/core/model/collection.ts";
import { surveyMs, sweepMs } from "../../../lib/core/policy/time-bounds.ts";
import { createCollection, deleteCollection } from "../../../lib/engine/catalog/collections.ts";
import { type CompactReport, compact } from "../../../lib/engine/compact/compact.ts";
import { Sweep } from "../../../lib/engine/compact/sweep.ts";
import type { World } from "../../../lib/engine/ports.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { publish } from "../../../lib/engine/shard/publish.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { effects } from "../../support/effects.ts";
import { random } from "../../support/memory/clock.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const minute = 60_000;
const hour = 60 * minute;
const dims = 2;

const create = async (world: MemoryWorld, name: string, shards = 1) =>
  (await createCollection(world, { name, dims, metric: "l2", shards })).collection;
/** `told`: false when the messages are lost. */
const write = (world: MemoryWorld, collection: string, ids: readonly string[], told = true) => {
  const records = ids.map((id) => ({ id, vector: [1, 2] }));
  return produce(told ? world : { ...world, queue: { send: async () => {} } }, { collection, records });
};
const ids = (count: number) => Array.from({ length: count }, (_, i) => `r${i}`);
const ingestRun = (world: World, sweep?: Sweep, deadlineMs = 9e15): Promise<CompactReport> =>
  compact(world, { ingest: true, upkeep: false, deadlineMs, ...(sweep ? { sweep } : {}) });
const upkeepRun = (world: World, sweep?: Sweep): Promise<CompactReport> =>
  compact(world, { ingest: false, upkeep: true, deadlineMs: 9e15, ...(sweep ? { sweep } : {}) });
/** A version, as every shard has that was ever written to. */
async function publishNothing(world: World, collection: Collection, shard: number): Promise<void> {
  const head = await readHead(world.store, collection, shard);
  await publish(world, collection, head, ({ manifest }) =>
    manifest.version > 0 ? null : { ...manifest, cause: "ingest" },
  );
}
const waiting = (world: MemoryWorld) => world.store.keys("").filter((key) => key.includes("/deltas/"));
const requestsOf = async (world: MemoryWorld, work: () => Promise<unknown>): Promise<number> => {
  const before = world.traffic.snapshot();
  await work();
  return world.traffic.since(before).requests;
};

test.each([
  [1, 500],
  [500, 1],
])(
  "500 idle shards (%i collections of %i) cost less than a tenth of looking at all of them in every run",
  async (collections, shards) => {
    const world = memoryWorld();
    for (let i = 0; i < collections; i++) {
      const collection = await create(world, `c${i}`, shards);
      for (let shard = 0; shard < shards; shard++) await publishNothing(world, collection, shard);
    }
    // A run that remembers nothing: the folders, the configurations, and pointer, manifest and LIST of each shard.
    const all = await requestsOf(world, () => ingestRun(world));
    expect(all).toBe(1 + collections + 3 * 500);
    // Upkeep read pointer and manifest twice and listed four prefixes.
    const before = 60 * all + 12 * (1 + collections + 8 * 500);

    // Two processes, as the schedules' events overlap: neither knows what the other has seen.
    const [first, second] = [new Sweep(), new Sweep()];
    const oneHour = async () => {
      for (let n = 1; n <= 60; n++) {
        world.clock.advance(minute);
        await ingestRun(world, first);
        if (n % 5 === 0) await upkeepRun(world, second);
      }
    };
    await oneHour();
    const now = await requestsOf(world, oneHour);
    expect(now).toBeLessThan(before / 10);
    const idle = await requestsOf(world, () => ingestRun(world, first));
    expect(idle).toBeLessThan(all / 10);
  },
  60_000,
);

describe("while nothing happens", () => {
  /** A day-old store of one collection; the first run of the process has looked at it. */
  async function idle() {
    const world = memoryWorld();
    const docs = await create(world, "docs");
    await publishNothing(world, docs, 0);
    const sweep = new Sweep();
    await ingestRun(world, sweep);
    await upkeepRun(world, sweep);
    return { world, sweep };
  }

  test("runs ask S3 nothing but what each ten minutes, and the hourly survey, ask", async () => {
    const { world, sweep } = await idle();
    const asked: number[] = [];
    for (let n = 1; n <= 60; n++) {
      world.clock.advance(minute);
      asked.push(await requestsOf(world, () => ingestRun(world, sweep)));
    }
    // The folders, the configuration, the shard's deltas; pointer and manifest once an hour.
    expect(asked.filter((requests) => requests > 0)).toEqual([3, 3, 3, 3, 3, 5]);
    const upkeep: number[] = [];
    for (let n = 1; n <= 11; n++) {
      world.clock.advance(5 * minute);
      upkeep.push(await requestsOf(world, () => upkeepRun(world, sweep)));
    }
    // The configuration, the pointer and a survey; then in ten minutes once the folders, and once the pointer.
    expect(upkeep).toEqual([10, ...Array(10).fill(1)]);
  });

  test("what a message names is ingested by the next run, of a collection that came since as well", async () => {
    const { world, sweep } = await idle();
    await create(world, "young");
    for (const name of ["docs", "young"]) {
      world.clock.advance(minute);
      await write(world, name, ["a"]);
      await ingestRun(world, sweep);
      expect(waiting(world)).toEqual([]);
    }
    // It is known from then on: something was found there, and the next run looks without a message.
    await write(world, "young", ["b"], false);
    await ingestRun(world, sweep);
    expect(waiting(world)).toEqual([]);
  });

  test("what no message names waits for the bound and a run, of a collection that came since as well", async () => {
    const { world, sweep } = await idle();
    await create(world, "young");
    await write(world, "docs", ["a"], false);
    await write(world, "young", ["a"], false);
    for (let n = 1; n <= sweepMs / minute; n++) {
      world.clock.advance(minute);
      await ingestRun(world, sweep);
    }
    expect(waiting(world)).toEqual([]);
  });

  test("a collection that is gone is no fault of the runs that still remember it, and no stranger", async () => {
    const { world, sweep } = await idle();
    await write(world, "docs", ["a"]);
    await deleteCollection(world.store, "docs");
    for (let n = 0; n <= sweepMs / minute; n++) {
      world.clock.advance(minute);
      const { shards, faults, strangers } = await ingestRun(world, sweep);
      expect([...faults, ...shards.filter(({ error }) => error)]).toEqual([]);
      expect(strangers.count).toBe(0);
    }
    expect(world.queue.bodies()).toEqual([]);
  });
});

test("a delta whose message was lost is ingested by the first run after its bound, at the latest, however the runs lie", async () => {
  for (let seed = 1; seed <= 4; seed++) {
    const chance = random(seed);
    const world = memoryWorld({ seed });
    await create(world, "many", 30);
    await create(world, "few", 2);
    await write(world, "many", ids(400));
    const sweep = new Sweep();
    await ingestRun(world, sweep);
    for (let run = 0; run < 30; run++) {
      if (chance() < 0.3) await write(world, chance() < 0.5 ? "few" : "many", [`x${run}`], chance() < 0.3);
      // Every minute; now and then nothing runs for a while.
      world.clock.advance(chance() < 0.1 ? Math.floor(chance() * 30 * minute) : minute);
      const report = await ingestRun(world, sweep);
      expect(report).toMatchObject({ faults: [], pending: 0 });
      const old = waiting(world).filter((key) => ageMs(world, key) > sweepMs);
      expect(old).toEqual([]);
    }
  }
}, 60_000);

function ageMs(world: MemoryWorld, key: string): number {
  const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  const time = key.split("/").at(-1)!.slice(0, 10);
  return world.clock.nowMs() - [...time].reduce((sum, digit) => sum * 32 + alphabet.indexOf(digit), 0);
}

describe("with everything seen", () => {
  let world: MemoryWorld;
  let sweep: Sweep;
  beforeEach(async () => {
    world = memoryWorld();
    await create(world, "docs", 20);
    await write(world, "docs", ids(200));
    sweep = new Sweep();
    for (let n = 0; n < 3; n++) await ingestRun(world, sweep);
  });

  test("a shard that a message names is ingested by the next run; the others rest", async () => {
    const { deltas } = await write(world, "docs", ["new"]);
    world.clock.advance(minute);
    const report = await ingestRun(world, sweep);
    expect(report.shards.find(({ shard }) => shard === deltas[0]!.shard)).toMatchObject({
      ingest: { deltas: 1 },
    });
    expect(report.messages).toEqual({ settled: 1, gone: 0, deadLettered: 0, left: 0 });
    // The one that was named, two whose turn it is, and none else.
    expect(report.shards.length + report.resting).toBe(20);
    expect(report.resting).toBeGreaterThanOrEqual(17);
  });

  test("a shard that is written to is looked at in the next run, with a message or without", async () => {
    await write(world, "docs", ["a"]);
    await ingestRun(world, sweep);
    await write(world, "docs", ["a"], false);
    expect(waiting(world)).toHaveLength(1);
    await ingestRun(world, sweep);
    expect(waiting(world)).toEqual([]);
  });

  test("every shard is looked at without the queue's hints", async () => {
    await write(world, "docs", ids(200), false);
    const deaf = effects(world, ({ operation }, moment) =>
      operation === "receive" && moment === "before" ? { kind: "refuse" } : undefined,
    );
    const report = await ingestRun(deaf, sweep);
    expect(report).toMatchObject({ resting: 0, faults: [{ part: "queue: receive" }] });
    expect(waiting(world)).toEqual([]);
  });

  test("a shard that a run has no time for is reported, and is due in the next", async () => {
    world.clock.advance(sweepMs);
    await write(world, "docs", ids(200), false);
    const report = await ingestRun(world, sweep, world.clock.nowMs());
    expect(report.shards.map(({ look }) => look)).toEqual(Array(20).fill({ kind: "unseen" }));
    await ingestRun(world, sweep);
    expect(waiting(world)).toEqual([]);
  });

  test("a shard that fails is looked at in every run", async () => {
    const key = "docs/3/pointer.json";
    const pointer = Buffer.from(world.store.bytes(key)!);
    world.clock.advance(hour); // Its watermark is read anew.
    world.store.bytes(key)![40]! ^= 1;
    for (let n = 0; n < 3; n++) {
      const { shards } = await ingestRun(world, sweep);
      expect(shards.filter(({ error }) => error).map(({ shard }) => shard)).toEqual([3]);
    }
    await world.store.put(key, pointer);
    expect((await ingestRun(world, sweep)).shards.some(({ error }) => error)).toBe(false);
  });

  test("a clock that is set back stops nothing", async () => {
    world.clock.advance(hour);
    await ingestRun(world, sweep);
    const earlier = { ...world, clock: world.clock.fork({ seed: 9, skewMs: -20 * minute }) };
    await write(world, "docs", ids(200), false);
    await ingestRun(earlier, sweep);
    expect(waiting(world)).toEqual([]);
  });

  test("collections that come, go, and are made again are what they are now", async () => {
    await create(world, "young", 3);
    await write(world, "young", ["a", "b", "c"], false);
    world.clock.advance(sweepMs);
    await ingestRun(world, sweep);
    expect(waiting(world)).toEqual([]);

    await deleteCollection(world.store, "docs");
    expect(await ingestRun(world, sweep)).toMatchObject({ faults: [], shards: expect.any(Array) });
    const again = (await createCollection(world, { name: "docs", dims: 3, metric: "l2", shards: 24 }))
      .collection;
    // Named, and of a shard that its former self did not have.
    await produce(world, { collection: "docs", records: ids(300).map((id) => ({ id, vector: [1, 2, 3] })) });
    const report = await ingestRun(world, sweep);
    expect(report.shards.every(({ error }) => error === undefined)).toBe(true);
    expect(waiting(world)).toEqual([]);
    expect((await readHead(world.store, again, 23)).manifest.version).toBe(1);

    // Made again between two runs that read its configuration, and not told of.
    await deleteCollection(world.store, "docs");
    await createCollection(world, { name: "docs", dims: 4, metric: "l2", shards: 28 });
    const records = ids(300).map((id) => ({ id, vector: [1, 2, 3, 4] }));
    await produce({ ...world, queue: { send: async () => {} } }, { collection: "docs", records });
    for (let n = 0; n <= sweepMs / minute; n++) {
      world.clock.advance(minute);
      const { shards, faults } = await ingestRun(world, sweep);
      expect([...faults, ...shards.filter(({ error }) => error)]).toEqual([]);
    }
    expect(waiting(world)).toEqual([]);
  });

  test("a collection that is made again during a run is ingested as its new self", async () => {
    world.clock.advance(sweepMs);
    let again: Collection | null = null;
    const racing = effects(world, async ({ operation }, moment) => {
      if (again !== null || moment !== "before" || operation !== "list") return undefined;
      await deleteCollection(world.store, "docs");
      again = (await createCollection(world, { name: "docs", dims: 3, metric: "l2", shards: 20 })).collection;
      const records = ids(200).map((id) => ({ id, vector: [1, 2, 3] }));
      await produce({ ...world, queue: { send: async () => {} } }, { collection: "docs", records });
      return undefined;
    });
    const report = await ingestRun(racing, sweep);
    expect([...report.faults, ...report.shards.filter(({ error }) => error)]).toEqual([]);
    expect(waiting(world)).toEqual([]);
    expect((await readHead(world.store, again!, 19)).manifest.version).toBe(1);
  });

  test("a message that comes when time is over is left, whatever an earlier round found in its shard", async () => {
    await write(world, "docs", ["a"]);
    const deadlineMs = world.clock.nowMs() + minute;
    let told = false;
    const late = effects(world, async ({ operation, key }, moment) => {
      if (told || operation !== "delete" || !key.startsWith("{") || moment !== "after") return undefined;
      told = true;
      await write(world, "docs", ["a"]);
      return undefined;
    });
    const slow: World = {
      ...late,
      queue: {
        ...late.queue,
        receive: async () => {
          const messages = await late.queue.receive();
          if (told && messages.length > 0) world.clock.advance(2 * minute);
          return messages;
        },
      },
    };
    expect(await ingestRun(slow, sweep, deadlineMs)).toMatchObject({ messages: { settled: 1, left: 1 } });
    expect(waiting(world)).toHaveLength(1);
    expect(world.queue.bodies()).toHaveLength(1);
    world.queue.redeliver();
    expect(await ingestRun(world, sweep)).toMatchObject({ messages: { settled: 1, left: 0 } });
    expect(waiting(world)).toEqual([]);
  });

  test("a collection that is deleted during a run is no failure", async () => {
    await write(world, "docs", ids(200));
    let deleted = false;
    const racing = effects(world, async ({ operation, key }, moment) => {
      if (!deleted && moment === "before" && operation === "get" && key === "docs/7/pointer.json") {
        deleted = true;
        await deleteCollection(world.store, "docs");
      }
      return undefined;
    });
    const report = await ingestRun(racing, sweep);
    expect(deleted).toBe(true);
    expect(report.faults).toEqual([]);
    expect(report.shards.filter(({ error }) => error)).toEqual([]);
  });
});

describe("upkeep", () => {
  test("a shard that another process ingested is merged within the bound, one that this process changed by its next run", async () => {
    const world = memoryWorld();
    await create(world, "docs", 1);
    await create(world, "idle", 20);
    const [upkeeper, ingester] = [new Sweep(), new Sweep()];
    for (let n = 0; n < 3; n++) await upkeepRun(world, upkeeper);
    let merges = 0;
    for (let n = 1; n <= 40; n++) {
      world.clock.advance(minute);
      await write(world, "docs", [`r${n}`]);
      await ingestRun(world, ingester);
      if (n % 5 !== 0) continue;
      const { shards } = await upkeepRun(world, upkeeper);
      merges += shards.reduce((sum, { merge }) => sum + (merge?.merges.length ?? 0), 0);
    }
    const { collection } = await createCollection(world, { name: "docs", dims, metric: "l2" });
    const { segments } = (await readHead(world.store, collection, 0)).manifest;
    expect(segments.length).toBeLessThanOrEqual(8 + 5 + sweepMs / minute);
    expect(merges).toBeGreaterThanOrEqual(2);
  });

  test("garbage of a shard that is not written to any more is deleted within the hour that it is kept, a survey, and a turn", async () => {
    const world = memoryWorld();
    await create(world, "docs", 1);
    const sweep = new Sweep();
    for (let n = 1; n <= 20; n++) {
      world.clock.advance(minute);
      await write(world, "docs", [`r${n}`]);
      await ingestRun(world, sweep);
      if (n % 5 === 0) await upkeepRun(world, sweep);
    }
    const manifests = () => world.store.keys("docs/0/manifests/").length;
    expect(manifests()).toBeGreaterThan(15);
    const startedMs = world.clock.nowMs();
    while (manifests() > 6) {
      world.clock.advance(5 * minute);
      await upkeepRun(world, sweep);
      expect(world.clock.nowMs() - startedMs).toBeLessThanOrEqual(hour + surveyMs + sweepMs + 5 * minute);
    }
  });
});
