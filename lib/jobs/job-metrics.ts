/** Numbers of the jobs that ended within some time, and of what waits. */
import { readSound } from "./change.ts";
import type { Item, Priority, Status } from "./item.ts";
import { priorities } from "./item.ts";
import type { JobTable } from "./ports.ts";

/** Of a sorted list's values; null where there is none. */
export interface Spread {
  readonly p50: number | null;
  readonly p95: number | null;
  readonly max: number | null;
}

export interface JobMetrics {
  readonly seconds: number;
  /** Whether more ended than were looked at: the numbers are of the latest. */
  readonly isWhole: boolean;
  readonly ended: Readonly<Record<"completed" | "failed" | "cancelled", number>>;
  readonly perMinute: number;
  readonly chunksPerMinute: number;
  /** From the save to the end, and from the last run's beginning. */
  readonly waitSeconds: Spread;
  readonly runSeconds: Spread;
  readonly attemptsMean: number | null;
  readonly errors: Readonly<Record<string, number>>;
  readonly waiting: Readonly<Record<Priority, number>>;
}

/** Jobs of a status that are looked at. */
export const lookedAtMax = 10_000;
const readsAtOnce = 64;

export async function jobMetrics(
  table: JobTable,
  { sinceMs, nowMs }: { readonly sinceMs: number; readonly nowMs: number },
): Promise<JobMetrics> {
  const [completed, failed, cancelled] = [
    await readAll(table, "completed", sinceMs),
    await readAll(table, "failed", sinceMs),
    await readAll(table, "cancelled", sinceMs),
  ];
  const pending = await readAll(table, "pending", 0);
  const minutes = (nowMs - sinceMs) / 60_000;
  const errors: Record<string, number> = {};
  for (const { error } of failed)
    errors[error?.kind ?? "unknown"] = (errors[error?.kind ?? "unknown"] ?? 0) + 1;
  const seconds = (from: (item: Item) => number | null) =>
    spreadOf(completed.map((item) => (item.completedAtMs! - (from(item) ?? item.completedAtMs!)) / 1_000));
  return {
    seconds: Math.round((nowMs - sinceMs) / 1_000),
    isWhole: [completed, failed, cancelled].every(({ length }) => length < lookedAtMax),
    ended: { completed: completed.length, failed: failed.length, cancelled: cancelled.length },
    perMinute: completed.length / minutes,
    chunksPerMinute: completed.reduce((sum, { chunks }) => sum + (chunks ?? 0), 0) / minutes,
    waitSeconds: seconds(({ createdAtMs }) => createdAtMs),
    runSeconds: seconds(({ startedAtMs }) => startedAtMs),
    attemptsMean:
      completed.length === 0
        ? null
        : completed.reduce((sum, { attempts }) => sum + attempts, 0) / completed.length,
    errors,
    waiting: Object.fromEntries(
      priorities.map((name) => [name, pending.filter(({ priority }) => priority === name).length]),
    ) as Record<Priority, number>,
  };
}

async function readAll(table: JobTable, status: Status, sinceMs: number): Promise<Item[]> {
  const found: Item[] = [];
  for await (const page of table.list(status, { sinceMs, first: "latest", limit: lookedAtMax }))
    for (let at = 0; at < page.length && found.length < lookedAtMax; at += readsAtOnce)
      for (const item of await Promise.all(
        page.slice(at, at + readsAtOnce).map((key) => readSound(table, key)),
      ))
        if (item?.status === status) found.push(item);
  return found;
}

export function spreadOf(values: readonly number[]): Spread {
  if (values.length === 0) return { p50: null, p95: null, max: null };
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
  return { p50: at(0.5), p95: at(0.95), max: sorted.at(-1)! };
}
