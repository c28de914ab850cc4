/**
 * An embedding profile: how the vectors of an embedding space are made. It is a part of a collection's configuration, and
 * never changes. Where the provider is reached, with which secret and at which rate is the stage's (lib/contract/names.ts
 * `env.providers`): a collection never says where texts are sent.
 */
import type { Problem } from "./errors.ts";
import { isPlainObject, shown } from "./metadata.ts";

/**
 * The provider, which makes vectors. `bedrock`: Amazon Bedrock (Titan and Cohere models). The others are endpoints with OpenAI's API; each has
 * its differences (lib/embedding/http-provider.ts).
 */
export const providers = ["bedrock", "openai", "ollama", "jina", "tei", "vllm"] as const;
export type ProviderName = (typeof providers)[number];

export interface EmbeddingProfile {
  readonly provider: ProviderName;
  /** As the provider names it. */
  readonly model: string;
  /** Whether vectors are scaled to length 1 when they come. */
  readonly normalise: boolean;
  /** Whether the provider is asked for as many dims as the collection has, of a model that can give fewer than it has. */
  readonly shortened: boolean;
  /** Put before each text: some models were trained with "passage: " and "query: ". */
  readonly documentPrefix: string;
  readonly queryPrefix: string;
  /** What the provider is told that a text is for (Jina `task`, Cohere `input_type`); null where it is told nothing. */
  readonly documentTask: string | null;
  readonly queryTask: string | null;
  /** Most tokens of one input, prefix included. A longer text is cut into chunks, or refused; never cut off. */
  readonly inputTokensMax: number;
  /**
   * Bytes of UTF-8 that a token is counted as, since no tokenizer is asked. With 1 no text that is accepted can be too long for
   * a byte-level tokenizer; a larger one makes fewer and longer chunks, and leaves it to the provider to refuse one.
   */
  readonly bytesPerToken: number;
}

export const inputTokensMaxMost = 1_000_000;
export const bytesPerTokenMax = 8;
const modelPattern = /^[\x21-\x7e]{1,256}$/;
const prefixBytesMax = 1_000;
const taskPattern = /^[\x21-\x7e]{1,64}$/;

export const inputBytesMax = ({ inputTokensMax, bytesPerToken }: EmbeddingProfile): number =>
  inputTokensMax * bytesPerToken;

export type ProfileOptions = Pick<EmbeddingProfile, "provider" | "model"> & Partial<EmbeddingProfile>;

/**
 * @default scaled to length 1, all the model's dims, no prefixes, no tasks (those of Jina's and Cohere's models as they
 * demand them), 512 tokens of one byte
 */
export function completeProfile(options: ProfileOptions): EmbeddingProfile {
  const tasks = defaultTasks(options);
  const profile = {
    provider: options.provider,
    model: options.model,
    normalise: options.normalise ?? true,
    shortened: options.shortened ?? false,
    documentPrefix: options.documentPrefix ?? "",
    queryPrefix: options.queryPrefix ?? "",
    documentTask: options.documentTask === undefined ? tasks.document : options.documentTask,
    queryTask: options.queryTask === undefined ? tasks.query : options.queryTask,
    inputTokensMax: options.inputTokensMax ?? 512,
    bytesPerToken: options.bytesPerToken ?? 1,
  };
  // What is no field of a profile stays, and is found by profileProblems.
  return {
    ...profile,
    ...Object.fromEntries(Object.entries(options).filter(([name]) => !(name in profile))),
  };
}

function defaultTasks({ provider, model }: Pick<EmbeddingProfile, "provider" | "model">): {
  document: string | null;
  query: string | null;
} {
  if (provider === "jina" && /v3|v4/.test(String(model)))
    return { document: "retrieval.passage", query: "retrieval.query" };
  if (provider === "bedrock" && /(^|\.)cohere\./.test(String(model)))
    return { document: "search_document", query: "search_query" };
  return { document: null, query: null };
}

/** What is wrong with it, each named by its field below `field`. */
export function profileProblems(value: unknown, field: string): Problem[] {
  if (!isPlainObject(value))
    return [{ field, reason: `must be lexical, null or a profile, got ${shown(value)}` }];
  const problems: Problem[] = [];
  const profile = value as Partial<Record<keyof EmbeddingProfile, unknown>>;
  const bad = (name: string, reason: string) => problems.push({ field: `${field}.${name}`, reason });
  const expect = (name: keyof EmbeddingProfile, holds: boolean, expected: string) => {
    if (!holds) bad(name, `must be ${expected}, got ${shown(profile[name] ?? null)}`);
  };
  const { provider, model, inputTokensMax, bytesPerToken } = profile;
  expect("provider", providers.includes(provider as ProviderName), `one of ${providers.join(", ")}`);
  expect("model", isMatch(model, modelPattern), "1 to 256 printable ASCII characters without spaces");
  for (const name of ["normalise", "shortened"] as const)
    expect(name, typeof profile[name] === "boolean", "true or false");
  for (const name of ["documentPrefix", "queryPrefix"] as const) {
    const prefix = profile[name];
    const fits =
      typeof prefix === "string" && prefix.isWellFormed() && Buffer.byteLength(prefix) <= prefixBytesMax;
    expect(name, fits, `text of at most ${prefixBytesMax} bytes of UTF-8`);
  }
  for (const name of ["documentTask", "queryTask"] as const)
    expect(name, profile[name] === null || isMatch(profile[name], taskPattern), "a task's name or null");
  expect(
    "inputTokensMax",
    isInteger(inputTokensMax, 16, inputTokensMaxMost),
    `an integer from 16 to ${inputTokensMaxMost}`,
  );
  expect(
    "bytesPerToken",
    isNumber(bytesPerToken, 1, bytesPerTokenMax),
    `a number from 1 to ${bytesPerTokenMax}`,
  );
  for (const name of Object.keys(value))
    if (!known.has(name)) bad(name.slice(0, 80), "is not a field of a profile");
  if (problems.length === 0) {
    const whole = profile as unknown as EmbeddingProfile;
    for (const name of ["documentPrefix", "queryPrefix"] as const)
      if (Buffer.byteLength(whole[name]) * 2 > inputBytesMax(whole))
        bad(name, `takes more than half of the ${inputBytesMax(whole)} bytes of an input`);
  }
  return problems;
}

const known: ReadonlySet<string> = new Set(
  Object.keys(completeProfile({ provider: "openai", model: "any" })),
);
const isMatch = (value: unknown, pattern: RegExp): boolean =>
  typeof value === "string" && pattern.test(value);
const isNumber = (value: unknown, min: number, max: number): boolean =>
  typeof value === "number" && value >= min && value <= max;
const isInteger = (value: unknown, min: number, max: number): boolean =>
  Number.isInteger(value) && isNumber(value, min, max);
