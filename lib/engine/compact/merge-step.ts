/**
 * One merge, as it was planned.
 *
 *  1. The inputs' files are fetched and verified; of segments that supersede rows of theirs, and stay, the records alone.
 *  2. They are merged on local disk; the sum of all rows that came in must equal kept plus retired. The ids that result are
 *     counted in the neighbours' clusters.bin, of which the merge reads no more than it reads of its inputs.
 *  3. The output is uploaded, and published on whatever head there is by then, when every input is still part of it, and so
 *     is everything that superseded a row. Rows that were superseded meanwhile are shadowed by their version, as always.
 *  4. When tombstones were dropped, and something came in that may be older than one of them, it is merged once more, from
 *     the same files, keeping them.
 */
import { mkdir, rm } from "node:fs/promises";
import { type SegmentFile, type ShardRef, shardName } from "../../core/format/keys.ts";
import { isClustered, type Manifest, type Segment, segmentBytes } from "../../core/format/manifest.ts";
import { addSums, equalSums, type RowSum } from "../../core/format/row-checksum.ts";
import type { Collection } from "../../core/model/collection.ts";
import { isKind, isUnreadable, SiltstoneError } from "../../core/model/errors.ts";
import { segmentId } from "../../core/model/ids.ts";
import type { MergeLimits, MergePlan } from "../../core/policy/merge-plan.ts";
import { mergedFiles } from "../../core/policy/resource-estimate.ts";
import { segmentsAfter } from "../../core/policy/stale-rows.ts";
import { withFolder } from "../../segment/files.ts";
import type { MergeInput, Neighbour } from "../../segment/merge-inputs.ts";
import { type Merged, mergeSegments } from "../../segment/merge-segments.ts";
import type { World } from "../ports.ts";
import { tombstoneKeepMsOf } from "../shard/deltas.ts";
import { type Head, readHead } from "../shard/head.ts";
import { type Change, publish } from "../shard/publish.ts";
import { fetchClusters, fetchSegment, uploadSegment } from "../shard/segment-transfer.ts";
import { checkConservation } from "./conservation.ts";
import type { MergeProgress } from "./merge.ts";

/** However small a merge is, it reads so much of its neighbours' clusters.bin. */
const neighbourBytesLeast = 8e6;

export interface Step {
  readonly head: Head;
  readonly plan: MergePlan;
  /** Extends the leases under which this runs; throws `fenced` when one is gone. */
  readonly checkLeases: () => Promise<void>;
  readonly limits: MergeLimits;
  /** Where versions are the source's, only when there is time to merge twice: any ingestion may undo the first try. */
  readonly dropsTombstones: boolean;
  readonly onProgress: ((progress: MergeProgress) => void) | undefined;
}

/** `merged` is null when another writer changed what the merge was made from. */
export async function mergeOnce(
  world: World,
  collection: Collection,
  shard: ShardRef,
  step: Step,
): Promise<{ head: Head; merged: Merged | null }> {
  const { head, plan } = step;
  return withFolder(async (folder) => {
    const from: Sources = { step, folder, inputs: [], against: [] };
    try {
      for (const id of plan.inputs)
        from.inputs.push(await fetchInput(world, shard, from, id, mergedFiles(plan)));
      for (const id of plan.against)
        from.against.push(await fetchInput(world, shard, from, id, ["records.db"]));
    } catch (error) {
      // A merger that slept long finds its inputs merged by another, and deleted as garbage.
      const now = isKind(error, "corrupt") ? await readHead(world.store, collection, shard.shard) : null;
      if (now === null || isAllThere(now.manifest, plan)) throw error;
      return { head: now, merged: null };
    }
    const dropBeforeMs = step.dropsTombstones ? world.clock.nowMs() - tombstoneKeepMsOf(collection) : 0;
    for (const dropTombstonesBeforeMs of [dropBeforeMs, 0]) {
      const merged = await build(world, collection, shard, { ...from, dropTombstonesBeforeMs });
      const committed = await commitMerge(world, collection, head, plan, merged);
      if (committed.outcome !== "undercut")
        return { head: committed.head, merged: committed.outcome === "merged" ? merged : null };
    }
    throw new Error("a merge that dropped nothing was undercut");
  });
}

interface Sources {
  readonly step: Step;
  readonly folder: string;
  readonly inputs: MergeInput[];
  readonly against: MergeInput[];
}

async function fetchInput(
  world: World,
  shard: ShardRef,
  { step: { head, checkLeases }, folder }: Sources,
  id: string,
  wanted: readonly SegmentFile[],
): Promise<MergeInput> {
  await checkLeases();
  const segment = head.manifest.segments.find((one) => one.id === id)!;
  const input = { segment, folder: `${folder}/${id}` };
  const files = wanted.filter((file) => segment.files[file] !== undefined);
  await fetchSegment(world.store, shard, segment, files, input.folder);
  return input;
}

