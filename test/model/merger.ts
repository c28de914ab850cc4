/** Merging (lib/engine/compact/merge.ts): a plan, a segment built from immutable inputs, and a commit that revalidates. */
import { commitSteps, type Proposal, show, type Writer } from "./commit.ts";
import type { Step } from "./explore.ts";
import type { Setup } from "./rules.ts";
import {
  type Actor,
  atRest,
  bit,
  has,
  type Mask,
  manifestOf,
  members,
  type Pointer,
  rowsOf,
  type World,
  withActor,
  within,
} from "./world.ts";

const writer: Writer = {
  name: "merger",
  cause: "merge",
  propose: mergeChange,
  published: (actor) => atRest(actor),
};

export function mergerSteps(world: World, setup: Setup, index: number): Step<World>[] {
  const actor = world.actors[index]!;
  if (actor.at === "idle") return actor.runs === 0 ? [] : plan(world, setup, index);
  if (actor.at === "build") return [build(world, setup, index)];
  if (actor.at === "fresh") {
    const does = `merger: reads the head c${world.pointer.commit} before its commit`;
    return [{ does, next: withActor(world, index, { ...actor, at: "propose", head: world.pointer }) }];
  }
  return commitSteps(world, setup, index, writer);
}

/**
 * Any two or more segments: the planner's choice among them is no matter of safety. Where it is asked for, also any one of
 * them against all others, which stay.
 */
function plan(world: World, { reclaims }: Setup, index: number): Step<World>[] {
  const actor = world.actors[index]!;
  const { segments } = manifestOf(world, world.pointer);
  const choices: { inputs: Mask; against: Mask }[] = [];
  for (let inputs = segments; inputs > 0; inputs = (inputs - 1) & segments) {
    if (members(inputs).length > 1) choices.push({ inputs, against: 0 });
    else if (reclaims && inputs !== segments) choices.push({ inputs, against: segments & ~inputs });
  }
  return choices.map(({ inputs, against }) => ({
    does:
      `merger: reads the head c${world.pointer.commit}, plans to merge ${show("s", inputs)}` +
      (against === 0 ? "" : ` against ${show("s", against)}`),
    next: withActor(world, index, {
      ...actor,
      at: "build",
      runs: actor.runs - 1,
      head: world.pointer,
      known: world.pointer.commit,
      batch: inputs,
      listed: against,
    }),
  }));
}

/**
 * mergeSegments and uploadSegment. Rows that a segment of `against` deletes are left out. Tombstones that are old enough are
 * dropped, where no other segment of the version holds what they delete.
 */
function build(world: World, setup: Setup, index: number): Step<World> {
  const actor = world.actors[index]!;
  if (!within(actor.batch | actor.listed, world.files))
    return { does: "merger: an input is gone: stops", next: withActor(world, index, atRest(actor)) };
  let rows = rowsOf(world, actor.batch);
  let dropped: Mask = 0;
  const beside = rowsOf(world, manifestOf(world, actor.head).segments & ~actor.batch);
  const against = rowsOf(world, actor.listed);
  setup.deletes.forEach((older, delta) => {
    if (has(against, delta)) rows &= ~older;
  });
  if (world.age === 2) {
    setup.deletes.forEach((older, delta) => {
      if (older !== 0 && rows & bit(delta) && (beside & older) === 0) {
        dropped |= bit(delta);
        rows &= ~(older | bit(delta));
      }
    });
  }
  const segment = world.rows.length;
  return {
    does: `merger: uploads s${segment} of ${show("d", rows)}${dropped === 0 ? "" : `, without the tombstones ${show("d", dropped)}`}`,
    next: withActor(
      world,
      index,
      {
        ...actor,
        at: setup.rules.retryGeneration ? "fresh" : "propose",
        segment,
        other: dropped,
        tries: setup.triesMax,
      },
      { rows: [...world.rows, rows], files: world.files | bit(segment) },
    ),
  };
}

/** merge.ts, commitMerge: stillHolds and mergeChange. */
function mergeChange(world: World, setup: Setup, actor: Actor, head: Pointer): Proposal {
  const manifest = manifestOf(world, head);
  if ((manifest.segments & bit(actor.segment)) !== 0) return "done";
  const { inputsLive, againstLive, tombstonesHold } = setup.rules;
  if (inputsLive && !within(actor.batch, manifest.segments)) return "stop";
  if (againstLive && !within(actor.listed, manifest.segments)) return "stop";
  // What was there when it was planned holds nothing that a dropped tombstone deletes.
  const planned = world.manifests[actor.known]!.segments;
  const others = rowsOf(world, manifest.segments & ~actor.batch & ~planned);
  // Versions ascend with the deltas: an older row is one of a smaller number than the newest dropped tombstone.
  const newestDropped = members(actor.other).at(-1) ?? -1;
  if (tombstonesHold && (others & (bit(newestDropped + 1) - 1)) !== 0) return "stop";
  return {
    epoch: manifest.epoch,
    segments: (manifest.segments & ~actor.batch) | bit(actor.segment),
    applied: manifest.applied,
  };
}
