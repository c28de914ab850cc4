/** What the simulated processes do, round after round, with the product's own functions. */

import { deltaKey, pointerKey } from "../../lib/core/format/keys.ts";
import type { Collection, CollectionOptions } from "../../lib/core/model/collection.ts";
import { type ErrorKind, SiltstoneError } from "../../lib/core/model/errors.ts";
import { deltaId, snapshotVersion } from "../../lib/core/model/ids.ts";
import { createCollection, deleteCollection } from "../../lib/engine/catalog/collections.ts";
import { collectGarbage } from "../../lib/engine/compact/collect-garbage.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { merge } from "../../lib/engine/compact/merge.ts";
import { Sweep } from "../../lib/engine/compact/sweep.ts";
import { repairPointer } from "../../lib/engine/operate/repair.ts";
import { type Rollback, rollback } from "../../lib/engine/operate/rollback.ts";
import type { World } from "../../lib/engine/ports.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import { pinVersion, unpin } from "../../lib/engine/shard/history.ts";
import { collectLease, ingestLease, mergeLease } from "../../lib/engine/shard/lease.ts";
import { listQuarantine, retryQuarantined } from "../../lib/engine/shard/quarantine.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import type { WithEffects } from "../support/effects.ts";
import type { MemoryLeases } from "../support/memory/leases.ts";
import type { Oracle } from "./oracle.ts";
import type { Plan, ProcessKind } from "./plan.ts";
import { contentOf, type Published } from "./published.ts";
import type { Chance } from "./random.ts";
import { ReadingProcess } from "./reading-process.ts";
import { groupOf, vectorOf } from "./writes.ts";

/** What the processes of one run share. */
export interface Scene {
  readonly plan: Plan;
  /** The one that has the name, or had it last. */
  readonly collection: Collection;
  readonly oracle: Oracle;
  /** Tokens of acknowledged writes, newest last. */
  readonly tokens: { readonly token: string; readonly deltas: readonly string[] }[];
  /** Number of the next write; makes its document. */
  writes: number;
  readonly leases: MemoryLeases;
  /** Repairs of lost pointers: one that sleeps must not meet a second loss (docs/protocol.md, "What is not guaranteed"). */
  readonly repairs: { underWay: number; endedAtMs: number };
  /** Deletions and creations of the collection: one at a time. */
  readonly changes: { underWay: number; safeAtMs: number };
}
/** One life of a process: its effects, and who it is. */
export type ActorWorld = WithEffects<World> & { readonly process: string };
export interface Actor {
  /** One round of work. A SiltstoneError of a kind that is no outcome of it is a violation. */
  round(): Promise<void>;
  /** Virtual time until the next round. */
  readonly everyMs: number;
  close(): Promise<void>;
}

const second = 1_000;
const minute = 60 * second;
const deadlineMs = 60 * minute;

export function actorOf(kind: ProcessKind, scene: Scene, world: ActorWorld, chance: Chance): Actor {
  const actor = (everyMs: number, round: () => Promise<void>): Actor => ({
    everyMs,
    round,
    close: async () => {},
  });
  switch (kind) {
    case "producer":
      return actor(20 * second, () => produceRound(scene, world, chance));
    case "compactor": {
      const sweep = new Sweep();
      return actor(60 * second, () => compactRound(scene, world, sweep));
    }
    case "merger":
      return actor(2 * minute, () => mergeRound(scene, world, chance));
    case "collector":
      return actor(20 * minute, () => collectRound(scene, world, chance));
    case "operator": {
      const operator = actor(4 * minute, () => operatorRound(scene, world, chance));
      // Who has begun to delete it goes on with it, and makes it again.
      return Object.defineProperty(operator, "everyMs", {
        get: () => (scene.oracle.isDeleted || scene.oracle.isHalfMade ? 5 * second : 4 * minute),
      });
    }
    case "reader":
      return new ReadingProcess(scene, world, chance);
  }
}

