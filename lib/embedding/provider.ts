/**
 * The port to a provider of embeddings: one request each call. What it may refuse is told apart by what helps, so that
 * everything beyond one request (limits, retries, splitting, the breaker) is the same for all: batched-embedder.ts.
 * One contract suite holds all adapters to it (test/embedding/providers.test.ts).
 */
import type { EmbeddingProfile } from "../core/model/embedding-profile.ts";
import type { Purpose } from "./embedder.ts";

export interface ProviderRequest {
  /** Texts with their prefixes: at least one, at most `inputsMax`. */
  readonly inputs: readonly string[];
  readonly profile: EmbeddingProfile;
  readonly dims: number;
  readonly purpose: Purpose;
  /** The request is given up after that long. */
  readonly waitMs: number;
}

export interface ProviderAnswer {
  /** What the provider gives as the vectors, one an input and in their order: nothing about them is certain yet. */
  readonly vectors: readonly unknown[];
  /** Tokens that the provider counted; null where it does not say. */
  readonly tokens: number | null;
}

export interface Provider {
  /** Inputs and bytes of UTF-8 of one request, at most. */
  readonly inputsMax: number;
  readonly bytesMax: number;
  /** Throws a ProviderRefusal, or the SiltstoneError of a key that cannot be read. */
  request(request: ProviderRequest): Promise<ProviderAnswer>;
}

/**
 * - `throttled`: too many requests or tokens: wait, as long as it says.
 * - `outage`: no answer, half an answer, a fault of its own: wait and repeat.
 * - `tooMuch`: the request is too large: fewer inputs.
 * - `input`: an input is refused, it does not say which: alone it is known.
 * - `denied`: the key, the right, the model: a human's.
 * - `broken`: an answer that is none: other numbers of vectors or values, NaN.
 */
export type RefusalKind = "throttled" | "outage" | "tooMuch" | "input" | "denied" | "broken";

export class ProviderRefusal extends Error {
  readonly kind: RefusalKind;
  readonly retryAfterMs: number | null;

  constructor(kind: RefusalKind, message: string, retryAfterMs: number | null = null) {
    super(message);
    this.name = "ProviderRefusal";
    this.kind = kind;
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * Counters that all functions of a stage share, a window each. Adding is all or nothing, and atomic.
 */
export interface LimitTable {
  /** Adds to the window's counters, unless one would be above its most then. */
  take(window: LimitWindow, amounts: LimitAmounts, most: LimitAmounts): Promise<boolean>;
  /** Corrects what was taken by an estimate; may be lost. */
  correct(window: LimitWindow, tokens: number): Promise<void>;
}
export interface LimitWindow {
  readonly name: string;
  readonly startMs: number;
  readonly lengthMs: number;
}
export interface LimitAmounts {
  readonly requests: number;
  readonly tokens: number;
}

/** Time and chance, as the engine's clock gives them. */
export interface EmbeddingClock {
  nowMs(): number;
  sleep(ms: number): Promise<void>;
  /** At least 0 and below 1. */
  random(): number;
}
