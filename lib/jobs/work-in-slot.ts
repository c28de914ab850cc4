/**
 * No more runs at a time than the settings say: each holds a lease of its own, by a number below `concurrency`. A quarter of the numbers, and at
 * least one, is kept for runs with urgent items: however many others wait, an urgent run begins at once. A run that gets none leaves its items
 * to be woken again soon.
 */
import pLimit from "p-limit";
import { jobSlotPrefix } from "../contract/names.ts";
import { isKind } from "../core/model/errors.ts";
import type { Lease, LeaseTable } from "../engine/ports.ts";
import { change } from "./change.ts";
import type { ItemKey } from "./item.ts";
import { woken } from "./transitions.ts";
import type { WorkOptions, WorkReport, WorkWorld, work } from "./work.ts";

const againMs = 15_000;
const urgentShare = 0.25;
const atOnce = 16;

/** Null when others have all the numbers. */
export async function workInSlot(
  world: WorkWorld,
  leases: Pick<LeaseTable, "acquire" | "release">,
  keys: readonly ItemKey[],
  options: WorkOptions & { readonly urgent?: boolean },
  run: typeof work,
): Promise<WorkReport | null> {
  const { concurrency } = await world.settings();
  const slot = await takeSlot(world, leases, concurrency, options);
  if (slot === null) {
    await leaveForLater(world, keys);
    return null;
  }
  try {
    return await run(world, keys, options);
  } finally {
    // It runs out by itself.
    await leases.release(slot).catch(() => {});
  }
}

async function takeSlot(
  { clock, random }: WorkWorld,
  leases: Pick<LeaseTable, "acquire">,
  concurrency: number,
  { owner, untilMs, urgent = false }: WorkOptions & { readonly urgent?: boolean },
): Promise<Lease | null> {
  // With one number there is none to keep.
  const kept = urgent ? 0 : Math.min(concurrency - 1, Math.max(1, Math.floor(concurrency * urgentShare)));
  const open = concurrency - kept;
  const from = Math.floor(random() * open);
  for (let i = 0; i < open; i++) {
    const nowMs = clock.nowMs();
    const name = `${jobSlotPrefix}${kept + ((from + i) % open)}`;
    const answer = await leases.acquire(name, { owner, leaseMs: Math.max(1_000, untilMs - nowMs), nowMs });
    if (answer.kind === "acquired") return answer.lease;
  }
  return null;
}

async function leaveForLater(world: WorkWorld, keys: readonly ItemKey[]): Promise<void> {
  const { clock, random } = world;
  const limit = pLimit(atOnce);
  const wakeAtMs = clock.nowMs() + againMs * (1 + random());
  await Promise.all(
    keys.map((key) =>
      limit(() =>
        change(world, key, (item) =>
          item === null || item.wakeAtMs <= wakeAtMs ? null : woken(item, wakeAtMs, clock.ulid()),
        ).catch((error: unknown) => {
          // A damaged record concerns itself alone: the sweep says so.
          if (!isKind(error, "corrupt")) throw error;
        }),
      ),
    ),
  );
}
