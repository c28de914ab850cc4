/** One call: all of it is checked, copied and encoded before anything is written; what fails later says what was. */
import { type ProduceCall as ProducerCall, producerOver } from "../../../lib/clients/producer.ts";
import { decodeDelta } from "../../../lib/core/format/delta.ts";
import { deltaBytesMax } from "../../../lib/core/format/delta-header.ts";
import { SiltstoneError } from "../../../lib/core/model/errors.ts";
import { deltaId } from "../../../lib/core/model/ids.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { type ProduceCall, produce } from "../../../lib/engine/write/produce.ts";
import { type EffectHook, effects } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

let world: MemoryWorld;
const create = (options: object = {}) =>
  createCollection(world, { name: "docs", dims: 2, metric: "l2", ...options });
beforeEach(() => {
  world = memoryWorld();
});

const deltaKeys = () => world.store.keys("docs/").filter((key) => key.includes("/deltas/"));
const stored = () =>
  deltaKeys().flatMap(
    (key) => decodeDelta(world.store.bytes(key)!, { key, delta: deltaId(key.slice(-32, -6)) }).rows,
  );
const short = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => ({ id: `r${from + i}`, vector: [i, 1] }));

/** The n-th PUT of a delta, from 1; null for every one. */
function atPut(n: number | null, verdict: "refuse" | "loseAnswer"): EffectHook {
  let puts = 0;
  return ({ operation, key }, moment) => {
    if (operation !== "put" || !key.includes("/deltas/") || moment !== "before") return undefined;
    puts += 1;
    return n === null || puts === n ? { kind: verdict } : undefined;
  };
}

describe("a call larger than one delta", () => {
  test("4,000 short records, then 300 with documents of 250 KB, become deltas within their bounds", async () => {
    await create();
    const large = short(300, 4_000).map((record) => ({ ...record, document: "x".repeat(250_000) }));
    const answer = await produce(world, { collection: "docs", records: [...short(4_000), ...large] });
    expect(answer).toMatchObject({ written: 4_300, deleted: 0, rejected: [] });
    expect(answer.deltas).toHaveLength(4);
    for (const key of deltaKeys()) expect(world.store.bytes(key)!.length).toBeLessThan(deltaBytesMax / 1.9);
    expect(stored().map(({ id }) => id)).toEqual(Array.from({ length: 4_300 }, (_, i) => `r${i}`));
  });

  test.each([
    ["documents in multi-byte letters", { document: "ß".repeat(131_072) }],
    ["metadata", { metadata: { text: "x".repeat(40_000) } }],
    ["vectors", { vector: new Float32Array(4_096).fill(1) }, 4_096],
  ])("rows that are large for their %s", async (_, large, dims = 2) => {
    await create({ dims });
    const records = short(250).map((record) => ({ ...record, vector: new Float32Array(dims), ...large }));
    const { deltas } = await produce(world, { collection: "docs", records });
    for (const { bytes } of deltas) expect(bytes).toBeLessThan(deltaBytesMax / 1.9);
    expect(stored()).toHaveLength(250);
  });

  test("a record that cannot be encoded is refused before anything is written", async () => {
    await create({ shards: 4 });
    const call = { collection: "docs", records: short(40), producer: "p".repeat(100_000) };
    await expect(produce(world, call)).rejects.toMatchObject({ kind: "invalid" });
    expect(deltaKeys()).toEqual([]);
  });
});

