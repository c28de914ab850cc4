/**
 * Endpoints with OpenAI's API for embeddings, and those that are nearly so: a row each says where they differ. None is asked to
 * cut a text off: where an API does that by itself, its own operation is called that can be told not to.
 */
import type { ProviderName } from "../core/model/embedding-profile.ts";
import { isPlainObject } from "../core/model/metadata.ts";
import {
  type Provider,
  type ProviderAnswer,
  ProviderRefusal,
  type ProviderRequest,
  type RefusalKind,
} from "./provider.ts";

/** One POST of JSON. Throws when no whole answer came in time; any status is an answer. */
export type Post = (
  url: string,
  body: string,
  options: { readonly headers: Readonly<Record<string, string>>; readonly waitMs: number },
) => Promise<{
  readonly status: number;
  readonly header: (name: string) => string | null;
  readonly text: string;
}>;

export type HttpProviderName = Exclude<ProviderName, "bedrock">;

interface Dialect {
  readonly path: string;
  readonly inputsMax: number;
  /** Largest size of all inputs of a request together, in bytes of UTF-8. */
  readonly bytesMax: number;
  body(request: ProviderRequest): Record<string, unknown>;
  /** The vectors of an answer, or null where it is none. */
  vectors(answer: unknown): readonly unknown[] | null;
  tokens(answer: unknown, header: (name: string) => string | null): unknown;
}

const MiB = 2 ** 20;
const dimensions = ({ profile, dims }: ProviderRequest): { dimensions?: number } =>
  profile.shortened ? { dimensions: dims } : {};
const task = ({ profile, purpose }: ProviderRequest): string | null =>
  purpose === "query" ? profile.queryTask : profile.documentTask;

const openai: Dialect = {
  path: "/embeddings",
  inputsMax: 2_048,
  bytesMax: MiB,
  body: (request) => ({
    model: request.profile.model,
    input: request.inputs,
    encoding_format: "base64",
    ...dimensions(request),
  }),
  vectors: (answer) => inOrder(listAt(answer, "data")),
  tokens: (answer) => at(at(answer, "usage"), "total_tokens") ?? at(at(answer, "usage"), "prompt_tokens"),
};

const dialects: Readonly<Record<HttpProviderName, Dialect>> = {
  openai,
  // Without "float" it may answer in base64 of half precision.
  vllm: {
    ...openai,
    inputsMax: 1_024,
    body: ({ inputs, ...rest }) => ({
      model: rest.profile.model,
      input: inputs,
      encoding_format: "float",
      ...dimensions({ inputs, ...rest }),
    }),
  },
  jina: {
    ...openai,
    body: (request) => {
      const asked = task(request);
      return {
        model: request.profile.model,
        input: request.inputs,
        embedding_type: "float",
        truncate: false,
        ...(asked === null ? {} : { task: asked }),
        ...dimensions(request),
      };
    },
  },
  // Its operation with OpenAI's shape cuts long texts off and says nothing.
  ollama: {
    path: "/api/embed",
    inputsMax: 512,
    bytesMax: MiB,
    body: (request) => ({
      model: request.profile.model,
      input: request.inputs,
      truncate: false,
      ...dimensions(request),
    }),
    vectors: (answer) => listAt(answer, "embeddings"),
    tokens: (answer) => at(answer, "prompt_eval_count"),
  },
  // A server that was started with --auto-truncate cuts texts off unless a request says otherwise, which only /embed can.
  tei: {
    path: "/embed",
    inputsMax: 32,
    bytesMax: MiB,
    body: (request) => {
      const asked = task(request);
      return {
        inputs: request.inputs,
        truncate: false,
        normalize: false,
        ...(asked === null ? {} : { prompt_name: asked }),
        ...dimensions(request),
      };
    },
    vectors: (answer) => (Array.isArray(answer) ? answer : null),
    tokens: (_, header) => {
      const counted = header("x-compute-tokens");
      return counted === null ? null : Number(counted);
    },
  },
};

/** `key`: asked for each request, so that a secret that was changed is met; null where none is needed. */
export function httpProvider(
  name: HttpProviderName,
  {
    endpoint,
    post,
    key,
  }: { readonly endpoint: string; readonly post: Post; readonly key: () => Promise<string | null> },
): Provider {
  const dialect = dialects[name];
  const url = endpoint.replace(/\/+$/, "") + dialect.path;
  return {
    inputsMax: dialect.inputsMax,
    bytesMax: dialect.bytesMax,
    async request(request) {
      const secret = await key();
      const headers = {
        "content-type": "application/json",
        accept: "application/json",
        ...(secret === null ? {} : { authorization: `Bearer ${secret}` }),
      };
      let answer: Awaited<ReturnType<Post>>;
      try {
        answer = await post(url, JSON.stringify(dialect.body(request)), { headers, waitMs: request.waitMs });
      } catch (error) {
        throw new ProviderRefusal("outage", `no answer: ${(error as Error).message}`);
      }
      return read(dialect, answer, secret);
    },
  };
}

