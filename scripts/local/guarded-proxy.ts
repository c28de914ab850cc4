/**
 * An HTTP server that guards another one, whose code is not ours: what passes the guard and is allowed is handed on, and
 * the answer comes back without the headers that would open it to web pages.
 */
import {
  Agent,
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  request as send,
} from "node:http";
import { guarded } from "./request-guard.ts";

/** What is answered with status 400 instead of handing the request on; null when it may go on. */
export type Judge = (request: IncomingMessage, body: Buffer) => object | null;

/** Far above what DynamoDB takes in one request. */
const bodyBytesMax = 32 * 1024 * 1024;

export function createGuardedProxy(
  behind: { readonly host: string; readonly port: number },
  judge: Judge,
): Server {
  const agent = new Agent({ keepAlive: true });
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await bodyOf(request);
    if (body === null) {
      response.writeHead(413, { connection: "close" }).end();
      return;
    }
    const refusal = judge(request, body);
    if (refusal !== null) {
      response.writeHead(400, { "content-type": "application/x-amz-json-1.0" }).end(JSON.stringify(refusal));
      return;
    }
    const { method, url: path, headers } = request;
    const onward = send({ ...behind, method, path, headers, agent, setHost: false }, (answer) => {
      const kept = Object.entries(answer.headers).filter(([name]) => !name.startsWith("access-control-"));
      response.writeHead(answer.statusCode ?? 502, Object.fromEntries(kept));
      answer.pipe(response);
    });
    // A client is told by a broken connection, as if the server itself had died.
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    onward.end(body);
  };
  const server = createServer(
    guarded((request, response) => void serve(request, response).catch(() => response.destroy())),
  );
  server.keepAliveTimeout = 10 * 60_000;
  server.requestTimeout = 0;
  server.on("close", () => agent.destroy());
  return server;
}

/** Null where it is too large; what is too much is read, as the sender does not listen before, and not kept. */
async function bodyOf(request: IncomingMessage): Promise<Buffer | null> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes <= bodyBytesMax) parts.push(part);
  }
  return bytes <= bodyBytesMax ? Buffer.concat(parts) : null;
}
