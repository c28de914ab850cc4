/** What making vectors of documents by a provider takes: said before any text is sent. */
import type { Collection } from "../../lib/core/model/collection.ts";
import { dollarsOfTokens } from "../../lib/core/policy/cost/items.ts";
import { documentEmbedder, type EmbedDocuments } from "../../lib/embedding/document-embedder.ts";
import { batchedEmbedders } from "../../lib/embedding/profile-embedders.ts";
import type { ProviderAccess } from "../../lib/embedding/provider-access.ts";
import { builtInEmbedder } from "../../lib/import/embed-rows.ts";
import type { Deployment } from "./deployment.ts";
import type { Survey } from "./import-survey.ts";
import type { Session } from "./session.ts";
import { duration, plural } from "./text.ts";

/** UTF-8 bytes of a token, roughly; of English. */
const bytesPerToken = 4;
/** Of a stage's rates, what is not kept for queries. */
const usableShare = 0.8;
const minuteMs = 60_000;

export interface EmbeddingEstimate {
  readonly provider: string;
  readonly model: string;
  readonly texts: number;
  /** False where nothing tells how much there is beyond what was looked at. */
  readonly isWhole: boolean;
  readonly tokens: number;
  /** At the stage's rates; null where it has no access to the provider. */
  readonly milliseconds: number | null;
  /** At the provider's list price; null where that is not known. */
  readonly dollars: number | null;
}

/** Texts that a plan has met: of rows that have no vector. */
export interface TextCount {
  texts: number;
  bytes: number;
}

/** How documents of a collection of the store are embedded here. The stage's providers are asked for when a first text comes: rows may bring their vectors. */
export function documentEmbedderOf({ embedding }: Deployment, { embedder }: Collection): EmbedDocuments {
  if (embedder === null || embedder === "lexical") return builtInEmbedder;
  let embed: Promise<EmbedDocuments> | null = null;
  return async (...asked) => {
    embed ??= embedding().then((world) => documentEmbedder(batchedEmbedders(world)));
    return (await embed)(...asked);
  };
}

/** Stands in for a provider, where its vectors do not matter: nothing is sent. */
export const countingEmbedder =
  (count: TextCount): EmbedDocuments =>
  async (collection, texts, options) => {
    count.texts += texts.length;
    for (const text of texts) count.bytes += Buffer.byteLength(text);
    if (collection.embedder === null || collection.embedder === "lexical")
      return builtInEmbedder(collection, texts, options);
    const vector = new Float32Array(collection.dims).fill(1);
    return { outcomes: texts.map(() => vector), tokens: null };
  };

/** Of the whole source as far as that is known. Null where the collection's embedder is none, or costs nothing. */
export async function estimateEmbedding(
  session: Session,
  { embedder }: Collection,
  { texts: { texts, bytes }, scale: known }: Pick<Survey, "texts" | "scale">,
): Promise<EmbeddingEstimate | null> {
  if (embedder === null || embedder === "lexical" || texts === 0) return null;
  const { provider, model } = embedder;
  const scale = known ?? 1;
  const tokens = Math.ceil((bytes * scale) / bytesPerToken);
  const { providers } = await (await session.open()).embedding();
  const access = providers[provider];
  const milliseconds = access === undefined ? null : durationMs(access, Math.ceil(texts * scale), tokens);
  const dollars = dollarsOfTokens({ provider, model }, tokens, null);
  const said = { texts: Math.ceil(texts * scale), isWhole: known !== null, tokens };
  return { provider, model, ...said, milliseconds, dollars };
}

function durationMs(access: ProviderAccess, texts: number, tokens: number): number {
  const requests = texts / (access.inputsPerRequest ?? texts);
  const minutes = Math.max(tokens / access.tokensPerMinute, requests / access.requestsPerMinute);
  return Math.ceil((minutes / usableShare) * minuteMs);
}

export const estimateText = ({
  provider,
  model,
  texts,
  isWhole,
  tokens,
  milliseconds,
  dollars,
}: EmbeddingEstimate): string =>
  `${isWhole ? "about" : "more than"} ${plural(texts, "text")} by ${provider}/${model}, ${plural(tokens, "token")}${
    dollars === null ? "" : `, about $${dollars.toFixed(2)}`
  }${
    milliseconds === null
      ? ", which this stage has no access to"
      : `, at least ${duration(milliseconds)} at the stage's limits`
  }`;
