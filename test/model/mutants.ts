/** The protections taken out, and what is found then. docs/model.md shows what each counterexample looks like. */
import type { Rules } from "./rules.ts";

export interface Mutant {
  readonly without: readonly (keyof Rules)[];
  readonly configuration: string;
  /** How the fault begins. */
  readonly finds: string;
  /** Looks for wrong answers, past what is only counted twice. */
  readonly answersOnly?: true;
}

export const mutants: readonly Mutant[] = [
  { without: ["ifMatch"], configuration: "ingest", finds: "I2" },
  { without: ["deleteAfterCommit"], configuration: "ingest", finds: "I1/I4" },
  { without: ["listBeforePointer"], configuration: "read", finds: "I7" },
  { without: ["inputsLive"], configuration: "merge", finds: "conservation" },
  { without: ["inputsLive"], configuration: "undo", finds: "I5" },
  { without: ["belowFloor"], configuration: "collect", finds: "I3" },
  { without: ["floorBeforeDelete"], configuration: "collect", finds: "I3" },
  { without: ["pinsAfterFloor"], configuration: "pins", finds: "I8" },
  { without: ["floorAfterPin"], configuration: "pins", finds: "I8" },
  { without: ["rollbackCopies"], configuration: "pins", finds: "I3" },
  { without: ["rollbackGeneration", "retryGeneration"], configuration: "pins", finds: "I3" },
  { without: ["retryGeneration"], configuration: "undo", finds: "I3" },
  { without: ["againstLive"], configuration: "reclaim", finds: "I1" },
  { without: ["ownCommit"], configuration: "rollbacks without a lease table", finds: "report" },
  { without: ["repairFloor"], configuration: "repair", finds: "I" },
  { without: ["rebaseOverMerges"], configuration: "ingest", finds: "conservation" },
  { without: ["rebaseOverMerges", "alreadyApplied"], configuration: "ingest", finds: "conservation" },
];

/** The same, in configurations that take longer: where a delta ingested twice leads to a wrong answer. */
export const slowMutants: readonly Mutant[] = [
  { without: ["repairOrphans"], configuration: "repair and merge", finds: "I3" },
  { without: ["repairCopies"], configuration: "repair and merge", finds: "I3" },
  { without: ["repairGeneration"], configuration: "repair and merge", finds: "I" },
  { without: ["pinPublished"], configuration: "repair and pin", finds: "I8" },
  {
    without: ["rebaseOverMerges", "sleptTooLong"],
    configuration: "tombstones",
    finds: "I5",
    answersOnly: true,
  },
  { without: ["rebaseOverMerges"], configuration: "rollback", finds: "I1/I4", answersOnly: true },
  { without: ["rebaseOverMerges", "epoch"], configuration: "rollback", finds: "I5", answersOnly: true },
];

/** Protections that can each be taken out alone without a fault: another one covers for them. */
export const covered: readonly (keyof Rules)[] = [
  "epoch",
  "alreadyApplied",
  "listAgain",
  "sleptTooLong",
  "tombstonesHold",
  "garbageBefore",
  "rollbackGeneration",
];
