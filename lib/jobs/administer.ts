/** What people do with jobs: cancel, retry, forget. Each is a transition of the item's record, and stands in the audit log. */
import { SiltstoneError } from "../core/model/errors.ts";
import { change, keepEnded } from "./change.ts";
import { readSettings } from "./control.ts";
import type { Item, ItemKey } from "./item.ts";
import { type JobWorld, tell } from "./save.ts";
import { removeText } from "./spilled-texts.ts";
import { cancelled, cleared, retried, takenBack } from "./transitions.ts";

/** Null when it had ended already. A run that works on it finds out before it puts anything. */
export async function cancelJob(
  world: JobWorld,
  key: ItemKey,
  message = "cancelled by hand",
): Promise<Item | null> {
  return endJob(world, key, message, cancelled);
}

/** The same, of a job that failed as well. */
export const clearJob = (world: JobWorld, key: ItemKey, message = "cleared by hand"): Promise<Item | null> =>
  endJob(world, key, message, cleared);

async function endJob(
  world: JobWorld,
  key: ItemKey,
  message: string,
  end: typeof cancelled,
): Promise<Item | null> {
  const { clock, table } = world;
  const error = { kind: "cancelled", message };
  const changed = await change(world, key, (item) =>
    item === null ? null : end(item, { error, nowMs: clock.nowMs(), stamp: clock.ulid() }),
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

/** Takes a job from a run that began before; null when there is none. */
export async function takeBackJob(
  world: JobWorld,
  key: ItemKey,
  startedBeforeMs: number,
): Promise<Item | null> {
  const { clock } = world;
  const changed = await change(world, key, (item) =>
    item === null ? null : takenBack(item, { startedBeforeMs, nowMs: clock.nowMs(), stamp: clock.ulid() }),
  );
  if (changed === null) return null;
  await tell(world.wake, [changed.after]);
  return changed.after;
}

/** Forgets an item of a collection that is not there any more, with its text. */
export async function forgetItem({ table, store }: JobWorld, item: Item): Promise<boolean> {
  if (!(await table.remove(item))) return false;
  await removeText(store, item);
  return true;
}
