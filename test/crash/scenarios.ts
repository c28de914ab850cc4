/**
 * What is crashed: each operation over a small prepared state. An operation is one call that a person, a producer or a
 * schedule makes; `again` says whether repeating the very same call after a crash is what a caller would do.
 */

import { deltaKey } from "../../lib/core/format/keys.ts";
import type { Collection } from "../../lib/core/model/collection.ts";
import { deltaId, snapshotVersion } from "../../lib/core/model/ids.ts";
import type { MergeLimits } from "../../lib/core/policy/merge-plan.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { collectGarbage } from "../../lib/engine/compact/collect-garbage.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { merge } from "../../lib/engine/compact/merge.ts";
import { repairPointer } from "../../lib/engine/operate/repair.ts";
import { rollback } from "../../lib/engine/operate/rollback.ts";
import type { World } from "../../lib/engine/ports.ts";
import { readCollection, readHead } from "../../lib/engine/shard/head.ts";
import { pinVersion } from "../../lib/engine/shard/history.ts";
import { listQuarantine, retryQuarantined } from "../../lib/engine/shard/quarantine.ts";
import type { Retention } from "../../lib/engine/shard/retention.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import type { Oracle } from "../sim/oracle.ts";
import { vectorOf } from "../sim/writes.ts";
import { MemoryDeletedObjects } from "../support/memory/deleted-objects.ts";
import type { MemoryWorld } from "../support/memory/world.ts";

export const name = "crash";
export const dims = 4;
export const ids = ["a", "b", "c", "d", "e", "f"];
export const options = { name, dims, metric: "l2" as const };
export const limits: MergeLimits = {
  flatSegmentsMax: 1,
  flatRowsMax: 2,
  growth: 4,
  deadShareMax: 0.25,
  staleMsMax: 1e15,
  uncountedMsMax: 1e15,
  segmentComponentsMax: 1_000,
  segmentWeightMax: 1e9,
  clusteredComponentsMin: 1,
};
/** A segment of four rows is full. */
const fullAtFour: MergeLimits = { ...limits, segmentComponentsMax: 4 * dims };
export const retention: Retention = {
  versionsKept: 1,
  keptMs: 3_600_000,
  keptMsMax: 1e15,
  orphanMs: 24 * 3_600_000,
};

/** A prepared world: `world` is below all injected faults, watched by the oracle. */
export interface Scene {
  readonly world: World;
  readonly memory: MemoryWorld;
  readonly oracle: Oracle;
}
export interface Scenario {
  readonly name: string;
  /** Whether it is also tried against others at work (test/crash/races.ts). */
  readonly races?: true;
  /** It changes nothing: what comes after it is as if it had not been. */
  readonly reads?: true;
  prepare(scene: Scene): Promise<void>;
  run(world: World, scene: Scene): Promise<void>;
}

const hour = 3_600_000;
const ref = { collection: name, shard: 0 };
let documents = 0;
/** What was deleted while a scenario was prepared. */
let former: MemoryDeletedObjects;

/** Writes upserts, and deletes for ids with a leading "-"; the oracle learns of the acknowledgement. */
export async function write(world: World, scene: Scene, ...wanted: string[]): Promise<void> {
  const records = wanted
    .filter((id) => !id.startsWith("-"))
    .map((id) => {
      const document = `w${++documents}`;
      return { id, vector: vectorOf(document, dims), document };
    });
  const deletes = wanted.filter((id) => id.startsWith("-")).map((id) => id.slice(1));
  scene.memory.clock.advance(5);
  const { deltas } = await produce(world, { collection: name, records, deletes });
  scene.oracle.acked(deltas);
}

export async function ingestAll(world: World): Promise<void> {
  const report = await compact(world, {
    ingest: true,
    upkeep: false,
    deadlineMs: world.clock.nowMs() + hour,
  });
  rethrow(report.shards.find(({ error }) => error)?.error);
}
export const mergeAll = (world: World): Promise<void> => mergeBy(world, limits);
async function mergeBy(world: World, by: MergeLimits): Promise<void> {
  const deadlineMs = world.clock.nowMs() + hour;
  await merge(world, await collectionOf(world), 0, { deadlineMs, limits: by });
}
export async function collectAll(world: World): Promise<void> {
  await collectGarbage(world, await collectionOf(world), 0, { retention, thorough: true });
}

