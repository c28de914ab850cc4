/**
 * Logs and metrics of the functions (Powertools). Metrics go out in embedded metric format, one log line a call, so
 * that nothing waits for CloudWatch. Each metric is emitted over two sets of dimensions: [stage], which alarms watch,
 * and [stage, collection] where there is a collection.
 *
 * Vectors and documents are never logged: callers log names, counts and milliseconds only.
 */
import { Logger } from "@aws-lambda-powertools/logger";
import { Metrics, MetricUnit } from "@aws-lambda-powertools/metrics";
import { metric, metricNamespace, type Stage } from "../contract.ts";

export type MetricName = (typeof metric)[keyof typeof metric];

export interface Telemetry {
  readonly logger: Logger;
  /** Emits values at once; durations and latencies in milliseconds, ages in seconds, all others counts. */
  emit(collection: string | null, values: Partial<Record<MetricName, number>>): void;
}

export function telemetry(options: { stage: Stage; service: string }): Telemetry {
  const logger = new Logger({ serviceName: options.service, persistentKeys: { stage: options.stage } });
  const metrics = new Metrics({ namespace: metricNamespace, serviceName: options.service });
  // Powertools adds the service as a dimension; alarms would have to know which function emits which metric.
  metrics.clearDefaultDimensions();
  metrics.setDefaultDimensions({ stage: options.stage });
  return {
    logger,
    emit(collection, values) {
      const finite = (Object.entries(values) as [MetricName, number][]).filter(([, value]) =>
        Number.isFinite(value),
      );
      if (finite.length === 0) return;
      metrics.addDimensions({});
      if (collection !== null) metrics.addDimensions({ collection });
      for (const [name, value] of finite) metrics.addMetric(name, unitOf(name), value);
      metrics.publishStoredMetrics();
    },
  };
}

function unitOf(name: MetricName) {
  switch (name) {
    case metric.compactionDuration:
    case metric.queryLatency:
    case metric.coldLoadDuration:
      return MetricUnit.Milliseconds;
    case metric.snapshotAge:
    case metric.oldestUnmergedDeltaAge:
      return MetricUnit.Seconds;
    default:
      return MetricUnit.Count;
  }
}
