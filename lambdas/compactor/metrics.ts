/** The metrics of one run: what counts once a run, and what counts for each collection. */
import type { MetricName } from "../../lib/aws/telemetry.ts";
import { metric } from "../../lib/contract.ts";
import { isEventful, type RunSummary, type ShardSummary } from "../../lib/engine/run-summary.ts";

export interface MetricLine {
  readonly collection: string | null;
  readonly values: Partial<Record<MetricName, number>>;
}

/** A failed run's CompactionFailure is the door's to count, with every other failure. */
export function runMetrics(summary: RunSummary): MetricLine[] {
  const failures = summary.failed + summary.faults.length + summary.faultsOmitted;
  const byCollection = [...Map.groupBy(summary.shards, ({ collection }) => collection)];
  return [
    {
      collection: null,
      values: {
        ...(failures === 0 ? { [metric.compactionSuccess]: 1 } : {}),
        [metric.compactionFaults]: failures,
        [metric.compactionDuration]: summary.milliseconds,
        [metric.messagesDeadLettered]: summary.messages.deadLettered,
        [metric.lockAcquisitionFailed]: summary.shards.filter(({ outcome }) => outcome === "locked").length,
        ...backlog(summary.shards),
        ...segmentsMost(summary.shards),
      },
    },
    ...byCollection
      .filter(([, shards]) => shards.some(isWorthAMetric))
      .map(([collection, shards]) => ({
        collection,
        values: {
          [metric.deltasMerged]: sumOf(shards, ({ deltas }) => deltas),
          [metric.deltasQuarantined]: sumOf(shards, ({ quarantined }) => quarantined),
          ...backlog(shards),
          ...segmentsMost(shards),
        },
      })),
  ];
}

/** A metric costs by the hour in which it has a value: a collection in which nothing happens and nothing waits has none. */
const isWorthAMetric = (shard: ShardSummary): boolean => isEventful(shard) || (shard.pending ?? 0) > 0;

/** A run that looked at no backlog (upkeep, or one whose every shard failed) says nothing of it: no value is not zero. */
function backlog(shards: readonly ShardSummary[]): MetricLine["values"] {
  const looked = shards.filter(({ pending }) => pending !== null);
  if (looked.length === 0) return {};
  return {
    [metric.deltasPending]: sumOf(looked, ({ pending }) => pending ?? 0),
    [metric.oldestUnmergedDeltaAge]: Math.max(
      ...looked.map(({ oldestPendingSeconds }) => oldestPendingSeconds ?? 0),
    ),
  };
}

/** Where a run ingested, the largest number of segments: merging keeps it below twenty, ingestion itself below a hundred. */
function segmentsMost(shards: readonly ShardSummary[]): MetricLine["values"] {
  const known = shards.map(({ segments }) => segments).filter((segments) => segments !== undefined);
  return known.length === 0 ? {} : { [metric.segments]: Math.max(...known) };
}

const sumOf = (shards: readonly ShardSummary[], value: (shard: ShardSummary) => number): number =>
  shards.reduce((sum, shard) => sum + value(shard), 0);
