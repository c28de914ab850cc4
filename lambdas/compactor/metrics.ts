/** The metrics of one run: what counts once a run, and what counts for each collection. */
import type { MetricName } from "../../lib/contract/metrics.ts";
import { isEventful, type RunSummary, type ShardSummary } from "../../lib/engine/compact/run-summary.ts";

export interface MetricLine {
  readonly collection: string | null;
  readonly values: Partial<Record<MetricName, number>>;
}

/** A failed run's CompactionFailure is the handler's to count, with every other failure. */
export function runMetrics(summary: RunSummary): MetricLine[] {
  const failures = summary.failed + summary.faults.length + summary.faultsOmitted;
  if (failures === 0 && isQuiet(summary)) return [{ collection: null, values: { CompactionSuccess: 1 } }];
  const byCollection = [...Map.groupBy(summary.shards, ({ collection }) => collection)];
  return [
    {
      collection: null,
      values: {
        ...(failures === 0 ? { CompactionSuccess: 1 } : {}),
        CompactionFaults: failures,
        CompactionDuration: summary.milliseconds,
        MessagesDeadLettered: summary.messages.deadLettered,
        LockAcquisitionFailed: summary.shards.filter(({ outcome }) => outcome === "busy").length,
        ...backlog(summary.shards),
        ...segmentsMost(summary.shards),
      },
    },
    ...byCollection
      .filter(([, shards]) => shards.some(isWorthAMetric))
      .map(([collection, shards]) => ({
        collection,
        values: {
          DeltasMerged: sumOf(shards, ({ deltas }) => deltas),
          DeltasQuarantined: sumOf(shards, ({ quarantined }) => quarantined),
          ...backlog(shards),
          ...segmentsMost(shards),
        },
      })),
  ];
}

/** A metric costs by the hour in which it has a value: a run in which nothing happened says only that it was one. */
const isQuiet = ({ shards, messages }: RunSummary): boolean =>
  !shards.some(isWorthAMetric) && messages.settled + messages.deadLettered + messages.left === 0;

/** Likewise a collection in which nothing happens and nothing waits has no value. */
const isWorthAMetric = (shard: ShardSummary): boolean => isEventful(shard) || (shard.pending ?? 0) > 0;

/** A run that looked at no backlog (upkeep, or one whose every shard failed) says nothing of it: no value is not zero. */
function backlog(shards: readonly ShardSummary[]): MetricLine["values"] {
  const looked = shards.filter(({ pending }) => pending !== null);
  if (looked.length === 0) return {};
  return {
    DeltasPending: sumOf(looked, ({ pending }) => pending ?? 0),
    OldestUnmergedDeltaAge: Math.max(...looked.map(({ oldestPendingSeconds }) => oldestPendingSeconds ?? 0)),
  };
}

/** Where a run ingested, the largest number of segments: merging keeps it below twenty, ingestion itself below a hundred. */
function segmentsMost(shards: readonly ShardSummary[]): MetricLine["values"] {
  const known = shards.map(({ segments }) => segments).filter((segments) => segments !== undefined);
  return known.length === 0 ? {} : { Segments: Math.max(...known) };
}

const sumOf = (shards: readonly ShardSummary[], value: (shard: ShardSummary) => number): number =>
  shards.reduce((sum, shard) => sum + value(shard), 0);
