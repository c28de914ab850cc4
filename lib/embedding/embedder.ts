/**
 * The port: texts become vectors. Writers, imports and queries all go through it, so that a text has the same vector
 * wherever it is embedded.
 */
import type { SiltstoneError } from "../core/model/errors.ts";

export type Purpose = "document" | "query";

export interface Embedder {
  /**
   * A vector of the collection's dims for each text, in their order. Throws `invalid` when a text cannot be embedded, and
   * `unavailable` when the provider does not answer within `waitMs`, or gives what are no vectors: then no text has a vector.
   */
  embed(texts: readonly string[], purpose: Purpose, options?: EmbedOptions): Promise<Embedded>;
  /** The same, but each text has an outcome of its own: one that is refused, or comes too late, fails alone. */
  embedEach(texts: readonly string[], purpose: Purpose, options?: EmbedOptions): Promise<EachEmbedded>;
}

export interface EmbedOptions {
  /** How long limits, retries and the provider may take. @default 20,000 */
  readonly waitMs?: number;
  /** May use what is kept of the limits for those who wait. @default true for queries */
  readonly urgent?: boolean;
}

export interface Embedded {
  readonly vectors: readonly Float32Array[];
  /** Tokens as the provider counts them; null where it says nothing, or was not asked. */
  readonly tokens: number | null;
}

/** The outcome of each text: its vector, or why it has none. */
export interface EachEmbedded {
  readonly outcomes: readonly (Float32Array | SiltstoneError)[];
  readonly tokens: number | null;
}
