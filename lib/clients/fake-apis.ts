/** The APIs that the fake provider speaks: what a request of each asks for, and what it is answered with. */

/** What a request asks for. */
export interface Asked {
  readonly inputs: readonly string[];
  readonly dims: number;
  readonly model: string;
  readonly base64: boolean;
}
/** How one API is asked, and answers. */
interface Api {
  matches(path: string): boolean;
  asked(body: Record<string, unknown>, path: string): Omit<Asked, "dims"> & { readonly dims?: number };
  answer(vectors: readonly Embedding[], tokens: number, asked: Asked): unknown;
}
export interface Embedding {
  readonly index: number;
  readonly values: readonly (number | null)[];
}

const listOf = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : [String(value)]);
const dimsOf = (value: unknown): { dims?: number } => (typeof value === "number" ? { dims: value } : {});

/** OpenAI (Jina and vLLM as well), Ollama, TEI, Bedrock. */
export const apis: readonly Api[] = [
  {
    matches: (path) => path.endsWith("/embeddings"),
    asked: (body) => ({
      inputs: listOf(body.input),
      model: String(body.model),
      base64: body.encoding_format === "base64",
      ...dimsOf(body.dimensions),
    }),
    answer: (vectors, tokens, { model, base64 }) => ({
      object: "list",
      model,
      data: vectors.map(({ index, values }) => ({
        object: "embedding",
        index,
        embedding: base64
          ? Buffer.from(Float32Array.from(values, (one) => one ?? Number.NaN).buffer).toString("base64")
          : values,
      })),
      usage: { prompt_tokens: tokens, total_tokens: tokens },
    }),
  },
  {
    matches: (path) => path.endsWith("/api/embed"),
    asked: (body) => ({
      inputs: listOf(body.input),
      model: String(body.model),
      base64: false,
      ...dimsOf(body.dimensions),
    }),
    answer: (vectors, tokens, { model }) => ({
      model,
      embeddings: vectors.map(({ values }) => values),
      prompt_eval_count: tokens,
    }),
  },
  {
    matches: (path) => path.endsWith("/embed"),
    asked: (body) => ({
      inputs: listOf(body.inputs),
      model: "tei",
      base64: false,
      ...dimsOf(body.dimensions),
    }),
    answer: (vectors) => vectors.map(({ values }) => values),
  },
  {
    matches: (path) => path.startsWith("/model/") && path.endsWith("/invoke"),
    asked: (body, path) => ({
      inputs: body.texts === undefined ? [String(body.inputText)] : listOf(body.texts),
      model: decodeURIComponent(path.split("/")[2]!),
      base64: false,
      ...dimsOf(body.dimensions ?? body.output_dimension),
    }),
    answer: (vectors, tokens, { model }) =>
      model.includes("cohere.")
        ? { embeddings: { float: vectors.map(({ values }) => values) } }
        : { embedding: vectors[0]?.values, inputTextTokenCount: tokens },
  },
];
