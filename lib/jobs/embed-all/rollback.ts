/**
 * Back to embedding in the call: workers take no item of the collection any more, and what waits or runs is cancelled, which is no failure. From
 * then on a save embeds its items before it answers (in-call.ts), until a bulk run brings the workers back.
 *
 *  1. The collection is named in the settings. A save looks there after its items are written: one whose items are written
 *     later finds it, and embeds them itself;
 *  2. what was written before is seen by the pass that follows, and cancelled. A run under way finds that its claims do not hold.
 */
import type { Collection } from "../../core/model/collection.ts";
import { cancelJob } from "../administer.ts";
import { readSound } from "../change.ts";
import { changeSettings, readSettings } from "../control.ts";
import { isActive } from "../item.ts";
import type { JobWorld } from "../save.ts";

export interface RollbackReport {
  /** Jobs that waited or ran. */
  readonly cancelled: number;
}

export async function rollBack(
  world: JobWorld,
  { id, name }: Collection,
  { who, dryRun }: { readonly who: string; readonly dryRun: boolean },
): Promise<RollbackReport> {
  const { inCall } = await readSettings(world.table);
  if (!dryRun && !inCall.includes(id)) await changeSettings(world, { inCall: [...inCall, id] }, who);
  let cancelled = 0;
  for await (const keys of world.table.items(id))
    for (const key of keys) {
      const item = await readSound(world.table, key);
      if (item === null || !isActive(item)) continue;
      if (dryRun || (await cancelJob(world, key, `embed-all ${name} rollback`)) !== null) cancelled++;
    }
  return { cancelled };
}
