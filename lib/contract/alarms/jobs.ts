/** Of items: there with the prop `embedding` alone. */
import type { AlarmRow } from "./row.ts";

export const jobAlarms = {
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
} as const satisfies Readonly<Record<string, AlarmRow>>;
