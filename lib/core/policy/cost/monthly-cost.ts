/** What a month costs: pure arithmetic from a workload, the prices, and what was measured (docs/cost.md says how). */
import { measured } from "./measured.ts";
import { compactorGb, monthlyUse, producerGb } from "./monthly-use.ts";
import { prices } from "./prices.ts";
import type { Workload } from "./workload.ts";

/** A shard's graph, records and given vectors; 24 hours of superseded versions come on top. */
const retainedFactor = 1.3;
const gigabyte = 1e9;

export interface CostLine {
  readonly service:
    | "S3 storage"
    | "S3 requests"
    | "Lambda"
    | "SQS"
    | "DynamoDB"
    | "EventBridge"
    | "CloudWatch";
  readonly what: string;
  readonly dollars: number;
}

export function monthlyCost(workload: Workload): CostLine[] {
  const { stored, calls, deltas, runs, upkeepRuns, busyRuns, busyUpkeeps, surveys, looks, ...use } =
    monthlyUse(workload);
  const { coldBytes, coldStarts, groups, queryGb, puts, lists, gets, insertSeconds } = use;
  const { queries } = workload;
  const perGbSecond = prices[workload.architecture === "arm" ? "lambdaGbSecondArm" : "lambdaGbSecondX86"];
  const lambdaSeconds = (what: string, gb: number, seconds: number, invocations: number): CostLine => ({
    service: "Lambda",
    what,
    dollars: gb * seconds * perGbSecond + millions(invocations) * prices.lambdaPerMillion,
  });
  return [
    {
      service: "S3 storage",
      what: "segments",
      dollars: ((stored * retainedFactor) / gigabyte) * prices.s3GbMonth,
    },
    {
      service: "S3 requests",
      what: "writes and lists",
      dollars: millions(puts + lists) * prices.s3PutPerMillion,
    },
    { service: "S3 requests", what: "reads", dollars: millions(gets) * prices.s3GetPerMillion },
    lambdaSeconds(
      "queries",
      queryGb,
      (queries * measured.queryMs) / 1000,
      queries * (groups > 1 ? groups + 1 : 1),
    ),
    lambdaSeconds(
      "cold starts",
      queryGb,
      coldStarts * (1 + coldBytes / groups / measured.coldBytesPerSecond),
      0,
    ),
    lambdaSeconds("producing", producerGb, (calls * measured.produceMs) / 1000, calls),
    lambdaSeconds(
      "ingesting",
      compactorGb,
      (busyRuns * measured.ingestMs +
        (looks + busyUpkeeps + surveys) * measured.idleMs +
        (runs + upkeepRuns) * measured.restMs) /
        1000,
      runs + upkeepRuns,
    ),
    lambdaSeconds("merging", compactorGb, insertSeconds, 0),
    {
      service: "SQS",
      what: "send, receive, delete",
      dollars: millions(deltas * 2.2 + runs * measured.runReceives) * prices.sqsPerMillion,
    },
    {
      service: "DynamoDB",
      what: "leases and run notes",
      dollars:
        millions(busyRuns * 6 + (busyUpkeeps + surveys) * 2 + (runs + upkeepRuns) * measured.runNotes) *
          prices.dynamoWritePerMillion +
        millions(busyRuns * 2 + busyUpkeeps + surveys) * prices.dynamoReadPerMillion,
    },
    ...watching(workload, { calls, runs: runs + upkeepRuns }),
  ];
}

/** What sets the runs off, and what they and the calls leave for people to look at. */
function watching(
  { writes, queries }: Workload,
  { calls, runs }: { calls: number; runs: number },
): CostLine[] {
  const metrics =
    measured.idleMetrics +
    (writes > 0 ? measured.writeMetrics : 0) +
    (queries > 0 ? measured.queryMetrics : 0);
  const logBytes = runs * measured.idleLogBytes + (calls + queries) * measured.callLogBytes;
  return [
    { service: "EventBridge", what: "schedules", dollars: millions(runs) * prices.schedulerPerMillion },
    { service: "CloudWatch", what: "metrics", dollars: metrics * prices.metricMonth },
    { service: "CloudWatch", what: "logs", dollars: (logBytes / gigabyte) * prices.logsGb },
    { service: "CloudWatch", what: "alarms", dollars: measured.alarmMetrics * prices.alarmMetricMonth },
    { service: "CloudWatch", what: "dashboard", dollars: prices.dashboardMonth },
  ];
}

export const total = (lines: readonly CostLine[]): number =>
  lines.reduce((sum, { dollars }) => sum + dollars, 0);

export const millions = (count: number): number => count / 1e6;
