/**
 * The Lambda Runtime API of one sandbox, as the runtime client inside speaks it. It only translates HTTP into the four
 * events of a runtime's life; what they mean is the sandbox's business.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { guarded } from "../request-guard.ts";
import { responseBytesMax } from "./function.ts";

export interface RuntimeEvents {
  /** The runtime is ready for an invocation. */
  ready(): void;
  /** It answered; null when the answer was larger than Lambda lets through. */
  responded(requestId: string, payload: Buffer | null): void;
  errored(requestId: string, payload: Buffer): void;
  initFailed(payload: Buffer): void;
}
export interface Invocation {
  readonly requestId: string;
  readonly payload: Buffer;
  readonly deadlineMs: number;
  readonly functionArn: string;
}

export class RuntimeApi {
  private readonly server: Server;
  private readonly events: RuntimeEvents;
  /** The runtime's open request for its next invocation. */
  private waiting: ServerResponse | null = null;

  constructor(events: RuntimeEvents) {
    this.events = events;
    this.server = createServer(
      guarded((request, response) => {
        this.handle(request, response).catch(() => response.destroy());
      }),
    );
    // A frozen runtime is silent for as long as it is idle.
    this.server.keepAliveTimeout = 0;
    this.server.requestTimeout = 0;
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.server.once("error", reject);
      this.server.listen(0, "127.0.0.1", resolve);
    });
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  /** Hands the waiting runtime its invocation. */
  dispatch(invocation: Invocation): void {
    const { waiting } = this;
    this.waiting = null;
    waiting?.writeHead(200, {
      "content-type": "application/json",
      "lambda-runtime-aws-request-id": invocation.requestId,
      "lambda-runtime-deadline-ms": String(invocation.deadlineMs),
      "lambda-runtime-invoked-function-arn": invocation.functionArn,
      "lambda-runtime-trace-id": `Root=1-${invocation.requestId.slice(0, 8)}-${invocation.requestId.replaceAll("-", "").slice(8)};Sampled=0`,
    });
    waiting?.end(invocation.payload);
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? "").replace("/2018-06-01/runtime/", "");
    if (path === "invocation/next") {
      this.waiting = response;
      this.events.ready();
      return;
    }
    const payload = await readAll(request);
    const [, requestId, kind] = /^invocation\/([^/]+)\/(response|error)$/.exec(path) ?? [];
    if (path === "init/error") this.events.initFailed(payload ?? Buffer.alloc(0));
    else if (requestId && kind === "response") this.events.responded(requestId, payload);
    else if (requestId && kind === "error") this.events.errored(requestId, payload ?? Buffer.from("{}"));
    else {
      response.writeHead(404).end();
      return;
    }
    response
      .writeHead(payload === null ? 413 : 202, { "content-type": "application/json" })
      .end('{"status":"OK"}');
  }
}

/** The whole body, or null when it is larger than a response may be (what is too much is not kept). */
async function readAll(request: IncomingMessage): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes <= responseBytesMax) chunks.push(chunk);
  }
  return bytes <= responseBytesMax ? Buffer.concat(chunks) : null;
}
