/** What embedding items costs: the provider's tokens, and the requests and run time at AWS. */
import { settings } from "../../../contract/settings.ts";
import { measured } from "./measured.ts";
import { prices } from "./prices.ts";

/** Dollars for a million tokens at list prices of `pricesAsOf`; of models that run on one's own machines, none. */
const perMillionTokens: Readonly<Record<string, number>> = {
  "openai/text-embedding-3-small": 0.02,
  "openai/text-embedding-3-large": 0.13,
  "openai/text-embedding-ada-002": 0.1,
  "bedrock/amazon.titan-embed-text-v2:0": 0.02,
  "bedrock/cohere.embed-english-v3": 0.1,
  "bedrock/cohere.embed-multilingual-v3": 0.1,
};
const ownMachines = ["ollama", "tei", "vllm"];

/** Null where the price is not known: give it. */
export function dollarsOfTokens(
  { provider, model }: { readonly provider: string; readonly model: string },
  tokens: number,
  perMillion: number | null,
): number | null {
  const known = ownMachines.includes(provider) ? 0 : perMillionTokens[`${provider}/${model}`];
  const price = perMillion ?? known;
  return price === undefined ? null : (tokens / 1e6) * price;
}

export interface ItemWork {
  readonly items: number;
  readonly chunks: number;
  /** UTF-8 bytes of their texts. */
  readonly bytes: number;
  readonly dims: number;
}

const inlineBytesMax = 8 * 1024;
/** An item's record without its text. */
const recordBytes = 1_000;
const runGb = settings["embedding.memoryMiB"].default / 1024;

/**
 * From the save to the finish. An item is written four times (save, claim, high-water, finish), each by the KB of its record, the index
 * follows five times, its history is written once; SQS takes ten messages at a time; a delta each shard and batch. Ingesting the
 * chunks is a write like any other (`silt cost`).
 */
export function dollarsOfItems({ items, chunks, bytes, dims }: ItemWork): number {
  if (items === 0) return 0;
  const textBytes = bytes / items;
  const isInline = textBytes <= inlineBytesMax;
  const kilobytes = Math.ceil((recordBytes + (isInline ? textBytes : 0)) / 1_024);
  const writes = items * (4 * kilobytes + 5 + 1);
  const reads = items * 4 * Math.ceil(kilobytes / 4);
  const requests = items * 3 * 0.1;
  const puts = items / measured.itemsPerDelta + (isInline ? 0 : items);
  const gbSeconds = runGb * ((items * measured.itemMs + chunks * measured.chunkMs * (dims / 384)) / 1_000);
  return (
    (writes * prices.dynamoWritePerMillion +
      reads * prices.dynamoReadPerMillion +
      requests * prices.sqsPerMillion +
      puts * prices.s3PutPerMillion) /
      1e6 +
    gbSeconds * prices.lambdaGbSecondX86
  );
}
