/**
 * Texts through a provider: what is beyond one request.
 *
 *  1. Each text is checked: within the profile's bytes. No text is cut.
 *  2. They go in batches, bounded by inputs, bytes and tokens.
 *  3. A batch waits for its turn (limits.ts) and for the breaker, is sent, and sent again after a throttling or an outage:
 *     base × 2^attempt with jitter, or as long as the provider says.
 *  4. A batch that is refused for its size or for an input is halved, until the bad input is alone: its neighbours have
 *     their vectors.
 *  5. Every vector is checked: as many as inputs, of the collection's dims, finite, not zero.
 *
 * Tokens are counted by bytes before a request, at the rate that the provider's own counts have shown, and put right by its
 * count afterwards.
 */
import type { Collection } from "../core/model/collection.ts";
import { type EmbeddingProfile, inputBytesMax } from "../core/model/embedding-profile.ts";
import { invalid, SiltstoneError } from "../core/model/errors.ts";
import { checkVector, normalised } from "../core/model/vector.ts";
import type { Breaker } from "./breaker.ts";
import type { EachEmbedded, Embedded, Embedder, EmbedOptions, Purpose } from "./embedder.ts";
import { type Rates, requestTokensMax, takeTurn } from "./limits.ts";
import {
  type EmbeddingClock,
  type LimitTable,
  type Provider,
  type ProviderAnswer,
  ProviderRefusal,
} from "./provider.ts";

/** A provider's model as one process uses it: its rates and connection are of all profiles of it, breaker and batches each profile's own. */
export interface ProviderUse {
  readonly provider: Provider;
  readonly limits: LimitTable;
  readonly clock: EmbeddingClock;
  readonly rates: Rates;
  readonly inputsPerRequest: number;
  /** Runs so many requests of the process at a time as the stage allows. */
  readonly atOnce: <T>(work: () => Promise<T>) => Promise<T>;
  /** Tokens a byte, as learned; at most one. */
  tokensPerByte: number;
}

type Space = Pick<Collection, "name" | "dims" | "metric">;

const waitMsDefault = 20_000;
/** Outages in a row after which a batch is given up. */
const outagesMax = 6;
const backoffMs = 250;
const backoffMsMax = 20_000;
/** A request is given up after this long, and when the call's time is over. */
const requestMsMax = 15_000;
/** How fast what was learned of tokens follows what the provider counts. */
const learning = 0.2;

export class BatchedEmbedder implements Embedder {
  readonly #space: Space;
  readonly #profile: EmbeddingProfile;
  readonly #use: ProviderUse;
  readonly #breaker: Breaker;

  constructor(space: Space, profile: EmbeddingProfile, use: ProviderUse, breaker: Breaker) {
    this.#space = space;
    this.#profile = profile;
    this.#use = use;
    this.#breaker = breaker;
  }

  async embed(texts: readonly string[], purpose: Purpose, options: EmbedOptions = {}): Promise<Embedded> {
    const { outcomes, tokens } = await this.embedEach(texts, purpose, options);
    const vectors: Float32Array[] = [];
    for (const outcome of outcomes) {
      if (outcome instanceof SiltstoneError) throw outcome;
      vectors.push(outcome);
    }
    return { vectors, tokens };
  }