/** Runs one call; the kinds given are outcomes that a caller has to live with. */
export async function expecting<T>(
  { scene: { oracle }, world }: { scene: Scene; world: ActorWorld },
  kinds: readonly ErrorKind[],
  call: () => Promise<T>,
): Promise<T | null> {
  const beganAt = oracle.tick();
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof SiltstoneError)) throw error;
    oracle.count(`error ${error.kind}`);
    const isDamage = error.kind === "corrupt" && oracle.mayMeetDamage(world.process, beganAt, error.message);
    // Who began with a collection that is deleted since, or is another one.
    const isGone = ["corrupt", "notFound", "invalid"].includes(error.kind) && oracle.isChangedSince(beganAt);
    if (!isDamage && !isGone && !kinds.includes(error.kind))
      oracle.violate(`an error of kind ${error.kind}: ${error.stack}`);
    return null;
  }
}

async function produceRound(scene: Scene, world: ActorWorld, chance: Chance): Promise<void> {
  const { collection, plan } = scene;
  const records: unknown[] = [];
  const deletes: unknown[] = [];
  // Few distinct versions: ties are decided by delta and row.
  const version = () =>
    plan.ordering === "source" ? { version: Math.floor(world.clock.nowMs() / minute) + chance.below(4) } : {};
  for (let i = 1 + chance.below(4); i > 0; i--) {
    const id = `id${chance.below(plan.ids)}`;
    const document = `w${++scene.writes}`;
    if (chance.hits(0.3)) deletes.push(plan.ordering === "source" ? { id, ...version() } : id);
    else {
      const vector = vectorOf(document, collection.dims);
      records.push({ id, vector, document, metadata: { group: groupOf(document) }, ...version() });
    }
  }
  const kinds: ErrorKind[] = ["unavailable", "uncertain"];
  const answer = await expecting({ scene, world }, kinds, () =>
    produce(world, { collection: collection.name, records, deletes }),
  );
  if (answer === null) return;
  scene.oracle.acked(answer.deltas);
  scene.tokens.push({ token: answer.token!, deltas: answer.deltas.map(({ delta }) => delta) });
}

async function compactRound(scene: Scene, world: ActorWorld, sweep: Sweep): Promise<void> {
  const { oracle } = scene;
  const request = { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + deadlineMs, sweep };
  const beganAt = oracle.tick();
  const report = await expecting({ scene, world }, ["unavailable", "uncertain", "conflict"], () =>
    compact(world, request),
  );
  for (const { error, ingest } of report?.shards ?? []) {
    if (ingest) oracle.count(`ingest ${ingest.outcome}`);
    if (ingest?.unseenAfter) oracle.count("LIST cut");
    if (error === undefined) continue;
    oracle.count(`ingest ${error.kind}`);
    const isDamage = error.kind === "corrupt" && oracle.mayMeetDamage(world.process, beganAt, error.message);
    if (!isDamage && !["unavailable", "uncertain", "conflict", "fenced"].includes(error.kind))
      oracle.violate(`compacting failed with ${error.kind}: ${error.message}`);
  }
}

async function mergeRound(scene: Scene, world: ActorWorld, chance: Chance): Promise<void> {
  const shard = chance.below(scene.collection.shards);
  const options = { deadlineMs: world.clock.nowMs() + deadlineMs, limits: scene.plan.limits };
  const report = await expecting({ scene, world }, ["unavailable", "uncertain", "conflict", "fenced"], () =>
    merge(world, scene.collection, shard, options),
  );
  if (report === null) return;
  scene.oracle.count(`merge ${report.outcome}`);
  if (report.merges.some(({ grown }) => grown)) scene.oracle.count("graph grown");
  if (report.merges.length >= 32) scene.oracle.violate("merging never ends");
}

async function collectRound(scene: Scene, world: ActorWorld, chance: Chance): Promise<void> {
  const shard = chance.below(scene.collection.shards);
  const { retention } = scene.plan;
  // notFound: another collector was faster.
  const report = await expecting(
    { scene, world },
    ["unavailable", "uncertain", "conflict", "fenced", "notFound"],
    () => collectGarbage(world, scene.collection, shard, { retention }),
  );
  if (report) scene.oracle.count(`collect ${report.outcome}`);
}