describe("a failure after something was written", () => {
  const call = { collection: "docs", records: short(20), deletes: ["gone"] };

  test("a second delta that is refused: uncertain, with what is there and what is not", async () => {
    await create({ shards: 3 });
    const failed = produce(effects(world, atPut(2, "refuse")), call);
    const error = (await failed.catch((thrown: unknown) => thrown)) as SiltstoneError;
    const rows = stored().length;
    expect(deltaKeys()).toHaveLength(2);
    expect(error).toMatchObject({ kind: "uncertain" });
    const { message } = error;
    expect(message).toMatch(
      new RegExp(
        `^2 of 3 deltas were written with ${rows} rows: shard 0 \\w+ \\(\\d+ rows\\), shard 2 \\w+ \\(\\d+ rows\\); 1 were not; repeat the call`,
      ),
    );
    // What was written is told of, so that it does not wait for its turn.
    expect(world.queue.bodies()).toHaveLength(2);
    expect((await produce(world, call)).written).toBe(20);
    expect(new Set(stored().map(({ id }) => id)).size).toBe(21);
  });

  test("a last delta whose answer is lost: it may be there as well", async () => {
    await create({ shards: 3 });
    const failed = produce(effects(world, atPut(3, "loseAnswer")), call);
    await expect(failed).rejects.toMatchObject({
      kind: "uncertain",
      message: expect.stringMatching(
        /^2 of 3 deltas were written with \d+ rows: shard 0 .*, shard 1 .*; shard 2 \w+ \(\d+ rows\) may have been; 0 were not/,
      ),
    });
    expect(stored()).toHaveLength(21);
  });

  test("every delta is refused: nothing happened", async () => {
    await create({ shards: 3 });
    const failed = produce(effects(world, atPut(null, "refuse")), call);
    await expect(failed).rejects.toMatchObject({ kind: "unavailable" });
    expect(deltaKeys()).toEqual([]);
    expect(world.queue.bodies()).toEqual([]);
  });

  test("every delta's answer is lost: uncertain, and none counts as written", async () => {
    await create({ shards: 3 });
    const failed = produce(effects(world, atPut(null, "loseAnswer")), call);
    await expect(failed).rejects.toMatchObject({
      kind: "uncertain",
      message: expect.stringMatching(
        /^0 of 3 deltas were written with 0 rows; shard 0 .*, shard 1 .*, shard 2 .* may have been; 0 were not/,
      ),
    });
    expect(deltaKeys()).toHaveLength(3);
  });

  test("of one shard's deltas none is begun after one that failed", async () => {
    await create({ shards: 1 });
    const records = short(300).map((record) => ({ ...record, document: "x".repeat(250_000) }));
    const failed = produce(effects(world, atPut(1, "refuse")), { collection: "docs", records });
    await expect(failed).rejects.toMatchObject({ kind: "unavailable" });
    expect(deltaKeys()).toEqual([]);
  });

  test("an error names a few deltas, however many there are", async () => {
    await create({ shards: 64 });
    const failed = produce(effects(world, atPut(50, "refuse")), {
      collection: "docs",
      records: short(2_000),
    });
    const { message } = (await failed.catch((thrown: unknown) => thrown)) as SiltstoneError;
    expect(message).toMatch(/^63 of 64 deltas .*, and 53 more; 1 were not/);
    expect(message.length).toBeLessThan(1_000);
  });

  test.each(["unavailable", "uncertain", "invalid", "corrupt"] as const)(
    "a queue that fails with %s is told of, and the write stands",
    async (kind) => {
      await create({ shards: 3 });
      const queue = { send: () => Promise.reject(new SiltstoneError(kind, "no")) };
      const answer = await produce({ ...world, queue }, call);
      expect(answer).toMatchObject({ written: 20, deleted: 1, notified: false });
      expect(stored()).toHaveLength(21);
    },
  );
});

