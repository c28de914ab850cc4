/**
 * One simulated run: processes under a scheduler until the steps are used up, then the faults end, all processes finish
 * what he is doing, and the shard must come to rest as the model says.
 */
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import type { World } from "../../lib/engine/ports.ts";
import { Crash, effects } from "../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../support/memory/world.ts";
import { underBounds } from "../support/small-bounds.ts";
import { atRest } from "./at-rest.ts";
import { type FaultKind, noFaults } from "./faults.ts";
import { Oracle } from "./oracle.ts";
import type { Plan } from "./plan.ts";
import { actorOf, optionsOf, type Scene } from "./processes.ts";
import { Chance } from "./random.ts";
import { Scheduler } from "./scheduler.ts";
import { UnreliableQueue, watchedStore, worldOf } from "./sim-world.ts";

export interface Outcome {
  readonly seed: number;
  readonly steps: number;
  /** Null when every promise was kept. */
  readonly violation: string | null;
  readonly faults: ReadonlyMap<FaultKind, number>;
  readonly events: ReadonlyMap<string, number>;
  readonly traceHash: string;
  readonly trace: readonly string[];
}

/** Steps that ending may take; more means that something waits for ever. */
const drainStepsMax = 20_000;

export const simulate = (plan: Plan): Promise<Outcome> => underBounds(plan.bounds, () => simulateHere(plan));

async function simulateHere(plan: Plan): Promise<Outcome> {
  const chance = new Chance(plan.seed ^ 0x5eed);
  const memory = memoryWorld({ seed: chance.seed(), pageKeys: plan.pageKeys });
  const oracle = new Oracle(memory.store, memory.clock);
  oracle.retention = plan.retention;
  oracle.forgetsNoDeletes = plan.tombstoneRetention === "never";
  const scheduler = new Scheduler({
    chance,
    clock: memory.clock,
    oracle,
    rates: plan.rates,
    jumpsMs: plan.jumpsMs,
  });
  const queue = new UnreliableQueue({ chance, scheduler, oracle });
  const calm: World = { ...memory, store: watchedStore(memory.store, oracle), queue };
  try {
    await createCollection(calm, optionsOf(plan, null));
    const scene: Scene = {
      plan,
      get collection() {
        return oracle.collection;
      },
      oracle,
      tokens: [],
      writes: 0,
      leases: memory.leases,
      repairs: { underWay: 0, endedAtMs: 0 },
      changes: { underWay: 0, safeAtMs: 0 },
    };
    for (const process of plan.processes) {
      const seed = chance.seed();
      scheduler.start(process.name, () => live(process, seed, { scene, scheduler, memory, queue }));
    }
    await scheduler.run(plan.steps);
    const { violation } = oracle;
    scheduler.draining = true;
    scheduler.rates = noFaults;
    const { steps } = scheduler;
    // After a violation the processes are still let go, so that nothing of them stays behind; the trace ends with it.
    const trace = violation === null ? scheduler.trace : scheduler.trace.slice();
    await drain(scheduler, oracle, violation !== null);
    if (oracle.violation === null) await atRest(calm, memory, scene, queue);
    return {
      seed: plan.seed,
      steps,
      violation: oracle.violation,
      faults: scheduler.faults,
      events: oracle.events,
      traceHash: scheduler.traceHash(),
      trace,
    };
  } finally {
    oracle.close();
  }
}

async function drain(scheduler: Scheduler, oracle: Oracle, isBroken: boolean): Promise<void> {
  const first = oracle.violation;
  if (isBroken) oracle.violation = null;
  const limit = scheduler.steps + drainStepsMax;
  await scheduler.run(limit);
  if (isBroken) oracle.violation = first;
  else if (scheduler.steps >= limit) oracle.violate("the processes do not come to an end");
}

interface Surroundings {
  readonly scene: Scene;
  readonly scheduler: Scheduler;
  readonly memory: MemoryWorld;
  readonly queue: UnreliableQueue;
}

/** A process's lives: it works in rounds; when it dies it starts again with nothing in its memory. */
async function live(process: Plan["processes"][number], seed: number, around: Surroundings): Promise<void> {
  const { scene, scheduler, memory, queue } = around;
  const { oracle, plan } = scene;
  const chance = new Chance(seed);
  while (!scheduler.draining) {
    const identity = { name: process.name, seed: chance.seed(), skewMs: process.skewMs };
    const world = {
      ...effects(worldOf(memory, { oracle, queue, scheduler }, identity), scheduler.hookOf(process.name)),
      process: process.name,
    };
    const actor = actorOf(process.kind, scene, world, chance);
    try {
      while (!scheduler.draining) {
        await actor.round();
        await scheduler.idle(process.name, Math.ceil(actor.everyMs * plan.tempo * chance.real() * 2));
      }
    } catch (error) {
      if (!(error instanceof Crash) && !world.effects.dead) throw error;
      await scheduler.idle(process.name, 1_000);
    } finally {
      await actor.close();
    }
  }
}
