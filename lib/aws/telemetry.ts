/**
 * Logs and metrics of the functions (Powertools). Metrics go out in embedded metric format, one log line a call, so
 * that nothing waits for CloudWatch. Each metric is emitted over two sets of dimensions: [store], which alarms watch,
 * and [store, collection] where there is a collection.
 *
 * A log line holds kinds, names of fields and collections, keys, ULIDs, counts and times: never ids, documents, metadata or
 * vectors (docs/security.md). Of a refused call only which fields were wrong is logged; of an error that is not the
 * caller's the message, which names no values (lib/core/model/errors.ts), and of a defect only its class and where it happened,
 * since no code has checked what it says. Whatever is in quotes is left out once more, and a line ends below 4 KB.
 */
import { Logger } from "@aws-lambda-powertools/logger";
import { Metrics, MetricUnit } from "@aws-lambda-powertools/metrics";
import { type MetricName, metricNamespace, metrics as rows } from "../contract/metrics.ts";
import { cutText, SiltstoneError } from "../core/model/errors.ts";

export type Fact =
  | string
  | number
  | boolean
  | null
  | undefined
  | readonly Fact[]
  | { readonly [name: string]: Fact };
export type Facts = Readonly<Record<string, Fact>>;

export interface Telemetry {
  log(level: "info" | "warn" | "error", event: string, facts: Facts): void;
  /** Emits values at once, each in the unit of its row. */
  emit(collection: string | null, values: Partial<Record<MetricName, number>>): void;
}

export function telemetry(options: { stage: string; store: string; service: string }): Telemetry {
  const { stage, store, service } = options;
  const logger = new Logger({ serviceName: service, persistentKeys: { stage, store } });
  const metrics = new Metrics({ namespace: metricNamespace, serviceName: service });
  // Powertools adds the service as a dimension; alarms would have to know which function emits which metric.
  metrics.clearDefaultDimensions();
  metrics.setDefaultDimensions({ store });
  return {
    log: (level, event, facts) => logger[level](event, boundedFacts(facts)),
    emit(collection, values) {
      const finite = (Object.entries(values) as [MetricName, number][]).filter(([, value]) =>
        Number.isFinite(value),
      );
      if (finite.length === 0) return;
      metrics.addDimensions({});
      if (collection !== null) metrics.addDimensions({ collection });
      for (const [name, value] of finite) metrics.addMetric(name, MetricUnit[rows[name].unit], value);
      metrics.publishStoredMetrics();
    },
  };
}

/** JSON bytes: of all facts of a line, beside what Powertools adds, and of one text. */
export const factsBytesMax = 3_500;
const factTextBytesMax = 1_000;
const listedFactsMax = 20;
const framesMax = 8;
const causesMax = 4;

/** The first of the facts, as many as a line holds. */
function boundedFacts(facts: Facts): Record<string, Fact> {
  const bounded: Record<string, Fact> = {};
  let bytes = 0;
  for (const [name, value] of Object.entries(facts)) {
    const fact = boundedFact(value);
    bytes += Buffer.byteLength(JSON.stringify([name, fact]));
    if (bytes > factsBytesMax) return { ...bounded, cut: true };
    bounded[name] = fact;
  }
  return bounded;
}

function boundedFact(value: Fact): Fact {
  if (typeof value === "string") return cutText(withoutQuoted(value), factTextBytesMax);
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return (value as readonly Fact[]).slice(0, listedFactsMax).map(boundedFact);
  return Object.fromEntries(Object.entries(value).map(([name, fact]) => [name, boundedFact(fact)]));
}

/** Messages show values as JSON texts. */
const withoutQuoted = (text: string): string => text.replace(/"(?:[^"\\]|\\.)*(?:"|$)/g, '"…"');

/** What is logged of an error. */
export function errorFacts(error: unknown, causes = causesMax): Facts {
  if (!(error instanceof Error)) return { class: typeof error };
  const { code, $metadata } = error as { code?: unknown; $metadata?: { httpStatusCode?: number } };
  return {
    class: error.name,
    ...(error instanceof SiltstoneError ? { said: error.message, problems: error.problems.length } : {}),
    ...(typeof code === "string" || typeof code === "number" ? { code } : {}),
    ...($metadata?.httpStatusCode === undefined ? {} : { status: $metadata.httpStatusCode }),
    ...(error instanceof SiltstoneError ? {} : { frames: framesOf(error) }),
    ...(error.cause === undefined || causes === 0 ? {} : { cause: errorFacts(error.cause, causes - 1) }),
  };
}

/** Where it was thrown: the lines of the stack below the message, which may have lines of its own. */
function framesOf({ message, stack = "" }: Error): string[] {
  const at = stack.indexOf(message);
  const below = at < 0 ? "" : stack.slice(at + message.length);
  return below
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line.startsWith("at "))
    .slice(0, framesMax);
}
