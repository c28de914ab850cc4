/** One page of a store: producing, queue, compaction, snapshot, query, cost, each a row. */
import { Duration } from "aws-cdk-lib";
import {
  type Alarm,
  AlarmStatusWidget,
  Dashboard,
  GraphWidget,
  type IMetric,
  type IWidget,
  Metric,
  TextWidget,
} from "aws-cdk-lib/aws-cloudwatch";
import type { Construct } from "constructs";
import { type FunctionName, functionNames } from "../../contract/functions.ts";
import type { MetricName } from "../../contract/metrics.ts";
import { storeMetric, type Watched } from "./watched.ts";

const widgetWidth = 8;
const period = Duration.minutes(5);

/** Of the store's own metrics: the rows, and the graphs of each. Every metric is in one (test/constructs/monitoring.test.ts). */
const graphs: Readonly<Record<string, Readonly<Record<string, readonly MetricName[]>>>> = {
  Producing: {
    "Records written and rejected": ["RecordsWritten", "RecordsRejected"],
    "Deltas created": ["DeltasCreated"],
    "Writes that failed": ["ProduceErrors"],
  },
  Queue: { "Backlog: deltas": ["DeltasPending"], "Backlog: age of the oldest": ["OldestUnmergedDeltaAge"] },
  Compaction: {
    Runs: ["CompactionSuccess", "CompactionFailure", "CompactionFaults"],
    "Duration of runs": ["CompactionDuration"],
    "Deltas ingested, and put aside": ["DeltasMerged", "DeltasQuarantined"],
    "Shards that were leased, messages that were none": ["LockAcquisitionFailed", "MessagesDeadLettered"],
  },
  Snapshot: {
    "Segments of a shard, at most": ["Segments"],
    "Age of views": ["SnapshotAge"],
    "Answers from an older version": ["SnapshotFallback"],
  },
  Query: {
    "Latency in the function": ["QueryLatency"],
    "First answers of processes": ["ColdLoadDuration"],
    "Errors, and answers that lack shards": ["QueryErrors", "PartialAnswers"],
  },
  Items: {
    "Items saved, jobs that ended": ["ItemsSaved", "JobsCompleted", "JobsFailed", "JobsPostponed"],
    "Jobs that wait": ["JobsWaiting"],
    "Wait: the oldest, the slowest": ["OldestJobAge", "JobWait"],
    "Chunks and tokens": ["ChunksWritten", "EmbeddingTokens"],
    "Runs that failed": ["EmbedderErrors"],
  },
  Functions: { "Memory used, where above 75 %": ["MemoryUsed"] },
};

export const shownMetrics: readonly MetricName[] = Object.values(graphs).flatMap((row) =>
  Object.values(row).flat(),
);

export function makeDashboard(scope: Construct, watched: Watched, alarms: readonly Alarm[]): Dashboard {
  const dashboard = new Dashboard(scope, "Dashboard", {
    dashboardName: watched.store.replaceAll(/[^A-Za-z0-9_-]/g, "-"),
    defaultInterval: Duration.hours(6),
  });
  dashboard.addWidgets(new AlarmStatusWidget({ alarms: [...alarms], width: 24, height: 3, title: "Alarms" }));
  for (const [title, row] of Object.entries(graphs)) {
    if (title === "Items" && watched.jobDeadLetterQueue === undefined) continue;
    const own = Object.entries(row).map(([name, names]) =>
      graph(
        name,
        names.map((one) => storeMetric(watched, one)),
      ),
    );
    addRow(dashboard, title, [...own, ...ofAws(title, watched)]);
  }
  addRow(dashboard, "Cost", costGraphs(watched));
  return dashboard;
}

const graph = (title: string, left: readonly IMetric[]): GraphWidget =>
  new GraphWidget({ title, left: [...left], width: widgetWidth, height: 5, period });

function addRow(dashboard: Dashboard, title: string, widgets: readonly IWidget[]): void {
  dashboard.addWidgets(new TextWidget({ markdown: `## ${title}`, width: 24, height: 1 }));
  dashboard.addWidgets(...widgets);
}

function ofAws(
  title: string,
  { queue, deadLetterQueue, failedEventsQueue, functions }: Watched,
): GraphWidget[] {
  const visible = { period, statistic: "Maximum" };
  if (title === "Queue")
    return [
      graph("Messages that wait", [queue.metricApproximateNumberOfMessagesVisible(visible)]),
      graph("Dead letters, failed events", [
        deadLetterQueue.metricApproximateNumberOfMessagesVisible(visible),
        failedEventsQueue.metricApproximateNumberOfMessagesVisible(visible),
      ]),
    ];
  if (title !== "Functions") return [];
  const all = (of: (name: FunctionName) => readonly IMetric[]) => functionNames.flatMap(of);
  return [
    graph(
      "Errors",
      all((name) => functions[name].map((one) => one.metricErrors({ period }))),
    ),
    graph(
      "Throttles",
      all((name) => functions[name].map((one) => one.metricThrottles({ period }))),
    ),
    graph(
      "Duration, longest",
      all((name) => functions[name].map((one) => one.metricDuration({ period, statistic: "Maximum" }))),
    ),
  ];
}

/** What a bill is made of: calls and their time, and what is stored. */
function costGraphs({ functions, bucket }: Watched): GraphWidget[] {
  const all = (of: (name: FunctionName) => readonly IMetric[]) => functionNames.flatMap(of);
  const bytes = (StorageType: string) =>
    new Metric({
      namespace: "AWS/S3",
      metricName: "BucketSizeBytes",
      dimensionsMap: { BucketName: bucket.bucketName, StorageType },
      statistic: "Average",
      period: Duration.days(1),
    });
  return [
    graph(
      "Invocations",
      all((name) => functions[name].map((one) => one.metricInvocations({ period }))),
    ),
    graph(
      "Milliseconds of functions",
      all((name) => functions[name].map((one) => one.metricDuration({ period, statistic: "Sum" }))),
    ),
    graph("Bytes stored", ["StandardStorage", "IntelligentTieringFAStorage"].map(bytes)),
  ];
}
