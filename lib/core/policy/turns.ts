/**
 * Whose turn it is to be looked at. Everything is looked at within a bound, a share of it in each run, the longest unseen
 * first; what is restless (something was found there, or it failed) in every run. After a run that has looked at all it
 * was given, nothing is unseen for longer than the bound, however the runs before it lay: what was skipped is due.
 *
 * A share of a whole one at least: what is less is owed to the next run. So a few names are looked at as seldom as many are, each once within
 * the bound, and a run between has nothing to look at.
 */
export class Turns {
  readonly #boundMs: number;
  readonly #seen = new Map<string, { readonly atMs: number; readonly isRestless: boolean }>();
  #takenAtMs = Number.NEGATIVE_INFINITY;
  /** Of the share until now, what was not taken. */
  #owed = 0;

  constructor(boundMs: number) {
    this.#boundMs = boundMs;
  }

  /** Those to look at now, of all that there are. Whatever is not among `names` is forgotten. */
  take(names: readonly string[], nowMs: number): string[] {
    const there = new Set(names);
    for (const name of this.#seen.keys()) if (!there.has(name)) this.#seen.delete(name);
    const due: string[] = [];
    const resting: { name: string; ageMs: number }[] = [];
    for (const name of there) {
      const seen = this.#seen.get(name);
      const ageMs = seen ? nowMs - seen.atMs : -1;
      // Never seen, or by a clock that was set back since.
      if (ageMs < 0 || seen!.isRestless) due.push(name);
      else resting.push({ name, ageMs });
    }
    resting.sort((a, b) => b.ageMs - a.ageMs);
    const passedMs = Math.max(0, nowMs - this.#takenAtMs);
    this.#takenAtMs = nowMs;
    const owed = Math.min(
      resting.length,
      this.#owed + resting.length * Math.min(1, passedMs / this.#boundMs),
    );
    const late = resting.filter(({ ageMs }) => ageMs >= this.#boundMs).length;
    const share = Math.max(Math.floor(owed), late);
    this.#owed = Math.max(0, owed - share);
    return [...due, ...resting.slice(0, share).map(({ name }) => name)];
  }

  saw(name: string, nowMs: number, { isRestless }: { isRestless: boolean }): void {
    this.#seen.set(name, { atMs: nowMs, isRestless });
  }
}
