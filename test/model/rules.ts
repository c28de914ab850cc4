/** The protections of the protocol, one by one, so that each can be taken out; and the size of a configuration. */
import type { Mask } from "./world.ts";

export interface Rules {
  /** The pointer is written with If-Match (lib/engine/shard/publish.ts, movePointer). */
  readonly ifMatch: boolean;
  /** No unpublished segment below the floor is published (publish.ts, belowFloor). */
  readonly belowFloor: boolean;
  /** The collector raises the floor before it deletes (collect-garbage.ts, raiseFloor). */
  readonly floorBeforeDelete: boolean;
  /** The collector lists the pins after it raised the floor. */
  readonly pinsAfterFloor: boolean;
  /** A pin is written first, and the floor read afterwards (history.ts, pinVersion). */
  readonly floorAfterPin: boolean;
  /** ... and then the version has to be the one that was pinned. */
  readonly pinPublished: boolean;
  /** A rollback stops when a garbage collection run began since it read the head (rollback.ts). */
  readonly rollbackGeneration: boolean;
  /** A merge is published only while all of its inputs are live (merge.ts, stillHolds). */
  readonly inputsLive: boolean;
  /** ... and while all that superseded rows of its inputs, which it left out, is live (merge-step.ts, isAllThere). */
  readonly againstLive: boolean;
  /** ... and, when it dropped tombstones, only while no other segment holds older rows (stillHolds). */
  readonly tombstonesHold: boolean;
  /** An ingest stops when a newer epoch has published (ingest.ts, ingestChange). */
  readonly epoch: boolean;
  /** An ingest whose deltas are applied already publishes nothing (ingestChange). */
  readonly alreadyApplied: boolean;
  /** Delta objects are deleted after the commit (ingest.ts, ingestBatch). */
  readonly deleteAfterCommit: boolean;
  /** A strong reader LISTs first and reads the pointer second (overlays.ts, strong). */
  readonly listBeforePointer: boolean;
  /** When the head moved between LIST and lease, the deltas are listed again (ingest). */
  readonly listAgain: boolean;
  /** A batch whose LIST is long past is given up (ingestChange, batchMsMax). */
  readonly sleptTooLong: boolean;
  /** Only what was garbage before the floor rose is deleted (collectGarbage). */
  readonly garbageBefore: boolean;
  /** An ingest is rebased over merges only, not over another ingest or a rollback (ingestChange, by the ledger). */
  readonly rebaseOverMerges: boolean;
  /** What may have been published already is not published again once a garbage collection run began (publish). */
  readonly retryGeneration: boolean;
  /** Whether an attempt landed is told by its own commit (publish.ts, isPublished), never by the epoch. */
  readonly ownCommit: boolean;
  /** A pinned version below the floor is brought back by copying its segments under new names (keptSegments). */
  readonly rollbackCopies: boolean;
  /** The floor of a repaired pointer is inferred from the rule of retention (repair.ts). */
  readonly repairFloor: boolean;
  /** ... and so is the moment before which orphans may be gone. */
  readonly repairOrphans: boolean;
  /** A repaired pointer has a generation that there never was. */
  readonly repairGeneration: boolean;
  /** What a sleeping collector may take for an orphan is published anew, with copies. */
  readonly repairCopies: boolean;
}

export const allRules: Rules = {
  ifMatch: true,
  belowFloor: true,
  floorBeforeDelete: true,
  pinsAfterFloor: true,
  floorAfterPin: true,
  pinPublished: true,
  rollbackGeneration: true,
  inputsLive: true,
  againstLive: true,
  tombstonesHold: true,
  epoch: true,
  alreadyApplied: true,
  deleteAfterCommit: true,
  listBeforePointer: true,
  listAgain: true,
  sleptTooLong: true,
  garbageBefore: true,
  rebaseOverMerges: true,
  retryGeneration: true,
  ownCommit: true,
  rollbackCopies: true,
  repairFloor: true,
  repairOrphans: true,
  repairGeneration: true,
  repairCopies: true,
};

/** What one exploration covers. */
export interface Setup {
  readonly rules: Rules;
  readonly deltas: number;
  /** Commits that the shard has when all begins (worldWithPast). */
  readonly pastCommits: 0 | 2 | 3;
  /** Whether the lease table may be lost at any moment: then two holders can have the same epoch. */
  readonly tableLost: boolean;
  /** The older deltas whose rows a delta deletes, by delta; 0 for an upsert. */
  readonly deletes: readonly Mask[];
  /** Whether mergers also reclaim one segment against the others. */
  readonly reclaims: boolean;
  /** Commits tried in one run; the engine tries more often, each time in the same way. */
  readonly triesMax: number;
  /** Versions that a garbage collection run keeps, the current one included. */
  readonly versionsKept: number;
  /** Whether a batch may leave deltas for the next one. */
  readonly smallBatches: boolean;
  /** Whether publishing one delta twice counts as a fault. */
  readonly onceOnly: boolean;
}

/** The rows that a reader sees of a set of deltas: upserts that no delete of the set hides. */
export function visible(setup: Setup, deltas: Mask): Mask {
  let hidden = 0;
  setup.deletes.forEach((older, delta) => {
    if (older !== 0 && (deltas >> delta) & 1) hidden |= older | (1 << delta);
  });
  return deltas & ~hidden;
}