/** Two versions, an hour apart, and two deltas that wait. */
export async function twoVersions(scene: Scene): Promise<void> {
  const { world, memory } = scene;
  await createCollection(world, options);
  await write(world, scene, "a", "b", "c");
  await ingestAll(world);
  memory.clock.advance(2 * hour);
  await write(world, scene, "a", "-b", "d");
  await ingestAll(world);
  memory.clock.advance(2 * hour);
  await write(world, scene, "b", "c");
  await write(world, scene, "-a", "e");
}

/** What a merge and two ingests leave when they are old: superseded versions and an orphan of a crash. */
async function oldVersions(scene: Scene): Promise<void> {
  const { world, memory } = scene;
  await twoVersions(scene);
  await world.store.put(
    `${name}/0/segments/${world.clock.ulid()}/records.db`,
    Buffer.from("left by a crash"),
  );
  await ingestAll(world);
  await mergeAll(world);
  memory.clock.advance(26 * hour);
  await write(world, scene, "f");
  await ingestAll(world);
  memory.clock.advance(2 * hour);
}

async function damagedDelta(scene: Scene): Promise<void> {
  await twoVersions(scene);
  await scene.world.store.put(
    deltaKey(ref, deltaId(scene.world.clock.ulid())),
    Buffer.from("not an arrow file"),
  );
  await scene.world.queue.send("not a notification");
}

export const scenarios: readonly Scenario[] = [
  {
    name: "create collection",
    prepare: async () => {},
    run: async (world) => {
      await createCollection(world, options);
    },
  },
  {
    name: "produce",
    races: true,
    prepare: twoVersions,
    run: (world, scene) => write(world, scene, "a", "-c", "f"),
  },
  { name: "ingest", races: true, prepare: twoVersions, run: ingestAll },
  {
    // The writer's clock is behind: what waits is older than the delete that is ingested already.
    name: "ingest what a delete has beaten",
    races: true,
    prepare: async (scene) => {
      await twoVersions(scene);
      await ingestAll(scene.world);
      const behind = { ...scene.world, clock: scene.memory.clock.fork({ seed: 9, skewMs: -10 * 60_000 }) };
      await write(behind, scene, "a", "d");
    },
    run: ingestAll,
  },
  {
    // A backlog from before a long standstill: the low watermark is far behind it.
    name: "ingest an old backlog",
    prepare: async (scene) => {
      await twoVersions(scene);
      scene.memory.clock.advance(5 * hour);
    },
    run: ingestAll,
  },
  {
    name: "merge into a graph",
    races: true,
    prepare: async (scene) => {
      await twoVersions(scene);
      await ingestAll(scene.world);
    },
    run: mergeAll,
  },
  {
    name: "merge that drops a tombstone",
    prepare: async (scene) => {
      await twoVersions(scene);
      await ingestAll(scene.world);
      scene.memory.clock.advance(32 * 24 * hour);
    },
    run: mergeAll,
  },
  {
    // Merges flats to a graph that supersedes half of a full one, and then the full one without that half.
    name: "merge that reclaims",
    races: true,
    prepare: async (scene) => {
      const { world, memory } = scene;
      await createCollection(world, options);
      await write(world, scene, "a", "b", "c", "d");
      await ingestAll(world);
      await mergeBy(world, fullAtFour);
      for (const ids of [
        ["a", "e"],
        ["-b", "f"],
      ]) {
        memory.clock.advance(2 * hour);
        await write(world, scene, ...ids);
        await ingestAll(world);
      }
    },
    run: (world) => mergeBy(world, fullAtFour),
  },
  { name: "collect garbage", races: true, prepare: oldVersions, run: collectAll },
  {
    name: "roll back",
    races: true,
    prepare: twoVersions,
    run: async (world) => {
      await rollback(world, await collectionOf(world), 0, snapshotVersion(1));
    },
  },
  {
    name: "roll back to before a merge",
    races: true,
    prepare: oldVersions,
    run: async (world) => {
      await rollback(world, await collectionOf(world), 0, snapshotVersion(3));
    },
  },
  {
    // The compactor died after its commit: what is taken back still lies in the backlog.
    name: "roll back what is ingested and not deleted yet",
    races: true,
    prepare: async (scene) => {
      await twoVersions(scene);
      const { world } = scene;
      const dying: World = {
        ...world,
        store: { ...world.store, delete: () => Promise.reject(new Error("died")) },
      };
      await ingestAll(dying).catch(() => {});
      scene.memory.clock.advance(2 * hour);
    },
    run: async (world) => {
      await rollback(world, await collectionOf(world), 0, snapshotVersion(1));
    },
  },
  {
    name: "roll back to what only a pin keeps",
    races: true,
    prepare: async (scene) => {
      await twoVersions(scene);
      await pinVersionOne(scene.world, scene);
      await ingestAll(scene.world);
      scene.memory.clock.advance(26 * hour);
      await collectAll(scene.world);
      await write(scene.world, scene, "f");
      await ingestAll(scene.world);
    },
    run: async (world) => {
      await rollback(world, await collectionOf(world), 0, snapshotVersion(1));
    },
  },
  {
    name: "restore a version that only the bucket keeps",
    prepare: async (scene) => {
      former = new MemoryDeletedObjects(scene.memory.store);
      await twoVersions(scene);
      await mergeAll(scene.world);
      await ingestAll(scene.world);
      scene.memory.clock.advance(26 * hour);
      await collectAll(scene.world);
      await write(scene.world, scene, "f");
      await ingestAll(scene.world);
    },
    run: async (world) => {
      await rollback(world, await collectionOf(world), 0, snapshotVersion(1), former);
    },
  },
  {
    name: "pin",
    races: true,
    prepare: twoVersions,
    run: pinVersionOne,
  },
  {
    name: "repair a lost pointer",
    prepare: async (scene) => {
      await twoVersions(scene);
      await leaveUnpublishedManifest(scene);
      await scene.world.store.delete([`${name}/0/pointer.json`]);
    },
    run: async (world) => {
      await repairPointer(world, await collectionOf(world), 0, retention);
    },
  },
  {
    // The newest manifest lost its race, and lacks deltas that are gone.
    name: "repair beside a manifest that lost its race",
    prepare: async (scene) => {
      await twoVersions(scene);
      await ingestAll(scene.world);
      await leaveOvertakenMerge(scene);
      await scene.world.store.delete([`${name}/0/pointer.json`]);
    },
    run: async (world) => {
      await repairPointer(world, await collectionOf(world), 0, retention);
    },
  },
  { name: "quarantine", prepare: damagedDelta, run: ingestAll },
  {
    name: "retry a quarantined delta",
    prepare: async (scene) => {
      await twoVersions(scene);
      // Too old for the compactor: acknowledged, readable, and put aside.
      scene.memory.clock.advance(31 * 24 * hour);
      await ingestAll(scene.world);
    },
    run: async (world) => {
      const [first] = await listQuarantine(world.store, ref);
      if (first) await retryQuarantined(world, ref, first.delta);
    },
  },
];

