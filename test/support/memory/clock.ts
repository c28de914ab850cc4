/**
 * A virtual clock. Time stands still until it is advanced. A sleeper advances it himself, unless `onSleep` says
 * otherwise: a scheduler that runs several processes sets it, for instance to `(ms) => clock.until(clock.nowMs() + ms)`.
 * ULIDs come from a seed, so that the same run makes the same keys.
 */
import { monotonicFactory } from "ulid";
import type { Clock } from "../../../lib/engine/ports.ts";

/** The time that all clocks of one world read. */
interface Timeline {
  nowMs: number;
  sleepers: { dueMs: number; wake: () => void }[];
}

export class MemoryClock implements Clock {
  readonly #timeline: Timeline;
  readonly #skewMs: number;
  readonly #nextUlid: (timeMs: number) => string;
  /** How far this clock alone is off for a while, beyond its skew. */
  offMs = 0;
  onSleep: ((ms: number) => Promise<void>) | null = null;

  constructor(options: { startMs: number; seed: number }, of?: { timeline: Timeline; skewMs: number }) {
    this.#timeline = of?.timeline ?? { nowMs: options.startMs, sleepers: [] };
    this.#skewMs = of?.skewMs ?? 0;
    this.#nextUlid = monotonicFactory(random(options.seed));
  }

  /** Another process's clock on the same time: its own ULIDs, and `skewMs` ahead (or behind, when negative). */
  fork(options: { seed: number; skewMs: number }): MemoryClock {
    return new MemoryClock(
      { startMs: 0, seed: options.seed },
      { timeline: this.#timeline, skewMs: this.#skewMs + options.skewMs },
    );
  }

  nowMs(): number {
    return this.#timeline.nowMs + this.aheadMs;
  }
  /** Of the true time. */
  get aheadMs(): number {
    return this.#skewMs + this.offMs;
  }
  ulid(): string {
    return this.#nextUlid(this.nowMs());
  }

  async sleep(ms: number): Promise<void> {
    if (this.onSleep) await this.onSleep(ms);
    else this.advance(ms);
  }

  async atMost<T>(ms: number, work: Promise<T>): Promise<{ readonly value: T } | null> {
    const sleeper = { dueMs: this.#timeline.nowMs + ms, wake: (): void => undefined };
    const late = new Promise<null>((resolve) => {
      sleeper.wake = () => resolve(null);
    });
    this.#timeline.sleepers.push(sleeper);
    try {
      return await Promise.race([work.then((value) => ({ value })), late]);
    } finally {
      this.#timeline.sleepers = this.#timeline.sleepers.filter((one) => one !== sleeper);
    }
  }

  /** Moves the time of every clock of this world, and wakes who waits for it, in the order of their times. */
  advance(ms: number): void {
    if (!(ms >= 0)) throw new RangeError(`a clock cannot advance by ${ms} ms`);
    this.#timeline.nowMs += ms;
    const due = this.#timeline.sleepers.filter(({ dueMs }) => dueMs <= this.#timeline.nowMs);
    this.#timeline.sleepers = this.#timeline.sleepers.filter(({ dueMs }) => dueMs > this.#timeline.nowMs);
    for (const { wake } of due.sort((a, b) => a.dueMs - b.dueMs)) wake();
  }

  /** Resolves when this clock was advanced to `timeMs`. */
  async until(timeMs: number): Promise<void> {
    const dueMs = timeMs - this.#skewMs;
    if (dueMs <= this.#timeline.nowMs) return;
    await new Promise<void>((wake) => this.#timeline.sleepers.push({ dueMs, wake }));
  }
}

/** Numbers in [0, 1) from a seed (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
