/**
 * EventBridge Scheduler for rate expressions. A laptop's user does not want to wait minutes: rates can be scaled so
 * that the fastest schedule runs every so many milliseconds, the others in proportion. The first run comes soon after
 * the start. A schedule never begins a run while its last one is under way, even where AWS would let them overlap.
 */
export interface ScheduleDefinition {
  readonly name: string;
  readonly expression: string;
  readonly functionName: string;
  /** The role that it invokes the function by. */
  readonly roleArn: string;
  /** The event, as JSON text. */
  readonly input: string;
}

const firstRunMs = 1000;
const unitMs: Readonly<Record<string, number>> = { minute: 60_000, hour: 3_600_000, day: 86_400_000 };

/** Milliseconds of `rate(n unit)`. Throws for what does not run locally. */
export function rateMs(expression: string): number {
  const match = /^rate\((\d+) (minute|hour|day)s?\)$/.exec(expression.trim());
  const everyMs = Number(match?.[1]) * (unitMs[match?.[2] ?? ""] ?? Number.NaN);
  if (!(everyMs > 0)) throw new Error(`Only rate(…) schedules run locally, not "${expression}".`);
  return everyMs;
}

export class Schedules {
  private readonly timers = new Set<NodeJS.Timeout>();
  private stopped = false;

  /** `run` invokes the function and resolves when the run has ended, however it ended. */
  start(
    definitions: readonly ScheduleDefinition[],
    fastestEveryMs: number | undefined,
    run: (schedule: ScheduleDefinition) => Promise<void>,
  ): void {
    const fastestMs = Math.min(...definitions.map((definition) => rateMs(definition.expression)));
    const scale = fastestEveryMs === undefined ? 1 : fastestEveryMs / fastestMs;
    for (const definition of definitions) {
      const everyMs = rateMs(definition.expression) * scale;
      this.later(Math.min(firstRunMs, everyMs), everyMs, () => run(definition));
    }
  }

  private later(waitMs: number, everyMs: number, run: () => Promise<void>): void {
    if (this.stopped) return;
    const timer = setTimeout(async () => {
      this.timers.delete(timer);
      const startedMs = performance.now();
      await run();
      const tookMs = performance.now() - startedMs;
      // The next full interval after the run: a long run skips beats instead of piling them up.
      this.later(everyMs - (tookMs % everyMs), everyMs, run);
    }, waitMs);
    this.timers.add(timer);
  }

  stop(): void {
    this.stopped = true;
    for (const timer of this.timers) clearTimeout(timer);
  }
}
