/** A transition of an item, written where the record that it was made from still stands. */
import { isKind, SiltstoneError } from "../core/model/errors.ts";
import { grouped } from "../core/model/grouped.ts";
import type { Clock } from "../engine/ports.ts";
import { endedJob, type Item, type ItemKey } from "./item.ts";
import type { Counts, JobTable } from "./ports.ts";

/** Every one that is lost was another's progress. */
const attemptsMax = 64;
const pauseMs = 20;

export interface ChangeWorld {
  readonly table: JobTable;
  readonly clock: Clock;
}

export interface Changed {
  readonly before: Item | null;
  readonly after: Item;
}

/** Of many items: null also where the record is none, which stops nothing of the others. The sweep counts those. */
export async function readSound(table: Pick<JobTable, "read">, key: ItemKey): Promise<Item | null> {
  try {
    return await table.read(key);
  } catch (error) {
    if (isKind(error, "corrupt")) return null;
    throw error;
  }
}

/**
 * Reads the item and writes what `next` makes of it, as often as another was faster. Null when `next` gives null, and nothing was
 * changed. Throws `unavailable` when others were faster every time.
 */
export async function change(
  { table, clock }: ChangeWorld,
  key: ItemKey,
  next: (item: Item | null) => Item | null,
): Promise<Changed | null> {
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const before = await table.read(key);
    const after = next(before);
    if (after === null) return null;
    if (await table.swap(before, after)) return { before, after };
    await clock.sleep(pauseMs * (1 + (attempt % 8)));
  }
  throw new SiltstoneError(
    "unavailable",
    `an item's record was changed by others ${attemptsMax} times in a row; repeat the call`,
  );
}

/** What a run embedded of a collection: tokens as the provider counts them, and the bytes of what it counted. */
export type Embedded = Pick<Counts, "tokens" | "tokenBytes">;

/** Keeps the history and the counts of jobs that ended: for people, so that a failure here is none of the work's. */
export async function keepEnded(
  table: JobTable,
  ended: readonly Item[],
  { nowMs, keepDays }: { nowMs: number; keepDays: number },
  embedded: ReadonlyMap<string, Embedded> = new Map(),
): Promise<void> {
  const untilMs = nowMs + keepDays * 86_400_000;
  const byCollection = grouped(ended, ({ collectionId }) => collectionId);
  await Promise.allSettled([
    ...ended.map((item) => table.keepEnded(endedJob(item), untilMs)),
    ...[...byCollection].map(([collectionId, items]) => table.addCounts(collectionId, countsOf(items))),
    ...[...embedded].map(([collectionId, counts]) => table.addCounts(collectionId, { ...counts })),
  ]);
}

function countsOf(items: readonly Item[]): Partial<Counts> {
  const counts: Partial<Record<keyof Counts, number>> = {};
  for (const { status, error, chunks } of items) {
    const name =
      error?.kind === "superseded"
        ? "superseded"
        : status === "completed" || status === "failed"
          ? status
          : "cancelled";
    counts[name] = (counts[name] ?? 0) + 1;
    if (name === "completed") counts.chunks = (counts.chunks ?? 0) + (chunks ?? 0);
  }
  return counts;
}
