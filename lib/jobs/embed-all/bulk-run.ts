/**
 * A **bulk run** queues every item of a collection that is not embedded, or the part of them that it was asked for. Its id is the operation id of
 * the jobs that it makes, so that it is known of each item whether the run has queued it: a run that was interrupted goes on without doing
 * anything twice, and what became of it is seen from the items themselves.
 */
import pLimit from "p-limit";
import type { Collection } from "../../core/model/collection.ts";
import { contentHash } from "../../core/model/derived-id.ts";
import { audit, changeSettings, readSettings } from "../control.ts";
import type { Item, JobError, Priority } from "../item.ts";
import type { BulkRun } from "../ports.ts";
import { type JobWorld, saveItem, tell } from "../save.ts";
import type { JobSettings } from "../settings.ts";
import { readText } from "../spilled-texts.ts";
import { type Judged, judgeItems, type ReadChunks, type Standing, standings } from "./judge.ts";

export interface BulkWorld extends JobWorld {
  readonly readChunks: ReadChunks;
}

/** What a run found, each item counted once; a dry run and a run count the same. */
export interface BulkCounts {
  readonly looked: number;
  readonly embedded: number;
  readonly pending: number;
  readonly deleted: number;
  readonly unreadable: number;
  /** Queued by this run before it was interrupted. */
  readonly before: number;
  /** Not of the part that was asked for. */
  readonly later: number;
  /** Queued now; of a dry run, that would be. */
  readonly queued: number;
  /** Of these, by how they stood. */
  readonly without: number;
  readonly stale: number;
  readonly failed: number;
  /** Changed by others since they were looked at: their own save does the work. */
  readonly changed: number;
}
export const noBulkCounts: BulkCounts = {
  ...{ looked: 0, embedded: 0, pending: 0, deleted: 0, unreadable: 0, before: 0, later: 0 },
  ...{ queued: 0, without: 0, stale: 0, failed: 0, changed: 0 },
};

const savesAtOnce = 16;

/** Items that are looked at and queued together, by how many there are. */
export const batchItemsFor = (items: number): number => (items < 1_000 ? 50 : items <= 10_000 ? 200 : 500);

/** Whether the item is of the first `percent` of its collection: always the same ones, and more with a higher one. */
export const isOfStage = (item: string, percent: number): boolean =>
  (Number.parseInt(contentHash(item).slice(0, 8), 16) / 2 ** 32) * 100 < percent;

export interface BulkOptions {
  readonly dryRun: boolean;
  readonly isInterrupted: () => boolean;
  readonly onProgress: (counts: BulkCounts) => void;
}

/**
 * Queues what is not embedded, and goes on with a run that was interrupted. From then on the collection's items are embedded by workers, where a
 * rollback had ended that. Throws what a look-up or a save throws: the run can be resumed.
 */
export async function runBulk(
  world: BulkWorld,
  collection: Collection,
  run: BulkRun,
  { dryRun, isInterrupted, onProgress }: BulkOptions,
): Promise<BulkCounts> {
  const settings = await readSettings(world.table);
  const counts: Record<keyof BulkCounts, number> = { ...noBulkCounts };
  const keep = (state: BulkRun["state"]) =>
    dryRun ? undefined : keepRun(world, { ...run, state, queued: run.queued + counts.queued }, settings);
  if (!dryRun) await embedByWorkers(world, collection, run.by);
  await keep("queueing");
  let isOver = false;
  try {
    const onDamaged = () => {
      counts.looked++;
      counts.unreadable++;
    };
    for await (const batch of judgeItems(world, collection, { batchItems: run.batchItems, onDamaged })) {
      isOver = isInterrupted();
      if (isOver) break;
      const needed = batch.filter((one) => isNeeded(one, run, counts));
      const after = dryRun
        ? needed.map(({ item }) => item)
        : await queueAgain(world, collection, run, settings, needed);
      for (const [i, item] of after.entries()) {
        if (item === null) counts.changed++;
        else {
          counts.queued++;
          counts[needed[i]!.standing as "without" | "stale" | "failed"]++;
        }
      }
      onProgress(counts);
      if (needed.length > 0) await keep("queueing");
    }
  } catch (error) {
    await keep("interrupted")?.catch(() => {});
    throw error;
  }
  await keep(isOver ? "interrupted" : "queued");
  return counts;
}

