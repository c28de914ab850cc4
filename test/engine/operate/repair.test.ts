/** SNP-4, SNP-5, SNP-6: the repair of a lost pointer, and those who sleep over it. */

import { deltaBytesMax } from "../../../lib/core/format/delta-header.ts";
import { encodeSealed } from "../../../lib/core/format/sealed-json.ts";
import type { Collection } from "../../../lib/core/model/collection.ts";
import { snapshotVersion } from "../../../lib/core/model/ids.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { collectGarbage } from "../../../lib/engine/compact/collect-garbage.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { merge } from "../../../lib/engine/compact/merge.ts";
import { repairPointer } from "../../../lib/engine/operate/repair.ts";
import { rollback } from "../../../lib/engine/operate/rollback.ts";
import { verify } from "../../../lib/engine/operate/verify.ts";
import type { World } from "../../../lib/engine/ports.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { listManifests, pinVersion, publishedChain } from "../../../lib/engine/shard/history.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { limits } from "../../crash/scenarios.ts";
import { type Effect, effects } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const minute = 60_000;
const hour = 60 * minute;
const pointer = "docs/0/pointer.json";

async function made(): Promise<{ world: MemoryWorld; collection: Collection }> {
  const world = memoryWorld();
  return { world, ...(await createCollection(world, { name: "docs", dims: 2, metric: "l2" })) };
}
const run = (world: World, part: "ingest" | "upkeep") =>
  compact(world, {
    ingest: part === "ingest",
    upkeep: part === "upkeep",
    deadlineMs: world.clock.nowMs() + hour,
  });
async function write(world: MemoryWorld, ...ids: string[]): Promise<void> {
  world.clock.advance(1_000);
  await produce(world, { collection: "docs", records: ids.map((id) => ({ id, vector: [1, 2] })) });
}
/** One version for each id. */
async function publish(world: MemoryWorld, ...ids: string[]): Promise<void> {
  for (const id of ids) {
    await write(world, id);
    expect((await run(world, "ingest")).shards[0]!.error).toBeUndefined();
  }
}
const lose = (world: MemoryWorld) => world.store.delete([pointer]);
const versionsOf = async (world: MemoryWorld, collection: Collection) => {
  const head = await readHead(world.store, collection, 0);
  const names = await listManifests(world.store, head.manifest);
  return (await publishedChain(world.store, head, names)).map(({ version }) => version).filter((n) => n > 0);
};
const manifests = ({ store }: MemoryWorld) => store.keys("docs/0/manifests/");
async function idsIn(world: MemoryWorld): Promise<string[]> {
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  try {
    const question = { collection: "docs", vector: [1, 2], topK: 10, consistency: "strong" as const };
    return (await reader.query(question)).results.map(({ id }) => id).sort();
  } finally {
    await reader.close();
  }
}
/** Does `work` once, just before the first effect that `meets` accepts; then the process goes on. */
function asleep(world: MemoryWorld, meets: (effect: Effect) => boolean, work: () => Promise<unknown>) {
  let done = false;
  return effects(world, async (effect, moment) => {
    if (done || moment !== "before" || !meets(effect)) return undefined;
    done = true;
    await work();
    return undefined;
  });
}
const isPut =
  (part: string) =>
  ({ operation, key }: Effect) =>
    operation === "put" && key.includes(part);
/** A process that dies before it moves the pointer. */
const dying = (world: MemoryWorld) =>
  effects(world, (effect, moment) => {
    if (moment === "before" && isPut("pointer.json")(effect)) throw new Error("died");
    return undefined;
  });
const unharmed = async (world: MemoryWorld, collection: Collection) =>
  expect((await verify(world, collection, 0)).faults).toEqual([]);

