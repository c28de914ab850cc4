/**
 * Who may talk to the local stack: programs on this machine, and no web page. A browser lets any page send requests to
 * 127.0.0.1, and a page whose host name was made to resolve there (DNS rebinding) may even read the answers. So every
 * local port refuses a request that was meant for another host, and one that a browser sent for a page.
 */
import type { IncomingMessage, ServerResponse } from "node:http";

const localHost = /^(?:127\.0\.0\.1|localhost)(?::\d{1,5})?$/i;

/** Why the request is refused with 403; null when it may pass. */
export function refusalOf({
  headers,
  headersDistinct,
  url,
}: Pick<IncomingMessage, "headers" | "url"> & Partial<Pick<IncomingMessage, "headersDistinct">>):
  | string
  | null {
  const { origin } = headers;
  // "//" is one that URL, which all of them read paths by, cannot read.
  if (!URL.canParse(url ?? "/", "http://127.0.0.1")) return "the path is not one";
  // Node takes the first of several; a proxy before it might have taken another. (A request that was translated and passed on
  // inside the process has one.)
  const [host, second] = headersDistinct?.host ?? [headers.host];
  if (host === undefined || second !== undefined || !localHost.test(host))
    return "the Host header must be 127.0.0.1 or localhost, with or without a port";
  if (origin !== undefined) return "a request with an Origin header comes from a web page";
  // Browsers leave Origin out where a page only embeds a URL (an image, a link); `none` is the address bar.
  const site = headers["sec-fetch-site"];
  if (site !== undefined && site !== "none")
    return `a request with Sec-Fetch-Site: ${String(site).slice(0, 40)} comes from a web page`;
  return null;
}

type Listener = (request: IncomingMessage, response: ServerResponse) => void;

/** The listener behind the guard. */
export const guarded =
  (listener: Listener): Listener =>
  (request, response) => {
    const refusal = refusalOf(request);
    if (refusal === null) return listener(request, response);
    request.resume();
    response.writeHead(403, { "content-type": "text/plain; charset=utf-8", connection: "close" });
    response.end(`Forbidden: ${refusal}.\n`);
  };