  async embedEach(
    texts: readonly string[],
    purpose: Purpose,
    options: EmbedOptions = {},
  ): Promise<EachEmbedded> {
    const { clock } = this.#use;
    const untilMs = clock.nowMs() + (options.waitMs ?? waitMsDefault);
    const job: Job = {
      purpose,
      urgent: options.urgent ?? purpose === "query",
      untilMs,
      outcomes: new Array<Float32Array | SiltstoneError>(texts.length),
      tokens: 0,
      counted: false,
    };
    const inputs: Input[] = [];
    for (const [at, text] of texts.entries()) {
      const input = this.#inputOf(at, text, purpose);
      if (input instanceof SiltstoneError) job.outcomes[at] = input;
      else inputs.push(input);
    }
    const batches = this.#batchesOf(inputs);
    await Promise.all(batches.map((batch) => this.#embedBatch(batch, job)));
    return { outcomes: job.outcomes, tokens: job.counted ? job.tokens : null };
  }

  #inputOf(at: number, text: string, purpose: Purpose): Input | SiltstoneError {
    const { documentPrefix, queryPrefix, inputTokensMax } = this.#profile;
    if (text.trim() === "") return invalid("text: is empty; there is nothing to embed");
    if (!text.isWellFormed()) return invalid("text: is not well-formed Unicode (a lone surrogate)");
    const whole = (purpose === "query" ? queryPrefix : documentPrefix) + text;
    const bytes = Buffer.byteLength(whole);
    const bytesMax = Math.min(inputBytesMax(this.#profile), this.#use.provider.bytesMax);
    if (bytes <= bytesMax) return { at, text: whole, bytes };
    return invalid(
      `text: has ${bytes} bytes with its prefix; an input of ${this.#profile.provider}/${this.#profile.model} has at most ` +
        `${bytesMax} (${inputTokensMax} tokens): cut it into chunks`,
    );
  }

  #batchesOf(inputs: readonly Input[]): Input[][] {
    const { provider, inputsPerRequest, rates } = this.#use;
    const tokensMax = requestTokensMax(rates);
    const batches: Input[][] = [];
    let batch: Input[] = [];
    let bytes = 0;
    for (const input of inputs) {
      const total = bytes + input.bytes;
      const isFull =
        batch.length >= Math.min(inputsPerRequest, provider.inputsMax) ||
        total > provider.bytesMax ||
        this.#tokensOf(total) > tokensMax;
      if (isFull && batch.length > 0) {
        batches.push(batch);
        batch = [];
        bytes = 0;
      }
      batch.push(input);
      bytes += input.bytes;
    }
    if (batch.length > 0) batches.push(batch);
    return batches;
  }

  #tokensOf(bytes: number): number {
    return Math.ceil(bytes * this.#use.tokensPerByte);
  }

  async #embedBatch(batch: readonly Input[], job: Job): Promise<void> {
    try {
      const vectors = await this.#use.atOnce(() => this.#answered(batch, job));
      for (const [i, { at }] of batch.entries()) job.outcomes[at] = vectors[i]!;
    } catch (error) {
      if (!(error instanceof ProviderRefusal)) {
        if (!(error instanceof SiltstoneError)) throw error;
        // The counters could not be asked, the secret not read: this batch's own.
        for (const { at } of batch) job.outcomes[at] = error;
        return;
      }
      if (batch.length > 1 && (error.kind === "tooMuch" || error.kind === "input")) {
        const half = Math.ceil(batch.length / 2);
        await this.#embedBatch(batch.slice(0, half), job);
        await this.#embedBatch(batch.slice(half), job);
        return;
      }
      for (const { at } of batch) job.outcomes[at] = this.#failure(error);
    }
  }

  /** What was refused is its cause: whether waiting helps is the caller's to judge. */
  #failure(cause: ProviderRefusal): SiltstoneError {
    const { kind, message } = cause;
    const { provider, model } = this.#profile;
    const said = `embedding by ${provider}/${model}: ${message}`;
    switch (kind) {
      case "input":
      case "tooMuch":
        return new SiltstoneError("invalid", `text: ${said}`, { cause });
      case "throttled":
      case "outage":
        return new SiltstoneError("unavailable", `${said}; repeat the call`, { cause });
      default:
        // Repeating does not help, and the caller is not at fault: an alarm tells the operators of the stage.
        return new SiltstoneError(
          "unavailable",
          `${said}; the stage's configuration of the provider has to be looked at`,
          { cause },
        );
    }
  }