async function pinVersionOne(world: World, scene: Scene): Promise<void> {
  const collection = await collectionOf(world);
  const head = () => readHead(world.store, collection, 0);
  const pin = await pinVersion(world, head, { name: "kept", version: snapshotVersion(1) });
  scene.oracle.pins.set(pin.name, { shard: `${name}/0`, version: pin.version });
}

/** A process to which something happens just before it moves the pointer. */
const puttingPointer = (world: World, happens: () => Promise<void>): World => ({
  ...world,
  store: {
    ...world.store,
    put: async (key, body, condition) => {
      if (key.endsWith("pointer.json")) await happens();
      return world.store.put(key, body, condition);
    },
  },
});

/** An ingest that dies just before its pointer moves; then another one publishes the same deltas. */
async function leaveUnpublishedManifest(scene: Scene): Promise<void> {
  const { world, memory } = scene;
  const dying = puttingPointer(world, () => Promise.reject(new Error("died")));
  await ingestAll(dying).catch(() => {});
  memory.clock.advance(hour);
  await ingestAll(world);
  // Newer than the published one, of the same version, and without the last write.
  await write(world, scene, "f");
  await ingestAll(dying).catch(() => {});
}

/** A merge that dies at its pointer, begun and ended between an ingest's manifest and the pointer that publishes it. */
async function leaveOvertakenMerge(scene: Scene): Promise<void> {
  const { world } = scene;
  const dying = puttingPointer(world, () => Promise.reject(new Error("died")));
  await write(world, scene, "f");
  await ingestAll(puttingPointer(world, () => mergeAll(dying).catch(() => {})));
}

const collectionOf = (world: World): Promise<Collection> => readCollection(world.store, name);

function rethrow(error: { readonly kind: string; readonly message: string } | undefined): void {
  if (error) throw Object.assign(new Error(error.message), { reported: error.kind });
}
