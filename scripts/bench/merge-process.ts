/**
 * A compactor process of its own: asked by a line on stdin, it does the merge that is due, over HTTP to an S3, and prints
 * what it took beside what was estimated, as one JSON line.
 */
import { createInterface } from "node:readline";
import { awsWorld } from "../../lib/aws/aws-world.ts";
import { mergedFiles, mergeNeed, type Room } from "../../lib/core/compactor-need.ts";
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
await createInterface({ input: process.stdin })[Symbol.asyncIterator]().next();
const collection = await readCollection(world.store, "bench");
const before = (await readHead(world.store, collection, 0)).manifest;
const plan = planMerge(before)!;
const { merges } = await merge(world, collection, 0, { deadlineMs: Number.MAX_SAFE_INTEGER });
const after = (await readHead(world.store, collection, 0)).manifest;
// Inputs and output lie side by side until the end.
const inputs = before.segments.filter(({ id }) => plan.inputs.includes(id));
const outputs = after.segments.filter(({ id }) => !before.segments.some((known) => known.id === id));
const inputBytes = inputs
  .flatMap(({ files }) => mergedFiles.map((name) => files[name]?.bytes ?? 0))
  .reduce((sum, bytes) => sum + bytes, 0);
const answer: MergeMeasured = {
  grown: merges[0]!.grown,
  estimated: mergeNeed(before, plan),
  measured: {
    memoryBytes: process.resourceUsage().maxRSS * 1024,
    diskBytes: outputs.reduce((sum, segment) => sum + segmentBytes(segment), inputBytes),
  },
};
process.stdout.write(`${JSON.stringify(answer)}\n`);
