import { telemetry } from "../../lib/aws/telemetry.ts";
import { metricNamespace } from "../../lib/contract/metrics.ts";

test("metrics go out in embedded metric format, by store and by collection", () => {
  const lines: string[] = [];
  // Powertools writes past Jest's console to the process's own.
  jest.spyOn(process.stdout, "write").mockImplementation((chunk) => lines.push(String(chunk)) > 0);
  try {
    const { emit } = telemetry({ stage: "dev", store: "Siltstone-dev", service: "query" });
    emit("docs", { QueryLatency: 12.5, SnapshotAge: 30, QueryErrors: 0 });
    emit(null, { QueryErrors: 1 });
    emit("docs", { SnapshotAge: Number.NaN });
    emit("docs", {});
  } finally {
    jest.restoreAllMocks();
  }
  const [first, second, ...rest] = lines.map((line) => JSON.parse(line));
  expect(rest).toEqual([]);
  expect(first).toMatchObject({
    store: "Siltstone-dev",
    collection: "docs",
    QueryLatency: 12.5,
    SnapshotAge: 30,
    QueryErrors: 0,
  });
  expect(first._aws.CloudWatchMetrics).toEqual([
    {
      Namespace: metricNamespace,
      Dimensions: [["store"], ["store", "collection"]],
      Metrics: [
        { Name: "QueryLatency", Unit: "Milliseconds" },
        { Name: "SnapshotAge", Unit: "Seconds" },
        { Name: "QueryErrors", Unit: "Count" },
      ],
    },
  ]);
  expect(second._aws.CloudWatchMetrics[0].Dimensions).toEqual([["store"]]);
  expect(second.collection).toBeUndefined();
});
