/** What Amazon Bedrock's embedding models are sent and answer: Titan takes one text a request, Cohere's up to 96. */
import { isPlainObject } from "../core/model/metadata.ts";
import { type ProviderAnswer, ProviderRefusal, type ProviderRequest } from "./provider.ts";

const cohereInputsMax = 96;

const isCohere = (model: string): boolean => /(^|[./])cohere\./.test(model);

/** Inputs of one invocation of the model. */
export const bedrockInputsMax = (model: string): number => (isCohere(model) ? cohereInputsMax : 1);

export function bedrockBody({ inputs, profile, dims, purpose }: ProviderRequest): Record<string, unknown> {
  const { model, shortened } = profile;
  if (!isCohere(model))
    return {
      inputText: inputs[0],
      ...(shortened ? { dimensions: dims } : {}),
      ...(/v2/.test(model) ? { normalize: false } : {}),
    };
  const task = purpose === "query" ? profile.queryTask : profile.documentTask;
  return {
    texts: inputs,
    truncate: "NONE",
    embedding_types: ["float"],
    ...(task === null ? {} : { input_type: task }),
    ...(shortened ? { output_dimension: dims } : {}),
  };
}

/** `counted`: tokens by the answer's header. Throws `broken`. */
export function bedrockAnswer(model: string, body: unknown, counted: number | null): ProviderAnswer {
  if (!isPlainObject(body)) throw new ProviderRefusal("broken", "its answer is not an object");
  const { embedding, embeddings, inputTextTokenCount } = body;
  const given = isCohere(model) ? (isPlainObject(embeddings) ? embeddings.float : embeddings) : [embedding];
  if (!Array.isArray(given)) throw new ProviderRefusal("broken", "its answer has no list of vectors");
  const tokens = typeof inputTextTokenCount === "number" ? inputTextTokenCount : counted;
  return { vectors: given, tokens };
}
