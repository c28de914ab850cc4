/**
 * The alarms of a store, a row each, by what they are about. The constructs make CloudWatch alarms of them, docs/runbook.md has a section for
 * each, and a test drives each failure and sees its alarm go off (test/e2e/alarms.test.ts).
 */
import { answerAlarms } from "./alarms/answers.ts";
import { compactionAlarms } from "./alarms/compaction.ts";
import { functionAlarms } from "./alarms/functions.ts";
import { jobAlarms } from "./alarms/jobs.ts";
import type { AlarmRow } from "./alarms/row.ts";

export type { AlarmRow } from "./alarms/row.ts";

export const alarms = {
  ...compactionAlarms,
  ...answerAlarms,
  ...functionAlarms,
  ...jobAlarms,
} as const satisfies Readonly<Record<string, AlarmRow>>;

export type AlarmName = keyof typeof alarms;
export const alarmNames = Object.keys(alarms) as AlarmName[];

/** As GitHub makes anchors of titles. */
export const runbookAnchor = ({ runbook }: AlarmRow): string =>
  runbook
    .toLowerCase()
    .replaceAll(/[^a-z0-9 -]/g, "")
    .replaceAll(" ", "-");
