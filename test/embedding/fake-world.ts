/** An embedding world over a real HTTP server, with counters in memory and a time that passes when it is slept through. */
import { bedrockProvider } from "../../lib/aws/bedrock-provider.ts";
import { httpPost } from "../../lib/aws/http-post.ts";
import {
  completeProfile,
  type ProfileOptions,
  type ProviderName,
} from "../../lib/core/model/embedding-profile.ts";
import { httpProvider } from "../../lib/embedding/http-provider.ts";
import type { EmbeddingWorld } from "../../lib/embedding/profile-embedders.ts";
import type { EmbeddingClock, LimitAmounts, LimitTable, LimitWindow } from "../../lib/embedding/provider.ts";
import type { ProviderAccess } from "../../lib/embedding/provider-access.ts";

export class MemoryLimitTable implements LimitTable {
  readonly windows = new Map<string, { requests: number; tokens: number }>();

  async take(window: LimitWindow, amounts: LimitAmounts, most: LimitAmounts): Promise<boolean> {
    const now = this.#of(window);
    if (now.requests + amounts.requests > most.requests || now.tokens + amounts.tokens > most.tokens)
      return false;
    now.requests += amounts.requests;
    now.tokens += amounts.tokens;
    return true;
  }

  async correct(window: LimitWindow, tokens: number): Promise<void> {
    this.#of(window).tokens += tokens;
  }

  #of({ name, startMs }: LimitWindow) {
    const key = `${name} ${startMs}`;
    const known = this.windows.get(key) ?? { requests: 0, tokens: 0 };
    this.windows.set(key, known);
    return known;
  }
}

export interface VirtualClock extends EmbeddingClock {
  readonly sleptMs: number;
  /** Told after each sleep. */
  onSleep: (nowMs: number) => void;
}

export function virtualClock(startMs = Date.UTC(2026, 10, 1)): VirtualClock {
  let nowMs = startMs;
  return {
    nowMs: () => nowMs,
    random: () => 0.5,
    async sleep(ms) {
      nowMs += ms;
      this.onSleep(nowMs);
    },
    get sleptMs() {
      return nowMs - startMs;
    },
    onSleep: () => {},
  };
}

export const models = {
  openai: "text-embedding-3-small",
  ollama: "nomic-embed-text",
  jina: "jina-embeddings-v3",
  tei: "BAAI/bge-base-en-v1.5",
  vllm: "intfloat/e5-mistral-7b-instruct",
  titan: "amazon.titan-embed-text-v2:0",
  cohere: "cohere.embed-english-v3",
} as const;
export type Kind = keyof typeof models;
export const kinds = Object.keys(models) as Kind[];

const providerOf = (kind: Kind): ProviderName => (kind === "titan" || kind === "cohere" ? "bedrock" : kind);

export const profileOf = (kind: Kind, options: Partial<ProfileOptions> = {}) =>
  completeProfile({ provider: providerOf(kind), model: models[kind], ...options });

export const accessOf = (kind: Kind, url: string, options: Partial<ProviderAccess> = {}): ProviderAccess => ({
  endpoint:
    kind === "titan" || kind === "cohere"
      ? null
      : `${url}${kind === "ollama" || kind === "tei" ? "" : "/v1"}`,
  secretArn: null,
  models: [models[kind]],
  inputsPerRequest: null,
  requestsPerMinute: 1_000_000,
  tokensPerMinute: 1_000_000_000,
  requestsAtOnce: 4,
  ...options,
});

/** Bedrock's client finds the server, and credentials, in the environment. */
export function worldOf(
  kind: Kind,
  url: string,
  options: Partial<ProviderAccess> & {
    readonly key?: string;
    readonly clock?: EmbeddingClock;
    readonly limits?: LimitTable;
  } = {},
): EmbeddingWorld {
  const { key, clock = virtualClock(), limits = new MemoryLimitTable(), ...access } = options;
  process.env.AWS_ENDPOINT_URL_BEDROCK_RUNTIME = url;
  process.env.AWS_REGION = "eu-central-1";
  process.env.AWS_ACCESS_KEY_ID = "local";
  process.env.AWS_SECRET_ACCESS_KEY = "local";
  return {
    providers: { [providerOf(kind)]: accessOf(kind, url, access) },
    limits,
    clock,
    async connect(name, { endpoint }, model) {
      if (name === "bedrock") return bedrockProvider(model);
      return httpProvider(name, { endpoint: endpoint!, post: httpPost, key: async () => key ?? null });
    },
  };
}