describe("a repaired shard keeps what was kept", () => {
  test("upkeep deletes none of three versions that are seconds old; rollback, pin and diff find them", async () => {
    const { world, collection } = await made();
    await publish(world, "a", "b", "c");
    const before = manifests(world);
    await lose(world);
    expect(await repairPointer(world, collection, 0)).toMatchObject({ outcome: "repaired", version: 3 });
    expect((await run(world, "upkeep")).shards[0]!.error).toBeUndefined();
    expect(manifests(world)).toEqual(before);
    expect(await versionsOf(world, collection)).toEqual([3, 2, 1]);
    const head = () => readHead(world.store, collection, 0);
    expect(await pinVersion(world, head, { name: "two", version: snapshotVersion(2) })).toMatchObject({
      version: 2,
    });
    expect(await rollback(world, collection, 0, snapshotVersion(1))).toEqual({ outcome: "done", version: 4 });
    expect(await idsIn(world)).toEqual(["a"]);
    await unharmed(world, collection);
  });

  test("a pin of the version before is no reason to go back to it: a reader that has seen the newest goes on", async () => {
    const { world, collection } = await made();
    await publish(world, "a", "b", "c", "d");
    await pinVersion(world, () => readHead(world.store, collection, 0), {
      name: "four",
      version: snapshotVersion(4),
    });
    const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
    await merge(world, collection, 0, { deadlineMs: world.clock.nowMs() + hour, limits });
    const strong = { collection: "docs", consistency: "strong" } as const;
    const { version } = (await readHead(world.store, collection, 0)).manifest;
    expect(version).toBeGreaterThan(4);
    expect(await reader.count(strong)).toMatchObject({ count: 4, snapshotVersion: version });
    await lose(world);
    expect(await repairPointer(world, collection, 0)).toMatchObject({ outcome: "repaired", version });
    expect(await reader.count(strong)).toMatchObject({ count: 4, snapshotVersion: version });
    await reader.close();
    await unharmed(world, collection);
  });

  test("versions go when their time has come, as if the pointer had never been lost", async () => {
    const left: number[][] = [];
    for (const isLost of [false, true]) {
      const { world, collection } = await made();
      // One version every ten minutes: six are younger than an hour.
      for (let n = 0; n < 12; n++) {
        world.clock.advance(10 * minute);
        await publish(world, `id${n}`);
      }
      await run(world, "upkeep");
      if (isLost) {
        await lose(world);
        await repairPointer(world, collection, 0);
      }
      for (let n = 0; n < 4; n++) {
        await run(world, "upkeep");
        left.push(await versionsOf(world, collection));
        world.clock.advance(5 * minute);
      }
      await unharmed(world, collection);
    }
    expect(left.slice(0, 4)).toEqual(left.slice(4));
    expect(left[0]!.length).toBeGreaterThan(6);
  });

  test("a repair gives up what a collector that sleeps gave up because the shard was idle", async () => {
    const { world, collection } = await made();
    await publish(world, "a", "b");
    world.clock.advance(4 * 24 * hour);
    const head = () => readHead(world.store, collection, 0);
    const sleeper = asleep(
      world,
      ({ operation }) => operation === "delete",
      async () => {
        await lose(world);
        await repairPointer(world, collection, 0);
        // It would be the collector's to delete.
        await expect(pinVersion(world, head, { name: "one", version: snapshotVersion(1) })).rejects.toThrow(
          /kept/,
        );
      },
    );
    expect((await collectGarbage(sleeper, collection, 0)).versionsCollected).toEqual([1]);
    expect(await idsIn(world)).toEqual(["a", "b"]);
    await unharmed(world, collection);
  });

  test("a version that the inferred floor gives up can still be rolled back to while it is there: by copies", async () => {
    const { world, collection } = await made();
    for (const id of ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]) {
      await publish(world, id);
      world.clock.advance(5 * minute);
    }
    await lose(world);
    await repairPointer(world, collection, 0);
    const { pointer: repaired } = await readHead(world.store, collection, 0);
    expect(repaired.floor.version).toBeGreaterThan(1);
    expect(await rollback(world, collection, 0, snapshotVersion(1))).toMatchObject({ outcome: "done" });
    expect(await idsIn(world)).toEqual(["a"]);
    const { manifest } = await readHead(world.store, collection, 0);
    expect(manifest.segments[0]!.id > repaired.floor.ulid).toBe(true);
    await unharmed(world, collection);
  });
});

