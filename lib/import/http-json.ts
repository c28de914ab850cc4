/** JSON over HTTP, of other stores' servers: bounded waits, repeated where repeating is safe, and errors that say what to do. */
import { invalid, SiltstoneError } from "../core/model/errors.ts";
import { parseWithIntegers } from "./exact-integers.ts";

const answerMs = 60_000;
const attemptsMax = 5;
const firstPauseMs = 500;
const shownMax = 300;
/** Of an answer: a page of the largest vectors has a tenth of it. */
const answerBytesMax = 256 * 1024 * 1024;

export interface HttpServer {
  /** Without a slash at its end. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Where the key comes from, for who is refused. */
  readonly keyVariable: string;
}

/**
 * Reads only, whatever the method: it is repeated after 429, 5xx and broken connections. Throws `invalid` for what the server
 * refuses, `notFound` for what it does not have, `unavailable` when it does not answer.
 */
export async function readJson(
  server: HttpServer,
  method: "GET" | "POST",
  path: string,
  body?: object,
): Promise<unknown> {
  for (let attempt = 1; ; attempt++) {
    const answer = await ask(server, method, path, body);
    if (answer.kind === "answered") return answer.value;
    if (!answer.isPassing || attempt === attemptsMax) throw answer.error;
    await new Promise((resolve) => setTimeout(resolve, firstPauseMs * 2 ** (attempt - 1)));
  }
}

type Asked =
  | { readonly kind: "answered"; readonly value: unknown }
  | { readonly kind: "failed"; readonly isPassing: boolean; readonly error: SiltstoneError };

async function ask(
  { url, headers, keyVariable }: HttpServer,
  method: string,
  path: string,
  body: object | undefined,
): Promise<Asked> {
  const failed = (kind: SiltstoneError["kind"], said: string, isPassing = false): Asked => {
    return { kind: "failed", isPassing, error: new SiltstoneError(kind, `${method} ${url}${path}: ${said}`) };
  };
  try {
    const response = await fetch(url + path, {
      method,
      headers: { accept: "application/json", "content-type": "application/json", ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(answerMs),
      // A key goes to the server that was named, and to no other.
      redirect: "error",
    });
    const text = await textOf(response, url);
    if (response.ok) return { kind: "answered", value: parsed(url, text) };
    const said = `${response.status} ${text.slice(0, shownMax)}`;
    if (response.status === 401 || response.status === 403)
      return failed("invalid", `${said}; its key comes from the environment: ${keyVariable}`);
    if (response.status === 404) return failed("notFound", said);
    const isPassing = response.status === 429 || response.status >= 500;
    return failed(isPassing ? "unavailable" : "invalid", said, isPassing);
  } catch (error) {
    if (error instanceof SiltstoneError) throw error;
    const { message, cause } = error as Error;
    return failed("unavailable", cause instanceof Error ? `${message}: ${cause.message}` : message, true);
  }
}

async function textOf(response: Response, url: string): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.length;
    if (bytes > answerBytesMax) throw invalid(`${url} answers with more than ${answerBytesMax} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

function parsed(url: string, text: string): unknown {
  try {
    return parseWithIntegers(text);
  } catch (error) {
    throw invalid(`${url} does not answer with JSON: ${(error as Error).message}`);
  }
}

/** A location's parts. A name or password in it would be seen by every user of the machine, and is refused. */
export function serverUrl(location: string, keyVariable: string): URL {
  if (!URL.canParse(location)) throw invalid(`${location.slice(0, shownMax)} is no URL`);
  const url = new URL(location);
  if (
    url.password !== "" ||
    [...url.searchParams.keys()].some((name) => /^(x-)?(api[-_]?)?key$|token|password|secret/i.test(name))
  )
    throw invalid(`a key does not belong on the command line; give it in the environment: ${keyVariable}`);
  return url;
}
