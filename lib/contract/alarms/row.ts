/** What a row of the table of alarms says (lib/contract/alarms.ts). */
import type { FunctionName } from "../functions.ts";
import type { MetricName } from "../metrics.ts";

/** `page`: users see it, or data waits. `ticket`: it can wait for the morning. */
type Severity = "page" | "ticket";

/** What an alarm looks at. */
export type AlarmSource =
  /** A metric of the store's own, over the whole store. */
  | { readonly of: "store"; readonly metric: MetricName }
  /** Percent of the runs that were good. */
  | { readonly of: "share"; readonly good: MetricName; readonly bad: MetricName }
  /** SQS's own: messages that wait. */
  | { readonly of: "queue"; readonly queue: "deadLetterQueue" | "failedEventsQueue" | "jobDeadLetterQueue" }
  /** Lambda's own, the worst of the functions that are called. `Duration` is in percent of the function's timeout. */
  | {
      readonly of: "functions";
      readonly metric: "Errors" | "Throttles" | "Duration";
      readonly functions: readonly FunctionName[];
    }
  /** S3's own, once a day: GiB of the bucket, replaced and deleted objects included. */
  | { readonly of: "bucket" };

export interface AlarmRow {
  readonly severity: Severity;
  readonly source: AlarmSource;
  /** The alarm goes off when the value is so, in each of so many periods. */
  readonly when: "above" | "atLeast" | "below";
  readonly threshold: number;
  readonly periodMinutes: number;
  readonly periods: number;
  /** What a period without a value is: most metrics have one only when something happens. */
  readonly missing: "breaching" | "notBreaching";
  /** One sentence: what has happened. */
  readonly description: string;
  /** Title of its section in docs/runbook.md. */
  readonly runbook: string;
  /** The prop of the store without which there is nothing to look at. @default it is always there */
  readonly with?: "embedding";
}
