/** The model as a whole: the actors that work on a shard in a configuration, and what they may do next. */

import { collectorSteps } from "./collector.ts";
import { compactorSteps, producerSteps, timeSteps } from "./compactor.ts";
import type { Model, Step } from "./explore.ts";
import { isLocal } from "./local-steps.ts";
import { mergerSteps } from "./merger.ts";
import { pinSteps, rollbackSteps } from "./operator.ts";
import { packOf } from "./pack.ts";
import { faultOf } from "./properties.ts";
import { readerSteps } from "./reader.ts";
import { repairSteps } from "./repair.ts";
import type { Setup } from "./rules.ts";
import { type Actor, atRest, blank, type World, withActor, worldWithPast } from "./world.ts";

type Kind = Actor["kind"];

const stepsOf: Record<Kind, (world: World, setup: Setup, index: number) => readonly Step<World>[]> = {
  producer: producerSteps,
  compactor: compactorSteps,
  merger: mergerSteps,
  collector: collectorSteps,
  rollback: rollbackSteps,
  pin: pinSteps,
  repair: repairSteps,
  reader: readerSteps,
  time: timeSteps,
};

/** The runs that each process of a kind may begin: `{ compactor: [2, 1] }` is two compactors. */
export type Cast = Readonly<Partial<Record<Kind, readonly number[]>>>;

/** `plain`: without any reduction of the states, to prove on small configurations that the reductions hide nothing. */
export function modelOf(setup: Setup, cast: Cast, plain = false): Model<World> {
  const actors = (Object.entries({ producer: [0], ...cast }) as [Kind, readonly number[]][]).flatMap(
    ([kind, runs]) => runs.map((each): Actor => ({ ...blank, kind, runs: each })),
  );
  const initial = worldWithPast(actors, setup.pastCommits);
  const collected = actors.some(({ kind }) => kind === "collector" || kind === "repair");
  return {
    initial,
    pack: plain ? JSON.stringify : packOf(actors),
    steps: (world) => {
      const local = plain ? -1 : world.actors.findIndex((actor) => isLocal(world, setup, actor, collected));
      if (local >= 0) return stepsOf[world.actors[local]!.kind](world, setup, local);
      return world.actors.flatMap((actor, i) => [
        ...stepsOf[actor.kind](world, setup, i),
        ...crash(world, actor, i),
      ]);
    },
    fault: (world, before) => faultOf(setup, world, before),
  };
}

/** A process that dies and is started again. One that is not started again just never takes another step. */
function crash(world: World, actor: Actor, index: number): Step<World>[] {
  if (actor.at === "idle" || actor.at === "pinned" || actor.runs === 0) return [];
  return [
    { does: `${actor.kind}: dies, and is started again`, next: withActor(world, index, atRest(actor)) },
  ];
}
