/** The protections of items and jobs (docs/protocol.md, "Items"), each of which can be taken out; and what an exploration covers. */
export interface JobRules {
  /** A save's version is above every one before it, whatever its clock says (transitions.ts, `saved`). */
  readonly versionAbove: boolean;
  /** Rows carry the save's version, whenever they are put (chunk-rows.ts); else the order of the PUTs. */
  readonly saveOrder: boolean;
  /** The high-water is recorded before the PUT (`recorded`), and not with the finish. */
  readonly recordBefore: boolean;
  /** ... only while the revision is the newest and not cancelled, by whoever still has the claim. */
  readonly recordHeld: boolean;
  /** It never falls. */
  readonly highWaterKept: boolean;
  /** A revision's rows are its chunks, and tombstones from their number up to the high-water. */
  readonly tombstones: boolean;
  /** A finish is written only where the claim holds (`finished`). */
  readonly finishHeld: boolean;
  /** A record goes only when nothing can be left of its chunks (item.ts, `expiryMs`). */
  readonly expireGone: boolean;
  /** Deltas that are named long after the recording are not put (work.ts): none comes after the horizon. */
  readonly lateRefused: boolean;
  /** A claim is of one run at a time (`claimed`): two of one revision write the same rows. */
  readonly claimAlone: boolean;
}
export const allJobRules: JobRules = {
  ...{ versionAbove: true, saveOrder: true, recordBefore: true, recordHeld: true, highWaterKept: true },
  ...{ tombstones: true, finishHeld: true, expireGone: true, lateRefused: true, claimAlone: true },
};

export interface JobSetup {
  readonly rules: JobRules;
  /** Chunks of the texts that may be saved, by save; 0 is a delete. */
  readonly saves: readonly (readonly number[])[];
  readonly workers: number;
  /** Of each worker. */
  readonly runs: number;
  readonly cancels: number;
  readonly retries: number;
  /** Times that a long time passes: tombstones go, and records that may. */
  readonly horizons: number;
  /** Revisions that are made once more although nothing changed (embed-all). */
  readonly again: number;
}

interface JobConfiguration extends Omit<JobSetup, "rules"> {
  readonly name: string;
  readonly about: string;
}
const small = { workers: 2, runs: 2, cancels: 0, retries: 0, horizons: 0, again: 0 };
export const jobConfigurations: readonly JobConfiguration[] = [
  {
    ...{
      name: "edits",
      about: "three saves, longer, shorter and deleted, and two workers that die and sleep",
    },
    ...small,
    saves: [[2], [1, 0], [1]],
  },
  {
    ...{ name: "cancels", about: "a save that is cancelled and tried again at any moment, and one after it" },
    ...small,
    ...{ saves: [[2], [1, 0]], cancels: 2, retries: 2 },
  },
  {
    ...{
      name: "horizon",
      about: "a delete, after which tombstones go and the record may, and a save after that",
    },
    ...small,
    ...{ saves: [[2], [0], [1]], horizons: 1 },
  },
  {
    ...{ name: "again", about: "revisions that are made once more by a bulk run, beside edits" },
    ...small,
    ...{ saves: [[2], [1]], again: 1 },
  },
];

export interface JobMutant {
  readonly without: readonly (keyof JobRules)[];
  readonly configuration: string;
  readonly finds: string;
}
export const jobMutants: readonly JobMutant[] = [
  { without: ["versionAbove"], configuration: "edits", finds: "last" },
  { without: ["saveOrder"], configuration: "edits", finds: "last" },
  { without: ["recordBefore"], configuration: "edits", finds: "I15" },
  { without: ["recordHeld"], configuration: "edits", finds: "I15" },
  { without: ["highWaterKept"], configuration: "edits", finds: "I15" },
  { without: ["tombstones"], configuration: "edits", finds: "I15" },
  { without: ["finishHeld"], configuration: "edits", finds: "last" },
  { without: ["expireGone"], configuration: "horizon", finds: "I15" },
  { without: ["lateRefused"], configuration: "horizon", finds: "I15" },
];
/** Can be taken out alone without a fault. */
export const jobCovered: readonly (keyof JobRules)[] = ["claimAlone"];
