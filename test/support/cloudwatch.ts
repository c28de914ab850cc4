/**
 * What CloudWatch makes of metrics: values from embedded metric format lines, statistics of periods, the few operations of metric
 * math that the store's alarms use, and the state of an alarm, missing data included. An operation that it does not know is an error.
 */
export interface Sample {
  readonly namespace: string;
  readonly name: string;
  readonly dimensions: Readonly<Record<string, string>>;
  readonly atMs: number;
  readonly values: readonly number[];
}

interface EmbeddedMetrics {
  readonly Timestamp: number;
  readonly CloudWatchMetrics: readonly {
    readonly Namespace: string;
    readonly Dimensions: readonly (readonly string[])[];
    readonly Metrics: readonly { readonly Name: string }[];
  }[];
}

/** A log line's samples, one for each metric and set of dimensions; none of a line that is no embedded metric format. */
export function samplesOf(line: string): Sample[] {
  if (!line.includes('"CloudWatchMetrics"')) return [];
  const parsed = JSON.parse(line.slice(line.indexOf("{"))) as Record<string, unknown> & {
    _aws: EmbeddedMetrics;
  };
  const { Timestamp: atMs, CloudWatchMetrics: directives } = parsed._aws;
  return directives.flatMap(({ Namespace, Dimensions, Metrics }) =>
    Dimensions.flatMap((keys) =>
      Metrics.map(({ Name: name }) => ({
        namespace: Namespace,
        name,
        dimensions: Object.fromEntries(keys.map((key) => [key, String(parsed[key])])),
        atMs,
        values: [parsed[name]].flat() as number[],
      })),
    ),
  );
}

/** As AWS::CloudWatch::Alarm of a template, its references resolved. */
export interface AlarmDefinition {
  readonly AlarmName: string;
  readonly ComparisonOperator: string;
  readonly EvaluationPeriods: number;
  readonly DatapointsToAlarm?: number;
  readonly Threshold: number;
  readonly TreatMissingData: string;
  readonly Namespace?: string;
  readonly MetricName?: string;
  readonly Dimensions?: readonly { readonly Name: string; readonly Value: string }[];
  readonly Statistic?: string;
  readonly ExtendedStatistic?: string;
  readonly Period?: number;
  readonly Metrics?: readonly MetricQuery[];
}
interface MetricQuery {
  readonly Id: string;
  readonly Expression?: string;
  readonly Period?: number;
  readonly ReturnData?: boolean;
  readonly MetricStat?: {
    readonly Metric: {
      readonly Namespace: string;
      readonly MetricName: string;
      readonly Dimensions?: readonly { readonly Name: string; readonly Value: string }[];
    };
    readonly Period: number;
    readonly Stat: string;
  };
}

type AlarmState = "OK" | "ALARM";

/** The state at the end of `periods` periods that began at `startMs`. */
export function stateOf(
  alarm: AlarmDefinition,
  samples: readonly Sample[],
  { startMs, periods }: { readonly startMs: number; readonly periods: number },
): AlarmState {
  if (alarm.TreatMissingData !== "breaching" && alarm.TreatMissingData !== "notBreaching")
    throw new Error(`TreatMissingData: ${alarm.TreatMissingData} is not known here`);
  const series = seriesOf(alarm, samples, startMs, periods);
  const last = series.slice(-alarm.EvaluationPeriods);
  const needed = alarm.DatapointsToAlarm ?? alarm.EvaluationPeriods;
  const breaching = last.filter((value) =>
    value === null ? alarm.TreatMissingData === "breaching" : isBreaching(alarm, value),
  ).length;
  return breaching >= needed ? "ALARM" : "OK";
}

function isBreaching(
  { ComparisonOperator: operator, Threshold: threshold }: AlarmDefinition,
  value: number,
): boolean {
  switch (operator) {
    case "GreaterThanThreshold":
      return value > threshold;
    case "GreaterThanOrEqualToThreshold":
      return value >= threshold;
    case "LessThanThreshold":
      return value < threshold;
    default:
      throw new Error(`ComparisonOperator: ${operator} is not known here`);
  }
}

export const periodMsOf = ({ Period, Metrics }: AlarmDefinition): number =>
  (Period ?? Metrics!.find(({ MetricStat }) => MetricStat !== undefined)!.MetricStat!.Period) * 1_000;

type Series = (number | null)[];

