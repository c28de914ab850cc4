/**
 * The end of every run, without faults: everything converges within bounds, and what is left is what the model says.
 *
 * - Liveness: an hour after the last fault (leases of the dead run out, hidden messages come back), one run of the compactor
 *   ingests or puts aside whatever waits, and every acknowledged write is in a segment.
 * - Space: two days later, with no pins, one garbage collection run of a shard deletes all that no rule keeps.
 */

import { isKind } from "../../lib/core/model/errors.ts";
import { createCollection, deleteCollection } from "../../lib/engine/catalog/collections.ts";
import { collectGarbage } from "../../lib/engine/compact/collect-garbage.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { merge } from "../../lib/engine/compact/merge.ts";
import { repairPointer } from "../../lib/engine/operate/repair.ts";
import { verify } from "../../lib/engine/operate/verify.ts";
import type { World } from "../../lib/engine/ports.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import { listPins, unpin } from "../../lib/engine/shard/history.ts";
import type { MemoryWorld } from "../support/memory/world.ts";
import { optionsOf, type Scene } from "./processes.ts";
import type { UnreliableQueue } from "./sim-world.ts";
import { backlogOf, unkeptKeys } from "./space.ts";
import { differenceOf, liveDocuments } from "./writes.ts";

const hour = 3_600_000;
const restMs = 48 * hour;

export async function atRest(
  world: World,
  memory: MemoryWorld,
  scene: Scene,
  queue: UnreliableQueue,
): Promise<void> {
  const { oracle, plan } = scene;
  try {
    if (oracle.isDeleted) await deleteCollection(world.store, scene.collection.name);
    await createCollection(world, oracle.isDeleted ? optionsOf(plan, null) : scene.collection);
  } catch (error) {
    if (!oracle.isPointerLost(0, (error as Error).message))
      return oracle.violate(`at rest: ${(error as Error).stack}`);
  }
  const { collection } = scene;
  const shards = Array.from({ length: collection.shards }, (_, shard) => ({
    ...{ collection: collection.name, shard },
  }));
  const settle = async () => {
    // Leases of the dead run out, hidden messages come back.
    memory.clock.advance(hour);
    const request = { ingest: true, upkeep: false, deadlineMs: memory.clock.nowMs() + hour };
    const report = await compact(world, request);
    for (const { error } of report.shards)
      if (error) oracle.violate(`at rest: compacting failed: ${error.message}`);
    if (report.pending > 0) oracle.violate(`at rest: ${report.pending} deltas stay in the backlog`);
    const options = { deadlineMs: memory.clock.nowMs() + hour, limits: plan.limits };
    for (const { shard } of shards) await merge(world, collection, shard, options);
  };
  try {
    for (const { collection: name, shard } of shards)
      if (oracle.shard(`${name}/${shard}`).isLost)
        await repairPointer(world, collection, shard, plan.retention);
    await settle();
    const waiting = backlogOf(memory.store.keys(), oracle);
    if (waiting.length > 0) oracle.violate(`at rest: ${waiting[0]} waits after a run of the compactor`);
    for (const ref of shards)
      for (const { name } of await listPins(world.store, ref)) await unpin(world.store, ref, name);
    oracle.pins.clear();
    await settle();
    // Long enough that nothing is kept for its age, and that what a crash left is an orphan.
    memory.clock.advance(restMs);
    for (const { shard } of shards)
      await collectGarbage(world, collection, shard, { retention: plan.retention, thorough: true });
    const again = await Promise.all(
      shards.map(({ shard }) =>
        collectGarbage(world, collection, shard, { retention: plan.retention, thorough: true }),
      ),
    );
    for (const { outcome, keys } of again)
      if (outcome !== "nothing")
        oracle.violate(`at rest: a second garbage collection run still finds ${keys.join(", ")}`);
    const unkept = unkeptKeys(memory.store.keys(), oracle, { retention: plan.retention, restMs });
    if (unkept.length > 0)
      oracle.violate(`at rest: ${unkept.length} objects are left that no rule keeps, such as ${unkept[0]}`);
    await judge(world, scene, queue);
  } catch (error) {
    if (isKind(error, "corrupt")) oracle.violate(`at rest: ${error.message}`);
    else oracle.violate(`at rest: ${(error as Error).stack}`);
  }
}

async function judge(
  world: World,
  { oracle, plan, collection }: Scene,
  queue: UnreliableQueue,
): Promise<void> {
  const lost = oracle.lost();
  if (lost.length > 0) oracle.violate(`at rest: acknowledged deltas are lost: ${lost.join(", ")} (I5)`);
  if (queue.messages.length > 0) oracle.violate(`at rest: ${queue.messages.length} messages are left`);
  const expected = new Map<string, string>();
  for (let shard = 0; shard < collection.shards; shard++) {
    const name = `${collection.name}/${shard}`;
    for (const [id, document] of liveDocuments(oracle.current(name).state)) expected.set(id, document);
    const { faults, strangers } = await verify(world, collection, shard);
    if (faults.length > 0) oracle.violate(`at rest: verify finds ${faults.join("; ")}`);
    if (strangers.count > 0)
      oracle.violate(`at rest: ${strangers.keys[0]} is taken for an object of other code`);
    await readHead(world.store, collection, shard);
  }
  const reader = new Reader(world, {
    refreshSeconds: 0,
    cacheBytesMax: 1e9,
    traffic: (world as MemoryWorld).traffic,
  });
  try {
    const ids = Array.from({ length: plan.ids }, (_, i) => `id${i}`);
    const request = { collection: collection.name, ids, include: ["document" as const] };
    const { records } = await reader.get({ ...request, consistency: "strong" });
    const difference = differenceOf(expected, new Map(records.map(({ id, document }) => [id, document!])));
    if (difference !== null) oracle.violate(`at rest: a strong read is not the model: ${difference}`);
  } finally {
    await reader.close();
  }
}