/** Merges what was fetched, proves that no row is lost, and uploads the output. */
async function build(
  world: World,
  collection: Collection,
  shard: ShardRef,
  from: Sources & { readonly dropTombstonesBeforeMs: number },
): Promise<Merged> {
  const { head, plan, checkLeases, limits, onProgress } = from.step;
  const output = `${from.folder}/out`;
  await rm(output, { recursive: true, force: true });
  await mkdir(output);
  const merged = await mergeSegments(output, collection, from.inputs, {
    id: segmentId(world.clock.ulid()),
    limits,
    anew: plan.reason === "stale",
    against: from.against,
    neighbours: neighboursOf(world, collection, head.manifest, { plan, limits }),
    dropTombstonesBeforeMs: from.dropTombstonesBeforeMs,
    checkpoint: async (done, all) => {
      await new Promise((resolve) => setImmediate(resolve));
      await checkLeases();
      if (all > 0) onProgress?.({ shard: shardName(shard), done, all });
    },
  });
  checkConservation(shard, { cameIn: merged.cameIn, kept: merged.segment.sum, retired: merged.retired });
  const inputs = from.inputs.map(({ segment }) => segment);
  checkInputs(shard, inputs, merged.cameIn);
  // One of no rows is no part of the version: its files would be orphans.
  if (merged.segment.sum.rows > 0) await uploadSegment(world, shard, merged.segment, output);
  await checkLeases();
  return merged;
}

/**
 * The other segments of the version, the smallest first. How much is read of them for a merge of few rows depends on the
 * merge, not on the collection; for one that makes a graph, and where counting is what the merge is for (at most once a day),
 * all of them are.
 */
async function* neighboursOf(
  world: World,
  collection: Collection,
  manifest: Manifest,
  { plan: { inputs, reason }, limits }: Pick<Step, "plan" | "limits">,
): AsyncGenerator<Neighbour> {
  const headBytes = ({ files }: Segment): number => files["clusters.bin"]?.head?.bytes ?? 0;
  const merging = manifest.segments.filter(({ id }) => inputs.includes(id));
  const others = manifest.segments.filter(({ id }) => !inputs.includes(id));
  const inputBytes = merging.reduce((sum, segment) => sum + segmentBytes(segment), 0);
  const rows = merging.reduce((sum, segment) => sum + segment.rows, 0);
  const readsAll = reason === "count" || rows > limits.flatRowsMax;
  let bytesLeft = readsAll ? Number.POSITIVE_INFINITY : Math.max(inputBytes, neighbourBytesLeast);
  for (const segment of others.sort((a, b) => headBytes(a) - headBytes(b))) {
    bytesLeft -= headBytes(segment);
    const isRead = isClustered(segment) && bytesLeft >= 0;
    yield { segment, clusters: isRead ? await clustersOf(world, collection, manifest, segment) : null };
  }
}

/** Null when it is damaged or newer code has written it: nothing but a cold start and what is counted here depends on it. */
async function clustersOf(world: World, collection: Collection, shard: ShardRef, segment: Segment) {
  try {
    return await fetchClusters(world.store, shard, segment, collection);
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    return null;
  }
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
  planned: Head,
  plan: MergePlan,
  merged: Merged,
): Promise<{ head: Head; outcome: MergeOutcome }> {
  let outcome = "merged" as MergeOutcome;
  const nowMs = world.clock.nowMs();
  const head = await readHead(world.store, collection, planned.manifest.shard);
  const published = await publish(world, collection, head, ({ manifest }) => {
    outcome = outcomeOn(manifest, planned.manifest, plan, merged);
    return outcome === "merged" ? mergeChange(manifest, plan, merged, nowMs) : null;
  });
  // One that landed unnoticed, and was built upon since, is merged whatever the last look said.
  return { head: published.head, outcome: published.own === null ? outcome : "merged" };
}

/** `undercut`: a tombstone was dropped, and something came in meanwhile that could be older than it. */
type MergeOutcome = "merged" | "overtaken" | "undercut";

/** Revalidation: what has become of the shard since the merge was planned. */
function outcomeOn(manifest: Manifest, planned: Manifest, plan: MergePlan, merged: Merged): MergeOutcome {
  if (!isAllThere(manifest, plan)) return "overtaken";
  const known = new Set(planned.segments.map(({ id }) => id));
  const joined = manifest.segments.filter(({ id }) => !known.has(id));
  return joined.every((segment) => segment.minVersion > merged.droppedVersionMax) ? "merged" : "undercut";
}

/** Whether the inputs are part of the version, and so is what superseded rows of theirs, which were left out. */
function isAllThere({ segments }: Manifest, { inputs, against }: MergePlan): boolean {
  const there = new Set(segments.map(({ id }) => id));
  return [...inputs, ...against].every((id) => there.has(id));
}

function mergeChange(manifest: Manifest, plan: MergePlan, merged: Merged, nowMs: number): Change {
  return {
    cause: "merge",
    epoch: manifest.epoch,
    segments: segmentsAfter(manifest, { ...merged, plan, output: merged.segment }, nowMs),
    applied: manifest.applied,
    watermark: manifest.watermark,
    ledger: { ingested: manifest.ledger.ingested, retired: addSums(manifest.ledger.retired, merged.retired) },
  };
}
