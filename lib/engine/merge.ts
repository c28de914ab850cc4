/**
 * Merging: keeps the segments of a shard few. Not under the ingest lease: a merge builds from immutable inputs for as
 * long as it takes, while ingestion goes on.
 *
 *  1. A lease of its own keeps two mergers from doing the same work.
 *  2. The plan (lib/core/merge-plan.ts) names inputs. When they need more memory or disk than there is, nothing is begun:
 *     a process that was killed half way would say less, and try again. Otherwise their files are fetched and verified.
 *  3. They are merged on local disk; the sum of all rows that came in must equal kept plus retired.
 *  4. The output is uploaded, and published on whatever head there is by then, when every input is still part of it.
 *     Rows that were superseded meanwhile are shadowed by their version, as always.
 *  5. Again, while there is something to merge and time.
 */
import { mkdir } from "node:fs/promises";
import { addSums, equalSums, type RowSum } from "../core/checksum.ts";
import type { Collection } from "../core/collection.ts";
import { mergedFiles, mergeNeed, type Room, shortageOf } from "../core/compactor-need.ts";
import { isKind, SiltstoneError } from "../core/errors.ts";
import { type ShardRef, shardName } from "../core/keys.ts";
import type { Manifest, Segment } from "../core/manifest.ts";
import { type MergeLimits, type MergePlan, mergeLimits, planMerge } from "../core/merge-plan.ts";
import { mergeMs } from "../core/merge-time.ts";
import { withFolder } from "../segment/files.ts";
import type { MergeInput } from "../segment/merge-inputs.ts";
import { type Merged, mergeSegments } from "../segment/merge-segments.ts";
import { tombstoneKeepMs } from "./deltas.ts";
import { fetchSegment } from "./fetch.ts";
import { type Head, readHead, readHeadIfPlaced } from "./head.ts";
import { checkConservation, uploadSegment } from "./ingest.ts";
import { HeldLease, mergeLease } from "./lease.ts";
import type { World } from "./ports.ts";
import { type Change, publish } from "./publish.ts";

/** Merges of one run of one shard: each makes the segments fewer. */
const mergesMax = 32;

