/**
 * The enumeration: for n = 1, 2, … one thing goes wrong at the n-th effect of an operation, until a run ends before
 * that effect. So an effect that is added to the product is covered without a test being added. After each:
 *
 *  1. readers of all three consistency levels see the old or the new state, never anything else (the oracle says);
 *  2. the operation is run again, as its caller would, and now succeeds;
 *  3. deltas are ingested, segments are merged, and a garbage collection run finds every orphan: no object is left that is not named;
 *  4. verify proves hashes and the conservation ledger from the store alone.
 */
import { isKind, SiltstoneError } from "../../lib/core/model/errors.ts";
import { verify } from "../../lib/engine/operate/verify.ts";
import type { Reader } from "../../lib/engine/read/reader.ts";
import { readCollection } from "../../lib/engine/shard/head.ts";
import { Oracle } from "../sim/oracle.ts";
import { watchedStore } from "../sim/sim-world.ts";
import { Crash, type Effect, type EffectHook, effects, preconditionFailed } from "../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../support/memory/world.ts";
import { lookOnce, readerOf } from "./look.ts";
import type { Race } from "./races.ts";
import { collectAll, ingestAll, mergeAll, name, type Scenario, type Scene } from "./scenarios.ts";

export const accidents = [
  "crash before",
  "crash after",
  "answer lost",
  "refused",
  "spurious",
  "won unnoticed",
] as const;
export type Accident = (typeof accidents)[number];

const hour = 3_600_000;
/** More effects than any operation has. */
const effectsMax = 200;

/** Which effects are tried: the first of them, from 1, and each that comes `step` after one. */
export interface Points {
  readonly first: number;
  readonly step: number;
}
export const everyPoint: Points = { first: 1, step: 1 };

/** Throws at the first point that breaks a promise; answers at how many effects the accident was tried. */
export const explore = (scenario: Scenario, accident: Accident, points = everyPoint): Promise<number> =>
  exploreEach(scenario, accident, points, (index, point) => strike(accident, index, point));

/**
 * The same for races: before the n-th effect the operation sleeps, and others do all of their work meanwhile. Then it
 * wakes up and goes on with what it knew.
 */
export const exploreRace = (scenario: Scenario, race: Race, points: Points): Promise<number> =>
  exploreEach(scenario, race.name, points, (index, point, scene) => async (effect, moment) => {
    if (effect.index !== index || moment !== "before") return undefined;
    point.where = `at ${effect.port}.${effect.operation} ${effect.key} (effect ${index})`;
    point.applies = true;
    for (const work of race.work) {
      await work(scene).catch((error: unknown) => {
        if (!isExpected(error)) throw error;
      });
    }
    return undefined;
  });

const prepared = new Map<Scenario, Scene>();

/** A copy of the scenario's prepared state, which is made once. */
async function sceneOf(scenario: Scenario): Promise<Scene> {
  const original = prepared.get(scenario) ?? sceneOn(memoryWorld());
  if (!prepared.has(scenario)) await scenario.prepare(original);
  prepared.set(scenario, original);
  const { store, clock, queue } = original.memory;
  const memory = memoryWorld({ startMs: clock.nowMs() + 1, seed: 2 });
  for (const key of store.keys()) await memory.store.put(key, store.bytes(key)!);
  for (const body of queue.bodies()) await memory.queue.send(body);
  return sceneOn(memory, original.oracle.copyFor(memory.store, memory.clock));
}

function sceneOn(memory: MemoryWorld, oracle = new Oracle(memory.store, memory.clock)): Scene {
  return { memory, oracle, world: { ...memory, store: watchedStore(memory.store, oracle) } };
}

/** Gives up what was prepared. */
export function forgetPrepared(): void {
  for (const { oracle } of prepared.values()) oracle.close();
  prepared.clear();
}

type Trouble = (index: number, point: { where: string | null; applies: boolean }, scene: Scene) => EffectHook;

async function exploreEach(
  scenario: Scenario,
  what: string,
  { first, step }: Points,
  trouble: Trouble,
): Promise<number> {
  let tried = 0;
  for (let index = first; index <= effectsMax; index += step) {
    const found = await tryPoint(scenario, index, trouble);
    if (found.fault !== null) throw new Error(`${scenario.name}, ${what} ${found.where}: ${found.fault}`);
    if (found.where === null) return tried;
    if (found.applies) tried += 1;
  }
  throw new Error(`${scenario.name}: it does not end within ${effectsMax} effects`);
}

