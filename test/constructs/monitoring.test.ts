/** Alarms, dashboard and budget of the template, against the tables that they are made of, and against the runbook and docs/api.md. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { App, Stack } from "aws-cdk-lib";
import { Match, Template } from "aws-cdk-lib/assertions";
import { Topic } from "aws-cdk-lib/aws-sns";
import { type MonitoringOptions, VectorStore } from "../../lib/constructs/index.ts";
import { shownMetrics } from "../../lib/constructs/monitoring/dashboard.ts";
import {
  type AlarmName,
  type AlarmRow,
  alarmNames,
  alarms,
  runbookAnchor,
} from "../../lib/contract/alarms.ts";
import { metrics } from "../../lib/contract/metrics.ts";
import { measured } from "../../lib/core/policy/cost/measured.ts";
import { handlersFolder, storeTemplate } from "./store-template.ts";

const docs = (name: string): string => readFileSync(join(import.meta.dirname, "../../docs", name), "utf8");
const rows = Object.entries(alarms) as [AlarmName, AlarmRow][];
function withTopic(options: MonitoringOptions = {}): Template {
  const stack = new Stack(new App({ analyticsReporting: false }), "Stack");
  const topic = new Topic(stack, "Topic");
  new VectorStore(stack, "Store", {
    handlersFolder,
    stage: "prod",
    embedding: {},
    monitoring: { ...options, topic },
  });
  return Template.fromStack(stack);
}

test.each(rows)(
  "alarm %s is of its row: threshold, periods, missing data, severity, the runbook's address",
  (name, row) => {
    const template = storeTemplate({ embedding: {} });
    template.hasResourceProperties("AWS::CloudWatch::Alarm", {
      AlarmName: `Stack-Store-${name}`,
      AlarmDescription: `[${row.severity}] ${row.description} What to do: docs/runbook.md#${runbookAnchor(row)}`,
      Threshold: row.threshold,
      EvaluationPeriods: row.periods,
      TreatMissingData: row.missing,
    });
  },
);

test("as many alarms as rows, each of metrics that are emitted or AWS's own; the backlog's is 5,000 in two periods", () => {
  storeTemplate({ embedding: {} }).resourceCountIs("AWS::CloudWatch::Alarm", alarmNames.length);
  expect(alarms.Backlog).toMatchObject({ threshold: 5_000, periods: 2 });
  const used = rows.flatMap(([, { source }]) =>
    source.of === "store" ? [source.metric] : source.of === "share" ? [source.good, source.bad] : [],
  );
  expect(used.filter((name) => !(name in metrics))).toEqual([]);
});

test("a store without items has no alarm and no graph of them", () => {
  const template = storeTemplate();
  const ofItems = rows.filter(([, { with: part }]) => part === "embedding");
  template.resourceCountIs("AWS::CloudWatch::Alarm", alarmNames.length - ofItems.length);
  expect(JSON.stringify(template.toJSON())).not.toMatch(/## Items|JobsFailed/);
});

const units: Readonly<Record<string, string>> = { Count: "", Milliseconds: "ms", Seconds: "s", Percent: "%" };

test("docs/api.md has the table of metrics, column by column", () => {
  const api = readFileSync(join(import.meta.dirname, "../../docs/api.md"), "utf8");
  const rows = Object.entries(metrics).map(
    ([name, { unit, statistic, ofCollection, emittedBy, since, description }]) =>
      `| ${name} | ${units[unit]} | ${statistic} | ${ofCollection ? "yes" : ""} | ${emittedBy} | ${since} | ${description} |`,
  );
  const table = api.slice(api.indexOf("| Metric | Unit |")).split("\n\n", 1)[0]!;
  expect(table.split("\n").slice(2)).toEqual(rows);
});

test("every metric is on the dashboard, and a row of docs/api.md", () => {
  expect([...shownMetrics].sort()).toEqual(Object.keys(metrics).sort());
  const api = docs("api.md");
  expect(Object.keys(metrics).filter((name) => !new RegExp(`\\b${name}\\b`).test(api))).toEqual([]);
  const template = storeTemplate({ embedding: {} });
  template.resourceCountIs("AWS::CloudWatch::Dashboard", 1);
  const body = JSON.stringify(template.findResources("AWS::CloudWatch::Dashboard"));
  for (const title of ["Producing", "Queue", "Compaction", "Snapshot", "Query", "Cost"])
    expect(body).toContain(`## ${title}`);
});

test("a topic is told when an alarm goes off and when it is over", () => {
  const found = Object.values(withTopic().findResources("AWS::CloudWatch::Alarm"));
  expect(found).toHaveLength(alarmNames.length);
  for (const { Properties } of found) {
    expect(Properties.AlarmActions).toHaveLength(1);
    expect(Properties.OKActions).toEqual(Properties.AlarmActions);
  }
});

test("thresholds and periods can be changed, alarms and the dashboard left out, the runbook elsewhere", () => {
  const monitoring: MonitoringOptions = {
    dashboard: false,
    runbookUrl: "https://wiki.example/siltstone",
    alarms: { Backlog: { threshold: 100, periods: 3 }, Throttles: { enabled: false } },
  };
  const template = storeTemplate({ embedding: {}, monitoring });
  template.resourceCountIs("AWS::CloudWatch::Dashboard", 0);
  template.resourceCountIs("AWS::CloudWatch::Alarm", alarmNames.length - 1);
  template.hasResourceProperties("AWS::CloudWatch::Alarm", {
    AlarmName: "Stack-Store-Backlog",
    Threshold: 100,
    EvaluationPeriods: 3,
    AlarmDescription: Match.stringLikeRegexp("https://wiki\\.example/siltstone#backlog"),
  });
});

test("a monthly budget is of the store's tags, and tells the topic", () => {
  storeTemplate({ embedding: {} }).resourceCountIs("AWS::Budgets::Budget", 0);
  withTopic({ monthlyBudgetDollars: 200 }).hasResourceProperties("AWS::Budgets::Budget", {
    Budget: {
      BudgetLimit: { Amount: 200, Unit: "USD" },
      FilterExpression: {
        And: [
          { Tags: { Key: "application", Values: ["siltstone"] } },
          { Tags: { Key: "stage", Values: ["prod"] } },
        ],
      },
      TimeUnit: "MONTHLY",
    },
    NotificationsWithSubscribers: Match.arrayWith([
      Match.objectLike({ Notification: Match.objectLike({ Threshold: 80 }) }),
    ]),
  });
});

test.each<[string, object, string]>([
  ["an unknown prop", { topics: 1 }, "monitoring.topics: no such prop; monitoring has topic, alarms"],
  [
    "an unknown alarm",
    { alarms: { Backlogs: {} } },
    "monitoring.alarms.Backlogs: there is no such alarm; there are NoSuccessfulRun",
  ],
  [
    "an unknown part",
    { alarms: { Backlog: { treshold: 1 } } },
    "monitoring.alarms.Backlog.treshold: no such prop",
  ],
  [
    "a threshold that is none",
    { alarms: { Backlog: { threshold: -1 } } },
    "monitoring.alarms.Backlog.threshold: must be a number from 0, got -1",
  ],
  [
    "no periods",
    { alarms: { Backlog: { periods: 0 } } },
    "monitoring.alarms.Backlog.periods: must be an integer from 1 to 288, got 0",
  ],
  [
    "a budget of nothing",
    { monthlyBudgetDollars: 0 },
    "monitoring.monthlyBudgetDollars: must be from 1 to 10000000, got 0",
  ],
])("%s fails at synthesis", (_, monitoring, message) => {
  expect(() => storeTemplate({ monitoring: monitoring as MonitoringOptions })).toThrow(message);
});

test("an alarm looks at ten metrics at most, however many query groups there are", () => {
  const found = storeTemplate({ embedding: {}, query: { groups: 48 } }).findResources(
    "AWS::CloudWatch::Alarm",
  );
  const counts = Object.values(found).map(
    ({ Properties }) =>
      ((Properties.Metrics ?? [{ MetricStat: true }]) as { MetricStat?: unknown }[]).filter(
        ({ MetricStat }) => MetricStat !== undefined,
      ).length,
  );
  expect(counts).toHaveLength(alarmNames.length);
  expect(Math.max(...counts)).toBeLessThanOrEqual(10);
});

test("alarms may publish to the topic, also where a budget does: a topic with a policy has no other", () => {
  const [policy] = Object.values(
    withTopic({ monthlyBudgetDollars: 200 }).findResources("AWS::SNS::TopicPolicy"),
  );
  const statements = policy!.Properties.PolicyDocument.Statement as { Principal: { Service: string } }[];
  expect(statements.map(({ Principal }) => Principal.Service).sort()).toEqual([
    "budgets.amazonaws.com",
    "cloudwatch.amazonaws.com",
  ]);
});

test("with schedules that are rare, no run is missed before one was due twice", () => {
  const compaction = { intervalMinutes: 60, upkeepIntervalMinutes: 120 };
  storeTemplate({ compaction }).hasResourceProperties("AWS::CloudWatch::Alarm", {
    AlarmName: "Stack-Store-NoSuccessfulRun",
    EvaluationPeriods: 8,
  });
});

test("two stores of one stack have alarms and dashboards of their own", () => {
  const stack = new Stack(new App({ analyticsReporting: false }), "Stack");
  for (const id of ["One", "Two"])
    new VectorStore(stack, id, { handlersFolder, embedding: {}, outputs: id === "One" });
  const template = Template.fromStack(stack);
  const named = (type: string, property: string) =>
    Object.values(template.findResources(type)).map(({ Properties }) => Properties[property] as string);
  const names = [
    ...named("AWS::CloudWatch::Alarm", "AlarmName"),
    ...named("AWS::CloudWatch::Dashboard", "DashboardName"),
  ];
  expect(names).toHaveLength(2 * (alarmNames.length + 1));
  expect(new Set(names).size).toBe(names.length);
});

test("the cost is reckoned of as many metrics as the alarms look at, and one dashboard", () => {
  const template = storeTemplate();
  const looked = Object.values(template.findResources("AWS::CloudWatch::Alarm")).map(
    ({ Properties }) =>
      ((Properties.Metrics ?? [{ MetricStat: {} }]) as { MetricStat?: object }[]).filter(
        ({ MetricStat }) => MetricStat !== undefined,
      ).length,
  );
  expect(looked.reduce((sum, count) => sum + count, 0)).toBe(measured.alarmMetrics);
  template.resourceCountIs("AWS::CloudWatch::Dashboard", 1);
});
