/** What a drill counts, and what it found. */

export const killKinds = [
  "producer",
  "library",
  "compactorIngest",
  "compactorUpkeep",
  "collector",
  "query",
  "s3",
  "dynamodb",
  "sqs",
  "stack",
] as const;
export type KillKind = (typeof killKinds)[number];

/** Violations kept with their text; the count goes on. */
const violationsShownMax = 50;

export class Tally {
  readonly kills = Object.fromEntries(killKinds.map((kind) => [kind, 0])) as Record<KillKind, number>;
  readonly counts: Record<string, number> = {};
  readonly violations: string[] = [];
  /** Kinds of errors that calls met, with how often. */
  readonly failures: Record<string, number> = {};
  violationCount = 0;
  readonly #onViolation: (text: string) => void;

  constructor(onViolation: (text: string) => void = () => {}) {
    this.#onViolation = onViolation;
  }

  count(what: string, by = 1): void {
    this.counts[what] = (this.counts[what] ?? 0) + by;
  }

  failed(what: string, kind: string): void {
    const key = `${what} ${kind}`;
    this.failures[key] = (this.failures[key] ?? 0) + 1;
  }

  violation(text: string): void {
    this.violationCount += 1;
    if (this.violations.length < violationsShownMax) this.violations.push(text);
    this.#onViolation(text);
  }
}
