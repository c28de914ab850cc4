/**
 * Merging: keeps the segments of a shard few, and their stale rows. Not under the ingest lease: a merge builds from immutable
 * inputs for as long as it takes, while ingestion goes on.
 *
 *  1. A lease of its own keeps two mergers from doing the same work.
 *  2. The plan (lib/core/policy/merge-plan.ts) names inputs. When they need more memory or disk than there is, nothing is begun:
 *     a process that was killed half way would say less, and try again.
 *  3. They are merged (lib/engine/compact/merge-step.ts).
 *  4. Again, while there is something to merge and time.
 */

import { type ShardRef, shardName } from "../../core/format/keys.ts";
import type { Manifest } from "../../core/format/manifest.ts";
import type { Collection } from "../../core/model/collection.ts";
import { type MergeLimits, type MergePlan, mergeLimits, planMerge } from "../../core/policy/merge-plan.ts";
import { mergeMs } from "../../core/policy/merge-time.ts";
import { mergeEstimate, type ResourceBudget, shortageOf } from "../../core/policy/resource-estimate.ts";
import type { World } from "../ports.ts";
import { tombstoneKeepMsOf } from "../shard/deltas.ts";
import { readHead, readHeadIfPlaced } from "../shard/head.ts";
import { HeldLease, mergeLease } from "../shard/lease.ts";
import { mergeOnce } from "./merge-step.ts";

/** Merges of one run of one shard; the next run goes on. */
const mergesMax = 32;

export interface MergeReport {
  /**
   * `overtaken`: another writer changed the inputs; the next run plans anew. `outOfTime`: the next merge would take too
   * long, or there were as many as one run makes. `overBudget`: it needs more memory or disk than there is.
   */
  readonly outcome: "done" | "busy" | "overtaken" | "outOfTime" | "overBudget";
  /** What is missing, and what to do about it; present with `overBudget`. */
  readonly shortage?: string;
  readonly version: number;
  readonly merges: readonly { readonly inputs: number; readonly rows: number; readonly grown: boolean }[];
}

export interface MergeProgress {
  readonly shard: string;
  readonly done: number;
  readonly all: number;
}

export async function merge(
  world: World,
  collection: Collection,
  shard: number,
  options: {
    deadlineMs: number;
    onProgress?: (progress: MergeProgress) => void;
    limits?: MergeLimits;
    budget?: ResourceBudget;
  },
): Promise<MergeReport> {
  const limits = options.limits ?? mergeLimits;
  const ref: ShardRef = { collection: collection.name, shard };
  const first = await readHeadIfPlaced(world.store, collection, shard);
  if (first === null) return { outcome: "done", version: 0, merges: [] };
  let head = first;
  const merges: { inputs: number; rows: number; grown: boolean }[] = [];
  const end = (outcome: MergeReport["outcome"]): MergeReport => ({
    outcome,
    version: head.manifest.version,
    merges,
  });
  // One time for all plans of a run: what it makes is young to it, however long it takes (docs/protocol.md, "Progress of merging").
  const nowMs = world.clock.nowMs();
  const planOf = (manifest: Manifest): MergePlan | null =>
    planMerge(manifest, { nowMs, tombstoneKeepMs: tombstoneKeepMsOf(collection) }, limits);
  if (planOf(head.manifest) === null) return end("done");
  const lease = await HeldLease.acquire(world, mergeLease(shardName(ref)));
  if (lease === null) return end("busy");
  try {
    while (merges.length < mergesMax) {
      head = await readHead(world.store, collection, shard);
      const plan = planOf(head.manifest);
      if (plan === null) return end("done");
      const takesMs = mergeMs(head.manifest, plan);
      const leftMs = options.deadlineMs - world.clock.nowMs();
      if (takesMs > leftMs) return end("outOfTime");
      const shortage = options.budget ? shortageOf(mergeEstimate(head.manifest, plan), options.budget) : null;
      if (shortage !== null) return { ...end("overBudget"), shortage: refusal(ref, plan, shortage) };
      const step = await mergeOnce(world, collection, ref, {
        head,
        plan,
        checkLeases: () => lease.check(),
        limits,
        dropsTombstones: collection.ordering === "arrival" || takesMs * 2 <= leftMs,
        onProgress: options.onProgress,
      });
      head = step.head;
      if (step.merged === null) return end("overtaken");
      merges.push({ inputs: plan.inputs.length, rows: step.merged.segment.rows, grown: step.merged.grown });
    }
    return end("outOfTime");
  } finally {
    await lease.release().catch(() => {}); // It runs out by itself; the run's own outcome matters more.
  }
}

const refusal = (shard: ShardRef, plan: MergePlan, shortage: string): string =>
  `${shardName(shard)}: merging ${plan.inputs.length} segments would need about ${shortage}; raise compaction.memoryMiB or ` +
  "compaction.diskMiB, or move to a collection with more shards. Writes go on being ingested, queries slow down";
