/** Of the functions and the bucket as AWS sees them: errors, throttling, time, memory, bytes. */
import type { FunctionName } from "../functions.ts";
import type { AlarmRow } from "./row.ts";

const every: readonly FunctionName[] = ["producer", "compactor", "query", "embedder"];

export const functionAlarms = {
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
