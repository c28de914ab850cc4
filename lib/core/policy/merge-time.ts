/**
 * How long a merge takes, estimated before it begins, so that it is left to a run that has the time. The constants are
 * pessimistic for one vCPU (docs/lab/performance.md); an estimate that is too low costs a run, never data.
 */
import { type Manifest, segmentBytes } from "../format/manifest.ts";
import type { MergePlan } from "./merge-plan.ts";

/** Inserting one row into a graph: 384 dims at efConstruction 100 take about 0.6 ms. */
const insertMsPerComponent = 0.6 / 384;
/** Fetching, hashing, copying and uploading. */
const transferBytesPerMs = 30_000;

export function mergeMs(manifest: Manifest, plan: MergePlan): number {
  const inputs = manifest.segments.filter((segment) => plan.inputs.includes(segment.id));
  const rows = inputs.map((segment) => segment.rows + segment.tombstones).sort((a, b) => a - b);
  const graphs = inputs.some((segment) => segment.kind === "hnsw");
  // The largest graph is grown unless too much of it is dead; what is reclaimed is built anew.
  const inserted =
    rows.reduce((sum, n) => sum + n, 0) - (graphs && plan.reason !== "stale" ? rows[rows.length - 1]! : 0);
  const read = manifest.segments.filter((segment) => plan.against.includes(segment.id));
  const bytes =
    inputs.reduce((sum, segment) => sum + segmentBytes(segment), 0) +
    read.reduce((sum, { files }) => sum + files["records.db"]!.bytes, 0);
  const effort = manifest.index.efConstruction / 100;
  return inserted * manifest.dims * insertMsPerComponent * effort + (bytes * 2) / transferBytesPerMs;
}
