/**
 * The state of the model: one shard on S3, those who work on it, and what an observer knows who sees everything.
 *
 * Time is left out, so that any process may sleep for any time between any two of its effects. A lease may run out at
 * any moment; so taking one always succeeds here, checking one always succeeds too, and all that is left of leases is
 * the epoch. What the model proves, it proves without any lock. A process that never takes another step has crashed.
 *
 * Deltas, segments and commits are numbered in the order in which they were made, as their ULIDs are. Sets of them are
 * bit masks. A write is known by its delta: a segment holds the rows of a set of deltas.
 */
export type Mask = number;

export const bit = (n: number): Mask => 1 << n;
export const has = (mask: Mask, n: number): boolean => ((mask >> n) & 1) === 1;
export const within = (part: Mask, whole: Mask): boolean => (part & ~whole) === 0;
export function members(mask: Mask): number[] {
  const found: number[] = [];
  for (let n = 0; mask >> n !== 0; n++) if (has(mask, n)) found.push(n);
  return found;
}

/** The pointer (lib/core/format/pointer.ts). Its etag is (commit, generation): no two of its contents share both. */
export interface Pointer {
  readonly commit: number;
  readonly generation: number;
  readonly floorVersion: number;
  /** The floor's ULID is a moment: everything made before it has a smaller number. */
  readonly floorSegments: number;
  readonly floorCommits: number;
}

/** What a manifest says (lib/core/format/manifest.ts). Its contents stay here when its object is deleted. */
export interface Manifest {
  readonly version: number;
  readonly parent: number;
  readonly epoch: number;
  readonly segments: Mask;
  readonly applied: Mask;
  /** Stands for the ledger's `ingested`: the commit of the last ingest or rollback that this version includes. */
  readonly ledger: number;
}

export interface Actor {
  readonly kind:
    | "producer"
    | "compactor"
    | "merger"
    | "collector"
    | "rollback"
    | "pin"
    | "repair"
    | "reader"
    | "time";
  /** Where it is: its next effect. */
  readonly at: string;
  /** Runs that it may still begin. */
  readonly runs: number;
  /** Commits that it may still try in this run. */
  readonly tries: number;
  readonly epoch: number;
  /** The head as it last read or wrote it. */
  readonly head: Pointer;
  /** Compactor and reader: what the LIST showed. */
  readonly listed: Mask;
  /** Compactor: the head before its first LIST. Reader: what is applied. */
  readonly known: number;
  /** Compactor, reader: deltas in hand. Merger: its inputs. Collector: segments to delete. */
  readonly batch: Mask;
  /** Collector: manifests to delete. Reader: rows it has. Merger: tombstones it dropped. */
  readonly other: Mask;
  /** The new segment, or -1. */
  readonly segment: number;
  /** The commit that it tries to publish, or wants to go back to or to pin; -1 for none. */
  readonly commit: number;
  /**
   * Rollback: the commit to go back to. Reader: the highest version seen. Compactor: the age of the deltas at its LIST.
   */
  readonly target: number;
  /** Reader: what was acknowledged when it began. */
  readonly owed: Mask;
}

export interface World {
  readonly deltas: Mask;
  readonly pointer: Pointer;
  /** Contents by commit; `manifestObjects` are those that exist. Commit 0 is version 0, which has no object. */
  readonly manifests: readonly Manifest[];
  readonly manifestObjects: Mask;
  /** The rows by segment; `files` are the segments whose files exist. */
  readonly rows: readonly Mask[];
  readonly files: Mask;
  /** Commits that a pin object names. */
  readonly pins: Mask;
  readonly epochs: number;
  /** 0: all deltas are young. 1: past the horizon, none is applied any more. 2: tombstones may be dropped. */
  readonly age: number;
  readonly actors: readonly Actor[];
  /** Seen by the observer only: deltas that were ever written, acknowledged and not rolled back, published. */
  readonly landed: Mask;
  readonly owed: Mask;
  readonly published: Mask;
  readonly publishedTwice: Mask;
}