function seriesOf(
  alarm: AlarmDefinition,
  samples: readonly Sample[],
  startMs: number,
  periods: number,
): Series {
  const periodMs = periodMsOf(alarm);
  const from = (
    metric: { Namespace: string; MetricName: string; Dimensions?: AlarmDefinition["Dimensions"] },
    stat: string,
  ) =>
    Array.from({ length: periods }, (_, i) => {
      const begin = startMs + i * periodMs;
      const values = samples
        .filter((one) => one.namespace === metric.Namespace && one.name === metric.MetricName)
        .filter(({ dimensions }) => isSame(dimensions, metric.Dimensions ?? []))
        .filter(({ atMs }) => atMs >= begin && atMs < begin + periodMs)
        .flatMap((one) => one.values);
      return values.length === 0 ? null : statistic(stat, values);
    });
  if (alarm.Metrics === undefined) {
    const { Namespace, MetricName, Dimensions } = alarm as Required<AlarmDefinition>;
    return from({ Namespace, MetricName, Dimensions }, alarm.Statistic ?? alarm.ExtendedStatistic!);
  }
  const known = new Map<string, Series>();
  for (const { Id, MetricStat } of alarm.Metrics)
    if (MetricStat !== undefined) known.set(Id, from(MetricStat.Metric, MetricStat.Stat));
  const returned = alarm.Metrics.find(({ ReturnData = true }) => ReturnData)!;
  if (returned.Expression === undefined) return known.get(returned.Id)!;
  return Array.from({ length: periods }, (_, i) => new Expression(returned.Expression!, known, i).value());
}

const isSame = (
  a: Readonly<Record<string, string>>,
  b: readonly { Name: string; Value: string }[],
): boolean => Object.keys(a).length === b.length && b.every(({ Name, Value }) => a[Name] === Value);

function statistic(name: string, values: readonly number[]): number {
  if (name === "Sum") return values.reduce((sum, value) => sum + value, 0);
  if (name === "Maximum") return Math.max(...values);
  if (name === "Average") return statistic("Sum", values) / values.length;
  const [, percent] = /^p(\d+(?:\.\d+)?)$/.exec(name) ?? [];
  if (percent === undefined) throw new Error(`statistic ${name} is not known here`);
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((Number(percent) / 100) * sorted.length) - 1)]!;
}

/** Numbers, names, + - * / and brackets, FILL(x, number), MAX([x, …]); what has no value has none, as in CloudWatch. */
class Expression {
  readonly #tokens: readonly string[];
  readonly #series: ReadonlyMap<string, Series>;
  readonly #period: number;
  #at = 0;

  constructor(text: string, series: ReadonlyMap<string, Series>, period: number) {
    this.#tokens = text.match(/[A-Za-z][A-Za-z0-9_]*|\d+(?:\.\d+)?|[()[\],+*/-]/g) ?? [];
    if (this.#tokens.join("") !== text.replaceAll(/\s/g, ""))
      throw new Error(`expression: ${text} has unknown parts`);
    this.#series = series;
    this.#period = period;
  }

  value(): number | null {
    const value = this.#sum();
    if (this.#at !== this.#tokens.length)
      throw new Error(`expression: ${this.#tokens[this.#at]} was not expected`);
    return value;
  }

  #sum(): number | null {
    let left = this.#product();
    while (this.#peek("+") || this.#peek("-")) {
      const minus = this.#next() === "-";
      const right = this.#product();
      left = left === null || right === null ? null : minus ? left - right : left + right;
    }
    return left;
  }

  #product(): number | null {
    let left = this.#factor();
    while (this.#peek("*") || this.#peek("/")) {
      const divides = this.#next() === "/";
      const right = this.#factor();
      // CloudWatch gives no value for a division by zero.
      left =
        left === null || right === null || (divides && right === 0)
          ? null
          : divides
            ? left / right
            : left * right;
    }
    return left;
  }

  #factor(): number | null {
    const token = this.#next();
    if (/^\d/.test(token)) return Number(token);
    if (token === "(") return this.#closed(")", this.#sum());
    if (token === "FILL") {
      this.#expect("(");
      const value = this.#sum();
      this.#expect(",");
      const fill = this.#sum();
      return this.#closed(")", value ?? fill);
    }
    if (token === "MAX") {
      this.#expect("(");
      this.#expect("[");
      const values = [this.#sum()];
      while (this.#peek(",")) {
        this.#next();
        values.push(this.#sum());
      }
      this.#expect("]");
      const known = values.filter((value) => value !== null);
      return this.#closed(")", known.length === 0 ? null : Math.max(...known));
    }
    const series = this.#series.get(token);
    if (series === undefined) throw new Error(`expression: ${token} is not known here`);
    return series[this.#period]!;
  }

  #closed(token: string, value: number | null): number | null {
    this.#expect(token);
    return value;
  }
  #peek(token: string): boolean {
    return this.#tokens[this.#at] === token;
  }
  #next(): string {
    const token = this.#tokens[this.#at++];
    if (token === undefined) throw new Error("expression: it ends too early");
    return token;
  }
  #expect(token: string): void {
    const found = this.#next();
    if (found !== token) throw new Error(`expression: ${token} was expected, not ${found}`);
  }
}
