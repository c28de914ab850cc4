/**
 * Merging: keeps the segments of a shard few. Not under the ingest lease: a merge builds from immutable inputs for as
 * long as it takes, while ingestion goes on.
 *
 *  1. A lease of its own keeps two mergers from doing the same work.
 *  2. The plan (lib/core/merge-plan.ts) names inputs. When they need more memory or disk than there is, nothing is begun:
 *     a process that was killed half way would say less, and try again. Otherwise their files are fetched and verified.
 *  3. They are merged on local disk; the sum of all rows that came in must equal kept plus retired.
 *  4. The output is uploaded, and published on whatever head there is by then, when every input is still part of it.
 *     Rows that were superseded meanwhile are shadowed by their version, as always. When tombstones were dropped, and
 *     something came in that may be older than one of them, it is merged once more, from the same files, keeping them.
 *  5. Again, while there is something to merge and time.
 */
import { mkdir, rm } from "node:fs/promises";
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
import { HeldLease, mergeLease } from "./lease.ts";
import type { World } from "./ports.ts";
import { type Change, publish } from "./publish.ts";
import { checkConservation, uploadSegment } from "./upload.ts";

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
      const takesMs = mergeMs(head.manifest, plan);
      const leftMs = options.deadlineMs - world.clock.nowMs();
      if (takesMs > leftMs) return end("outOfTime");
      const shortage = options.room ? shortageOf(mergeNeed(head.manifest, plan), options.room) : null;
      if (shortage !== null) return { ...end("outOfRoom"), shortage: refusal(ref, plan, shortage) };
      const step = await mergeOnce(world, collection, ref, {
        head,
        plan,
        lease,
        limits,
        dropsTombstones: plan.whole && (collection.ordering === "arrival" || takesMs * 2 <= leftMs),
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
  /** Where versions are the source's, only when there is time to merge twice: any ingestion may undo the first try. */
  readonly dropsTombstones: boolean;
  readonly onProgress: ((progress: MergeProgress) => void) | undefined;
}

async function mergeOnce(
  world: World,
  collection: Collection,
  shard: ShardRef,
  step: Step,
): Promise<{ head: Head; merged: Merged | null }> {
  const { head, plan, lease } = step;
  const inputs = plan.inputs.map((id) => head.manifest.segments.find((segment) => segment.id === id)!);
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
    const dropBeforeMs = step.dropsTombstones ? world.clock.nowMs() - tombstoneKeepMs : 0;
    for (const dropTombstonesBeforeMs of [dropBeforeMs, 0]) {
      const merged = await build(world, collection, shard, { step, folder, fetched, dropTombstonesBeforeMs });
      const committed = await commitMerge(world, collection, shard.shard, plan, merged);
      if (committed.outcome !== "undercut")
        return { head: committed.head, merged: committed.outcome === "merged" ? merged : null };
    }
    throw new Error("a merge that dropped nothing was undercut");
  });
}

/** Merges the fetched inputs, proves that no row is lost, and uploads the output. */
async function build(
  world: World,
  collection: Collection,
  shard: ShardRef,
  from: {
    readonly step: Step;
    readonly folder: string;
    readonly fetched: readonly MergeInput[];
    readonly dropTombstonesBeforeMs: number;
  },
): Promise<Merged> {
  const { lease, limits, onProgress } = from.step;
  const output = `${from.folder}/out`;
  await rm(output, { recursive: true, force: true });
  await mkdir(output);
  const merged = await mergeSegments(output, collection, from.fetched, {
    id: world.clock.ulid(),
    limits,
    dropTombstonesBeforeMs: from.dropTombstonesBeforeMs,
    breathe: async (done, all) => {
      await new Promise((resolve) => setImmediate(resolve));
      await lease.check();
      if (all > 0) onProgress?.({ shard: shardName(shard), done, all });
    },
  });
  checkConservation(shard, { cameIn: merged.cameIn, kept: merged.segment.sum, retired: merged.retired });
  const inputs = from.fetched.map(({ segment }) => segment);
  checkInputs(shard, inputs, merged.cameIn);
  await uploadSegment(world, shard, merged.segment, output);
  await lease.check();
  return merged;
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
  let outcome = "merged" as MergeOutcome;
  const head = await readHead(world.store, collection, shard);
  const published = await publish(world, collection, head, ({ manifest }) => {
    outcome = outcomeOn(manifest, plan, merged);
    return outcome === "merged" ? mergeChange(manifest, plan, merged) : null;
  });
  // One that landed unnoticed, and was built upon since, is merged whatever the last look said.
  return { head: published.head, outcome: published.own === null ? outcome : "merged" };
}

/** `undercut`: a tombstone was dropped, and something came in meanwhile that could be older than it. */
type MergeOutcome = "merged" | "overtaken" | "undercut";

/** Revalidation: what has become of the shard since the merge was planned. */
function outcomeOn(manifest: Manifest, plan: MergePlan, merged: Merged): MergeOutcome {
  const inputs = new Set(plan.inputs);
  const live = manifest.segments.filter((segment) => inputs.has(segment.id)).length;
  if (live !== inputs.size) return "overtaken";
  const others = manifest.segments.filter((segment) => !inputs.has(segment.id));
  return others.every((segment) => segment.minVersion > merged.droppedVersionMax) ? "merged" : "undercut";
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