async function operatorRound(scene: Scene, world: ActorWorld, chance: Chance): Promise<void> {
  const { collection, oracle } = scene;
  const shard = chance.below(scene.collection.shards);
  const ref = { collection: collection.name, shard };
  const name = `${collection.name}/${shard}`;
  const kinds: ErrorKind[] = ["unavailable", "uncertain", "conflict", "fenced", "notFound"];
  const version = Math.max(1, oracle.current(name).version - chance.below(5));
  if (await changeRound(scene, world, chance)) return;
  // What is published of a collection that is gone, the oracle does not follow.
  const isFollowed = () => oracle.collection === collection && !oracle.isDeleted;
  if (oracle.shard(name).isLost && chance.hits(0.7)) return repairRound(scene, world, shard);
  switch (chance.below(12)) {
    case 0:
    case 1: {
      const pin = `pin-${oracle.tick()}`;
      const made = await expecting({ scene, world }, kinds, () =>
        pinVersion(world, () => readHead(world.store, collection, shard), {
          name: pin,
          version: snapshotVersion(version),
        }),
      );
      oracle.count(made ? "pinned" : "not pinned");
      if (made && isFollowed()) oracle.pins.set(pin, { shard: name, version: made.version });
      return;
    }
    case 2: {
      const [pin] = [...oracle.pins].find(([, at]) => at.shard === name) ?? [];
      if (pin === undefined) return;
      oracle.pins.delete(pin);
      oracle.count("unpinned");
      await expecting({ scene, world }, kinds, () => unpin(world.store, ref, pin));
      return;
    }
    case 3: {
      const pinned = [...oracle.pins.values()].filter((pin) => pin.shard === name);
      const target = pinned.length > 0 && chance.hits(0.5) ? chance.pick(pinned).version : version;
      const done = await expecting({ scene, world }, kinds, () =>
        rollback(world, collection, shard, snapshotVersion(target)),
      );
      if (done === null) return;
      oracle.count("rollback");
      if (!isFollowed()) return;
      const fault = rollbackFault(oracle, world, { shard: name, wanted: target, answer: done });
      if (fault !== null) oracle.violate(`a rollback to version ${target} of ${name} answered ${fault}`);
      return;
    }
    case 4: {
      const damaged = Buffer.from(`not an arrow file ${oracle.tick()}`);
      await expecting({ scene, world }, kinds, () =>
        world.store.put(deltaKey(ref, deltaId(world.clock.ulid())), damaged),
      );
      return;
    }
    case 5: {
      await expecting({ scene, world }, kinds, () => world.queue.send("{not json"));
      return;
    }
    case 6: {
      const lease = chance.pick([ingestLease, mergeLease, collectLease])(name);
      const held = await expecting({ scene, world }, kinds, () => world.leases.read(lease));
      if (!held) return;
      const released = await expecting({ scene, world }, kinds, () => world.leases.forceRelease(lease, held));
      if (released) oracle.count("lease released by force");
      return;
    }
    case 11: {
      const { underWay, endedAtMs } = scene.repairs;
      if (underWay > 0 || oracle.nowMs() - endedAtMs < 10 * minute || chance.hits(0.5)) return;
      oracle.count("pointer lost");
      await expecting({ scene, world }, kinds, () => world.store.delete([pointerKey(ref)]));
      return;
    }
    case 7: {
      if (chance.hits(0.7)) return;
      scene.leases.lose();
      oracle.count("lease table lost");
      return;
    }
    default: {
      const found = await expecting({ scene, world }, kinds, () => listQuarantine(world.store, ref));
      if (!found?.length) return;
      const { delta } = chance.pick(found);
      const again = await expecting({ scene, world }, kinds, () => retryQuarantined(world, ref, delta));
      if (again === null) return;
      oracle.count("quarantine retried");
      // From now on as good as any acknowledged write: ingested, or put aside for what is in it.
      if (oracle.collection === collection) oracle.acked([{ delta: again }]);
    }
  }
}

