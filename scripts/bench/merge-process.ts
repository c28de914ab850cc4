/**
 * A compactor process of its own: does the merge that is due, over HTTP to an S3, and prints what it took beside what
 * was estimated, as one JSON line.
 */
import { awsWorld } from "../../lib/aws/aws-world.ts";
import { mergeNeed, type Room } from "../../lib/core/compactor-need.ts";
import { segmentBytes } from "../../lib/core/manifest.ts";
import { planMerge } from "../../lib/core/merge-plan.ts";
import { readCollection, readHead } from "../../lib/engine/head.ts";
import { merge } from "../../lib/engine/merge.ts";
import { memoryWorld } from "../../test/support/memory/world.ts";

export interface MergeMeasured {
  readonly grown: boolean;
  readonly estimated: Room;
  readonly measured: Room;
}

const world = {
  ...awsWorld({
    bucket: process.env.BENCH_BUCKET!,
    table: "none",
    queueUrl: "http://127.0.0.1:1/none",
    deadLetterQueueUrl: "http://127.0.0.1:1/none",
  }),
  leases: memoryWorld().leases,
};
const collection = await readCollection(world.store, "bench");
const before = (await readHead(world.store, collection, 0)).manifest;
const plan = planMerge(before)!;
const { merges } = await merge(world, collection, 0, { deadlineMs: Number.MAX_SAFE_INTEGER });
const after = (await readHead(world.store, collection, 0)).manifest;
// Inputs and output lie side by side until the end.
const files = [
  ...before.segments.filter(({ id }) => plan.inputs.includes(id)),
  ...after.segments.filter(({ id }) => !before.segments.some((known) => known.id === id)),
];
const answer: MergeMeasured = {
  grown: merges[0]!.grown,
  estimated: mergeNeed(before, plan),
  measured: {
    memoryBytes: process.resourceUsage().maxRSS * 1024,
    diskBytes: files.reduce((sum, segment) => sum + segmentBytes(segment), 0),
  },
};
process.stdout.write(`${JSON.stringify(answer)}\n`);