/** Counts what is not. */
function isNeeded(
  { item, standing }: Judged,
  run: BulkRun,
  counts: Record<keyof BulkCounts, number>,
): boolean {
  counts.looked++;
  const isDone = standing !== "without" && standing !== "stale" && standing !== "failed";
  if (isDone) counts[standing === "with" ? "embedded" : standing]++;
  // What was taken back since is not done.
  else if (item.operationId === run.id && item.status !== "cancelled") counts.before++;
  else if (!isOfStage(item.item, run.stagePercent)) counts.later++;
  else return true;
  return false;
}

/** Null where another save came since. */
async function queueAgain(
  world: BulkWorld,
  collection: Collection,
  run: BulkRun,
  settings: JobSettings,
  needed: readonly Judged[],
): Promise<(Item | null)[]> {
  const limit = pLimit(savesAtOnce);
  const after = await Promise.all(
    needed.map(({ item }) => limit(() => saveAgain(world, collection, run, settings, item))),
  );
  const saved = after.filter((item) => item !== null);
  await tell(world.wake, saved);
  if (saved.length > 0) await world.table.addCounts(collection.id, { saved: saved.length }).catch(() => {});
  return after;
}

async function saveAgain(
  world: BulkWorld,
  collection: Collection,
  { id: operationId, priority }: BulkRun,
  { attemptsMax, intervalSeconds }: JobSettings,
  item: Item,
): Promise<Item | null> {
  const isDelete = item.operation === "delete";
  const text = isDelete ? null : await readText(world.store, item);
  if (text === null && !isDelete) return null;
  const { item: id, textBytes, contentHash, metadata, source, revision } = item;
  const { after } = await saveItem(world, collection, {
    ...{ item: id, text, textBytes, contentHash, metadata, source, version: null },
    ...{ operation: isDelete ? ("delete" as const) : null, priority, operationId },
    ...{ job: world.clock.ulid(), attemptsMax, intervalSeconds, again: revision },
  });
  return after ?? null;
}

const keepRun = (
  { table, clock }: BulkWorld,
  run: BulkRun,
  { keepDays }: Pick<JobSettings, "keepDays">,
): Promise<void> => table.writeRun(run, clock.nowMs() + keepDays * 86_400_000);

async function embedByWorkers(world: BulkWorld, { id, name }: Collection, who: string): Promise<void> {
  const { inCall } = await readSettings(world.table);
  if (!inCall.includes(id)) return;
  const settings = await changeSettings(world, { inCall: inCall.filter((one) => one !== id) }, who);
  await audit(world, settings, { who, what: `embed-all ${name}: items are embedded by workers again` });
}

/** A run that begins now. */
export const newRun = (
  { clock }: Pick<BulkWorld, "clock">,
  { id: collectionId, name }: Collection,
  asked: { priority: Priority; batchItems: number; stagePercent: number; tag: string | null; by: string },
): BulkRun => ({
  ...{ id: clock.ulid(), collectionId, collection: name, startedAtMs: clock.nowMs() },
  ...{ state: "queueing", queued: 0 },
  ...asked,
});

/** What has become of what a run queued, by what is stored. */
export interface BulkStatus {
  readonly run: BulkRun;
  readonly now: Readonly<Record<Standing, number>>;
  /** Later saves of the items: no work of this run any more. */
  readonly superseded: number;
  readonly failures: readonly {
    readonly item: string;
    readonly job: string;
    readonly error: JobError | null;
  }[];
}

/** Failures that are named. */
const failuresMax = 100;

export async function bulkStatus(
  world: BulkWorld,
  collection: Collection,
  run: BulkRun,
): Promise<BulkStatus> {
  const now = Object.fromEntries(standings.map((name) => [name, 0])) as Record<Standing, number>;
  const failures: { item: string; job: string; error: JobError | null }[] = [];
  let found = 0;
  const of = ({ operationId }: Item) => operationId === run.id;
  for await (const batch of judgeItems(world, collection, { batchItems: run.batchItems, of }))
    for (const { item, standing } of batch) {
      found++;
      now[standing]++;
      if (standing === "failed" && failures.length < failuresMax)
        failures.push({ item: item.item, job: item.job, error: item.error });
    }
  return { run, now, superseded: Math.max(0, run.queued - found), failures };
}

export const isUnderWay = ({ now, run }: BulkStatus): boolean => now.pending > 0 || run.state === "queueing";
