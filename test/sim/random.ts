/** Choices from a seed. */
import { random } from "../support/memory/clock.ts";

export class Chance {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = random(seed);
  }
  /** In [0, 1). */
  real(): number {
    return this.#next();
  }
  below(limit: number): number {
    return Math.floor(this.#next() * limit);
  }
  hits(probability: number): boolean {
    return probability > 0 && this.#next() < probability;
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
  seed(): number {
    return this.below(2 ** 31);
  }
}
