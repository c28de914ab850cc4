/** I7: what of a LIST is the backlog of a version. */
import type { Manifest } from "../../../lib/core/format/manifest.ts";
import { type DeltaId, deltaId } from "../../../lib/core/model/ids.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { isInBacklogOf } from "../../../lib/engine/shard/deltas.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { memoryWorld } from "../../support/memory/world.ts";

const day = 24 * 3_600_000;

async function manifestOfOneWrite(): Promise<{ manifest: Manifest; before: DeltaId; after: DeltaId }> {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  const before = deltaId(world.clock.ulid());
  world.clock.advance(3 * 3_600_000);
  await produce(world, { collection: "docs", records: [{ id: "a", vector: [1, 2] }] });
  world.clock.advance(60_000);
  await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + day });
  const { manifest } = await readHead(world.store, collection, 0);
  return { manifest, before, after: deltaId(world.clock.ulid()) };
}

test("a delta below the watermark came too late to have been acknowledged: it is in no backlog, applied or not", async () => {
  const { manifest, before, after } = await manifestOfOneWrite();
  const isInBacklog = isInBacklogOf(manifest);
  expect(before < manifest.watermark).toBe(true);
  expect(isInBacklog(before)).toBe(false);
  expect(isInBacklog(manifest.watermark)).toBe(false);
  expect(manifest.applied.map(isInBacklog)).toEqual([false]);
  expect(isInBacklog(after)).toBe(true);
});
