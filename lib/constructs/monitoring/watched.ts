/** What is watched of a store, and what an alarm's row means by it. */
import { Duration } from "aws-cdk-lib";
import { type IMetric, MathExpression, Metric } from "aws-cdk-lib/aws-cloudwatch";
import type { Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import type { IBucket } from "aws-cdk-lib/aws-s3";
import type { IQueue } from "aws-cdk-lib/aws-sqs";
import type { AlarmRow } from "../../contract/alarms.ts";
import type { FunctionName } from "../../contract/functions.ts";
import { type MetricName, metricNamespace, metrics } from "../../contract/metrics.ts";
import { functionTimeoutMs } from "../../core/policy/time-bounds.ts";

export interface Watched {
  readonly stage: string;
  /** Minutes between two scheduled runs of the compactor, of whichever kind comes more often. */
  readonly intervalMinutes: number;
  /** Value of the dimension `store`. */
  readonly store: string;
  /** By what they do; the query groups' are all `query`, after the function that asks them. */
  readonly functions: Readonly<Record<FunctionName, readonly LambdaFunction[]>>;
  readonly queue: IQueue;
  readonly deadLetterQueue: IQueue;
  readonly failedEventsQueue: IQueue;
  /** Undefined where there are no items. */
  readonly jobDeadLetterQueue: IQueue | undefined;
  readonly bucket: IBucket;
}

/** A metric of the store's own, with its usual statistic. */
export const storeMetric = (
  { store }: Watched,
  name: MetricName,
  options: { readonly period?: Duration } = {},
): Metric =>
  new Metric({
    namespace: metricNamespace,
    metricName: name,
    dimensionsMap: { store },
    statistic: metrics[name].statistic,
    period: options.period ?? Duration.minutes(5),
  });

export function metricOf({ source, periodMinutes }: AlarmRow, watched: Watched): IMetric {
  const period = Duration.minutes(periodMinutes);
  switch (source.of) {
    case "store":
      return storeMetric(watched, source.metric, { period });
    case "share": {
      const [good, bad] = [
        storeMetric(watched, source.good, { period }),
        storeMetric(watched, source.bad, { period }),
      ];
      return new MathExpression({
        expression: "100 * FILL(good, 0) / (FILL(good, 0) + FILL(bad, 0))",
        usingMetrics: { good, bad },
        label: "percent of runs that ended well",
        period,
      });
    }
    case "queue":
      return watched[source.queue]!.metricApproximateNumberOfMessagesVisible({
        period,
        statistic: "Maximum",
      });
    case "functions":
      return ofFunctions(source, watched, period);
    case "bucket":
      return bucketGiB(watched, period);
  }
}

/** The worst, or the sum, of the functions that are called: one alarm, and the dashboard says which it was. */
function ofFunctions(
  { metric, functions }: Extract<AlarmRow["source"], { of: "functions" }>,
  watched: Watched,
  period: Duration,
): IMetric {
  const used: Record<string, IMetric> = {};
  const parts: string[] = [];
  // An alarm looks at ten metrics at most: of query groups, the one that asks them tells of those that fail.
  for (const name of functions)
    for (const one of watched.functions[name].slice(0, 1)) {
      const key = `f${parts.length}`;
      used[key] = one.metric(metric, { period, statistic: metric === "Duration" ? "Maximum" : "Sum" });
      parts.push(
        metric === "Duration" ? `100 * FILL(${key}, 0) / ${functionTimeoutMs[name]}` : `FILL(${key}, 0)`,
      );
    }
  const isTime = metric === "Duration";
  return new MathExpression({
    expression: isTime ? `MAX([${parts.join(", ")}])` : parts.join(" + "),
    usingMetrics: used,
    label: isTime ? "percent of a function's time" : metric,
    period,
  });
}

/** S3 counts each storage class by itself, once a day. */
const storageTypes = [
  "StandardStorage",
  "IntelligentTieringFAStorage",
  "IntelligentTieringIAStorage",
  "IntelligentTieringAIAStorage",
];

function bucketGiB({ bucket }: Watched, period: Duration): IMetric {
  const used = Object.fromEntries(
    storageTypes.map((StorageType, i) => [
      `s${i}`,
      new Metric({
        namespace: "AWS/S3",
        metricName: "BucketSizeBytes",
        dimensionsMap: { BucketName: bucket.bucketName, StorageType },
        statistic: "Average",
        period,
      }),
    ]),
  );
  const sum = Object.keys(used)
    .map((key) => `FILL(${key}, 0)`)
    .join(" + ");
  return new MathExpression({
    expression: `(${sum}) / ${2 ** 30}`,
    usingMetrics: used,
    label: "GiB",
    period,
  });
}
