/**
 * The pointer is lost, and written anew (lib/engine/operate/repair.ts). One step: while it is missing no actor gets anywhere, and who
 * sleeps meanwhile does not notice. Without compactors: of deltas that wait, nothing is asked here.
 */
import type { Step } from "./explore.ts";
import type { Setup } from "./rules.ts";
import {
  atRest,
  bit,
  chainOf,
  has,
  type Manifest,
  type Mask,
  members,
  type Pointer,
  rowsOf,
  type World,
  withActor,
  within,
} from "./world.ts";

/** What the time of a repair is above any count of garbage collection runs. */
export const generationsPerRepair = 8;

export function repairSteps(world: World, setup: Setup, index: number): Step<World>[] {
  const actor = world.actors[index]!;
  if (actor.runs === 0 || world.pointer.commit === 0) return [];
  const commit = choose(world);
  return commit === null
    ? []
    : inferredFloors(world, setup, commit).map((floor) => repaired(world, setup, index, { commit, floor }));
}

function repaired(
  world: World,
  setup: Setup,
  index: number,
  { commit, floor }: { commit: number; floor: Pointer },
): Step<World> {
  const actor = world.actors[index]!;
  const made = setup.rules.repairCopies ? safe(world, commit, floor) : { world, commit };
  const manifest = made.world.manifests[made.commit]!;
  const pointer: Pointer = { ...floor, commit: made.commit };
  const isRollback = manifest.ledger === commit;
  return {
    does: `the pointer is lost, and repaired to version ${manifest.version} (c${made.commit}), floor ${floor.floorVersion}`,
    next: withActor(made.world, index, atRest({ ...actor, runs: actor.runs - 1 }), {
      pointer,
      // An unpublished rollback is not told from none.
      ...(isRollback ? { owed: rowsOf(made.world, manifest.segments) } : {}),
    }),
  };
}

/** The newest manifest whose files are all there: rollbacks before merges, and the parent last. */
function choose(world: World): number | null {
  const there = members(world.manifestObjects);
  const version = (commit: number): number => world.manifests[commit]!.version;
  const newestVersion = Math.max(...there.map(version));
  const newest = there.filter((commit) => version(commit) === newestVersion).reverse();
  const isMerge = (commit: number): boolean => world.manifests[commit]!.ledger !== commit;
  const parents = newest
    .map((commit) => world.manifests[commit]!.parent)
    .filter((parent) => has(world.manifestObjects, parent));
  const candidates = [...newest.filter((commit) => !isMerge(commit)), ...newest.filter(isMerge), ...parents];
  return candidates.find((commit) => within(world.manifests[commit]!.segments, world.files)) ?? null;
}

/** Floors at least as high as any collector has raised them, which takes any age for an orphan's. */
function inferredFloors(world: World, setup: Setup, chosen: number): Pointer[] {
  const { repairFloor, repairOrphans, repairGeneration } = setup.rules;
  const newest = Math.max(
    ...members(world.manifestObjects).map((commit) => world.manifests[commit]!.version),
  );
  const kept = Math.max(0, newest - (setup.versionsKept - 1));
  const floor = (floorSegments: number, floorCommits: number): Pointer => ({
    commit: chosen,
    generation: repairGeneration ? world.pointer.generation + generationsPerRepair : 0,
    floorVersion: repairFloor ? Math.min(world.manifests[chosen]!.version, kept) : 0,
    floorSegments,
    floorCommits,
  });
  if (!repairOrphans) return [floor(0, 0)];
  const { floorSegments, floorCommits } = world.pointer;
  return [floor(world.rows.length, world.manifests.length), floor(floorSegments, floorCommits)];
}

/** What may be an orphan is published anew, with copies of what may be deleted. */
function safe(world: World, commit: number, floor: Pointer): { world: World; commit: number } {
  const isParent = members(world.manifestObjects).some((other) => world.manifests[other]!.parent === commit);
  if (isParent) return { world, commit };
  const before = chainOf(world, { ...floor, commit }).slice(1);
  const named = (commits: readonly number[]): Mask =>
    commits.reduce((segments, other) => segments | world.manifests[other]!.segments, 0);
  const isKept = (other: number): boolean => world.manifests[other]!.version >= floor.floorVersion;
  const kept = named(before.filter(isKept));
  const orphans = bit(floor.floorSegments) - 1;
  const { segments } = world.manifests[commit]!;
  const unsafe: Mask = segments & ~kept & (orphans | named(before.filter((other) => !isKept(other))));
  if (unsafe === 0 && commit >= floor.floorCommits) return { world, commit };
  const copy = world.rows.length;
  const anew: Manifest = {
    ...world.manifests[commit]!,
    segments: unsafe === 0 ? segments : (segments & ~unsafe) | bit(copy),
  };
  const rows = unsafe === 0 ? world.rows : [...world.rows, rowsOf(world, unsafe)];
  return {
    commit: world.manifests.length,
    world: {
      ...world,
      rows,
      files: unsafe === 0 ? world.files : world.files | bit(copy),
      manifests: [...world.manifests, anew],
      manifestObjects: world.manifestObjects | bit(world.manifests.length),
    },
  };
}