describe("what the caller does after the call", () => {
  test.each<[string, () => ProduceCall, (call: Changeable) => void]>([
    [
      "a Float32Array",
      () => one({ vector: new Float32Array([1, 2]) }),
      ({ records }) => records[0].vector.set([0, 9]),
    ],
    ["a list of numbers", () => one({}), ({ records }) => records[0].vector.splice(0, 2, 0, 9)],
    [
      "a document",
      () => one({ document: "before" }),
      ({ records }) => Object.assign(records[0], { document: "x" }),
    ],
    ["an id", () => one({}), ({ records }) => Object.assign(records[0], { id: "other" })],
    [
      "metadata",
      () => one({ metadata: { a: 1 } }),
      ({ records }) => Object.assign(records[0].metadata, { a: 2, b: 3 }),
    ],
    [
      "a list in metadata",
      () => one({ metadata: { tags: ["a"] } }),
      ({ records }) => records[0].metadata.tags.push("b"),
    ],
    ["the records", () => one({}), ({ records }) => records.push({ id: "late", vector: [1, 1] })],
    ["the deletes", () => ({ ...one({}), deletes: ["gone"] }), ({ deletes }) => deletes.push("late")],
    ["the collection", () => one({}), (call) => Object.assign(call, { collection: "other" })],
    [
      "the rest",
      () => one({}),
      (call) => Object.assign(call, { onInvalid: "x", embeddingVersion: "x", producer: "x" }),
    ],
  ])("changes nothing: %s", async (_, make, change) => {
    await create();
    const call = make();
    const written = producerOver(world).produce(call as ProducerCall);
    change(call as unknown as Changeable);
    await written;
    const changed = stored();
    world = memoryWorld();
    await create();
    await produce(world, make());
    expect(changed).toEqual(
      stored().map((row, i) => ({ ...row, delta: changed[i]!.delta, version: changed[i]!.version })),
    );
  });

  test("a property that answers otherwise each time is asked once", async () => {
    await create();
    let asked = 0;
    const record = {
      id: "a",
      get vector() {
        asked += 1;
        return asked === 1 ? [1, 2] : [Number.NaN];
      },
    };
    await producerOver(world).produce({ collection: "docs", records: [record] });
    expect({ asked, vector: [...stored()[0]!.vector!] }).toEqual({ asked: 1, vector: [1, 2] });
  });

  interface Changeable {
    collection: string;
    // biome-ignore lint/suspicious/noExplicitAny: what a caller may do to its own objects
    records: any[] & [any];
    deletes: string[];
  }
  const one = (more: object): ProduceCall => ({
    collection: "docs",
    records: [{ id: "a", vector: [1, 2], ...more }],
  });
});

describe("what is counted", () => {
  test("distinct records and deleted ids, by the row that wins", async () => {
    await create();
    const vector = [1, 2];
    const records = ["a", "a", "b", "c", "a"].map((id) => ({ id, vector }));
    const answer = await produce(world, { collection: "docs", records, deletes: ["c", "d", "d"] });
    expect(answer).toMatchObject({ written: 2, deleted: 2 });
  });

  test("the highest of a source's versions wins, wherever it stands", async () => {
    await create({ ordering: "source" });
    const answer = await produce(world, {
      collection: "docs",
      records: [
        { id: "a", vector: [1, 2], version: 7 },
        { id: "b", vector: [1, 2], version: 7 },
      ],
      deletes: [
        { id: "a", version: 6 },
        { id: "b", version: 7 },
      ],
    });
    expect(answer).toMatchObject({ written: 1, deleted: 1 });
  });
});

test("a call that is not an object is refused by name", async () => {
  for (const call of [undefined, null, "x", [1]])
    await expect(produce(world, call as unknown as ProduceCall)).rejects.toMatchObject({
      kind: "invalid",
      message: expect.stringContaining("the call must be an object"),
    });
});

test("sixteen shards are written in one round of PUTs, and the queue is told in batches after them", async () => {
  await create({ shards: 16 });
  let [underWay, most] = [0, 0];
  const told: number[] = [];
  const counting = effects(world, async ({ operation, key }, moment) => {
    if (operation !== "put" || !key.includes("/deltas/")) return undefined;
    underWay += moment === "before" ? 1 : -1;
    most = Math.max(most, underWay);
    await new Promise((resolve) => setTimeout(resolve, 5));
    return undefined;
  });
  const queue = {
    send: async (...bodies: readonly string[]) => {
      told.push(bodies.length);
      expect([underWay, deltaKeys().length]).toEqual([0, 16]);
    },
  };
  const answer = await produce({ ...counting, queue }, { collection: "docs", records: short(500) });
  expect(answer).toMatchObject({ written: 500, notified: true });
  expect([most, told]).toEqual([16, [16]]);
});
