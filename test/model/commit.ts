/**
 * The commit, as lib/engine/shard/publish.ts makes it: propose on a head, write the manifest, move the pointer with If-Match,
 * and when nothing is known afterwards, look again and let the proposal decide.
 */
import type { Step } from "./explore.ts";
import type { Setup } from "./rules.ts";
import {
  type Actor,
  atRest,
  bit,
  chainOf,
  has,
  type Manifest,
  type Mask,
  manifestOf,
  members,
  type Pointer,
  rowsOf,
  sameEtag,
  type World,
  withActor,
} from "./world.ts";

/** `done`: nothing is left to do, because an earlier attempt landed. `stop`: it gives up, publishing nothing. */
export type Proposal = Pick<Manifest, "epoch" | "segments" | "applied"> | "done" | "stop";

export interface Writer {
  readonly name: string;
  /** `merge` keeps the ledger; `ingest` and `rollback` change it. */
  readonly cause: "ingest" | "merge" | "rollback";
  readonly propose: (world: World, setup: Setup, actor: Actor, head: Pointer) => Proposal;
  /** Where the actor goes on, once its change is part of `head`. */
  readonly published: (actor: Actor, head: Pointer) => Actor;
}

/** The steps of a writer that is somewhere in publish(). */
export function commitSteps(world: World, setup: Setup, index: number, writer: Writer): Step<World>[] {
  const actor = world.actors[index]!;
  const { name } = writer;
  const stop = (why: string): Step<World>[] => [
    { does: `${name}: stops, ${why}`, next: withActor(world, index, atRest(actor)) },
  ];
  if (actor.at === "look") return look(world, setup, index, writer);
  if (actor.at === "move") return movePointer(world, setup, index, writer);
  const proposal = writer.propose(world, setup, actor, actor.head);
  if (proposal === "done") {
    const next = withActor(world, index, writer.published(actor, actor.head));
    return [{ does: `${name}: finds its change published`, next }];
  }
  if (proposal === "stop") return stop("its change does not hold any more");
  if (actor.tries === 0) return stop("having lost too often");
  if (setup.rules.belowFloor && writer.cause !== "rollback" && isBelowFloor(world, actor.head, proposal))
    return stop("its segment is below the floor");
  return [writeManifest(world, index, writer, proposal)];
}

/** publish.ts, belowFloor. A rollback checks in its own way. */
function isBelowFloor(world: World, head: Pointer, { segments }: { segments: Mask }): boolean {
  return members(segments & ~manifestOf(world, head).segments).some(
    (segment) => segment < head.floorSegments,
  );
}

/** publish.ts, successor and the first half of commit: the manifest is put under a key of its own. */
function writeManifest(
  world: World,
  index: number,
  { name, cause }: Writer,
  change: Pick<Manifest, "epoch" | "segments" | "applied">,
): Step<World> {
  const actor = world.actors[index]!;
  const parent = manifestOf(world, actor.head);
  const commit = world.manifests.length;
  const manifest: Manifest = {
    version: parent.version + 1,
    parent: actor.head.commit,
    epoch: change.epoch,
    segments: change.segments,
    applied: change.applied,
    ledger: cause === "merge" ? parent.ledger : commit,
  };
  return {
    does: `${name}: writes manifest c${commit}: version ${manifest.version}, epoch ${manifest.epoch}, segments ${show("s", manifest.segments)}, applied ${show("d", manifest.applied)}`,
    next: withActor(
      world,
      index,
      { ...actor, at: "move", commit, tries: actor.tries - 1 },
      { manifests: [...world.manifests, manifest], manifestObjects: world.manifestObjects | bit(commit) },
    ),
  };
}

/** publish.ts, movePointer. A 412 after our own win, and a lost answer, are the same to the writer: nothing is known. */
function movePointer(world: World, setup: Setup, index: number, writer: Writer): Step<World>[] {
  const actor = world.actors[index]!;
  const what = `${writer.name}: PUT of the pointer to c${actor.commit}`;
  const unknown: Actor = { ...actor, at: "look" };
  const refused = { does: `${what}: refused, or lost on the way`, next: withActor(world, index, unknown) };
  if (setup.rules.ifMatch && !sameEtag(world.pointer, actor.head)) return [refused];
  const pointer: Pointer = { ...actor.head, commit: actor.commit };
  const observed = observe(world, actor, writer);
  const told = writer.published({ ...actor, commit: -1 }, pointer);
  return [
    { does: `${what}: done`, next: withActor(world, index, told, { ...observed, pointer }) },
    {
      does: `${what}: done, but the answer is lost`,
      next: withActor(world, index, unknown, { ...observed, pointer }),
    },
    refused,
  ];
}

/** What the observer notes at the moment of a commit. */
function observe(world: World, actor: Actor, { cause }: Writer): Partial<World> {
  if (cause === "merge") return {};
  if (cause === "ingest") {
    return {
      published: world.published | actor.batch,
      publishedTwice: world.publishedTwice | (world.published & actor.batch),
    };
  }
  const { segments, applied } = world.manifests[actor.commit]!;
  return { owed: rowsOf(world, segments) | (world.deltas & ~applied) };
}

/** Step 5 of publish.ts: the head is read again. */
function look(world: World, setup: Setup, index: number, writer: Writer): Step<World>[] {
  const actor = world.actors[index]!;
  const head = world.pointer;
  const does = `${writer.name}: reads the head again: c${head.commit}`;
  if (!has(world.manifestObjects, head.commit) && head.commit > 0)
    return [{ does: `${does}, whose manifest is missing`, next: withActor(world, index, atRest(actor)) }];
  const forgotten: Actor = { ...actor, commit: -1 };
  const done = (broken: string | null): Step<World>[] => [
    {
      does: `${does}, which has its change`,
      next: withActor(world, index, writer.published(forgotten, head)),
      broken,
    },
  ];
  const isOwn = chainOf(world, head).includes(actor.commit);
  if (setup.rules.ownCommit && isOwn) return done(null);
  const proposal = writer.propose(world, setup, actor, head);
  if (proposal === "done") {
    // A merge and an ingest are known by what the head names; a rollback is not.
    const isAnothers = writer.cause === "rollback" && !isOwn;
    return done(isAnothers ? `report: a rollback takes c${head.commit} for its own` : null);
  }
  if (proposal === "stop")
    return [
      {
        does: `${does}, on which its change does not hold: stops`,
        next: withActor(world, index, atRest(actor)),
      },
    ];
  if (setup.rules.retryGeneration && head.generation !== actor.head.generation)
    return [{ does: `${does}; a collection began: stops`, next: withActor(world, index, atRest(actor)) }];
  return [{ does, next: withActor(world, index, { ...forgotten, at: "propose", head }) }];
}

export const show = (letter: string, mask: Mask): string =>
  `{${members(mask)
    .map((n) => `${letter}${n}`)
    .join(" ")}}`;
