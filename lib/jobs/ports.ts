/**
 * What jobs need of the world beside the engine's ports. One contract suite holds the implementations: in memory (test/support) and
 * on DynamoDB (lib/aws), over the local server and the real one.
 */
import type { EndedJob, Item, ItemKey, JobError, Priority, Status } from "./item.ts";

/** The records of items, jobs that ended, counts, settings, bulk runs, and what was done by hand. Reads by key see every write before them. */
export interface JobTable {
  read(key: ItemKey): Promise<Item | null>;
  /**
   * Writes `next` where exactly `seen` (by its stamp) stands, or nothing; false when that is not so any more. A change of our own
   * whose answer was lost counts as made. Throws `uncertain` when no answer came.
   */
  swap(seen: Item | null, next: Item): Promise<boolean>;
  /** Forgets the item, if `seen` still stands. */
  remove(seen: Item): Promise<boolean>;
  /**
   * Keys of items of a status, page by page in no order of their own, those of a page by time (item.ts, `timeOf`). It may be late by seconds: what
   * is done with one is decided by its record.
   */
  list(status: Status, range?: ListRange): AsyncIterable<readonly ItemKey[]>;
  /** Of all collections; as late as `list`. */
  count(status: Status): Promise<number>;
  /** Keys of every item of a collection. */
  items(collectionId: string): AsyncIterable<readonly ItemKey[]>;

  /** Kept until `untilMs`. Twice is the same as once. */
  keepEnded(job: EndedJob, untilMs: number): Promise<void>;
  readEnded(job: string): Promise<EndedJob | null>;
  addCounts(collectionId: string, counts: Partial<Counts>): Promise<void>;
  readCounts(collectionId: string): Promise<Counts>;

  /** The stage's settings as JSON, with the revision to give back; null where none were set. */
  readSettings(): Promise<{ readonly text: string; readonly revision: number } | null>;
  /** False when another change came in between. `revision` 0: there are none. */
  writeSettings(text: string, revision: number): Promise<boolean>;

  /** The latest write stays; kept until `untilMs`. */
  writeRun(run: BulkRun, untilMs: number): Promise<void>;
  /** Bulk runs of a collection, the newest first. */
  runs(collectionId: string, limit: number): Promise<readonly BulkRun[]>;
  readRun(collectionId: string, id: string): Promise<BulkRun | null>;

  /** The newest first. */
  audit(limit: number): Promise<readonly AuditEntry[]>;
  addAudit(entry: AuditEntry, untilMs: number): Promise<void>;
}

export interface ListRange {
  /** Half open. */
  readonly sinceMs?: number;
  readonly untilMs?: number;
  /** @default "earliest" */
  readonly first?: "earliest" | "latest";
  /** At least so many of the first, and not all of many more. @default all */
  readonly limit?: number;
}

/** How many jobs ended so, ever. A run that dies at its end is not counted. */
export interface Counts {
  readonly saved: number;
  readonly completed: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly superseded: number;
  /** Of those that were completed. */
  readonly chunks: number;
  /** As the provider counts them, where it does, and the UTF-8 bytes of the texts that it counted. */
  readonly tokens: number;
  readonly tokenBytes: number;
}
export const noCounts: Counts = {
  ...{ saved: 0, completed: 0, failed: 0, cancelled: 0, superseded: 0 },
  ...{ chunks: 0, tokens: 0, tokenBytes: 0 },
};

/** What was asked of a bulk run, and how far its queueing is (embed-all/bulk-run.ts). */
export interface BulkRun {
  /** ULID: the operation id of the jobs that it makes. */
  readonly id: string;
  readonly collectionId: string;
  readonly collection: string;
  readonly tag: string | null;
  readonly priority: Priority;
  readonly batchItems: number;
  /** The part of the collection's items that it is of. */
  readonly stagePercent: number;
  readonly by: string;
  readonly startedAtMs: number;
  /** `queueing` is also what a run is left at that was killed. */
  readonly state: "queueing" | "interrupted" | "queued";
  /** Items. */
  readonly queued: number;
}

export interface AuditEntry {
  /** ULID. */
  readonly id: string;
  readonly who: string;
  readonly what: string;
}

/** Tells workers, one queue each priority. A message may be lost, doubled, late. */
export interface WakeQueues {
  send(priority: Priority, bodies: readonly string[]): Promise<void>;
}

/** What is left to do of items that were just saved, in the call of who saved them. */
export interface EmbedderCall {
  /** How each stands when the embedder is done with them, or its time is over. Throws what calling a function throws. */
  embed(keys: readonly ItemKey[]): Promise<readonly EmbeddedItem[]>;
}
export interface EmbeddedItem {
  readonly item: string;
  readonly status: Status;
  readonly error: JobError | null;
}
