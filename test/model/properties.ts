/** What must hold: of every state, and of every step. The numbers are those of docs/protocol.md. */
import { show } from "./commit.ts";
import { type Setup, visible } from "./rules.ts";
import { bit, chainOf, manifestOf, members, rowsOf, type World, within } from "./world.ts";

export function faultOf(setup: Setup, world: World, before: World): string | null {
  return (
    (world.pointer === before.pointer ? null : pointerFault(world, before)) ??
    missingFile(world) ??
    wrongState(setup, world) ??
    lostPin(world) ??
    (setup.onceOnly ? countedTwice(world) : null)
  );
}

/** I2: every move of the pointer makes a new version, or raises the floor on the same one. */
function pointerFault(world: World, before: World): string | null {
  const [to, from] = [world.pointer, before.pointer];
  const [next, head] = [manifestOf(world, to), manifestOf(world, from)];
  if (isRepair(world, before)) return null;
  if (to.commit !== from.commit && next.version !== head.version + 1)
    return `I2: the pointer went from version ${head.version} to ${next.version}`;
  if (to.commit !== from.commit && next.parent !== from.commit)
    return `I2: c${to.commit} was published over c${from.commit}, but was made from c${next.parent}`;
  if (next.epoch < head.epoch) return `I2: the epoch went from ${head.epoch} to ${next.epoch}`;
  const sank =
    to.generation < from.generation ||
    to.floorVersion < from.floorVersion ||
    to.floorSegments < from.floorSegments;
  return sank ? "I2: the floor sank" : null;
}

/** A repair does not know what was current: what must hold of its choice is that no row is lost. */
const isRepair = (world: World, before: World): boolean =>
  before.actors.some(({ kind, runs }, i) => kind === "repair" && runs > world.actors[i]!.runs);

/** I3, and the half of I8 that is about kept versions: everything that a version at or above the floor names exists. */
function missingFile(world: World): string | null {
  for (const commit of chainOf(world, world.pointer)) {
    const { version, segments } = world.manifests[commit]!;
    if (version < world.pointer.floorVersion || commit === 0) continue;
    const current = commit === world.pointer.commit;
    if (current && (world.manifestObjects & bit(commit)) === 0)
      return `I3: the pointer names c${commit}, and its manifest is gone`;
    if (!within(segments, world.files)) {
      const whose = current ? "I3: the current" : "I8: the kept";
      return `${whose} version ${version} (c${commit}) names ${show("s", segments & ~world.files)}, which is gone`;
    }
  }
  return null;
}

/** I1, I4, I5: what is published and the backlog are together the fold of all that is owed: no less, no more. */
function wrongState(setup: Setup, world: World): string | null {
  const { segments, applied } = manifestOf(world, world.pointer);
  const there = visible(setup, rowsOf(world, segments) | (world.deltas & ~applied));
  const owed = visible(setup, world.owed);
  if (there === owed) return null;
  const lost = owed & ~there;
  return lost !== 0
    ? `I1/I4: ${show("d", lost)} was acknowledged and is lost`
    : `I5: ${show("d", there & ~owed)} was deleted or rolled back, and is there again`;
}

/** I8: a pin that was promised keeps its version. */
function lostPin(world: World): string | null {
  for (const actor of world.actors) {
    if (actor.kind !== "pin" || actor.at !== "pinned") continue;
    const isThere =
      (world.manifestObjects & bit(actor.commit)) !== 0 &&
      within(world.manifests[actor.commit]!.segments, world.files);
    if (!isThere) return `I8: c${actor.commit} is pinned, and its files are gone`;
  }
  return null;
}

/** Conservation: a write is counted once. (Rows are last-writer-wins: twice is no wrong answer by itself.) */
function countedTwice(world: World): string | null {
  if (world.publishedTwice !== 0)
    return `conservation: ${show("d", world.publishedTwice)} was ingested twice`;
  let seen = 0;
  for (const segment of members(manifestOf(world, world.pointer).segments)) {
    const twice = seen & world.rows[segment]!;
    if (twice !== 0) return `conservation: two segments hold ${show("d", twice)}`;
    seen |= world.rows[segment]!;
  }
  return null;
}
