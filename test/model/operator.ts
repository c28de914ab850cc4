/** What people do: rolling back (lib/engine/operate/rollback.ts), pinning and unpinning (lib/engine/shard/history.ts). */
import { commitSteps, type Proposal, show, type Writer } from "./commit.ts";
import type { Step } from "./explore.ts";
import type { Setup } from "./rules.ts";
import {
  type Actor,
  atRest,
  bit,
  chainOf,
  has,
  manifestOf,
  members,
  nextEpoch,
  type Pointer,
  rowsOf,
  type World,
  withActor,
  within,
} from "./world.ts";

const writer: Writer = {
  name: "rollback",
  cause: "rollback",
  propose: rollbackChange,
  published: (actor) => atRest(actor),
};

export function rollbackSteps(world: World, setup: Setup, index: number): Step<World>[] {
  const actor = world.actors[index]!;
  const go = (does: string, to: Partial<Actor>, change: Partial<World> = {}): Step<World> => ({
    does: `rollback: ${does}`,
    next: withActor(world, index, { ...actor, ...to }, change),
  });
  switch (actor.at) {
    case "idle": {
      if (actor.runs === 0 || world.pointer.commit === 0) return [];
      const epoch = nextEpoch(world, setup);
      return [
        go(`takes the lease, epoch ${epoch}`, { at: "head", epoch, runs: actor.runs - 1 }, { epochs: epoch }),
      ];
    }
    case "head":
      return [go(`reads the head: c${world.pointer.commit}`, { at: "target", head: world.pointer })];
    case "target":
      return chooseTarget(world, setup, index);
    case "copy":
      return [copy(world, setup, index)];
    default:
      return commitSteps(world, setup, index, writer);
  }
}

/** keptVersion: a published version at or above the floor, or one that a pin names at this moment. */
function chooseTarget(world: World, setup: Setup, index: number): Step<World>[] {
  const actor = world.actors[index]!;
  const { head } = actor;
  const versionOf = (commit: number): number => world.manifests[commit]!.version;
  const kept = chainOf(world, head).filter(
    (commit) => commit > 0 && commit !== head.commit && versionOf(commit) >= head.floorVersion,
  );
  const pinned = members(world.pins & world.manifestObjects).filter(
    (commit) => commit !== head.commit && !kept.includes(commit),
  );
  const choose = (commit: number, at: string, why: string): Step<World> => ({
    does: `rollback: chooses ${why} version ${versionOf(commit)} (c${commit})`,
    next: withActor(world, index, { ...actor, at, target: commit, tries: setup.triesMax }),
  });
  return [
    ...kept.map((commit) => choose(commit, "propose", "the kept")),
    ...pinned.map((commit) => choose(commit, setup.rules.rollbackCopies ? "copy" : "propose", "the pinned")),
  ];
}

/** What lies below the floor may be deleted at any moment: its segments are copied under new names. */
function copy(world: World, setup: Setup, index: number): Step<World> {
  const actor = world.actors[index]!;
  const { segments } = world.manifests[actor.target]!;
  if (!within(segments, world.files))
    return { does: "rollback: a segment is gone: stops", next: withActor(world, index, atRest(actor)) };
  const segment = world.rows.length;
  return {
    does: `rollback: copies ${show("s", segments)} as s${segment}`,
    next: withActor(
      world,
      index,
      { ...actor, at: "propose", segment, tries: setup.triesMax },
      { rows: [...world.rows, rowsOf(world, segments)], files: world.files | bit(segment) },
    ),
  };
}

/** rollback.ts: the target's segments, on whatever head there is, unless a newer holder or a garbage collection run came between. */
function rollbackChange(world: World, setup: Setup, actor: Actor, head: Pointer): Proposal {
  const manifest = manifestOf(world, head);
  // As it was once: an epoch was taken for a holder's own.
  if (!setup.rules.ownCommit && manifest.epoch === actor.epoch) return "done";
  if (manifest.epoch > actor.epoch) return "stop";
  if (setup.rules.rollbackGeneration && head.generation !== actor.head.generation) return "stop";
  const segments = actor.segment >= 0 ? bit(actor.segment) : world.manifests[actor.target]!.segments;
  return { epoch: actor.epoch, segments, applied: manifest.applied };
}

/** history.ts, pinVersion and unpin. An actor at "pinned" was told that its pin holds. */
export function pinSteps(world: World, setup: Setup, index: number): Step<World>[] {
  const actor = world.actors[index]!;
  const { floorAfterPin } = setup.rules;
  const go = (does: string, to: Actor, change: Partial<World> = {}): Step<World> => ({
    does: `pin: ${does}`,
    next: withActor(world, index, to, change),
  });
  const { commit } = actor;
  switch (actor.at) {
    case "idle": {
      if (actor.runs === 0) return [];
      const chain = chainOf(world, world.pointer).filter((other) => other > 0 && !has(world.pins, other));
      return chain
        .filter((other) => floorAfterPin || isAboveFloor(world, other))
        .map((other) =>
          go(`wants to pin c${other}`, { ...actor, at: "put", runs: actor.runs - 1, commit: other }),
        );
    }
    case "put": {
      const at = floorAfterPin ? "check" : "pinned";
      return [go(`writes the pin of c${commit}`, { ...actor, at }, { pins: world.pins | bit(commit) })];
    }
    case "check":
      return isAboveFloor(world, commit) && isPublished(world, setup, commit)
        ? [go(`finds c${commit} above the floor: it is pinned`, { ...actor, at: "pinned" })]
        : [go(`finds c${commit} below the floor, or replaced`, { ...actor, at: "unpin" })];
    default: {
      const does = actor.at === "unpin" ? "takes its pin back" : "unpins";
      return [go(`${does}: c${commit}`, atRest(actor), { pins: world.pins & ~bit(commit) })];
    }
  }
}

const isPublished = (world: World, { rules }: Setup, commit: number): boolean =>
  !rules.pinPublished || chainOf(world, world.pointer).includes(commit);

const isAboveFloor = (world: World, commit: number): boolean =>
  world.manifests[commit]!.version >= world.pointer.floorVersion;