  /** The batch's vectors, after as many requests as it takes. Throws a ProviderRefusal. */
  async #answered(batch: readonly Input[], job: Job): Promise<Float32Array[]> {
    const { clock, provider } = this.#use;
    const breaker = this.#breaker;
    for (let [repeats, outages] = [0, 0]; ; repeats++) {
      await this.#breakerPasses(job);
      if (clock.nowMs() >= job.untilMs) throw new ProviderRefusal("outage", "the call's time is over");
      const bytes = batch.reduce((sum, input) => sum + input.bytes, 0);
      const turn = await takeTurn(this.#use.limits, clock, this.#limitName(), {
        tokens: this.#tokensOf(bytes),
        urgent: job.urgent,
        rates: this.#use.rates,
        untilMs: job.untilMs,
      });
      if (turn === null)
        throw new ProviderRefusal(
          "throttled",
          "the stage's own limit of requests and tokens a minute is reached",
        );
      const waitMs = Math.max(1, Math.round(Math.min(requestMsMax, job.untilMs - clock.nowMs())));
      try {
        const answer = await provider.request({
          inputs: batch.map(({ text }) => text),
          profile: this.#profile,
          dims: this.#space.dims,
          purpose: job.purpose,
          waitMs,
        });
        breaker.answered();
        if (answer.tokens !== null) {
          job.tokens += answer.tokens;
          job.counted = true;
          this.#learn(bytes, answer.tokens);
          await this.#use.limits.correct(turn.window, answer.tokens - turn.tokens).catch(() => {}); // An estimate stands in for it.
        }
        return this.#checked(batch, answer);
      } catch (error) {
        if (!(error instanceof ProviderRefusal)) throw error;
        if (error.kind === "outage") {
          // A request that its call had no time for says nothing of the provider.
          if (waitMs === requestMsMax || clock.nowMs() < job.untilMs) breaker.failed(clock.nowMs());
        } else if (error.kind !== "broken") breaker.answered();
        if (error.kind !== "outage" && error.kind !== "throttled") throw error;
        // Being too fast is no fault of the request: it is repeated for as long as there is time.
        if (error.kind === "outage" && ++outages >= outagesMax) throw error;
        const jittered = Math.min(backoffMs * 2 ** repeats, backoffMsMax) * (0.5 + clock.random() / 2);
        const pauseMs = Math.max(jittered, error.retryAfterMs ?? 0);
        if (clock.nowMs() + pauseMs >= job.untilMs) throw error;
        await clock.sleep(pauseMs);
      }
    }
  }

  async #breakerPasses(job: Job): Promise<void> {
    const { clock } = this.#use;
    const breaker = this.#breaker;
    for (;;) {
      const waitMs = breaker.waitMs(clock.nowMs());
      if (waitMs === 0) return;
      if (clock.nowMs() + waitMs >= job.untilMs)
        throw new ProviderRefusal(
          "outage",
          "it did not answer several times in a row, and is left alone for a while",
        );
      await clock.sleep(waitMs);
    }
  }

  #limitName(): string {
    return `${this.#profile.provider}/${this.#profile.model}`;
  }

  #learn(bytes: number, tokens: number): void {
    const seen = Math.min(1, tokens / Math.max(1, bytes));
    this.#use.tokensPerByte += (seen - this.#use.tokensPerByte) * learning;
  }

  #checked(batch: readonly Input[], { vectors }: ProviderAnswer): Float32Array[] {
    if (vectors.length !== batch.length)
      throw new ProviderRefusal("broken", `it gave ${vectors.length} vectors for ${batch.length} inputs`);
    return vectors.map((given, i) => {
      const vector = checkVector(this.#space, given);
      if (typeof vector === "string" || vector.every((value) => value === 0)) {
        const problem = typeof vector === "string" ? vector : "is zero in every value";
        throw new ProviderRefusal("broken", `vector ${i} of ${vectors.length} ${problem}`);
      }
      return this.#profile.normalise ? normalised(vector) : vector;
    });
  }
}

interface Input {
  readonly at: number;
  readonly text: string;
  readonly bytes: number;
}

interface Job {
  readonly purpose: Purpose;
  readonly urgent: boolean;
  readonly untilMs: number;
  readonly outcomes: (Float32Array | SiltstoneError)[];
  tokens: number;
  counted: boolean;
}
