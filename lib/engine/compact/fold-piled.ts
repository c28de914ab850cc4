/**
 * What ingestion does when flat segments pile up because merging does not get to them (no memory, no time, no schedule): it merges
 * the smallest of them into one flat segment, as much as one batch of deltas is. So their number stays bounded while writes go on,
 * and a row is written anew a logarithmic number of times.
 *
 * Under the lease of merging as well: a merger that is at work will take them itself, and its inputs are left alone. The ingest
 * lease is extended meanwhile: it would run out in the middle of the run that goes on afterwards.
 */

import { type ShardRef, shardName } from "../../core/format/keys.ts";
import type { Collection } from "../../core/model/collection.ts";
import { isKind, SiltstoneError } from "../../core/model/errors.ts";
import type { SegmentId } from "../../core/model/ids.ts";
import { type MergePlan, mergeLimits, planPiled } from "../../core/policy/merge-plan.ts";
import { mergeEstimate, shortageOf } from "../../core/policy/resource-estimate.ts";
import type { World } from "../ports.ts";
import { type Head, readHead } from "../shard/head.ts";
import { HeldLease, mergeLease } from "../shard/lease.ts";
import { mergeOnce } from "./merge-step.ts";
import type { SharedBudget } from "./shared-budget.ts";

/** A flat segment stays one, however many rows it has. */
const limits = { ...mergeLimits, flatRowsMax: Number.POSITIVE_INFINITY };

/** The head afterwards. What fails here, merging will report: ingestion goes on, and stops where its own lease is gone. */
export async function foldPiled(
  world: World,
  collection: Collection,
  shard: ShardRef,
  run: {
    readonly head: Head;
    readonly lease: HeldLease;
    readonly budget: SharedBudget;
    readonly outOfTime: () => boolean;
  },
): Promise<Head> {
  const { head, budget } = run;
  const plan = planPiled(head.manifest);
  if (plan === null) return head;
  const need = mergeEstimate(head.manifest, plan);
  const fits = (free = need) => shortageOf(need, free) === null;
  return budget.use(
    (free) => ({ need: fits(free) ? need : null }),
    async (choice) =>
      choice.need === null || run.outOfTime()
        ? head
        : foldPlanned(world, collection, shard, { ...run, plan }),
    { alone: false },
  );
}

async function foldPlanned(
  world: World,
  collection: Collection,
  shard: ShardRef,
  run: {
    readonly head: Head;
    readonly lease: HeldLease;
    readonly plan: MergePlan;
    readonly outOfTime: () => boolean;
  },
): Promise<Head> {
  const { head, plan } = run;
  const lease = await HeldLease.acquire(world, mergeLease(shardName(shard)));
  if (lease === null) return head;
  try {
    const checkLeases = async (): Promise<void> => {
      await lease.check();
      await run.lease.check();
    };
    const step = { checkLeases, limits, dropsTombstones: false, onProgress: undefined };
    /** A damaged file keeps its own segment from it: the halves are tried by themselves. */
    const fold = async (at: Head, planned: readonly SegmentId[]): Promise<Head> => {
      const inputs = planned.filter((id) => at.manifest.segments.some((one) => one.id === id));
      if (inputs.length < 2 || run.outOfTime()) return at;
      try {
        const part = { ...step, head: at, plan: { ...plan, inputs } };
        return (await mergeOnce(world, collection, shard, part)).head;
      } catch (error) {
        if (!isKind(error, "corrupt")) throw error;
        const middle = inputs.length >> 1;
        return fold(await fold(at, inputs.slice(0, middle)), inputs.slice(middle));
      }
    };
    return await fold(head, plan.inputs);
  } catch (error) {
    if (!(error instanceof SiltstoneError)) throw error;
    return await readHead(world.store, collection, shard.shard);
  } finally {
    await lease.release().catch(() => {}); // It runs out by itself.
  }
}