export interface MergeReport {
  /**
   * `overtaken`: another writer changed the inputs; the next run plans anew. `outOfTime`: the next merge would take too
   * long. `outOfRoom`: it needs more memory or disk than there is.
   */
  readonly outcome: "done" | "locked" | "overtaken" | "outOfTime" | "outOfRoom";
  /** With `outOfRoom`: what is missing, and what to do about it. */
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
    room?: Room;
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
  if (planMerge(head.manifest, limits) === null) return end("done");
  const lease = await HeldLease.acquire(world, mergeLease(shardName(ref)));
  if (lease === null) return end("locked");
  try {
    while (merges.length < mergesMax) {
      head = await readHead(world.store, collection, shard);
      const plan = planMerge(head.manifest, limits);
      if (plan === null) return end("done");
      if (world.clock.nowMs() + mergeMs(head.manifest, plan) > options.deadlineMs) return end("outOfTime");
      const shortage = options.room ? shortageOf(mergeNeed(head.manifest, plan), options.room) : null;
      if (shortage !== null) return { ...end("outOfRoom"), shortage: refusal(ref, plan, shortage) };
      const step = await mergeOnce(world, collection, ref, {
        head,
        plan,
        lease,
        limits,
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
  `${shardName(shard)}: merging ${plan.inputs.length} segments would need about ${shortage}; raise compactorMemoryMiB or ` +
  "compactorStorageMiB, or move to a collection with more shards. Writes go on being ingested, queries slow down";

interface Step {
  readonly head: Head;
  readonly plan: MergePlan;
  readonly lease: HeldLease;
  readonly limits: MergeLimits;
  readonly onProgress: ((progress: MergeProgress) => void) | undefined;
}

async function mergeOnce(
  world: World,
  collection: Collection,
  shard: ShardRef,
  { head, plan, lease, limits, onProgress }: Step,
) {
  const inputs = plan.inputs.map((id) => head.manifest.segments.find((segment) => segment.id === id)!);
  const id = world.clock.ulid();
  return withFolder(async (folder) => {
    const fetched: MergeInput[] = [];
    for (const segment of inputs) {
      await lease.check();
      const files = mergedFiles.filter((file) => segment.files[file] !== undefined);
      const input = { segment, folder: `${folder}/${segment.id}` };
      try {
        await fetchSegment(world.store, shard, segment, files, input.folder);
      } catch (error) {
        // A merger that slept long finds its inputs merged by another, and collected.
        const now = isKind(error, "corrupt") ? await readHead(world.store, collection, shard.shard) : null;
        if (now === null || now.manifest.segments.some(({ id }) => id === segment.id)) throw error;
        return { head: now, merged: null };
      }
      fetched.push(input);
    }
    const output = `${folder}/out`;
    await mkdir(output);
    const merged = await mergeSegments(output, collection, fetched, {
      id,
      limits,
      dropTombstonesBeforeMs: plan.whole ? world.clock.nowMs() - tombstoneKeepMs : 0,
      breathe: async (done, all) => {
        await new Promise((resolve) => setImmediate(resolve));
        await lease.check();
        if (all > 0) onProgress?.({ shard: shardName(shard), done, all });
      },
    });
    checkConservation(shard, { cameIn: merged.cameIn, kept: merged.segment.sum, retired: merged.retired });
    checkInputs(shard, inputs, merged.cameIn);
    await uploadSegment(world, shard, merged.segment, output);
    await lease.check();
    return commitMerge(world, collection, shard.shard, plan, merged);
  });
}

/** The inputs as read must be the inputs as published. */
function checkInputs(shard: ShardRef, inputs: readonly Segment[], cameIn: RowSum): void {
  const published = addSums(...inputs.map((segment) => segment.sum));
  if (!equalSums(published, cameIn)) {
    throw new SiltstoneError(
      "corrupt",
      `${shardName(shard)}: the rows read from a merge's inputs are not those that were published`,
    );
  }
}

/** Publishes on the head of now, not on the one that the merge began from: garbage may well have been collected since. */
async function commitMerge(
  world: World,
  collection: Collection,
  shard: number,
  plan: MergePlan,
  merged: Merged,
) {
  let overtaken = false;
  const head = await readHead(world.store, collection, shard);
  const published = await publish(world, collection, head, ({ manifest }) => {
    if (manifest.segments.some((segment) => segment.id === merged.segment.id)) return null;
    overtaken = !stillHolds(manifest, plan, merged);
    return overtaken ? null : mergeChange(manifest, plan, merged);
  });
  return { head: published.head, merged: overtaken ? null : merged };
}

/**
 * Revalidation: every input is still live; and when tombstones were dropped, nothing came in meanwhile that could be
 * older than one of them.
 */
function stillHolds(manifest: Manifest, plan: MergePlan, merged: Merged): boolean {
  const inputs = new Set(plan.inputs);
  const live = manifest.segments.filter((segment) => inputs.has(segment.id)).length;
  const others = manifest.segments.filter((segment) => !inputs.has(segment.id));
  return live === inputs.size && others.every((segment) => segment.minVersion > merged.droppedVersionMax);
}

function mergeChange(manifest: Manifest, plan: MergePlan, merged: Merged): Change {
  const inputs = new Set(plan.inputs);
  const kept = manifest.segments.filter((segment) => !inputs.has(segment.id));
  const { segment } = merged;
  return {
    cause: "merge",
    epoch: manifest.epoch,
    segments: segment.sum.rows === 0 ? kept : [...kept, segment],
    applied: manifest.applied,
    watermark: manifest.watermark,
    ledger: { ingested: manifest.ledger.ingested, retired: addSums(manifest.ledger.retired, merged.retired) },
  };
}
