/** Garbage collection (lib/engine/compact/collect-garbage.ts). */
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
      if (rules.ifMatch && !sameEtag(world.pointer, before))
        return [
          go("does not know whether it raised the floor: stops", atRest(actor)),
          go("does not know whether it raised the floor: reads the head again", again(world, actor)),
        ];
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

/** The same floor on a newer head (raiseOnNewest). Each time another actor has moved, so this ends. */
function again(world: World, actor: Actor): Actor {
  const { pointer } = world;
  const wanted = actor.head;
  return {
    ...actor,
    head: {
      ...pointer,
      floorVersion: Math.max(pointer.floorVersion, wanted.floorVersion),
      floorSegments: Math.max(pointer.floorSegments, wanted.floorSegments),
      floorCommits: Math.max(pointer.floorCommits, wanted.floorCommits),
      generation: pointer.generation + 1,
    },
  };
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

/** The first look below `head`, which is the world's with the new floor: what it finds is all that it keeps of it. */
function surveyed(world: World, index: number, head: World["pointer"]): Step<World> {
  const actor = world.actors[index]!;
  const does = `collector: reads the head c${world.pointer.commit}, the manifests, and the pins`;
  const expected = findGarbage(world, head);
  // An idle shard costs no write.
  if (expected.segments === 0 && expected.commits === 0)
    return { does, next: withActor(world, index, atRest({ ...actor, runs: actor.runs - 1 })) };
  const next = withActor(world, index, {
    ...actor,
    at: "raise",
    runs: actor.runs - 1,
    head,
    batch: expected.segments,
    other: expected.commits,
  });
  return { does: `${does}; garbage is ${show("s", expected.segments)} ${show("c", expected.commits)}`, next };
}

/** The second look, after the floor rose: at the manifests and the pins, from the head that carries it. */
function judge(world: World, setup: Setup, index: number): Step<World> {
  const actor = world.actors[index]!;
  const found = findGarbage(world, actor.head);
  const { garbageBefore } = setup.rules;
  const segments = garbageBefore ? found.segments & actor.batch : found.segments;
  const commits = garbageBefore ? found.commits & actor.other : found.commits;
  const does = `collector: lists manifests, pins and segments; garbage is ${show("s", segments)} ${show("c", commits)}`;
  const to = segments === 0 && commits === 0 ? atRest(actor) : condemn(actor, segments, commits);
  return { does, next: withActor(world, index, to) };
}

/** A collector that has decided: it only deletes, and needs to know nothing else. */
const condemn = (actor: Actor, segments: Mask, commits: Mask): Actor => ({
  ...atRest(actor),
  at: "segments",
  batch: segments,
  other: commits,
});

/** findGarbage: everything that no kept version and no pin names. */
function findGarbage(world: World, head: World["pointer"]) {
  const chain = chainOf(world, head);
  const listed = maskOf(chain);
  const named = (commits: readonly number[]): Mask =>
    commits.reduce((segments, commit) => segments | world.manifests[commit]!.segments, 0);
  const isKept = (commit: number): boolean =>
    has(world.pins, commit) ||
    (has(listed, commit)
      ? world.manifests[commit]!.version >= head.floorVersion
      : commit >= head.floorCommits);
  const names = members(world.manifestObjects);
  const owed = named(chain.filter((commit) => !isKept(commit)));
  const live = named([...names, ...chain].filter(isKept));
  const old = bit(head.floorSegments) - 1;
  return {
    segments: world.files & ~live & (owed | old),
    commits: maskOf(names.filter((commit) => !isKept(commit))),
  };
}

const maskOf = (commits: readonly number[]): Mask =>
  commits.reduce((mask, commit) => (commit === 0 ? mask : mask | bit(commit)), 0);
