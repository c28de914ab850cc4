/**
 * The packed form of a state. Two states that differ only in what cannot matter any more have the same one:
 *
 *  - processes of one kind run the same code, so they are sorted;
 *  - manifests and segments that nothing refers to are left out, and the others numbered anew in the same order, since
 *    names are only ever compared;
 *  - epochs, and the stamps that stand for ledgers, are numbered anew in the same order, for the same reason.
 */
import { type Actor, bit, type Mask, members, type World } from "./world.ts";

const kinds: readonly Actor["kind"][] = [
  "producer",
  "compactor",
  "merger",
  "collector",
  "rollback",
  "pin",
  "repair",
  "reader",
  "time",
];
const places = new Map<string, number>();
function placeNumber(place: string): number {
  const known = places.get(place) ?? places.size;
  places.set(place, known);
  return known;
}

/** Which old numbers are still in use, in order: the new number is the index. */
class Renumbering {
  readonly #used: Mask;
  readonly #index: number[] = [];

  constructor(used: Mask) {
    this.#used = used;
    const olds = members(used);
    // A mask is packed as one UTF-16 code unit.
    if (olds.length > 16)
      throw new Error(`${olds.length} names in one state: this configuration is too large`);
    olds.forEach((old, index) => {
      this.#index[old] = index;
    });
  }
  one(old: number): number {
    return this.#index[old] ?? -1;
  }
  mask(old: Mask): Mask {
    let mask = 0;
    for (let rest = old & this.#used; rest !== 0; rest &= rest - 1)
      mask |= 1 << this.#index[31 - Math.clz32(rest & -rest)]!;
    return mask;
  }
  /** A moment: how many of those in use came before it. */
  moment(old: number): number {
    return members(this.#used & (bit(old) - 1)).length;
  }
}

export function packOf(cast: readonly Actor[]): (world: World) => string {
  const historic = cast.some(({ kind }) => ["collector", "rollback", "pin", "repair"].includes(kind));
  const collected = cast.some(({ kind }) => kind === "collector" || kind === "repair");
  return (world) => pack(world, historic, collected);
}

function pack(world: World, historic: boolean, collected: boolean): string {
  let usedCommits = bit(world.pointer.commit) | (historic ? world.manifestObjects : 0);
  for (const actor of world.actors) usedCommits |= commitsOf(actor);
  const commitNumbers = members(usedCommits);
  let usedSegments = collected ? world.files : 0;
  for (const commit of commitNumbers) usedSegments |= world.manifests[commit]!.segments;
  for (const actor of world.actors) usedSegments |= segmentsOf(actor);
  let usedEpochs = bit(world.epochs);
  let usedLedgers = 0;
  for (const commit of commitNumbers) {
    usedEpochs |= bit(world.manifests[commit]!.epoch);
    usedLedgers |= bit(world.manifests[commit]!.ledger);
  }
  for (const actor of world.actors) usedEpochs |= bit(actor.epoch);
  const to: Renumberings = {
    commits: new Renumbering(usedCommits),
    segments: new Renumbering(usedSegments),
    epochs: new Renumbering(usedEpochs),
    ledgers: new Renumbering(usedLedgers),
  };
  const codes = [
    world.deltas,
    world.landed,
    world.owed,
    world.published,
    world.publishedTwice,
    world.age,
    to.epochs.one(world.epochs),
    to.commits.mask(world.pins),
    to.commits.mask(world.manifestObjects),
    collected ? to.segments.mask(world.files) : 0,
    commitNumbers.length,
  ];
  packPointer(codes, world.pointer, to);
  for (const commit of commitNumbers) {
    const { version, parent, epoch, segments, applied, ledger } = world.manifests[commit]!;
    codes.push(version, historic ? to.commits.one(parent) + 1 : 0, to.epochs.one(epoch));
    codes.push(to.segments.mask(segments), applied, to.ledgers.one(ledger));
  }
  for (const segment of members(usedSegments)) codes.push(world.rows[segment]!);
  const actors = world.actors.map((actor) => packActor(actor, to)).sort();
  return String.fromCharCode(...codes) + actors.join("");
}

interface Renumberings {
  readonly commits: Renumbering;
  readonly segments: Renumbering;
  readonly epochs: Renumbering;
  readonly ledgers: Renumbering;
}

function commitsOf({ kind, head, commit, known, other, target }: Actor): Mask {
  let mask = bit(head.commit);
  if (commit >= 0) mask |= bit(commit);
  if (kind === "collector") mask |= other;
  if (kind === "compactor" || kind === "merger") mask |= bit(known);
  if (kind === "rollback") mask |= bit(target);
  return mask;
}

function segmentsOf({ kind, segment, batch, listed }: Actor): Mask {
  let mask = segment >= 0 ? bit(segment) : 0;
  if (kind === "merger") mask |= listed;
  if (kind === "merger" || kind === "collector") mask |= batch;
  return mask;
}

function packPointer(codes: number[], pointer: World["pointer"], to: Renumberings): void {
  codes.push(to.commits.one(pointer.commit), pointer.generation, pointer.floorVersion);
  codes.push(to.segments.moment(pointer.floorSegments), to.commits.moment(pointer.floorCommits));
}

function packActor(actor: Actor, to: Renumberings): string {
  const { kind, listed, known, batch, other, target, owed } = actor;
  const codes = [kinds.indexOf(kind), placeNumber(actor.at), actor.runs, actor.tries];
  codes.push(
    to.epochs.one(actor.epoch),
    to.segments.one(actor.segment) + 1,
    to.commits.one(actor.commit) + 1,
  );
  packPointer(codes, actor.head, to);
  if (kind === "collector") {
    codes.push(to.commits.mask(other), to.segments.mask(batch));
  } else {
    codes.push(
      kind === "merger" ? to.segments.mask(listed) : listed,
      kind === "compactor" || kind === "merger" ? to.commits.one(known) : known,
      other,
      kind === "merger" ? to.segments.mask(batch) : batch,
    );
    codes.push(kind === "rollback" ? to.commits.one(target) : target, owed);
  }
  return String.fromCharCode(...codes);
}
