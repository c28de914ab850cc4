/**
 * A compactor process of its own: asked by a JSON line on stdin, it ingests the deltas that are there or does the merge that
 * is due, over HTTP to an S3, and prints what it took beside what was estimated, as one JSON line.
 */
import { createInterface } from "node:readline";
import { type Manifest, segmentBytes } from "../../lib/core/format/manifest.ts";
import { type MergePlan, planMerge } from "../../lib/core/policy/merge-plan.ts";
import {
  ingestEstimate,
  mergedFiles,
  mergeEstimate,
  type ResourceBudget,
} from "../../lib/core/policy/resource-estimate.ts";
import { ingest } from "../../lib/engine/compact/ingest.ts";
import { merge } from "../../lib/engine/compact/merge.ts";
import { listDeltas } from "../../lib/engine/shard/deltas.ts";
import { readCollection, readHead } from "../../lib/engine/shard/head.ts";
import { memoryWorld } from "../../test/support/memory/world.ts";
import { peakBytes } from "./peak-memory.ts";
import { servedWorld } from "./served-world.ts";

export interface Question {
  readonly op: "ingest" | "merge";
}
export interface Taken {
  readonly grown: boolean;
  readonly estimated: ResourceBudget;
  readonly measured: ResourceBudget;
}

// The store was made by a memory world's clock: by another its deltas would be too old, or not made yet.
const { leases, clock } = memoryWorld();
const world = {
  ...servedWorld(),
  leases,
  clock,
};
const { value } = await createInterface({ input: process.stdin })[Symbol.asyncIterator]().next();
const { op } = JSON.parse(value as string) as Question;
const collection = await readCollection(world.store, "bench");
const headManifest = async () => (await readHead(world.store, collection, 0)).manifest;
const before = await headManifest();
const { inputBytes, grown, estimated } = op === "ingest" ? await ingested() : await merged();
const outputs = (await headManifest()).segments.filter(
  ({ id }) => !before.segments.some((known) => known.id === id),
);
const answer: Taken = {
  grown,
  estimated,
  measured: {
    memoryBytes: peakBytes(),
    diskBytes: outputs.reduce((sum, segment) => sum + segmentBytes(segment), inputBytes),
  },
};
process.stdout.write(`${JSON.stringify(answer)}\n`);

async function ingested() {
  const deltas = await listDeltas(world.store, before, before.watermark);
  const bytes = deltas.reduce((sum, delta) => sum + delta.bytes, 0);
  const report = await ingest(world, collection, 0, { outOfTime: () => false });
  if (report.deltas !== deltas.length || report.version !== before.version + 1)
    throw new Error(`expected one batch: ${JSON.stringify(report)}`);
  return { inputBytes: 0, grown: false, estimated: ingestEstimate(deltas.length, bytes, collection) };
}

async function merged() {
  const plan = planMerge(before, { nowMs: Date.now(), tombstoneKeepMs: 0 })!;
  const { merges } = await merge(world, collection, 0, { deadlineMs: Number.MAX_SAFE_INTEGER });
  return {
    inputBytes: filesOf(before, plan),
    grown: merges[0]!.grown,
    estimated: mergeEstimate(before, plan),
  };
}

/** Inputs and output lie side by side until the end. */
function filesOf(manifest: Manifest, plan: MergePlan): number {
  return manifest.segments
    .filter(({ id }) => plan.inputs.includes(id))
    .flatMap(({ files }) => mergedFiles(plan).map((name) => files[name]?.bytes ?? 0))
    .reduce((sum, bytes) => sum + bytes, 0);
}
