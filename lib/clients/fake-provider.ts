/**
 * A provider of embeddings for tests: an HTTP server on 127.0.0.1 that answers as OpenAI, Jina, vLLM, Ollama, TEI and Bedrock
 * do, with vectors that depend on the text alone, and with the faults that providers have when it is asked for them.
 *
 *     const provider = await startFakeProvider({ dims: 384 });
 *     provider.fail({ kind: "throttled", times: 3 });
 *     … endpoint: `${provider.url}/v1` …
 *     await provider.close();
 *
 * `silt fake-provider` runs one; POST /_faults with the same objects asks it for faults.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { lexicalVector } from "../embedding/lexical-embedder.ts";

export const faultKinds = [
  "throttled", // 429, with retry-after where `retryAfterSeconds` is given
  "errorInside", // an error in an answer of status 200
  "outage", // 500
  "tooLarge", // 413
  "refused", // 400, of requests with an input that contains `input`
  "denied", // 401
  "slow", // answers after `seconds`
  "hanging", // never answers
  "cut", // half an answer
  "fewer", // a vector too few
  "reordered", // vectors in another order, with their index
  "unordered", // vectors in another order, with wrong index: twice the same
  "empty", // vectors without values
  "wrongDims", // a value too many
  "notFinite", // null among the values, as JSON has no NaN
] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface Fault {
  readonly kind: FaultKind;
  /** Requests that it happens to. @default all, until `heal` */
  readonly times?: number;
  /** Only requests that have an input with this in it. */
  readonly input?: string;
  /** Where an error's text stands. @default "error" */
  readonly under?: "error" | "detail" | "message";
  readonly retryAfterSeconds?: number;
  /** How slow. @default 1 */
  readonly seconds?: number;
}

export interface FakeProviderOptions {
  /** 0: any that is free. @default 0 */
  readonly port?: number;
  /** Where a request does not ask for fewer. @default 384 */
  readonly dims?: number;
  /** Requests a minute beyond which it answers 429. @default none */
  readonly requestsPerMinute?: number;
  /** The key that requests must have. @default none */
  readonly key?: string;
  /** @default the built-in lexical embedder's: near for texts that share words */
  readonly vectorOf?: (text: string, dims: number, model: string) => Float32Array;
}

export interface FakeProvider {
  /** Without a path: `${url}/v1` for OpenAI's API, `url` for Ollama, TEI and Bedrock. */
  readonly url: string;
  /** Inputs of all requests that were answered with vectors, in their order. */
  readonly embedded: readonly string[];
  /** Requests that arrived, those with faults included. */
  readonly requests: number;
  readonly largestRequest: number;
  fail(fault: Fault): void;
  heal(): void;
  close(): Promise<void>;
}

interface Asked {
  readonly inputs: readonly string[];
  readonly dims: number;
  readonly model: string;
  readonly base64: boolean;
}
interface Api {
  matches(path: string): boolean;
  asked(body: Record<string, unknown>, path: string): Omit<Asked, "dims"> & { readonly dims?: number };
  answer(vectors: readonly Embedding[], tokens: number, asked: Asked): unknown;
}
interface Embedding {
  readonly index: number;
  readonly values: readonly (number | null)[];
}

const bodyBytesMax = 64 * 2 ** 20;
const embeddedKeptMax = 1_000_000;
const listOf = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : [String(value)]);
const dimsOf = (value: unknown): { dims?: number } => (typeof value === "number" ? { dims: value } : {});

