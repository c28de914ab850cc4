/**
 * Stands before a provider that does not answer: after some outages in a row nothing is sent for a while, then one request
 * to see. Written here and not taken from a library, since its time is the caller's clock.
 */
export interface BreakerBounds {
  readonly outagesMax: number;
  /** The first pause; each that follows a failed probe is twice as long, up to the longest. */
  readonly pauseMs: number;
  readonly pauseMsMax: number;
  /** Longest that a probe may take. */
  readonly probeMs: number;
}

const breakerBounds: BreakerBounds = {
  outagesMax: 5,
  pauseMs: 5_000,
  pauseMsMax: 60_000,
  probeMs: 20_000,
};

export class Breaker {
  readonly #bounds: BreakerBounds;
  #outages = 0;
  #pauseMs: number;
  #openUntilMs = 0;
  /** A probe of which nothing was heard is given up then: the process that had it may have had no time left to send it. */
  #probeUntilMs = 0;

  constructor(bounds: BreakerBounds = breakerBounds) {
    this.#bounds = bounds;
    this.#pauseMs = bounds.pauseMs;
  }

  /** 0 when a request may be sent, else how long none may. Of those that ask after a pause, one may: the probe. */
  waitMs(nowMs: number): number {
    if (this.#outages < this.#bounds.outagesMax) return 0;
    // A clock that was set back must not keep it open for longer than a pause.
    const leftMs = Math.min(this.#openUntilMs - nowMs, this.#pauseMs);
    if (leftMs > 0) return leftMs;
    const probeLeftMs = Math.min(this.#probeUntilMs - nowMs, this.#bounds.probeMs);
    if (probeLeftMs > 0) return probeLeftMs;
    this.#probeUntilMs = nowMs + this.#bounds.probeMs;
    return 0;
  }

  answered(): void {
    this.#outages = 0;
    this.#probeUntilMs = 0;
    this.#pauseMs = this.#bounds.pauseMs;
  }

  failed(nowMs: number): void {
    this.#outages++;
    if (this.#probeUntilMs > 0) this.#pauseMs = Math.min(this.#pauseMs * 2, this.#bounds.pauseMsMax);
    this.#probeUntilMs = 0;
    this.#openUntilMs = nowMs + this.#pauseMs;
  }
}