function read(
  dialect: Dialect,
  { status, header, text }: Awaited<ReturnType<Post>>,
  secret: string | null,
): ProviderAnswer {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    if (status >= 200 && status < 300)
      throw new ProviderRefusal("outage", "its answer is not JSON, or was cut off");
    body = text;
  }
  const refused = status < 200 || status >= 300 ? status : statusInside(body);
  if (refused !== null) throw refusalOf(refused, body, { secret, retryAfter: header("retry-after") });
  const vectors = dialect.vectors(body);
  if (vectors === null) throw new ProviderRefusal("broken", "its answer has no list of vectors");
  const tokens = dialect.tokens(body, header);
  return {
    vectors,
    tokens: typeof tokens === "number" && Number.isFinite(tokens) && tokens >= 0 ? tokens : null,
  };
}

/** Some answer 200 with an error inside: its own code when it has one, else a fault of the server. */
function statusInside(body: unknown): number | null {
  const error = at(body, "error") ?? (at(body, "object") === "error" ? body : null);
  if (error === null || error === undefined) return null;
  const code = Number(at(error, "code") ?? at(error, "status"));
  if (Number.isInteger(code) && code >= 400 && code <= 599) return code;
  return /rate.?limit|too many requests/i.test(`${at(error, "type")} ${at(error, "code")} ${messageOf(body)}`)
    ? 429
    : 500;
}

function refusalOf(
  status: number,
  body: unknown,
  { secret, retryAfter }: { secret: string | null; retryAfter: string | null },
): ProviderRefusal {
  // Some servers quote the request that they refuse, and what they say is shown to callers.
  const said = secret ? messageOf(body).replaceAll(secret, "…") : messageOf(body);
  const message = `${status}${said === "" ? "" : `: ${said.slice(0, 300)}`}`;
  return new ProviderRefusal(kindOf(status, body), message, retryAfterMs(retryAfter));
}

/** An account without credit answers as one that is too fast does, and stays so; rates are called quotas too. */
const noCredit =
  /insufficient.quota|exceeded your current quota|(?:insufficient|not enough|no|out of) (?:balance|credits?\b)/i;

function kindOf(status: number, body: unknown): RefusalKind {
  const error = at(body, "error");
  if (status === 429)
    return noCredit.test(`${at(error, "code")} ${at(error, "type")} ${messageOf(body)}`)
      ? "denied"
      : "throttled";
  if (status === 413) return "tooMuch";
  if (status === 400 || status === 422) return "input";
  if (status === 408 || status >= 500) return "outage";
  return "denied";
}

/** Seconds, not believed beyond ten minutes; a date is not read. */
function retryAfterMs(header: string | null): number | null {
  if (header === null) return null;
  const seconds = Number(header);
  return Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds, 600) * 1_000 : null;
}

/** Errors come under `error`, `detail` and `message`, as text, as objects and as lists. */
function messageOf(body: unknown, depth = 0): string {
  if (typeof body === "string") return body.trim();
  if (depth > 3) return "";
  if (Array.isArray(body)) return messageOf(body[0], depth + 1);
  for (const name of ["error", "detail", "message", "msg"]) {
    const inner = at(body, name);
    if (inner !== undefined && inner !== null) return messageOf(inner, depth + 1);
  }
  return "";
}

/** Sorted by `index` where every entry has one: answers may come in another order. Throws `broken` where one comes twice. */
function inOrder(data: readonly unknown[] | null): readonly unknown[] | null {
  if (data === null) return null;
  if (!data.every((one) => Number.isInteger(at(one, "index"))))
    return data.map((one) => at(one, "embedding"));
  const ordered = new Array<unknown>(data.length);
  for (const one of data) {
    const index = at(one, "index") as number;
    if (index < 0 || index >= data.length || ordered[index] !== undefined)
      throw new ProviderRefusal(
        "broken",
        `its answer has ${data.length} vectors and an index of ${index} that does not fit`,
      );
    ordered[index] = at(one, "embedding");
  }
  return ordered;
}

const at = (value: unknown, name: string): unknown =>
  isPlainObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
function listAt(value: unknown, name: string): readonly unknown[] | null {
  const list = at(value, name);
  return Array.isArray(list) ? list : null;
}