const apis: readonly Api[] = [
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

export async function startFakeProvider(options: FakeProviderOptions = {}): Promise<FakeProvider> {
  const state = new State(options);
  const server = createServer((request, response) => {
    handle(state, request, response).catch((error: Error) =>
      send(response, 500, { error: { message: error.message } }),
    );
  });
  await new Promise<void>((listening, failed) => {
    server.once("error", failed);
    server.listen(options.port ?? 0, "127.0.0.1", listening);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get embedded() {
      return state.embedded;
    },
    get requests() {
      return state.requests;
    },
    get largestRequest() {
      return state.largestRequest;
    },
    fail: (fault) => state.faults.push({ ...fault, left: fault.times ?? Number.POSITIVE_INFINITY }),
    heal: () => {
      state.faults.length = 0;
    },
    close: () =>
      new Promise((closed) => {
        server.close(() => closed());
        server.closeAllConnections();
      }),
  };
}

class State {
  readonly options: FakeProviderOptions;
  readonly faults: (Fault & { left: number })[] = [];
  readonly embedded: string[] = [];
  requests = 0;
  largestRequest = 0;
  #minute = 0;
  #inMinute = 0;

  constructor(options: FakeProviderOptions) {
    this.options = options;
  }

  /** Whether the request is one too many in its minute. */
  isTooFast(): boolean {
    const { requestsPerMinute } = this.options;
    if (requestsPerMinute === undefined) return false;
    const minute = Math.floor(Date.now() / 60_000);
    if (minute !== this.#minute) [this.#minute, this.#inMinute] = [minute, 0];
    return ++this.#inMinute > requestsPerMinute;
  }

  /** The first fault that concerns the request; it happens once less. */
  faultOf(inputs: readonly string[]): Fault | null {
    const fault = this.faults.find(
      ({ left, input }) => left > 0 && (input === undefined || inputs.some((one) => one.includes(input))),
    );
    if (fault === undefined) return null;
    fault.left--;
    return fault;
  }
}

async function handle(state: State, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = new URL(request.url ?? "/", "http://localhost").pathname;
  const body = await bodyOf(request);
  if (path === "/_faults") {
    state.faults.push({
      ...(body as unknown as Fault),
      left: (body as unknown as Fault).times ?? Number.POSITIVE_INFINITY,
    });
    return send(response, 200, { faults: state.faults.length });
  }
  const api = apis.find(({ matches }) => request.method === "POST" && matches(path));
  if (api === undefined) return send(response, 404, { error: { message: `no such operation: ${path}` } });
  state.requests++;
  const { dims = state.options.dims ?? 384, ...given } = api.asked(body, path);
  const asked: Asked = { ...given, dims };
  state.largestRequest = Math.max(state.largestRequest, asked.inputs.length);
  const { key } = state.options;
  if (key !== undefined && request.headers.authorization !== `Bearer ${key}`)
    return send(response, 401, { error: { message: "Incorrect API key provided", code: "invalid_api_key" } });
  if (state.isTooFast()) return refuse(response, { kind: "throttled" });
  const fault = state.faultOf(asked.inputs);
  switch (fault?.kind) {
    case "throttled":
    case "errorInside":
    case "outage":
    case "tooLarge":
    case "refused":
    case "denied":
      return refuse(response, fault);
    case "hanging":
      return;
    case "slow":
      await new Promise((passed) => setTimeout(passed, (fault.seconds ?? 1) * 1_000));
  }
  const tokens = asked.inputs.reduce((sum, text) => sum + Math.ceil(Buffer.byteLength(text) / 4), 0);
  const answer = JSON.stringify(api.answer(spoiled(vectorsOf(state, asked), fault), tokens, asked));
  response.setHeader("x-compute-tokens", tokens);
  response.setHeader("x-amzn-bedrock-input-token-count", tokens);
  if (fault?.kind === "cut") {
    response.writeHead(200, {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(answer),
    });
    response.write(answer.slice(0, answer.length / 2));
    response.destroy();
    return;
  }
  if (state.embedded.length < embeddedKeptMax) state.embedded.push(...asked.inputs);
  send(response, 200, answer);
}

function vectorsOf({ options }: State, { inputs, dims, model }: Asked): Embedding[] {
  const vectorOf = options.vectorOf ?? wordVector;
  return inputs.map((text, index) => ({ index, values: Array.from(vectorOf(text, dims, model)) }));
}

/** A text without a letter or digit has a vector too. */
function wordVector(text: string, dims: number): Float32Array {
  return /[\p{L}\p{N}]/u.test(text) ? lexicalVector(text, dims) : new Float32Array(dims).fill(1);
}

function spoiled(vectors: readonly Embedding[], fault: Fault | null): readonly Embedding[] {
  switch (fault?.kind) {
    case "fewer":
      return vectors.slice(1);
    case "reordered":
      return vectors.toReversed();
    case "unordered":
      return vectors.map((vector) => ({ ...vector, index: 0 }));
    case "empty":
      return vectors.map((vector) => ({ ...vector, values: [] }));
    case "wrongDims":
      return vectors.map((vector) => ({ ...vector, values: [...vector.values, 0] }));
    case "notFinite":
      return vectors.map(({ index, values }) => ({ index, values: [null, ...values.slice(1)] }));
    default:
      return vectors;
  }
}

const statuses: Readonly<
  Partial<Record<FaultKind, readonly [status: number, name: string, message: string]>>
> = {
  throttled: [429, "ThrottlingException", "Rate limit reached for requests"],
  errorInside: [200, "", "the model is overloaded"],
  outage: [500, "InternalServerException", "the server had an error"],
  tooLarge: [413, "RequestEntityTooLarge", "the request is too large"],
  refused: [400, "ValidationException", "an input is not acceptable"],
  denied: [401, "AccessDeniedException", "Incorrect API key provided"],
};

function refuse(response: ServerResponse, { kind, under = "error", retryAfterSeconds }: Fault): void {
  const [status, name, message] = statuses[kind]!;
  if (retryAfterSeconds !== undefined) response.setHeader("retry-after", retryAfterSeconds);
  if (name !== "") response.setHeader("x-amzn-errortype", name);
  const error = { message, type: kind, code: kind === "errorInside" ? 503 : null };
  const bodies = { error: { error, message }, detail: { detail: [{ msg: message }] }, message: { message } };
  send(response, status, bodies[under]);
}

async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > bodyBytesMax) throw new Error(`a request has at most ${bodyBytesMax} bytes`);
    parts.push(part);
  }
  const text = Buffer.concat(parts).toString("utf8");
  return text === "" ? {} : (JSON.parse(text) as Record<string, unknown>);
}

function send(response: ServerResponse, status: number, body: unknown): void {
  if (response.destroyed || response.headersSent) return;
  response.writeHead(status, { "content-type": "application/json" });
  response.end(typeof body === "string" ? body : JSON.stringify(body));
}
