/** What was deleted is gone from S3 within `erasedMs`, and `findTraces` tells where it still is until then: both by the bytes themselves. */
import type { Collection } from "../../../lib/core/model/collection.ts";
import { mergeLimits } from "../../../lib/core/policy/merge-plan.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { collectGarbage } from "../../../lib/engine/compact/collect-garbage.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { merge } from "../../../lib/engine/compact/merge.ts";
import { erasedMs, findTraces } from "../../../lib/engine/operate/erasure.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { pinVersion, unpin } from "../../../lib/engine/shard/history.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { effects } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const day = 24 * 3_600_000;
const dims = 4;
const fullRows = 120;
const limits = {
  ...mergeLimits,
  flatSegmentsMax: 3,
  flatRowsMax: 20,
  segmentComponentsMax: fullRows * dims,
  clusteredComponentsMin: 60 * dims,
};
const secret = "what the patient said on the fourth of May";
const ref = { collection: "docs", shard: 0 };

async function made(rows: number): Promise<{ world: MemoryWorld; collection: Collection }> {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims, metric: "l2" });
  const records = Array.from({ length: rows }, (_, i) => ({
    id: `id${i}`,
    vector: [i % 7, i % 11, i % 13, 1 + i],
    document: i === 3 ? secret : `document ${i}`,
  }));
  await produce(world, { collection: "docs", records });
  await settle(world, collection);
  return { world, collection };
}
async function settle(world: MemoryWorld, collection: Collection): Promise<void> {
  await compact(world, { ingest: true, upkeep: false, deadlineMs: 9e15 });
  await merge(world, collection, 0, { deadlineMs: 9e15, limits });
  await collectGarbage(world, collection, 0);
}
async function days(world: MemoryWorld, collection: Collection, count: number): Promise<void> {
  for (let n = 0; n < count * 4; n++) {
    await settle(world, collection);
    world.clock.advance(day / 4);
  }
  await settle(world, collection);
}
const objectsWith = ({ store }: MemoryWorld, text: string) =>
  store.keys("docs/").filter((key) => store.bytes(key)!.includes(text));
const look = (world: MemoryWorld, collection: Collection) => findTraces(world, collection, 0, ["id3"]);

test.each([
  ["flat segments", 10],
  ["a graph without clusters.bin", 50],
  ["a graph with one", 90],
  ["a full segment", fullRows],
])(
  "of a deleted record in %s nothing is left when its time has come, and until then it is said where",
  async (_, rows) => {
    const { world, collection } = await made(rows);
    expect(await look(world, collection)).toMatchObject({ live: ["id3"] });
    await produce(world, { collection: "docs", deletes: ["id3"] });
    const deletedMs = world.clock.nowMs();
    for (let n = 0; n <= erasedMs / day; n++) {
      const { live, traces } = await look(world, collection);
      expect(live).toEqual([]);
      // Whatever has the text is named, and goes within the time that is said.
      const named = traces.map(({ key }) => key);
      for (const key of objectsWith(world, secret))
        expect(named.filter((name) => key.startsWith(name))).not.toEqual([]);
      for (const { goneByMs } of traces) {
        expect(goneByMs).toBeGreaterThan(world.clock.nowMs());
        expect(goneByMs).toBeLessThanOrEqual(deletedMs + erasedMs);
      }
      await days(world, collection, 1);
    }
    expect(await look(world, collection)).toEqual({ live: [], traces: [] });
    expect(objectsWith(world, secret)).toEqual([]);
  },
);

test("a pin keeps an erased text, and is named, until it is taken off", async () => {
  const { world, collection } = await made(50);
  const head = () => readHead(world.store, collection, 0);
  await pinVersion(world, head, { name: "before", version: (await head()).manifest.version });
  await produce(world, { collection: "docs", deletes: ["id3"] });
  await days(world, collection, 20);
  const { traces } = await look(world, collection);
  expect(traces).toMatchObject([{ ids: ["id3"], goneByMs: null }]);
  expect(traces[0]!.heldBy).toContain("pin before");
  for (const key of objectsWith(world, secret)) expect(key.startsWith(traces[0]!.key)).toBe(true);
  await unpin(world.store, ref, "before");
  await settle(world, collection);
  expect((await look(world, collection)).traces).toEqual([]);
});

test("deltas of the backlog, quarantined and unreadable ones, and segments that no version names, are looked into", async () => {
  const { world, collection } = await made(10);
  await produce(world, {
    collection: "docs",
    records: [{ id: "id3", vector: [1, 2, 3, 4], document: secret }],
  });
  const delta = world.store.keys("docs/0/deltas/")[0]!;
  const bytes = world.store.bytes(delta)!;
  const found = async () => (await look(world, collection)).traces.map(({ key, heldBy }) => [key, heldBy[0]]);
  expect(await found()).toContainEqual([delta, "a delta of the backlog"]);

  const aside = delta.replace("/deltas/", "/quarantine/");
  await world.store.put(aside, bytes);
  const unreadable = `docs/0/quarantine/${world.clock.ulid()}.arrow`;
  await world.store.put(unreadable, Buffer.from("no delta"));
  const [records] = objectsWith(world, secret).filter((key) => key.endsWith("records.db"));
  const orphan = `docs/0/segments/${world.clock.ulid()}/`;
  await world.store.put(`${orphan}records.db`, world.store.bytes(records!)!);
  const damaged = `docs/0/segments/${world.clock.ulid()}/`;
  await world.store.put(`${damaged}records.db`, Buffer.from("no database"));
  expect(await found()).toEqual(
    expect.arrayContaining([
      [aside, "quarantine"],
      [unreadable, "quarantine"],
      [orphan, "a segment that no version names"],
      [damaged, "a segment that no version names"],
    ]),
  );
  expect((await findTraces(world, collection, 0, ["nobody"])).traces.map(({ key }) => key)).toEqual([
    damaged,
    unreadable,
  ]);
});

test.each(["a segment of a version", "a segment that no version names"])(
  "an outage while %s is read is no trace of anything: it stays `unavailable`",
  async (which) => {
    const { world, collection } = await made(10);
    const [records] = objectsWith(world, secret).filter((key) => key.endsWith("records.db"));
    const orphan = `docs/0/segments/${world.clock.ulid()}/records.db`;
    await world.store.put(orphan, world.store.bytes(records!)!);
    const gone = which === "a segment of a version" ? records : orphan;
    const failing = effects(world, ({ operation, key }, moment) =>
      operation === "get" && key === gone && moment === "before" ? { kind: "refuse" } : undefined,
    );
    await expect(findTraces(failing, collection, 0, ["id3"])).rejects.toMatchObject({ kind: "unavailable" });
  },
);
