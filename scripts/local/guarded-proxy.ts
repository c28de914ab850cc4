/**
 * An HTTP server that guards another one, whose code is not ours: what passes the guard is handed on, and the answer
 * comes back without the headers that would open it to web pages.
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

export function createGuardedProxy({ host, port }: { readonly host: string; readonly port: number }): Server {
  const agent = new Agent({ keepAlive: true });
  const handOn = (request: IncomingMessage, response: ServerResponse): void => {
    const { method, url, headers } = request;
    const onward = send({ host, port, method, path: url, headers, agent, setHost: false }, (answer) => {
      const kept = Object.entries(answer.headers).filter(([name]) => !name.startsWith("access-control-"));
      response.writeHead(answer.statusCode ?? 502, Object.fromEntries(kept));
      answer.pipe(response);
    });
    // A client is told by a broken connection, as if the server itself had died.
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  };
  const server = createServer(guarded(handOn));
  server.keepAliveTimeout = 10 * 60_000;
  server.requestTimeout = 0;
  server.on("close", () => agent.destroy());
  return server;
}
