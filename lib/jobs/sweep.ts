/**
 * Waking what nobody works on: jobs whose time has come, of which nothing was heard, or whose run is over its lease. Each is told
 * to its queue, and its record says when it is looked at again, so that a long queue is not filled anew every minute.
 */
import pLimit from "p-limit";
import { isKind } from "../core/model/errors.ts";
import { change, readSound } from "./change.ts";
import { readSettings } from "./control.ts";
import type { Item, ItemKey } from "./item.ts";
import { type JobWorld, tell } from "./save.ts";
import { woken } from "./transitions.ts";

/** Of one sweep: the next one goes on. */
export const sweptMax = 20_000;
const atOnce = 32;

export interface SweepReport {
  readonly woken: number;
  readonly notified: boolean;
  /** Items whose records are none: they wait for a person, and nothing else does for them. */
  readonly damaged: number;
}

/** `all`: also those that were told of lately, as after a pause in which messages were forgotten. */
export async function sweep(
  world: JobWorld,
  { all = false, untilMs = Number.MAX_SAFE_INTEGER }: { readonly all?: boolean; readonly untilMs?: number },
): Promise<SweepReport> {
  const { table, clock } = world;
  const { state, intervalSeconds } = await readSettings(table);
  if (state !== "running") return { woken: 0, notified: true, damaged: 0 };
  let count = 0;
  let notified = true;
  let damaged = 0;
  const limit = pLimit(atOnce);
  const wakeAll = async (keys: readonly ItemKey[], one: (key: ItemKey) => Promise<Item | null>) => {
    const items = (await Promise.all(keys.map((key) => limit(() => contained(key, one))))).filter(
      (item) => item !== null,
    );
    count += items.length;
    notified = (await tell(world.wake, items)) && notified;
  };
  const contained = async (key: ItemKey, one: (key: ItemKey) => Promise<Item | null>) => {
    try {
      return await one(key);
    } catch (error) {
      if (!isKind(error, "corrupt")) throw error;
      damaged += 1;
      return null;
    }
  };
  const nowMs = clock.nowMs();
  const isOver = () => count >= sweptMax || clock.nowMs() >= untilMs;
  for await (const keys of table.list("pending", {
    ...(all ? {} : { untilMs: nowMs + 1 }),
    limit: sweptMax,
  })) {
    await wakeAll(keys, async (key) => {
      const changed = await change(world, key, (item) =>
        item === null || item.scheduledAtMs > nowMs || (!all && item.wakeAtMs > nowMs)
          ? null
          : woken(item, nowMs + intervalSeconds * 1_000, clock.ulid()),
      );
      return changed?.after ?? null;
    });
    if (isOver()) return { woken: count, notified, damaged };
  }
  for await (const keys of table.list("processing", { untilMs: nowMs + 1, limit: sweptMax })) {
    await wakeAll(keys, async (key) => {
      const item = await table.read(key);
      return item?.status === "processing" && (item.lease?.untilMs ?? 0) <= nowMs ? item : null;
    });
    if (isOver()) break;
  }
  return { woken: count, notified, damaged };
}

export interface Gauge {
  readonly waiting: number;
  /** Of those that are due first; 0 where none waits. */
  readonly oldestSeconds: number;
}

/** Looked at for their age, of each part of the index. */
const gauged = 10;

export async function gauge({ table, clock }: Pick<JobWorld, "table" | "clock">): Promise<Gauge> {
  const waiting = await table.count("pending");
  let oldestMs = clock.nowMs();
  if (waiting > 0)
    for await (const keys of table.list("pending", { limit: gauged }))
      for (const item of await Promise.all(keys.map((key) => readSound(table, key))))
        if (item?.status === "pending") oldestMs = Math.min(oldestMs, item.createdAtMs);
  return { waiting, oldestSeconds: Math.round((clock.nowMs() - oldestMs) / 1_000) };
}
