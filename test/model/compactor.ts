/** The producer (lib/engine/write/produce.ts), the compactor (lib/engine/compact/ingest.ts), and time. */
import { commitSteps, type Proposal, show, type Writer } from "./commit.ts";
import type { Step } from "./explore.ts";
import type { Setup } from "./rules.ts";
import {
  type Actor,
  atRest,
  bit,
  type Manifest,
  manifestOf,
  members,
  nextEpoch,
  type Pointer,
  type World,
  withActor,
} from "./world.ts";

/** writeDelta: create-if-absent. Written counts as acknowledged here, though the answer may still be lost. */
export function producerSteps(world: World, setup: Setup, index: number): Step<World>[] {
  const actor = world.actors[index]!;
  const delta = members(world.landed).length;
  if (delta === setup.deltas || world.age > 0) return [];
  return [
    {
      does: `producer: writes d${delta}`,
      next: withActor(world, index, actor, {
        deltas: world.deltas | bit(delta),
        landed: world.landed | bit(delta),
        owed: world.owed | bit(delta),
      }),
    },
  ];
}

/** Thirty days pass (lib/core/policy/time-bounds.ts, horizonMs), and then one more hour (tombstoneKeepMs). */
export function timeSteps(world: World, setup: Setup, index: number): Step<World>[] {
  const actor = world.actors[index]!;
  const waiting = world.deltas & ~manifestOf(world, world.pointer).applied;
  // What is quarantined for its age is not this model's subject.
  if (world.age === 2 || members(world.landed).length < setup.deltas || waiting !== 0) return [];
  const does = world.age === 0 ? "time: the horizon passes" : "time: tombstones may be dropped";
  return [{ does, next: withActor(world, index, actor, { age: world.age + 1 }) }];
}

const writer: Writer = {
  name: "compactor",
  cause: "ingest",
  propose: ingestChange,
  published: (actor, head) => ({ ...actor, at: "delete", head, segment: -1, tries: 0, listed: 0, target: 0 }),
};

export function compactorSteps(world: World, setup: Setup, index: number): Step<World>[] {
  const actor = world.actors[index]!;
  const go = (does: string, to: Partial<Actor>, change: Partial<World> = {}): Step<World> => ({
    does: `compactor: ${does}`,
    next: withActor(world, index, { ...actor, ...to }, change),
  });
  switch (actor.at) {
    case "idle":
      if (actor.runs === 0 || world.deltas === 0) return [];
      return [
        go(`begins at c${world.pointer.commit}`, {
          at: "list",
          runs: actor.runs - 1,
          known: world.pointer.commit,
        }),
      ];
    case "list":
      return [list(world, index)];
    case "lease": {
      const epoch = nextEpoch(world, setup);
      return [go(`takes the lease, epoch ${epoch}`, { at: "head", epoch }, { epochs: epoch })];
    }
    case "head": {
      const moved = setup.rules.listAgain && world.pointer.commit !== actor.known;
      const to = {
        at: moved ? "list" : "sweep",
        head: world.pointer,
        known: 0,
        listed: moved ? 0 : actor.listed,
      };
      return [go(`reads the head: c${world.pointer.commit}`, to)];
    }
    case "sweep":
      return sweep(world, setup, index);
    case "read": {
      // Past the horizon they would be quarantined.
      const batch = world.age > 0 ? 0 : actor.batch & world.deltas;
      return [go(`reads ${show("d", batch)}`, batch === 0 ? { at: "list", batch } : { at: "upload", batch })];
    }
    case "upload":
      return [
        go(
          `uploads segment s${world.rows.length} of ${show("d", actor.batch)}`,
          { at: "propose", segment: world.rows.length, tries: setup.triesMax },
          {
            rows: [...world.rows, actor.batch],
            files: world.files | bit(world.rows.length),
            deltas: setup.rules.deleteAfterCommit ? world.deltas : world.deltas & ~actor.batch,
          },
        ),
      ];
    case "delete":
      return deleteBatch(world, index);
    default:
      return commitSteps(world, setup, index, writer);
  }
}

/** Steps 3 and 8 of ingest.ts. Later rounds keep the lease, and the head that they published. */
function list(world: World, index: number): Step<World> {
  const actor = world.actors[index]!;
  const again = actor.epoch > 0;
  const does = `compactor: lists ${show("d", world.deltas)}`;
  if (world.deltas === 0) return { does: `${does}, is done`, next: withActor(world, index, atRest(actor)) };
  const at = again ? "sweep" : "lease";
  return { does, next: withActor(world, index, { ...actor, at, listed: world.deltas, target: world.age }) };
}

/** deleteApplied, then the choice of a batch: the oldest deltas, all of them or one. */
function sweep(world: World, setup: Setup, index: number): Step<World>[] {
  const actor = world.actors[index]!;
  const { applied } = manifestOf(world, actor.head);
  const left = actor.listed & applied & world.deltas;
  if (left !== 0) {
    const oldest = left & -left;
    return [
      {
        does: `compactor: deletes ${show("d", oldest)}, which is applied`,
        next: withActor(world, index, actor, { deltas: world.deltas & ~oldest }),
      },
    ];
  }
  const pending = actor.listed & ~applied;
  if (pending === 0)
    return [{ does: "compactor: has nothing left to do", next: withActor(world, index, atRest(actor)) }];
  const oldest = pending & -pending;
  const batches = setup.smallBatches && oldest !== pending ? [pending, oldest] : [pending];
  return batches.map((batch) => ({
    does: `compactor: takes ${show("d", batch)}`,
    next: withActor(world, index, { ...actor, at: "read", batch }),
  }));
}

/** Step 7: one object after the other, so that a crash may leave some. */
function deleteBatch(world: World, index: number): Step<World>[] {
  const actor = world.actors[index]!;
  const left = actor.batch & world.deltas;
  if (left === 0) {
    const next = withActor(world, index, { ...actor, at: "list", batch: 0 });
    return [{ does: "compactor: has deleted its deltas", next }];
  }
  const oldest = left & -left;
  return [
    {
      does: `compactor: deletes ${show("d", oldest)}`,
      next: withActor(world, index, actor, { deltas: world.deltas & ~oldest }),
    },
  ];
}

/** ingest.ts, ingestChange. */
function ingestChange(world: World, setup: Setup, actor: Actor, head: Pointer): Proposal {
  const { rules } = setup;
  const manifest = manifestOf(world, head);
  if (rules.epoch && manifest.epoch > actor.epoch) return "stop";
  const already = manifest.applied & actor.batch;
  if (rules.alreadyApplied && already === actor.batch) return "done";
  // From the one age to the last it is more than an hour: more than a batch may take.
  if (rules.sleptTooLong && world.age === 2 && actor.target === 0) return "stop";
  if (rules.alreadyApplied && already !== 0) return "stop";
  if (rules.rebaseOverMerges && ingestedSince(world, actor, manifest)) return "stop";
  return {
    epoch: Math.max(actor.epoch, rules.epoch ? 0 : manifest.epoch),
    segments: manifest.segments | bit(actor.segment),
    applied: (manifest.applied & actor.listed) | actor.batch,
  };
}

/** Whether the ledger's `ingested` differs from that of the head that the batch was chosen by. */
const ingestedSince = (world: World, actor: Actor, manifest: Manifest): boolean =>
  manifestOf(world, actor.head).ledger !== manifest.ledger;
