/** ENV-3, ENV-4: how long deletes are remembered is a collection's setting, and code that does not know it leaves the collection alone. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { decodeCollection, encodeCollection } from "../../../lib/core/format/collection-json.ts";
import { decodeSealed, encodeSealed } from "../../../lib/core/format/sealed-json.ts";
import {
  type Collection,
  newCollection,
  type TombstoneRetention,
} from "../../../lib/core/model/collection.ts";
import { ulidFloor } from "../../../lib/core/model/ulid.ts";
import { mergeLimits } from "../../../lib/core/policy/merge-plan.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { merge } from "../../../lib/engine/compact/merge.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { listQuarantine } from "../../../lib/engine/shard/quarantine.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { goldenCollections } from "../../golden/content.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const day = 24 * 3_600_000;
const limits = { ...mergeLimits, flatSegmentsMax: 1 };

async function settle(world: MemoryWorld, collection: Collection): Promise<void> {
  await compact(world, { ingest: true, upkeep: false, deadlineMs: 9e15 });
  await merge(world, collection, 0, { deadlineMs: 9e15, limits });
}
async function deleted(tombstoneRetention?: TombstoneRetention) {
  const world = memoryWorld();
  const { collection } = await createCollection(world, {
    ...{ name: "docs", dims: 2, metric: "l2", ordering: "source" },
    tombstoneRetention,
  });
  const write = async (version: number, ...ids: string[]) =>
    produce(world, { collection: "docs", records: ids.map((id) => ({ id, vector: [1, 2], version })) });
  await write(1, "a");
  await produce(world, { collection: "docs", deletes: [{ id: "a", version: 5 }] });
  await settle(world, collection);
  return { world, collection, write };
}
async function idsIn(world: MemoryWorld): Promise<string[]> {
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  try {
    return (await reader.query({ collection: "docs", vector: [1, 2], topK: 9 })).results.map(({ id }) => id);
  } finally {
    await reader.close();
  }
}

test.each([
  [undefined, 29, false],
  [undefined, 32, true],
  [7, 6, false],
  [7, 9, true],
  [90, 89, false],
  [90, 92, true],
  ["never", 4_000, false],
] as const)(
  "deletes that are kept for %s days, after %d: forgotten is %s",
  async (retention, days, isForgotten) => {
    const { world, collection, write } = await deleted(retention);
    world.clock.advance(days * day);
    await write(1, "other");
    await settle(world, collection);
    const { segments } = (await readHead(world.store, collection, 0)).manifest;
    expect(segments.reduce((sum, { tombstones }) => sum + tombstones, 0)).toBe(isForgotten ? 0 : 1);
    // A replay of what the source had before.
    await write(3, "a");
    await settle(world, collection);
    expect((await idsIn(world)).includes("a")).toBe(isForgotten);
  },
);

test("a delta older than the collection remembers deletes is put aside", async () => {
  for (const [retention, days, isAside] of [
    [7, 8, true],
    [7, 6, false],
    ["never", 31, true],
    [90, 31, true],
  ] as const) {
    const { world, collection, write } = await deleted(retention);
    await write(9, "late");
    const [key] = world.store.keys("docs/0/deltas/");
    expect(key).toBeDefined();
    world.clock.advance(days * day);
    await settle(world, collection);
    const aside = await listQuarantine(world.store, { collection: "docs", shard: 0 });
    expect([retention, days, aside.length]).toEqual([retention, days, isAside ? 1 : 0]);
    expect(await idsIn(world)).toEqual(isAside ? [] : ["late"]);
  }
});

describe("the format", () => {
  const made = (tombstoneRetention?: TombstoneRetention) =>
    newCollection({ name: "docs", dims: 2, metric: "l2", tombstoneRetention }, ulidFloor(0), 0);

  test("is 1 where deletes are kept for 30 days, as ever, and 2 where not: older code leaves that alone", () => {
    expect(made(30)).toEqual(made());
    expect(made()).toMatchObject({ format: 1 });
    expect(made()).not.toHaveProperty("tombstoneRetention");
    for (const retention of [1, 7, 31, 36_500, "never"] as const) {
      const bytes = encodeCollection(made(retention));
      expect(decodeCollection(bytes, "k")).toEqual(made(retention));
      // What code does that reads format 1.
      expect(() => decodeSealed(bytes, "k", 1)).toThrow("has format 2 and this version reads 1");
    }
  });

  test("a malformed retention is refused", () => {
    for (const retention of [0, -1, 1.5, 36_501, "always", null] as never[])
      expect(() => made(retention)).toThrow(/tombstoneRetention must be an integer from 1 to 36500/);
    const stored = (change: object) => () => decodeCollection(encodeSealed({ ...made(), ...change }), "k");
    expect(stored({ tombstoneRetention: "never" })).toThrow(/is not a field of format 1/);
    expect(stored({ format: 2 })).toThrow(/tombstoneRetention/);
    expect(stored({ format: 0 })).toThrow("this version reads 1 to 2");
    expect(stored({ format: 3 })).toThrow("has format 3 and this version reads 2");
  });

  test.each(Object.entries(goldenCollections))("%s is read, and written the same", (file, collection) => {
    const bytes = readFileSync(join(import.meta.dirname, "../../golden", file));
    expect(decodeCollection(bytes, file)).toEqual(collection);
    expect(encodeCollection(collection)).toEqual(bytes);
  });
});