describe("the version that a repair chooses", () => {
  test("a manifest whose files are all there goes before a newer one that lacks some", async () => {
    const { world, collection } = await made();
    await publish(world, "a", "b");
    await write(world, "c");
    await run(dying(world), "ingest").catch(() => {});
    // The collector takes segments first, and may die before the manifest.
    const orphan = world.store.keys("docs/0/segments/").at(-1)!.split("/")[3]!;
    await world.store.delete(world.store.keys(`docs/0/segments/${orphan}/`));
    await lose(world);
    const repair = await repairPointer(world, collection, 0);
    expect(repair).toMatchObject({ version: 2, missingFiles: 0 });
    expect(repair.candidates.map(({ version, missingFiles }) => [version, missingFiles])).toEqual([
      [3, 2],
      [2, 0],
    ]);
    world.clock.advance(2 * minute);
    await run(world, "ingest");
    expect(await idsIn(world)).toEqual(["a", "b", "c"]);
    await unharmed(world, collection);
  });

  test("an object that is too large for the delta whose place it has is left, and the others are put again", async () => {
    const { world, collection } = await made();
    await publish(world, "a");
    await write(world, "b");
    await write(world, "c");
    await run(dying(world), "ingest").catch(() => {});
    const orphan = world.store.keys("docs/0/segments/").at(-1)!.split("/")[3]!;
    await world.store.delete(world.store.keys(`docs/0/segments/${orphan}/`));
    await lose(world);
    const [large] = world.store.keys("docs/0/deltas/");
    const bytes = deltaBytesMax + 1;
    await world.store.put(large!, Buffer.alloc(bytes));
    const delta = large!.split("/").at(-1)!.replace(".arrow", "");
    expect(await repairPointer(world, collection, 0)).toMatchObject({ version: 1, left: [{ delta, bytes }] });
    world.clock.advance(2 * minute);
    expect((await run(world, "ingest")).shards).toMatchObject([{ ingest: { deltas: 2, quarantined: 1 } }]);
    expect(await idsIn(world)).toEqual(["a", "c"]);
    await unharmed(world, collection);
  });

  test("a damaged version is chosen where it alone has all that was acknowledged, and the repair says so", async () => {
    const { world, collection } = await made();
    await publish(world, "a", "b");
    await world.store.delete([world.store.keys("docs/0/segments/").at(-1)!]);
    await lose(world);
    expect(await repairPointer(world, collection, 0)).toMatchObject({ version: 2, missingFiles: 1 });
    expect((await verify(world, collection, 0)).faults).toHaveLength(1);
    expect(await rollback(world, collection, 0, snapshotVersion(1))).toMatchObject({ outcome: "done" });
    expect(await idsIn(world)).toEqual(["a"]);
  });

  test("a version that a deleted collection of the name left is never chosen, however high it is", async () => {
    const { world, collection } = await made();
    await publish(world, "a");
    const [left] = manifests(world);
    const text = world.store.bytes(left!)!.toString("utf8");
    const { seal: _seal, ...foreign } = JSON.parse(text);
    const commit = world.clock.ulid();
    const body = encodeSealed({
      ...{ ...foreign, collectionId: world.clock.ulid(), version: 9, commit },
      parent: { version: 8, commit: foreign.commit },
    });
    await world.store.put(`docs/0/manifests/000000000009-${commit}.json`, body);
    await lose(world);
    expect(await repairPointer(world, collection, 0)).toMatchObject({ version: 1 });
    expect(await idsIn(world)).toEqual(["a"]);
  });

  test("a repair whose own PUT won unnoticed says that it repaired", async () => {
    const { world, collection } = await made();
    await publish(world, "a");
    await lose(world);
    const unnoticed = effects(world, (effect, moment) =>
      moment === "after" && isPut("pointer.json")(effect)
        ? { kind: "answer", value: { kind: "preconditionFailed" } }
        : undefined,
    );
    expect(await repairPointer(unnoticed, collection, 0)).toMatchObject({ outcome: "repaired", version: 1 });
  });
});

