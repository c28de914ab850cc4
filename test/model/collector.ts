/** Garbage collection (lib/engine/collect-garbage.ts). */
import { show } from "./commit.ts";
import type { Step } from "./explore.ts";
import type { Setup } from "./rules.ts";
import {
  type Actor,
  atRest,
  bit,
  chainOf,
  has,
  type Mask,
  members,
  sameEtag,
  type World,
  withActor,
} from "./world.ts";

export function collectorSteps(world: World, setup: Setup, index: number): Step<World>[] {
  const actor = world.actors[index]!;
  const { rules } = setup;
  const go = (does: string, to: Actor, change: Partial<World> = {}): Step<World> => ({
    does: `collector: ${does}`,
    next: withActor(world, index, to, change),
  });
  switch (actor.at) {
    case "idle":
      return actor.runs === 0 ? [] : survey(world, setup, index);
    case "raise": {
      const floor = `raises the floor to version ${actor.head.floorVersion}, s${actor.head.floorSegments}`;
      const pointer = actor.head;
      const raised: Actor = rules.pinsAfterFloor
        ? { ...actor, at: "pins" }
        : condemn(actor, actor.batch, actor.other);
      const before = { ...actor.head, generation: actor.head.generation - 1 };
      const refused = go(`does not know whether it raised the floor: stops`, atRest(actor));
      if (rules.ifMatch && !sameEtag(world.pointer, before)) return [refused];
      if (!rules.floorBeforeDelete) return [go("leaves the floor where it is", raised)];
      return [
        go(floor, raised, { pointer }),
        go(`${floor}, but the answer is lost`, atRest(actor), { pointer }),
      ];
    }
    case "pins":
      return [judge(world, setup, index)];
    case "segments": {
      const does = `deletes segments ${show("s", actor.batch)}`;
      return [go(does, { ...actor, at: "manifests" }, { files: world.files & ~actor.batch })];
    }
    default:
      return [
        go(`deletes manifests ${show("c", actor.other)}`, atRest(actor), {
          manifestObjects: world.manifestObjects & ~actor.other,
        }),
      ];
  }
}

/** Head, manifests, chain, and the next floor: it keeps the last versions, and takes any age for an orphan's. */
function survey(world: World, setup: Setup, index: number): Step<World>[] {
  const chain = chainOf(world, world.pointer);
  const version = (commit: number): number => world.manifests[commit]!.version;
  const oldest = chain[Math.min(setup.versionsKept, chain.length) - 1]!;
  const { pointer } = world;
  const floorVersion = Math.max(pointer.floorVersion, version(oldest));
  const raised = { ...pointer, floorVersion, generation: pointer.generation + 1 };
  const now = { floorSegments: world.rows.length, floorCommits: world.manifests.length };
  return [
    surveyed(world, index, { ...raised, ...now }),
    ...(now.floorSegments === pointer.floorSegments ? [] : [surveyed(world, index, raised)]),
  ];
}

/**
 * What the collector keeps of its survey: `listed` and `known` are the commits on the chain, and all that exist; `owed`
 * and `target` the segments that collected versions name, and those that kept ones do.
 */
function surveyed(world: World, index: number, head: World["pointer"]): Step<World> {
  const actor = world.actors[index]!;
  const chain = chainOf(world, world.pointer);
  const kept = chain.filter((commit) => world.manifests[commit]!.version >= head.floorVersion);
  const named = (commits: readonly number[]): Mask =>
    commits.reduce((segments, commit) => segments | world.manifests[commit]!.segments, 0);
  const collector: Actor = {
    ...actor,
    at: "raise",
    runs: actor.runs - 1,
    head,
    listed: maskOf(chain),
    known: world.manifestObjects,
    target: named(kept),
    owed: named(chain.filter((commit) => !kept.includes(commit))),
  };
  const does = `collector: reads the head c${world.pointer.commit}, the manifests, and the pins`;
  const expected = findGarbage(world, collector)!;
  // An idle shard costs no write.
  if (expected.segments === 0 && expected.commits === 0)
    return { does, next: withActor(world, index, atRest(collector)) };
  const next = withActor(world, index, { ...collector, batch: expected.segments, other: expected.commits });
  return { does: `${does}; garbage is ${show("s", expected.segments)} ${show("c", expected.commits)}`, next };
}

/** The second look, after the floor rose. */
function judge(world: World, setup: Setup, index: number): Step<World> {
  const actor = world.actors[index]!;
  const found = findGarbage(world, actor);
  if (found === null)
    return { does: "collector: a manifest is gone: stops", next: withActor(world, index, atRest(actor)) };
  const { garbageBefore } = setup.rules;
  const segments = garbageBefore ? found.segments & actor.batch : found.segments;
  const commits = garbageBefore ? found.commits & actor.other : found.commits;
  const does = `collector: lists the pins and the segments; garbage is ${show("s", segments)} ${show("c", commits)}`;
  const to = segments === 0 && commits === 0 ? atRest(actor) : condemn(actor, segments, commits);
  return { does, next: withActor(world, index, to) };
}

/** From here on it only deletes, and needs to know nothing else. */
const condemn = (actor: Actor, segments: Mask, commits: Mask): Actor => ({
  ...atRest(actor),
  at: "segments",
  batch: segments,
  other: commits,
});

/** findGarbage: everything that no kept version and no pin names. Null when a manifest that it has to read is gone. */
function findGarbage(world: World, { head, listed: chain, known: names, target, owed }: Actor) {
  const isKept = (commit: number): boolean =>
    has(world.pins, commit) ||
    (has(chain, commit)
      ? world.manifests[commit]!.version >= head.floorVersion
      : commit >= head.floorCommits);
  let live = target;
  for (const commit of members(names).filter(isKept)) {
    if (!has(chain, commit) && !has(world.manifestObjects, commit)) return null;
    live |= world.manifests[commit]!.segments;
  }
  const old = bit(head.floorSegments) - 1;
  return {
    segments: world.files & ~live & (owed | old),
    commits: maskOf(members(names).filter((commit) => !isKept(commit))),
  };
}

const maskOf = (commits: readonly number[]): Mask =>
  commits.reduce((mask, commit) => (commit === 0 ? mask : mask | bit(commit)), 0);
