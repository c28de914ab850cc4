/**
 * Waits until deltas are ingested: until then only strong reads, and reads with their token, see them. A shard that is
 * damaged does not keep the caller from waiting for the others; it is reported at the end.
 */
import type { Collection } from "../../lib/core/model/collection.ts";
import { isKind, SiltstoneError } from "../../lib/core/model/errors.ts";
import type { DeltaId } from "../../lib/core/model/ids.ts";
import { stillWaiting } from "../../lib/engine/operate/status.ts";
import type { World } from "../../lib/engine/ports.ts";
import { listQuarantine } from "../../lib/engine/shard/quarantine.ts";
import type { Session } from "./session.ts";

const pollMs = 1_000;
/** After this long without any progress a person has to look; the compactor runs every minute. */
const standstillMaxMs = 10 * 60_000;
const hintAfterMs = 20_000;

/**
 * Answers how many of them turned out to be unreadable. Throws `unavailable` when nothing moves any more, `corrupt` when
 * a shard is damaged.
 */
export async function waitUntilIngested(
  session: Session,
  world: World,
  collection: Collection,
  deltas: readonly { readonly shard: number; readonly delta: DeltaId }[],
): Promise<{ quarantined: number } | null> {
  const waiting = new Map<number, Set<DeltaId>>();
  for (const { shard, delta } of deltas) {
    const part = waiting.get(shard) ?? new Set<DeltaId>();
    waiting.set(shard, part.add(delta));
  }
  const progress = session.progress("ingest");
  let left = deltas.length;
  let movedMs = world.clock.nowMs();
  const damaged: SiltstoneError[] = [];
  let hinted = false;
  try {
    while (left > 0) {
      if (session.interrupted.aborted) return null;
      const now = await countLeft(world, collection, waiting, damaged);
      if (now < left) movedMs = world.clock.nowMs();
      left = now;
      progress.update(
        deltas.length - left,
        deltas.length,
        `${deltas.length - left} of ${deltas.length} deltas ingested`,
      );
      if (left === 0) break;
      const stillMs = world.clock.nowMs() - movedMs;
      if (stillMs > standstillMaxMs) {
        throw new SiltstoneError(
          "unavailable",
          `${left} deltas of ${collection.name} are not ingested after ${standstillMaxMs / 60_000} minutes; ` +
            `they are durable: \`silt status ${collection.name}\` shows why, \`silt compact ${collection.name}\` ingests them`,
        );
      }
      if (stillMs > hintAfterMs && !hinted) {
        hinted = true;
        session.remark(
          `waiting for the compactor's schedule; at once, from another terminal: silt compact ${collection.name}`,
        );
      }
      await world.clock.sleep(pollMs);
    }
  } finally {
    progress.stop();
  }
  const [first] = damaged;
  if (first) {
    const others = damaged.length > 1 ? ` (and ${damaged.length - 1} more shards)` : "";
    throw new SiltstoneError("corrupt", `${first.message}${others}; the other shards' deltas are ingested`);
  }
  return { quarantined: await countQuarantined(world, collection, deltas) };
}

/** Takes what is settled out of `waiting`, and what is damaged to `damaged`. */
async function countLeft(
  world: World,
  collection: Collection,
  waiting: Map<number, Set<DeltaId>>,
  damaged: SiltstoneError[],
): Promise<number> {
  let left = 0;
  for (const [shard, deltas] of waiting) {
    const still = await stillWaiting(world, collection, shard, deltas).catch((error: unknown) => {
      if (!isKind(error, "corrupt")) throw error;
      damaged.push(error);
      return [];
    });
    if (still.length === 0) waiting.delete(shard);
    else waiting.set(shard, new Set(still));
    left += still.length;
  }
  return left;
}

async function countQuarantined(
  world: World,
  collection: Collection,
  deltas: readonly { shard: number; delta: DeltaId }[],
): Promise<number> {
  const ours = new Set(deltas.map(({ delta }) => delta));
  let quarantined = 0;
  for (const shard of new Set(deltas.map((delta) => delta.shard))) {
    const listed = await listQuarantine(world.store, { collection: collection.name, shard });
    quarantined += listed.filter(({ delta }) => ours.has(delta)).length;
  }
  return quarantined;
}
