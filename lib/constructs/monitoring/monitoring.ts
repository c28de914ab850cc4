/**
 * What watches a store: an alarm for each row of lib/contract/alarms.ts, a dashboard, and a budget where a limit is given.
 *
 *     new VectorStore(stack, "Vectors", { stage: "prod", monitoring: { topic, monthlyBudgetDollars: 200 } });
 */
import {
  Alarm,
  ComparisonOperator,
  type Dashboard,
  type IMetric,
  TreatMissingData,
} from "aws-cdk-lib/aws-cloudwatch";
import { SnsAction } from "aws-cdk-lib/aws-cloudwatch-actions";
import { ServicePrincipal } from "aws-cdk-lib/aws-iam";
import type { ITopic } from "aws-cdk-lib/aws-sns";
import { Construct } from "constructs";
import { type AlarmName, type AlarmRow, alarmNames, alarms, runbookAnchor } from "../../contract/alarms.ts";
import { checkProps } from "../props.ts";
import { addBudget } from "./budget.ts";
import { makeDashboard } from "./dashboard.ts";
import { metricOf, type Watched } from "./watched.ts";

export interface AlarmChange {
  /** In the unit of the alarm's metric. */
  readonly threshold?: number;
  /** Periods in a row. */
  readonly periods?: number;
  /** False: no such alarm. @default true */
  readonly enabled?: boolean;
}

export interface MonitoringOptions {
  /**
   * Told when an alarm goes off, and when it is over: its subscribers are e-mail, Slack, a pager. The policy of an imported topic is
   * its owner's: it must let CloudWatch (and AWS Budgets, with a budget) publish.
   * @default none is told
   */
  readonly topic?: ITopic;
  /** By name; what is not named stays as docs/runbook.md says. */
  readonly alarms?: Readonly<Partial<Record<AlarmName, AlarmChange>>>;
  /** Where the runbook is read: the alarms' descriptions have its sections' addresses. @default the package's docs/runbook.md */
  readonly runbookUrl?: string;
  /** @default true */
  readonly dashboard?: boolean;
  /**
   * Dollars that what is tagged `application: siltstone` with the store's stage may cost in a month. Activate these two as cost allocation tags. The topic is told at
   * 80 and at 100 %. @default no budget
   */
  readonly monthlyBudgetDollars?: number;
}
const monitoringProps = {
  topic: true,
  alarms: true,
  runbookUrl: true,
  dashboard: true,
  monthlyBudgetDollars: true,
} as const satisfies Record<keyof MonitoringOptions, true>;
const changeProps = { threshold: true, periods: true, enabled: true } as const satisfies Record<
  keyof AlarmChange,
  true
>;

const comparisons = {
  above: ComparisonOperator.GREATER_THAN_THRESHOLD,
  atLeast: ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
  below: ComparisonOperator.LESS_THAN_THRESHOLD,
} as const;
const missing = {
  breaching: TreatMissingData.BREACHING,
  notBreaching: TreatMissingData.NOT_BREACHING,
} as const;
const budgetDollarsMax = 10_000_000;

export class Monitoring extends Construct {
  /** By name; without those that are not enabled. */
  readonly alarms: Readonly<Partial<Record<AlarmName, Alarm>>>;
  readonly dashboard: Dashboard | undefined;

  constructor(scope: Construct, id: string, watched: Watched, options: MonitoringOptions) {
    super(scope, id);
    checkOptions(options);
    const made: Partial<Record<AlarmName, Alarm>> = {};
    for (const name of alarmNames) {
      if ("with" in alarms[name] && watched.jobDeadLetterQueue === undefined) continue;
      const { enabled = true, ...change } = options.alarms?.[name] ?? {};
      if (enabled) made[name] = this.alarm(name, rowOf(name, change, watched), watched, options);
    }
    this.alarms = made;
    // A topic's default policy lets alarms publish; the first grant on it (the budget's) takes its place.
    options.topic?.grantPublish(new ServicePrincipal("cloudwatch.amazonaws.com"));
    if (options.dashboard ?? true) this.dashboard = makeDashboard(this, watched, Object.values(made));
    const { monthlyBudgetDollars: dollars, topic } = options;
    if (dollars !== undefined) addBudget(this, { dollars, stage: watched.stage, topic });
  }

  private alarm(name: AlarmName, row: AlarmRow, watched: Watched, options: MonitoringOptions): Alarm {
    const metric: IMetric = metricOf(row, watched);
    const address = `${options.runbookUrl ?? "docs/runbook.md"}#${runbookAnchor(row)}`;
    const alarm = new Alarm(this, name, {
      alarmName: `${watched.store}-${name}`.replaceAll("/", "-"),
      alarmDescription: `[${row.severity}] ${row.description} What to do: ${address}`,
      metric,
      threshold: row.threshold,
      comparisonOperator: comparisons[row.when],
      evaluationPeriods: row.periods,
      treatMissingData: missing[row.missing],
    });
    if (options.topic !== undefined) {
      const action = new SnsAction(options.topic);
      alarm.addAlarmAction(action);
      alarm.addOkAction(action);
    }
    return alarm;
  }
}

/** The row as it was changed. No run can have succeeded sooner than the schedules let it. */
function rowOf(name: AlarmName, { threshold, periods }: AlarmChange, { intervalMinutes }: Watched): AlarmRow {
  const row: AlarmRow = alarms[name];
  const least = name === "NoSuccessfulRun" ? Math.ceil((2 * intervalMinutes) / row.periodMinutes) : 1;
  return {
    ...row,
    threshold: threshold ?? row.threshold,
    periods: periods ?? Math.max(row.periods, least),
  };
}

/** How long CloudWatch looks back: a day, and a week where a period has an hour or more. */
const periodsMaxOf = ({ periodMinutes }: AlarmRow): number =>
  Math.floor((periodMinutes < 60 ? 1_440 : 10_080) / periodMinutes);

/** Throws an error that names the prop, its range and the value. */
function checkOptions(options: MonitoringOptions): void {
  checkProps("monitoring", options, monitoringProps);
  for (const [name, change] of Object.entries(options.alarms ?? {})) {
    const field = `monitoring.alarms.${name}`;
    if (!(name in alarms))
      throw new Error(`${field}: there is no such alarm; there are ${alarmNames.join(", ")}`);
    checkProps(field, change, changeProps);
    const { threshold, periods } = change;
    if (threshold !== undefined && !(Number.isFinite(threshold) && threshold >= 0))
      throw new Error(`${field}.threshold: must be a number from 0, got ${threshold}`);
    const periodsMax = periodsMaxOf(alarms[name as AlarmName]);
    if (periods !== undefined && !(Number.isInteger(periods) && periods >= 1 && periods <= periodsMax))
      throw new Error(`${field}.periods: must be an integer from 1 to ${periodsMax}, got ${periods}`);
  }
  const { monthlyBudgetDollars: dollars } = options;
  if (dollars !== undefined && !(dollars >= 1 && dollars <= budgetDollarsMax))
    throw new Error(`monitoring.monthlyBudgetDollars: must be from 1 to ${budgetDollarsMax}, got ${dollars}`);
}
