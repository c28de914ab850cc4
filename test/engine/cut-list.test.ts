/** A backlog longer than one LIST looks at: nothing is concluded about what lies behind its end. */
import { bounds } from "../../lib/core/model/bounds.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import type { World } from "../../lib/engine/ports.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { effects } from "../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../support/memory/world.ts";
import { underBounds } from "../support/small-bounds.ts";

const small = { ...bounds, listedDeltas: 9, appliedDeltas: 13, batchDeltas: 4, overlaidDeltas: 4 };
const collection = "docs";

async function storeOf() {
  const world = memoryWorld();
  const created = await createCollection(world, { name: collection, dims: 2, metric: "l2" });
  const head = () => readHead(world.store, created.collection, 0);
  return { world, head };
}
const write = async (world: World, memory: MemoryWorld, id: string) => {
  memory.clock.advance(10);
  return produce(world, { collection, records: [{ id, vector: [1, 1] }] });
};
const ingest = (world: World) =>
  compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 3_600_000 });

test("a delta that is ingested and still lies behind the end is not ingested again", async () => {
  const { world, head } = await storeOf();
  await write(world, world, "newest");
  const dying = effects(world, ({ operation }) => (operation === "delete" ? { kind: "refuse" } : undefined));
  await ingest(dying);
  expect((await head()).manifest.applied).toHaveLength(1);
  // Writers whose clocks are behind: their deltas come before the one that is ingested.
  const behind = { ...world, clock: world.clock.fork({ seed: 5, skewMs: -60_000 }) };
  await underBounds(small, async () => {
    for (let i = 0; i < 11; i++) await write(behind, world, `r${i}`);
    await ingest(world);
  });
  const { manifest } = await head();
  expect(manifest.ledger.ingested.rows).toBe(12);
  expect(world.store.keys(`${collection}/0/deltas/`)).toEqual([]);
});

test("a strong read whose LIST was cut, and is ingested by the time the pointer is read, looks again", async () => {
  const { world } = await storeOf();
  await underBounds(small, async () => {
    for (let i = 0; i < 10; i++) await write(world, world, `r${i}`);
    // So old that the watermark passes what is ingested.
    world.clock.advance(2 * 3_600_000);
    let listed = false;
    const slow = effects(world, async ({ operation, key }, moment) => {
      if (moment !== "before" || operation !== "get" || !key.endsWith("pointer.json") || listed)
        return undefined;
      listed = true;
      // Eight of the nine are ingested meanwhile, in two batches; the last stays behind its end.
      const [slept] = [world.clock.nowMs()];
      let batches = 0;
      await compact(
        effects(world, (effect, at) => {
          if (at === "after" && effect.operation === "put" && effect.key.endsWith("pointer.json"))
            batches += 1;
          return undefined;
        }),
        {
          ingest: true,
          upkeep: false,
          get deadlineMs() {
            return batches < 2 ? slept + 3_600_000 : 0;
          },
        },
      );
      expect(batches).toBe(2);
      return undefined;
    });
    const reader = new Reader(slow, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
    expect((await reader.count({ collection, consistency: "strong" })).count).toBe(10);
    await reader.close();
  });
});
