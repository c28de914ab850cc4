/** What people do with jobs: cancel, retry, forget. Each is a transition of the item's record, and stands in the audit log. */
import { SiltstoneError } from "../core/model/errors.ts";
import { change, keepEnded } from "./change.ts";
import { readSettings } from "./control.ts";
import type { Item, ItemKey } from "./item.ts";
import { type JobWorld, tell } from "./save.ts";
import { cancelled, retried } from "./transitions.ts";

/** Null when it had ended already. A run that works on it finds out before it puts anything. */
export async function cancelJob(
  world: JobWorld,
  key: ItemKey,
  message = "cancelled by hand",
): Promise<Item | null> {
  const { clock, table } = world;
  const error = { kind: "cancelled", message };
  const changed = await change(world, key, (item) =>
    item === null ? null : cancelled(item, { error, nowMs: clock.nowMs(), stamp: clock.ulid() }),
  );
  if (changed === null) return null;
  const { keepDays } = await readSettings(table);
  await keepEnded(table, [changed.after], { nowMs: clock.nowMs(), keepDays });
  return changed.after;
}

/** Throws `conflict` for a job that may not run again, saying why, and `notFound`. */
export async function retryJob(
  world: JobWorld,
  key: ItemKey,
  { force }: { readonly force: boolean },
): Promise<Item> {
  const { clock } = world;
  let seen: Item | null = null;
  const changed = await change(world, key, (item) => {
    seen = item;
    return item === null ? null : retried(item, { force, nowMs: clock.nowMs(), stamp: clock.ulid() });
  });
  if (changed !== null) {
    await tell(world.wake, [changed.after]);
    return changed.after;
  }
  const item = seen as Item | null;
  if (item === null) throw new SiltstoneError("notFound", "there is no such item");
  const { status, attempts, attemptsMax } = item;
  const reason =
    status === "failed"
      ? `it has had ${attempts} of ${attemptsMax} attempts; retry it with --force once the cause is mended`
      : status === "cancelled"
        ? "it was cancelled; retry it with --force"
        : `it is ${status}`;
  throw new SiltstoneError("conflict", `job ${item.job}: ${reason}`);
}
