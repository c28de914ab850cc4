/**
 * What can be changed while workers run: each reads it before every provider call. A row each, with its range; bounds that join
 * two are checked together.
 */
import { invalid, type Problem } from "../core/model/errors.ts";
import { isPlainObject, shown } from "../core/model/metadata.ts";
import { isUlid } from "../core/model/ulid.ts";

/** `paused`: no job is begun, what is running ends. `stopped`: runs end before their next call of a provider, and give back their jobs. Items are saved all the same. */
export const workStates = ["running", "paused", "stopped"] as const;
export type WorkState = (typeof workStates)[number];

interface NumberRow {
  readonly min: number;
  readonly max: number;
  readonly default: number;
  readonly description: string;
}
const day = 86_400;

export const numbers = {
  // One of them is kept for urgent items.
  concurrency: { min: 1, max: 64, default: 16, description: "runs at a time, of all priorities" },
  batchItems: { min: 1, max: 500, default: 50, description: "items of one run that are embedded together" },
  intervalSeconds: {
    min: 1,
    max: day,
    default: 600,
    description: "a job of which nothing is heard is woken again",
  },
  leaseSeconds: { min: 5, max: day, default: 1_800, description: "a run of which nothing is heard is over" },
  attemptsMax: { min: 1, max: 20, default: 3, description: "runs of a job that may fail" },
  backoffSeconds: {
    min: 1,
    max: 3_600,
    default: 30,
    description: "wait after the first of them, twice as long after each",
  },
  keepDays: { min: 1, max: 365, default: 14, description: "ended jobs and the audit log are kept" },
  pendingMax: { min: 1, max: 10_000_000, default: 100, description: "health: jobs that wait" },
  processingMax: { min: 1, max: 10_000_000, default: 10, description: "health: jobs that run" },
  failedMax: { min: 1, max: 10_000_000, default: 10, description: "health: jobs that failed within a day" },
  oldestHours: { min: 1, max: 8_760, default: 24, description: "health: age of the oldest that waits" },
} as const satisfies Record<string, NumberRow>;

export type NumberName = keyof typeof numbers;
export interface JobSettings extends Readonly<Record<NumberName, number>> {
  readonly state: WorkState;
  /** Ids of collections whose items are embedded in the call of who saves them, and by no worker (embed-all/rollback.ts). */
  readonly inCall: readonly string[];
}
/** Of one stage. */
const inCallMax = 100;

export const defaultSettings: JobSettings = {
  state: "running",
  inCall: [],
  ...(Object.fromEntries(Object.entries(numbers).map(([name, row]) => [name, row.default])) as Record<
    NumberName,
    number
  >),
};

/** The settings with what is given in their place. Throws `invalid`, naming each key, its range and the value. */
export function changedSettings(before: JobSettings, given: unknown): JobSettings {
  if (!isPlainObject(given)) throw invalid(`settings: must be an object, got ${shown(given)}`);
  const problems: Problem[] = [];
  for (const [name, value] of Object.entries(given)) {
    const row: NumberRow | undefined = Object.hasOwn(numbers, name) ? numbers[name as NumberName] : undefined;
    if (name === "state") {
      if (!workStates.includes(value as WorkState))
        problems.push({
          field: name,
          reason: `must be one of ${workStates.join(", ")}, got ${shown(value)}`,
        });
    } else if (name === "inCall") {
      if (!isCollectionIds(value))
        problems.push({
          field: name,
          reason: `must be at most ${inCallMax} ids of collections, got ${shown(value)}: \`silt embed-all\` changes it`,
        });
    } else if (row === undefined) {
      problems.push({
        field: name.slice(0, 80),
        reason: `is no setting; there are state, ${Object.keys(numbers).join(", ")}`,
      });
    } else if (!Number.isInteger(value) || (value as number) < row.min || (value as number) > row.max) {
      problems.push({
        field: name,
        reason: `must be an integer from ${row.min} to ${row.max}, got ${shown(value)}`,
      });
    }
  }
  const next = { ...before, ...given } as JobSettings;
  if (problems.length === 0) problems.push(...crossProblems(next));
  if (problems.length === 0) return next;
  throw invalid(
    `settings: ${problems.map(({ field, reason }) => `${field} ${reason}`).join("; ")}`,
    problems,
  );
}

const isCollectionIds = (value: unknown): boolean =>
  Array.isArray(value) &&
  value.length <= inCallMax &&
  value.every((one) => typeof one === "string" && isUlid(one));

function crossProblems({ attemptsMax, backoffSeconds, keepDays, oldestHours }: JobSettings): Problem[] {
  const problems: Problem[] = [];
  const waitSeconds = backoffSeconds * 2 ** (attemptsMax - 1);
  if (waitSeconds > keepDays * day)
    problems.push({
      field: "backoffSeconds",
      reason: `of ${backoffSeconds} with attemptsMax ${attemptsMax} waits up to ${waitSeconds} s, longer than keepDays (${keepDays}): lower one of them`,
    });
  if (oldestHours > keepDays * 24)
    problems.push({
      field: "oldestHours",
      reason: `of ${oldestHours} is longer than keepDays (${keepDays}): lower it`,
    });
  return problems;
}

/** As they are stored: a key that says nothing is left out, so that code which does not know it reads them as well. */
export const encodeSettings = ({ inCall, ...settings }: JobSettings): string =>
  JSON.stringify(inCall.length === 0 ? settings : { ...settings, inCall });

/** Stored settings, of any version: what is not known any more, or out of range by now, is a mistake that must be mended. */
export function parseSettings(text: string): JobSettings {
  return changedSettings(defaultSettings, storedSettings(text));
}

/** Not judged yet. */
export function storedSettings(text: string): Record<string, unknown> {
  try {
    const value = JSON.parse(text) as unknown;
    if (isPlainObject(value)) return value;
  } catch {}
  throw invalid("settings: they are not a JSON object");
}
