/** A server of JSON on 127.0.0.1, for the tests of other stores' APIs: their shapes, as their documents give them. */
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

export interface Asked {
  readonly method: string;
  readonly url: URL;
  readonly headers: IncomingMessage["headers"];
  readonly body: Record<string, unknown>;
  /** The body as it came. */
  readonly text: string;
}
export type Answer = { readonly status?: number; readonly body: unknown };

export interface JsonServer {
  readonly url: string;
  readonly asked: Asked[];
  close(): void;
}

export async function jsonServer(answer: (asked: Asked) => Answer): Promise<JsonServer> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const text = Buffer.concat(chunks).toString();
      const one = {
        method: request.method!,
        url: new URL(request.url!, "http://server"),
        headers: request.headers,
        text,
        body: (text === "" ? {} : JSON.parse(text)) as Record<string, unknown>,
      };
      asked.push(one);
      const { status = 200, body } = answer(one);
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, asked, close: () => void server.close() };
}