describe("processes that sleep over a repair", () => {
  const loseAndRepair = async (world: MemoryWorld, collection: Collection) => {
    await lose(world);
    return repairPointer(world, collection, 0);
  };

  test("a collector that took the newest manifest for an orphan deletes nothing that the repair made current", async () => {
    const { world, collection } = await made();
    await publish(world, "a", "b", "c");
    await merge(dying(world), collection, 0, { deadlineMs: world.clock.nowMs() + hour, limits }).catch(
      () => {},
    );
    expect(manifests(world)).toHaveLength(4);
    world.clock.advance(26 * hour);
    const collector = asleep(
      world,
      ({ operation }) => operation === "delete",
      async () => {
        expect(await loseAndRepair(world, collection)).toMatchObject({ version: 4 });
      },
    );
    const { keys } = await collectGarbage(collector, collection, 0);
    expect(keys.some((key) => key.includes("/segments/"))).toBe(true);
    await unharmed(world, collection);
    expect(await versionsOf(world, collection)).toEqual([4, 3, 2, 1]);
    expect(await idsIn(world)).toEqual(["a", "b", "c"]);
  });

  test("a pin of a version that the repair published anew is taken back, since nothing would keep what it names", async () => {
    const { world, collection } = await made();
    await publish(world, "a", "b", "c");
    await merge(world, collection, 0, { deadlineMs: world.clock.nowMs() + hour, limits });
    world.clock.advance(26 * hour);
    const head = () => readHead(world.store, collection, 0);
    const { commit } = (await head()).manifest;
    const slow = asleep(world, isPut("pins/"), () => loseAndRepair(world, collection));
    const pin = pinVersion(slow, () => readHead(slow.store, collection, 0), {
      name: "four",
      version: snapshotVersion(4),
    });
    await expect(pin).rejects.toMatchObject({ kind: "notFound" });
    expect((await head()).manifest).toMatchObject({ version: 4, cause: "merge" });
    expect((await head()).manifest.commit).not.toBe(commit);
    expect(world.store.keys("docs/0/pins/")).toEqual([]);
    expect(await pinVersion(world, head, { name: "four", version: snapshotVersion(4) })).toMatchObject({
      version: 4,
    });
    // And a pin is a proof: what it names is not published anew.
    const { commit: pinned } = (await head()).manifest;
    world.clock.advance(26 * hour);
    await loseAndRepair(world, collection);
    expect((await head()).manifest.commit).toBe(pinned);
    await unharmed(world, collection);
  });

  test.each([0, 1, 2])(
    "an ingestion that published, and was passed over, takes no acknowledged write with it (bits flipped in GETs of it: %i)",
    async (flips) => {
      const { world, collection } = await made();
      await publish(world, "a", "b");
      await write(world, "c");
      const sleeper = effects(world, async (effect, moment) => {
        // A rollback that is made just before the ingestion publishes, and is never published itself.
        if (moment === "before" && isPut("pointer.json")(effect)) {
          world.clock.advance(3 * minute);
          await rollback(dying(world), collection, 0, snapshotVersion(1)).catch(() => {});
        }
        if (moment === "before" && effect.operation === "delete" && effect.port === "store") {
          expect((await readHead(world.store, collection, 0)).manifest.cause).toBe("ingest");
          await lose(world);
          const flipping = flippingDelta(world, flips);
          if (flips === 2)
            await expect(repairPointer(flipping, collection, 0)).rejects.toThrow("repeat the call");
          await repairPointer(flipping, collection, 0);
        }
        return undefined;
      });
      await run(sleeper, "ingest");
      expect((await readHead(world.store, collection, 0)).manifest.cause).toBe("rollback");
      world.clock.advance(3 * minute);
      await run(world, "ingest");
      expect(await idsIn(world)).toEqual(["a", "c"]);
      await unharmed(world, collection);
    },
  );
});

/** The first `count` GETs of deltas are answered with one bit another, each another one. */
function flippingDelta(world: MemoryWorld, count: number): World {
  let gets = 0;
  return effects(world, ({ operation, key }, moment) => {
    if (moment !== "after" || operation !== "get" || !key.includes("/deltas/") || ++gets > count)
      return undefined;
    const body = world.store.bytes(key)!;
    return { kind: "flip", at: (body.indexOf("upsert") + gets) / body.length };
  });
}
