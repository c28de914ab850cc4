/**
 * Requests and tokens a minute, held over all functions by counters in a window of ten seconds each. A clock that is wrong
 * spends from another window, early or late, and blocks no other process. A fifth of each window is kept for queries.
 */
import type { EmbeddingClock, LimitAmounts, LimitTable, LimitWindow } from "./provider.ts";

const windowMs = 10_000;
const minuteMs = 60_000;
const urgentShare = 0.2;

export interface Rates {
  readonly requestsPerMinute: number;
  readonly tokensPerMinute: number;
}

/** The counters' window: a minute where ten seconds have less than one request. */
const windowLengthMs = ({ requestsPerMinute }: Rates): number =>
  requestsPerMinute * windowMs < minuteMs ? minuteMs : windowMs;

/** Most tokens of one request: what a window has for work that is not urgent. */
export function requestTokensMax(rates: Rates): number {
  return Math.max(1, Math.floor(mostOf(rates, false).tokens));
}

function mostOf(rates: Rates, urgent: boolean): LimitAmounts {
  const share = (windowLengthMs(rates) / minuteMs) * (urgent ? 1 : 1 - urgentShare);
  return {
    requests: Math.max(1, Math.floor(rates.requestsPerMinute * share)),
    tokens: Math.max(1, Math.floor(rates.tokensPerMinute * share)),
  };
}

/** What was taken: no more than a whole window. */
export interface Turn {
  readonly window: LimitWindow;
  readonly tokens: number;
}

/**
 * Waits for a window in which the request fits. Null when there is none until `untilMs`. More tokens than a whole window has take all
 * of one.
 */
export async function takeTurn(
  table: LimitTable,
  clock: EmbeddingClock,
  name: string,
  wanted: {
    readonly tokens: number;
    readonly urgent: boolean;
    readonly rates: Rates;
    readonly untilMs: number;
  },
): Promise<Turn | null> {
  const lengthMs = windowLengthMs(wanted.rates);
  const most = mostOf(wanted.rates, wanted.urgent);
  const amounts = { requests: 1, tokens: Math.min(Math.max(1, Math.ceil(wanted.tokens)), most.tokens) };
  for (;;) {
    const nowMs = clock.nowMs();
    const window = { name, startMs: Math.floor(nowMs / lengthMs) * lengthMs, lengthMs };
    if (await table.take(window, amounts, most)) return { window, tokens: amounts.tokens };
    // All that wait begin anew at the next window: not in the same millisecond.
    const nextMs = window.startMs + lengthMs + clock.random() * (lengthMs / 10);
    if (nextMs > wanted.untilMs) return null;
    await clock.sleep(nextMs - nowMs);
  }
}