const firstPointer: Pointer = {
  commit: 0,
  generation: 0,
  floorVersion: 0,
  floorSegments: 0,
  floorCommits: 0,
};

/** Every actor is a copy of this one, so that all of them pack their fields in the same order. */
export const blank: Actor = {
  kind: "producer",
  at: "idle",
  runs: 0,
  tries: 0,
  epoch: 0,
  head: firstPointer,
  listed: 0,
  known: 0,
  batch: 0,
  other: 0,
  segment: -1,
  commit: -1,
  target: 0,
  owed: 0,
};

export const firstWorld = (actors: readonly Actor[]): World => ({
  deltas: 0,
  pointer: firstPointer,
  manifests: [{ version: 0, parent: -1, epoch: 0, segments: 0, applied: 0, ledger: 0 }],
  manifestObjects: 0,
  rows: [],
  files: 0,
  pins: 0,
  epochs: 0,
  age: 0,
  actors,
  landed: 0,
  owed: 0,
  published: 0,
  publishedTwice: 0,
});

/**
 * A shard with a past, to begin later histories from: d0 and d1 were ingested one after the other (c1, c2), and merged
 * (c3) when `pastCommits` is 3. The processes of the model can bring a shard here.
 */
export function worldWithPast(actors: readonly Actor[], pastCommits: 0 | 2 | 3): World {
  if (pastCommits === 0) return firstWorld(actors);
  const past: readonly Manifest[] = [
    { version: 1, parent: 0, epoch: 1, segments: 0b001, applied: 0b01, ledger: 1 },
    { version: 2, parent: 1, epoch: 1, segments: 0b011, applied: 0b10, ledger: 2 },
    { version: 3, parent: 2, epoch: 1, segments: 0b100, applied: 0b10, ledger: 2 },
  ];
  return {
    ...firstWorld(actors),
    pointer: { ...firstPointer, commit: pastCommits },
    manifests: [...firstWorld([]).manifests, ...past.slice(0, pastCommits)],
    manifestObjects: pastCommits === 3 ? 0b1110 : 0b110,
    rows: pastCommits === 3 ? [0b01, 0b10, 0b11] : [0b01, 0b10],
    files: pastCommits === 3 ? 0b111 : 0b11,
    epochs: 1,
    landed: 0b11,
    owed: 0b11,
    published: 0b11,
  };
}

export const manifestOf = (world: World, pointer: Pointer): Manifest => world.manifests[pointer.commit]!;

export const rowsOf = (world: World, segments: Mask): Mask =>
  members(segments).reduce((rows, segment) => rows | world.rows[segment]!, 0);

export const sameEtag = (a: Pointer, b: Pointer): boolean =>
  a.commit === b.commit && a.generation === b.generation;

/** The epoch of a lease that is taken now. The lease table gives the next one; when it was lost, the one above the pointer's. */
export const nextEpoch = (world: World, { tableLost }: { readonly tableLost: boolean }): number =>
  tableLost ? manifestOf(world, world.pointer).epoch + 1 : world.epochs + 1;

/** Commits from the head back by parent, as far as their manifests exist (lib/engine/shard/history.ts, publishedChain). */
export function chainOf(world: World, pointer: Pointer): number[] {
  const chain = [pointer.commit];
  for (;;) {
    const { parent } = world.manifests[chain[chain.length - 1]!]!;
    if (parent < 0 || !has(world.manifestObjects, parent)) return chain;
    chain.push(parent);
  }
}

export const withActor = (world: World, index: number, actor: Actor, change: Partial<World> = {}): World => ({
  ...world,
  ...change,
  actors: world.actors.map((other, i) => (i === index ? actor : other)),
});

/** The end of a run, or of the process: nothing is remembered. */
export const atRest = (actor: Actor): Actor => ({
  ...blank,
  kind: actor.kind,
  runs: actor.runs,
  // A reader's memory of versions outlives its reads.
  target: actor.kind === "reader" ? actor.target : 0,
});