interface Point {
  /** The effect that met the accident; null when the operation ended before it. */
  readonly where: string | null;
  /** False where this accident cannot happen to this effect. */
  readonly applies: boolean;
  readonly fault: string | null;
}

async function tryPoint(scenario: Scenario, index: number, trouble: Trouble): Promise<Point> {
  const { world, memory, oracle } = await sceneOf(scenario);
  const scene: Scene = { world, memory, oracle };
  const warm = readerOf(world);
  const point: { where: string | null; applies: boolean } = { where: null, applies: false };
  try {
    if (!scenario.reads) await lookOnce(scene, warm, "eventual");
    const struck = effects(world, trouble(index, point, scene));
    let outcome: unknown = await scenario.run(struck, scene).then(
      () => null,
      (error: unknown) => error,
    );
    if (point.where === null || !point.applies) return { ...point, fault: asFault(outcome) };
    if (outcome !== null && !isExpected(outcome))
      oracle.violate(`the operation failed with ${(outcome as Error).stack}`);
    if (scenario.reads) return { ...point, fault: oracle.violation };
    await look(scene, warm);
    memory.clock.advance(2 * 60_000); // The dead holder's lease runs out.
    outcome = await scenario.run(world, scene).then(
      () => null,
      (error: unknown) => error,
    );
    if (outcome !== null && !isRepeated(outcome))
      oracle.violate(`the repeated operation failed with ${(outcome as Error).stack}`);
    await settle(scene, warm);
    return { ...point, fault: oracle.violation };
  } finally {
    await warm.close();
  }
}

function strike(
  accident: Accident,
  index: number,
  point: { where: string | null; applies: boolean },
): EffectHook {
  return (effect: Effect, moment) => {
    if (effect.index !== index) return undefined;
    if (moment === "before")
      point.where = `at ${effect.port}.${effect.operation} ${effect.key} (effect ${index})`;
    point.applies =
      accident === "spurious" || accident === "won unnoticed" ? effect.conditional === true : true;
    if (!point.applies) return undefined;
    switch (accident) {
      case "crash before":
        if (moment === "before") throw new Crash("before");
        return undefined;
      case "crash after":
        if (moment === "after") throw new Crash("after");
        return undefined;
      case "answer lost":
        return moment === "before" ? { kind: "loseAnswer" } : undefined;
      case "spurious":
        return moment === "before" ? preconditionFailed : undefined;
      case "won unnoticed":
        return moment === "after" ? preconditionFailed : undefined;
    }
  };
}

/** What a call may end with when something went wrong under it. */
const isExpected = (error: unknown): boolean =>
  error instanceof Crash ||
  (error instanceof SiltstoneError &&
    ["unavailable", "uncertain", "conflict", "notFound", "fenced"].includes(error.kind)) ||
  ["unavailable", "uncertain", "conflict", "fenced"].includes(
    (error as { reported?: string }).reported ?? "",
  );

/** The first attempt may have done it already; what it was about may have been deleted as garbage since. */
const isRepeated = (error: unknown): boolean => isKind(error, "conflict") || isKind(error, "notFound");

const asFault = (outcome: unknown): string | null => (outcome === null ? null : (outcome as Error).stack!);

/** Reads as a process that has served before, and as one that has just started. */
async function look(scene: Scene, warm: Reader): Promise<void> {
  const cold = readerOf(scene.world);
  try {
    for (const consistency of ["eventual", "bounded", "strong"] as const)
      await lookOnce(scene, warm, consistency);
    await lookOnce(scene, cold, "strong");
    await lookOnce(scene, cold, "eventual");
  } finally {
    await cold.close();
  }
}

async function settle(scene: Scene, warm: Reader): Promise<void> {
  const { world, memory, oracle } = scene;
  for (const afterMs of [0, 49 * hour]) {
    memory.clock.advance(afterMs);
    await ingestAll(world);
    await mergeAll(world);
  }
  await collectAll(world);
  await look(scene, warm);
  const orphans = oracle.orphans();
  if (orphans.length > 0) oracle.violate(`orphans are left: ${orphans.join(", ")}`);
  const lost = oracle.lost();
  if (lost.length > 0) oracle.violate(`acknowledged deltas are lost: ${lost.join(", ")}`);
  const { faults } = await verify(world, await readCollection(world.store, name), 0);
  if (faults.length > 0) oracle.violate(`verify finds ${faults.join("; ")}`);
}
