import { type AlarmDefinition, type Sample, samplesOf, stateOf } from "./cloudwatch.ts";

const alarm: AlarmDefinition = {
  AlarmName: "a",
  ComparisonOperator: "GreaterThanThreshold",
  EvaluationPeriods: 2,
  Threshold: 10,
  TreatMissingData: "notBreaching",
  Namespace: "N",
  MetricName: "m",
  Dimensions: [{ Name: "store", Value: "s" }],
  Statistic: "Sum",
  Period: 60,
};
const sample = (minute: number, ...values: number[]): Sample => ({
  namespace: "N",
  name: "m",
  dimensions: { store: "s" },
  atMs: minute * 60_000 + 5,
  values,
});
const state = (samples: Sample[], change: Partial<AlarmDefinition> = {}, periods = 3) =>
  stateOf({ ...alarm, ...change }, samples, { startMs: 0, periods });

test.each<[string, Sample[], Partial<AlarmDefinition>, string]>([
  ["two periods above", [sample(1, 6, 6), sample(2, 11)], {}, "ALARM"],
  ["one of two", [sample(2, 50)], {}, "OK"],
  ["one of two is enough when one datapoint is", [sample(1, 50)], { DatapointsToAlarm: 1 }, "ALARM"],
  ["too long ago", [sample(0, 50), sample(1, 50)], {}, "OK"],
  ["as much as the threshold is not above it", [sample(1, 10), sample(2, 10)], {}, "OK"],
  [
    "but at least it",
    [sample(1, 10), sample(2, 10)],
    { ComparisonOperator: "GreaterThanOrEqualToThreshold" },
    "ALARM",
  ],
  ["no data that breaches", [], { TreatMissingData: "breaching" }, "ALARM"],
  ["no data that does not", [], { ComparisonOperator: "LessThanThreshold" }, "OK"],
  [
    "another dimension",
    [1, 2].map((i) => ({ ...sample(i, 50), dimensions: { store: "s", collection: "c" } })),
    {},
    "OK",
  ],
  [
    "the largest value",
    [sample(1, 1, 11), sample(2, 1, 11)],
    { Statistic: "Maximum", Threshold: 10 },
    "ALARM",
  ],
])("%s", (_, samples, change, expected) => {
  expect(state(samples, change)).toBe(expected);
});

test("percentiles are of the values, by rank", () => {
  const of = (values: number[]) =>
    state([sample(1, ...values), sample(2, ...values)], {
      Statistic: undefined,
      ExtendedStatistic: "p95",
    } as never);
  expect(of([...Array(95).fill(1), ...Array(5).fill(100)])).toBe("OK");
  expect(of([...Array(94).fill(1), ...Array(6).fill(100)])).toBe("ALARM");
});

test("expressions: missing values, a division by zero, the largest of several", () => {
  const metric = (Id: string, MetricName: string) => ({
    Id,
    ReturnData: false,
    MetricStat: {
      Metric: { Namespace: "N", MetricName, Dimensions: alarm.Dimensions! },
      Period: 60,
      Stat: "Sum",
    },
  });
  const { Namespace: _n, MetricName: _m, Statistic: _s, Period: _p, Dimensions: _d, ...rest } = alarm;
  const math = (Expression: string, change: Partial<AlarmDefinition> = {}) =>
    stateOf(
      {
        ...rest,
        EvaluationPeriods: 1,
        ...change,
        Metrics: [{ Id: "e", Expression }, metric("good", "m"), metric("bad", "other")],
      },
      [sample(2, 30), { ...sample(1, 99), name: "other" }],
      { startMs: 0, periods: 3 },
    );
  expect(math("FILL(good, 0) + FILL(bad, 0)")).toBe("ALARM");
  expect(math("good + bad")).toBe("OK");
  expect(math("good / (FILL(bad, 0) * 2)")).toBe("OK");
  expect(math("MAX([FILL(bad, 0), 100 * good / 300])", { Threshold: 9 })).toBe("ALARM");
  expect(math("good - 20", { Threshold: 10 })).toBe("OK");
  expect(() => math("ABS(good)")).toThrow("ABS is not known here");
  expect(() => math("good ^ 2")).toThrow("unknown parts");
});

test("a line of embedded metric format has a sample for each metric and set of dimensions; others have none", () => {
  const line = JSON.stringify({
    store: "s",
    collection: "c",
    Latency: [1, 2],
    _aws: {
      Timestamp: 7,
      CloudWatchMetrics: [
        {
          Namespace: "N",
          Dimensions: [["store"], ["store", "collection"]],
          Metrics: [{ Name: "Latency", Unit: "Milliseconds" }],
        },
      ],
    },
  });
  expect(samplesOf(line)).toEqual([
    { namespace: "N", name: "Latency", dimensions: { store: "s" }, atMs: 7, values: [1, 2] },
    { namespace: "N", name: "Latency", dimensions: { store: "s", collection: "c" }, atMs: 7, values: [1, 2] },
  ]);
  expect(samplesOf("START RequestId: 1")).toEqual([]);
});
