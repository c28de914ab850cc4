/** The CloudWatch alarms that watch a store, for the command line: those on a metric with one of its names as a dimension. */
import {
  CloudWatchClient,
  type Dimension,
  type MetricAlarm,
  paginateDescribeAlarms,
} from "@aws-sdk/client-cloudwatch";
import { requestBounds } from "../core/policy/time-bounds.ts";
import { failure } from "./failure.ts";
import { patience } from "./request-handler.ts";

export interface StoreAlarm {
  readonly name: string;
  readonly state: "OK" | "ALARM" | "INSUFFICIENT_DATA";
  readonly description: string;
  readonly reason: string;
}

/** `names`: of the store, its functions and queues. */
export async function storeAlarms(names: ReadonlySet<string>): Promise<StoreAlarm[]> {
  const client = new CloudWatchClient(patience(requestBounds.person, 1));
  const found: StoreAlarm[] = [];
  try {
    for await (const { MetricAlarms = [] } of paginateDescribeAlarms(
      { client },
      { AlarmTypes: ["MetricAlarm"] },
    ))
      for (const alarm of MetricAlarms)
        if (dimensionsOf(alarm).some(({ Value }) => Value !== undefined && names.has(Value)))
          found.push({
            name: alarm.AlarmName ?? "",
            state: alarm.StateValue ?? "INSUFFICIENT_DATA",
            description: alarm.AlarmDescription ?? "",
            reason: alarm.StateReason ?? "",
          });
    return found;
  } catch (error) {
    throw failure(error, {
      call: "CloudWatch DescribeAlarms",
      subject: "alarms",
      writes: false,
      permission: "cloudwatch:DescribeAlarms",
    });
  } finally {
    client.destroy();
  }
}

const dimensionsOf = ({ Dimensions = [], Metrics = [] }: MetricAlarm): Dimension[] => [
  ...Dimensions,
  ...Metrics.flatMap(({ MetricStat }) => MetricStat?.Metric?.Dimensions ?? []),
];