/** Deletions are rare; what is deleted is made again soon. */
const deletionShare = 0.08;
/** Whoever deletes or creates waits so long after a failure: a request that was not answered may take effect later. */
const changeRestMs = 5 * minute;
/** What another configuration may differ by, without being another plan. */
const otherDims = [4, 4, 3, 5];

/** Deletes the collection, goes on deleting it, or makes it again; false when it is left as it is. */
async function changeRound(scene: Scene, world: ActorWorld, chance: Chance): Promise<boolean> {
  const { oracle, changes, repairs, collection } = scene;
  const { isHalfMade } = oracle;
  const isWanted = oracle.isDeleted || isHalfMade || chance.hits(deletionShare);
  // One that sleeps would delete from, or place a pointer of its own in, a collection that was made since (docs/protocol.md).
  const mayBegin = changes.underWay + repairs.underWay === 0 && oracle.nowMs() >= changes.safeAtMs;
  if (!isWanted || !mayBegin) return oracle.isDeleted;
  const kinds: ErrorKind[] = ["unavailable", "uncertain", "conflict", "corrupt"];
  const { name } = collection;
  const makes = (oracle.isDeleted || isHalfMade) && chance.hits(0.6);
  const options = isHalfMade ? collection : optionsOf(scene.plan, chance);
  changes.underWay += 1;
  changes.safeAtMs = oracle.nowMs() + changeRestMs;
  try {
    const isDone = makes
      ? await expecting({ scene, world }, kinds, () => createCollection(world, options))
      : await expecting({ scene, world }, kinds, () => deleteCollection(world.store, name));
    if (isDone !== null) changes.safeAtMs = 0;
    oracle.count(`${makes ? "creation" : "deletion"} ${isDone === null ? "failed" : "done"}`);
  } finally {
    changes.underWay -= 1;
    if (changes.safeAtMs > 0) changes.safeAtMs = oracle.nowMs() + changeRestMs;
  }
  return true;
}

/** The first collection of a run has the plan's own dims and shards; one that is made again may have others. */
export const optionsOf = (plan: Plan, chance: Chance | null): CollectionOptions => ({
  name: "sim",
  dims: chance?.pick(otherDims) ?? otherDims[0]!,
  metric: "l2",
  shards: chance?.pick([plan.shards, plan.shards, 3 - plan.shards]) ?? plan.shards,
  ordering: plan.ordering,
  tombstoneRetention: plan.tombstoneRetention,
  fields: { group: "number" },
});

async function repairRound(scene: Scene, world: ActorWorld, shard: number): Promise<void> {
  const { collection, oracle, plan, repairs } = scene;
  const kinds: ErrorKind[] = ["unavailable", "uncertain", "conflict", "notFound"];
  repairs.underWay += 1;
  try {
    const done = await expecting({ scene, world }, kinds, () =>
      repairPointer(world, collection, shard, plan.retention),
    );
    if (done?.outcome === "repaired") oracle.count("pointer repaired");
  } finally {
    repairs.underWay -= 1;
    repairs.endedAtMs = oracle.nowMs();
  }
}

/** It is the wanted version itself, or a version with its content that this very process has published. */
function rollbackFault(
  oracle: Oracle,
  world: ActorWorld,
  { shard, wanted, answer }: { shard: string; wanted: number; answer: Rollback },
): string | null {
  const targets = oracle.allOf(shard, wanted);
  if (targets.length === 0) return "that it succeeded, and there never was such a version";
  if (answer.outcome === "current")
    return answer.version === wanted ? null : `that version ${answer.version} is it already`;
  const isOwn = ({ commit }: Published) =>
    world.effects.begun.some(({ operation, key }) => operation === "put" && key.includes(commit));
  const made = oracle.allOf(shard, answer.version).find(isOwn);
  if (made === undefined) return `version ${answer.version}, which this process has not published`;
  if (made.cause !== "rollback") return `version ${answer.version}, which is a ${made.cause}`;
  const contents = targets.map(({ manifest }) => contentOf(manifest!));
  return contents.includes(contentOf(made.manifest!))
    ? null
    : `version ${answer.version}, of another content`;
}
