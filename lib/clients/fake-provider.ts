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
import { createServer, type IncomingMessage, type OutgoingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { lexicalVector } from "../embedding/lexical-embedder.ts";
import { type Asked, apis, type Embedding } from "./fake-apis.ts";
import { type Fault, refusalOf, spoiled } from "./fake-faults.ts";

export { type Fault, type FaultKind, faultKinds } from "./fake-faults.ts";

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

const bodyBytesMax = 64 * 2 ** 20;
const embeddedKeptMax = 1_000_000;

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
    fail: (fault) => state.fail(fault),
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

  fail(fault: Fault): void {
    this.faults.push({ ...fault, left: fault.times ?? Number.POSITIVE_INFINITY });
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
    state.fail(body as unknown as Fault);
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
  if (state.isTooFast()) return send(response, ...refusalOf({ kind: "throttled" }));
  const fault = state.faultOf(asked.inputs);
  switch (fault?.kind) {
    case "throttled":
    case "errorInside":
    case "outage":
    case "tooLarge":
    case "refused":
    case "denied":
      return send(response, ...refusalOf(fault));
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

function send(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: OutgoingHttpHeaders = {},
): void {
  if (response.destroyed || response.headersSent) return;
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(typeof body === "string" ? body : JSON.stringify(body));
}
