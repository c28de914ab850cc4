/** A run of source migration: an exported snapshot is taken over for a part of the run's time; the rest ingests what was written. */
import type { World } from "../../lib/engine/ports.ts";
import { readCollection } from "../../lib/engine/shard/head.ts";
import { readExported, type TakenOver, takeOver } from "../../lib/import/take-over.ts";

/** Of the time that a run has. What is written and not ingested makes strong reads slow, and then late. */
const takingShare = 0.5;

/** Throws as takeOver does, and `notFound` where there is no such snapshot or collection. */
export async function migrate(
  world: World,
  path: string,
  { startMs, deadlineMs }: { startMs: number; deadlineMs: number },
): Promise<TakenOver> {
  const snapshot = await readExported(world.store, path);
  const collection = await readCollection(world.store, snapshot.collection);
  const untilMs = startMs + (deadlineMs - startMs) * takingShare;
  // The queue is told, though this run finds what it writes by its LIST: where a later part fails, the next run ingests it.
  return takeOver(world, collection, {
    ...{ path, snapshot },
    outOfTime: () => world.clock.nowMs() >= untilMs,
  });
}
