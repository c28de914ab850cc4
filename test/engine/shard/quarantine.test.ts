/** Putting aside: by a copy on the server, never at the price of a good delta or of its neighbours. */
import { deltaBytesMax } from "../../../lib/core/format/delta-header.ts";
import { deltaKey } from "../../../lib/core/format/keys.ts";
import { deltaId } from "../../../lib/core/model/ids.ts";
import { ulidFloor } from "../../../lib/core/model/ulid.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { collectGarbage } from "../../../lib/engine/compact/collect-garbage.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import type { ObjectStore, World } from "../../../lib/engine/ports.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { listQuarantine } from "../../../lib/engine/shard/quarantine.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { type Effect, type EffectHook, effects } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const name = "docs";
const ref = { collection: name, shard: 0 };
const hour = 3_600_000;

async function prepare() {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name, dims: 2, metric: "l2" });
  const write = async (id: string) => {
    const { deltas } = await produce(world, { collection: name, records: [{ id, vector: [1, 2] }] });
    return deltas[0]!.delta;
  };
  const foreign = async (body: Buffer) => {
    const delta = deltaId(world.clock.ulid());
    await world.store.put(deltaKey(ref, delta), body);
    return delta;
  };
  return { world, collection, write, foreign };
}
const ingest = async (world: World) => {
  const request = { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour };
  return (await compact(world, request)).shards[0]!;
};
const idsOf = async (world: MemoryWorld, ids: string[]) => {
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  const { records } = await reader.get({ collection: name, ids, consistency: "strong" });
  await reader.close();
  return records.map(({ id }) => id);
};
/** The store, but for one method. */
const withStore = (world: MemoryWorld, change: (store: ObjectStore) => Partial<ObjectStore>): World => {
  const store: ObjectStore = effects(world, () => undefined).store;
  return { ...world, store: { ...store, ...change(store) } };
};

test("a bit flipped in one GET costs no delta: it is read again before it is judged", async () => {
  const { world, write } = await prepare();
  await write("a");
  await write("b");
  let flips = 0;
  const flipping = withStore(world, (store) => ({
    async getBounded(key, bytesMax) {
      const found = await store.getBounded(key, bytesMax);
      if (found.kind === "found" && flips++ < 2) found.body[found.body.indexOf("upsert")]! ^= 4;
      return found;
    },
  }));
  expect(await ingest(flipping)).toMatchObject({ ingest: { deltas: 2, quarantined: 0, left: [] } });
  expect(flips).toBe(4);
  expect(await idsOf(world, ["a", "b"])).toEqual(["a", "b"]);
  expect(await listQuarantine(world.store, ref)).toEqual([]);
});

