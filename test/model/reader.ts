/** A reader that reads strongly (lib/engine/read/overlays.ts, strong), and remembers the newest version that it saw. */
import { show } from "./commit.ts";
import type { Step } from "./explore.ts";
import { type Setup, visible } from "./rules.ts";
import { type Actor, atRest, bit, has, manifestOf, rowsOf, type World, withActor, within } from "./world.ts";

export function readerSteps(world: World, setup: Setup, index: number): Step<World>[] {
  const actor = world.actors[index]!;
  const first = setup.rules.listBeforePointer ? list : readPointer;
  const second = setup.rules.listBeforePointer ? readPointer : list;
  switch (actor.at) {
    // It begins with its first request: whatever was acknowledged before that must be in the answer.
    case "idle":
      return actor.runs === 0
        ? []
        : [first(world, index, { ...actor, runs: actor.runs - 1, owed: world.owed, at: "second" })];
    case "first":
      return [first(world, index, { ...actor, at: "second" })];
    case "second":
      return [second(world, index, { ...actor, at: "overlay" })];
    default:
      return [overlay(world, setup, index)];
  }
}

/** Deltas that are not applied in the view; `known` is what the pointer said, when it was read first. */
function list(world: World, index: number, actor: Actor): Step<World> {
  const next = withActor(world, index, { ...actor, listed: world.deltas & ~actor.known });
  return { does: `reader: lists ${show("d", world.deltas)}`, next };
}

/** The pointer, its manifest and its segments. A reader that is too slow for the collector looks again. */
function readPointer(world: World, index: number, actor: Actor): Step<World> {
  const { version, segments, applied } = manifestOf(world, world.pointer);
  if (!within(segments, world.files))
    return {
      does: "reader: misses a segment, looks again",
      next: withActor(world, index, world.actors[index]!),
    };
  const rows = rowsOf(world, segments);
  return {
    does: `reader: reads the pointer: version ${version}, rows ${show("d", rows)}`,
    next: withActor(world, index, {
      ...actor,
      target: Math.max(version, actor.target),
      listed: actor.listed & ~applied,
      known: applied,
      other: rows,
    }),
    broken: version < actor.target ? `I6: a reader saw version ${actor.target} and now ${version}` : null,
  };
}

/** The pending deltas, one by one; when one is gone by now, all is begun again. */
function overlay(world: World, setup: Setup, index: number): Step<World> {
  const actor = world.actors[index]!;
  const oldest = actor.listed & -actor.listed;
  const go = (does: string, to: Partial<Actor>): Step<World> => ({
    does: `reader: ${does}`,
    next: withActor(world, index, { ...actor, ...to }),
  });
  if (oldest !== 0 && (world.deltas & oldest) === 0)
    return go(`finds ${show("d", oldest)} gone, begins again`, {
      at: "first",
      listed: 0,
      other: 0,
      known: 0,
    });
  if (oldest !== 0)
    return go(`reads ${show("d", oldest)}`, { listed: actor.listed & ~oldest, other: actor.other | oldest });
  const answer = visible(setup, actor.other);
  const missing = visible(setup, actor.owed & world.owed) & ~answer & ~hiddenBy(setup, actor.other);
  return {
    does: `reader: answers ${show("d", answer)}`,
    next: withActor(world, index, atRest(actor)),
    broken: missing === 0 ? null : `I7: a strong read misses ${show("d", missing)}`,
  };
}

/** What a later delete in the answer rightly hides. */
const hiddenBy = (setup: Setup, deltas: number): number =>
  setup.deletes.reduce(
    (hidden, older, delta) => (has(deltas, delta) ? hidden | older | bit(delta) : hidden),
    0,
  );
