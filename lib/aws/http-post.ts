/** A POST of JSON to a provider: one answer, of bounded size and in bounded time, over connections that are kept. */
import type { Post } from "../embedding/http-provider.ts";

/** 2,048 vectors of 4,096 dims in decimal digits. */
const answerBytesMax = 192 * 2 ** 20;

export const httpPost: Post = async (url, body, { headers, waitMs }) => {
  const signal = AbortSignal.timeout(waitMs);
  try {
    // A redirect would carry the key elsewhere.
    const answer = await fetch(url, { method: "POST", body, headers, signal, redirect: "error" });
    return { status: answer.status, header: (name) => answer.headers.get(name), text: await textOf(answer) };
  } catch (error) {
    if (signal.aborted) throw new Error(`none within ${waitMs} ms`);
    const { message, cause } = error as Error & { cause?: { code?: string; message?: string } };
    throw new Error(cause?.code ?? cause?.message ?? message);
  }
};

async function textOf({ body }: Response): Promise<string> {
  if (body === null) return "";
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of body as unknown as AsyncIterable<Uint8Array>) {
    bytes += part.length;
    if (bytes > answerBytesMax) throw new Error(`its answer has more than ${answerBytesMax} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}