test("a delta that reads differently each time is left, for reads and for the next run, and is never put aside", async () => {
  const { world, write } = await prepare();
  const delta = await write("a");
  await write("b");
  let flips = 0;
  const flipping = withStore(world, (store) => ({
    async getBounded(key, bytesMax) {
      const found = await store.getBounded(key, bytesMax);
      if (found.kind === "found" && key.includes(delta)) found.body[100 + flips++]! ^= 4;
      return found;
    },
  }));
  const reason = expect.stringMatching(/was read twice, with different bytes/);
  expect(await ingest(flipping)).toMatchObject({
    ingest: { deltas: 1, quarantined: 0, left: [{ delta, reason }] },
  });
  expect(flips).toBe(2);
  expect(await listQuarantine(world.store, ref)).toEqual([]);
  const reader = new Reader(flipping, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  const strong = { collection: name, consistency: "strong" as const };
  await expect(reader.count(strong)).rejects.toMatchObject({ kind: "unavailable", message: reason });
  await reader.close();
  expect(await ingest(world)).toMatchObject({ ingest: { deltas: 1, left: [] } });
  expect(await idsOf(world, ["a", "b"])).toEqual(["a", "b"]);
});

test("a delta that is too large by its LIST entry is put aside without a GET, and so is one that came too late", async () => {
  const { world, collection, write, foreign } = await prepare();
  const begun: Effect[] = [];
  const watching: EffectHook = (effect, moment) => void (moment === "before" && begun.push(effect));
  const large = await foreign(Buffer.alloc(deltaBytesMax + 1));
  await write("a");
  expect(await ingest(effects(world, watching))).toMatchObject({ ingest: { deltas: 1, quarantined: 1 } });
  const late = deltaId(ulidFloor(world.clock.nowMs() - 2 * hour));
  await world.store.put(deltaKey(ref, late), Buffer.alloc(10));
  const { lateDeltas } = await collectGarbage(effects(world, watching), collection, 0);
  expect(lateDeltas).toEqual([late]);

  const read = begun.filter(({ operation, key }) => operation === "get" && /deltas|quarantine/.test(key));
  expect(read).toHaveLength(1);
  const bytes = Object.fromEntries((await listQuarantine(world.store, ref)).map((one) => [one.delta, one]));
  expect(bytes[large]).toMatchObject({
    bytes: deltaBytesMax + 1,
    reason: `docs/0/deltas/${large}.arrow is corrupt: it has ${deltaBytesMax + 1} bytes; a delta has at most ${deltaBytesMax}`,
  });
  expect(bytes[late]).toMatchObject({ bytes: 10, reason: expect.stringContaining("too late") });
  expect(world.store.keys("docs/0/deltas/")).toEqual([]);
});

test("an object that grew between LIST and GET is not read whole", async () => {
  const { world, write, foreign } = await prepare();
  await write("a");
  const grown = await foreign(Buffer.alloc(10));
  const growing = withStore(world, (store) => ({
    async getBounded(key, bytesMax) {
      if (key.includes(grown)) await world.store.put(key, Buffer.alloc(deltaBytesMax + 1));
      return store.getBounded(key, bytesMax);
    },
  }));
  const before = world.traffic.snapshot();
  expect(await ingest(growing)).toMatchObject({ ingest: { deltas: 1, quarantined: 1 } });
  expect(world.traffic.since(before).bytesRead).toBeLessThan(100_000);
});

test.each<[string, (store: ObjectStore) => Partial<ObjectStore>]>([
  [
    "is shorter than the original",
    (store) => ({
      copy: async (from, to) => {
        await store.put(to, Buffer.from("part"));
        return { bytes: (await store.head(from))!.bytes };
      },
    }),
  ],
  ["is not there", (store) => ({ copy: async (from) => ({ bytes: (await store.head(from))!.bytes }) })],
])(
  "the original stays while its copy %s; its neighbours are ingested, and the next run goes on",
  async (_, lie) => {
    const { world, write, foreign } = await prepare();
    const bad = await foreign(Buffer.from("not an arrow file"));
    await write("a");
    const shard = await ingest(withStore(world, lie));
    expect(shard).toMatchObject({
      ingest: { outcome: "done", deltas: 1, quarantined: 0, pending: [bad] },
    });
    expect(shard.ingest!.left).toEqual([
      {
        delta: bad,
        reason: expect.stringMatching(
          /has only 17 bytes; it could not be put aside: .* does not have the bytes of the delta/,
        ),
      },
    ]);
    expect(world.store.bytes(deltaKey(ref, deltaId(bad)))).not.toBeNull();
    expect(await ingest(world)).toMatchObject({ ingest: { quarantined: 1, pending: [], left: [] } });
    expect(world.store.bytes(`docs/0/quarantine/${bad}.arrow`)!.toString()).toBe("not an arrow file");
  },
);

test("a delta that cannot be put aside blocks no other, whatever its copy is refused for", async () => {
  const { world, write, foreign } = await prepare();
  await foreign(Buffer.from("not an arrow file"));
  const refusing = effects(world, ({ operation }, moment) =>
    moment === "before" && operation === "copy" ? { kind: "refuse" } : undefined,
  );
  for (const id of ["a", "b", "c"]) {
    await write(id);
    expect(await ingest(refusing)).toMatchObject({ ingest: { outcome: "done", deltas: 1, quarantined: 0 } });
    world.clock.advance(2 * hour);
  }
  expect(await ingest(world)).toMatchObject({ ingest: { quarantined: 1, pending: [] } });
  expect(await idsOf(world, ["a", "b", "c"])).toEqual(["a", "b", "c"]);
});
