/**
 * The alarms of a store, a row each. The constructs make CloudWatch alarms of them, docs/runbook.md has a section for each, and a
 * test drives each failure and sees its alarm go off (test/e2e/alarms.test.ts).
 */
import type { FunctionName } from "./functions.ts";
import type { MetricName } from "./metrics.ts";

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

const every: readonly FunctionName[] = ["producer", "compactor", "query", "embedder"];

export const alarms = {
  NoSuccessfulRun: {
    severity: "page",
    source: { of: "store", metric: "CompactionSuccess" },
    when: "below",
    threshold: 1,
    periodMinutes: 15,
    periods: 2,
    missing: "breaching",
    description:
      "No run of the compactor ended well for half an hour: what is written stays out of eventual reads.",
    runbook: "No successful run",
  },
  CompactionFailing: {
    severity: "ticket",
    source: { of: "share", good: "CompactionSuccess", bad: "CompactionFailure" },
    when: "below",
    threshold: 99,
    periodMinutes: 15,
    periods: 2,
    missing: "notBreaching",
    description: "Runs of the compactor fail.",
    runbook: "Compaction fails",
  },
  CompactionFaults: {
    severity: "ticket",
    source: { of: "store", metric: "CompactionFaults" },
    when: "atLeast",
    threshold: 1,
    periodMinutes: 15,
    periods: 2,
    missing: "notBreaching",
    description: "A shard, a collection or a queue fails while the compactor does the rest.",
    runbook: "Compaction fails",
  },
  Backlog: {
    severity: "page",
    source: { of: "store", metric: "DeltasPending" },
    when: "atLeast",
    threshold: 5_000,
    periodMinutes: 5,
    periods: 2,
    missing: "notBreaching",
    description: "Deltas come in faster than they are ingested.",
    runbook: "Backlog: it grows, or its oldest delta is old",
  },
  OldestDelta: {
    severity: "page",
    source: { of: "store", metric: "OldestUnmergedDeltaAge" },
    when: "above",
    threshold: 900,
    periodMinutes: 5,
    periods: 2,
    missing: "notBreaching",
    description: "A delta has waited for more than a quarter of an hour: eventual reads do not have it.",
    runbook: "Backlog: it grows, or its oldest delta is old",
  },
  Segments: {
    severity: "ticket",
    source: { of: "store", metric: "Segments" },
    when: "atLeast",
    threshold: 50,
    periodMinutes: 15,
    periods: 2,
    missing: "notBreaching",
    description: "Merges do not keep up with what is ingested: queries become slow.",
    runbook: "Too many segments",
  },
  LeaseContention: {
    severity: "ticket",
    source: { of: "store", metric: "LockAcquisitionFailed" },
    when: "atLeast",
    threshold: 60,
    periodMinutes: 15,
    periods: 2,
    missing: "notBreaching",
    description: "Runs find shards leased again and again.",
    runbook: "Stuck lease",
  },
  Quarantine: {
    severity: "ticket",
    source: { of: "store", metric: "DeltasQuarantined" },
    when: "atLeast",
    threshold: 1,
    periodMinutes: 5,
    periods: 1,
    missing: "notBreaching",
    description: "A delta could not be ingested and was put aside; its neighbours were not held up.",
    runbook: "Quarantine",
  },
  DeadLetters: {
    severity: "ticket",
    source: { of: "queue", queue: "deadLetterQueue" },
    when: "above",
    threshold: 0,
    periodMinutes: 5,
    periods: 1,
    missing: "notBreaching",
    description:
      "A message of the queue could not be understood. Deltas are found without messages: nothing is lost.",
    runbook: "Dead letters",
  },
  FailedEvents: {
    severity: "ticket",
    source: { of: "queue", queue: "failedEventsQueue" },
    when: "above",
    threshold: 0,
    periodMinutes: 5,
    periods: 1,
    missing: "notBreaching",
    description: "A scheduled event did not reach the compactor, or its run failed.",
    runbook: "Failed events",
  },
  QueryErrors: {
    severity: "page",
    source: { of: "store", metric: "QueryErrors" },
    when: "atLeast",
    threshold: 10,
    periodMinutes: 5,
    periods: 1,
    missing: "notBreaching",
    description: "Queries fail for no fault of their callers.",
    runbook: "Queries fail",
  },
  QueryLatency: {
    severity: "ticket",
    source: { of: "store", metric: "QueryLatency" },
    when: "above",
    threshold: 500,
    periodMinutes: 5,
    periods: 3,
    missing: "notBreaching",
    description: "One query in twenty takes more than half a second in the function.",
    runbook: "Queries are slow",
  },
  SnapshotFallback: {
    severity: "page",
    source: { of: "store", metric: "SnapshotFallback" },
    when: "atLeast",
    threshold: 1,
    periodMinutes: 5,
    periods: 1,
    missing: "notBreaching",
    description:
      "Queries are answered from an older version: the newest is damaged, of a newer format, or could not be asked for.",
    runbook: "Corrupt: an object is not what it should be",
  },
  SnapshotAge: {
    severity: "ticket",
    source: { of: "store", metric: "SnapshotAge" },
    when: "above",
    threshold: 900,
    periodMinutes: 5,
    periods: 2,
    missing: "notBreaching",
    description:
      "Answers come from views that were not compared with the newest version for a quarter of an hour.",
    runbook: "Queries fail",
  },
  PartialAnswers: {
    severity: "ticket",
    source: { of: "store", metric: "PartialAnswers" },
    when: "atLeast",
    threshold: 1,
    periodMinutes: 5,
    periods: 1,
    missing: "notBreaching",
    description: "A query group did not answer: answers lack its shards, where callers allow that.",
    runbook: "A query group fails",
  },
  ProducerErrors: {
    severity: "page",
    source: { of: "store", metric: "ProduceErrors" },
    when: "atLeast",
    threshold: 10,
    periodMinutes: 5,
    periods: 1,
    missing: "notBreaching",
    description: "Writes fail for no fault of their callers.",
    runbook: "Writes fail",
  },
  FunctionErrors: {
    severity: "page",
    source: { of: "functions", metric: "Errors", functions: every },
    when: "atLeast",
    threshold: 10,
    periodMinutes: 5,
    periods: 1,
    missing: "notBreaching",
    description: "A function fails: errors, crashes, timeouts.",
    runbook: "A function fails",
  },
  Throttles: {
    severity: "page",
    source: { of: "functions", metric: "Throttles", functions: every },
    when: "atLeast",
    threshold: 10,
    periodMinutes: 5,
    periods: 1,
    missing: "notBreaching",
    description: "Lambda refuses calls: concurrency is used up.",
    runbook: "Throttling",
  },
  FunctionTime: {
    severity: "ticket",
    source: { of: "functions", metric: "Duration", functions: every },
    when: "above",
    threshold: 95,
    periodMinutes: 5,
    periods: 1,
    missing: "notBreaching",
    description: "A call took nearly all the time that its function has.",
    runbook: "A function nears its time or memory",
  },
  FunctionMemory: {
    severity: "ticket",
    source: { of: "store", metric: "MemoryUsed" },
    when: "above",
    threshold: 90,
    periodMinutes: 5,
    periods: 1,
    missing: "notBreaching",
    description: "A process uses nearly all the memory that its function has.",
    runbook: "A function nears its time or memory",
  },
  JobsFailing: {
    severity: "ticket",
    source: { of: "store", metric: "JobsFailed" },
    when: "atLeast",
    threshold: 10,
    periodMinutes: 15,
    periods: 1,
    missing: "notBreaching",
    description: "Items could not be embedded, and will not be tried again by themselves.",
    runbook: "Jobs fail or wait",
    with: "embedding",
  },
  JobsLate: {
    severity: "ticket",
    source: { of: "store", metric: "OldestJobAge" },
    when: "above",
    threshold: 3_600,
    periodMinutes: 15,
    periods: 2,
    missing: "notBreaching",
    description: "An item has waited for its embedding for more than an hour.",
    runbook: "Jobs fail or wait",
    with: "embedding",
  },
  JobDeadLetters: {
    severity: "ticket",
    source: { of: "queue", queue: "jobDeadLetterQueue" },
    when: "above",
    threshold: 0,
    periodMinutes: 5,
    periods: 1,
    missing: "notBreaching",
    description:
      "A message of the job queues could not be understood. Jobs are found without messages: nothing is lost.",
    runbook: "Jobs fail or wait",
    with: "embedding",
  },
  // A level and no rate: S3 counts once a day, and shows it a day late. RATE and DIFF have a value only where an alarm looks at two of these, and
  // how far back it looks beyond its periods CloudWatch does not promise.
  StorageGrowth: {
    severity: "ticket",
    source: { of: "bucket" },
    when: "above",
    threshold: 1_000,
    periodMinutes: 1_440,
    periods: 1,
    missing: "notBreaching",
    description: "The bucket holds more than it was expected to.",
    runbook: "Storage grows",
  },
} as const satisfies Readonly<Record<string, AlarmRow>>;

export type AlarmName = keyof typeof alarms;
export const alarmNames = Object.keys(alarms) as AlarmName[];

/** As GitHub makes anchors of titles. */
export const runbookAnchor = ({ runbook }: AlarmRow): string =>
  runbook
    .toLowerCase()
    .replaceAll(/[^a-z0-9 -]/g, "")
    .replaceAll(" ", "-");
