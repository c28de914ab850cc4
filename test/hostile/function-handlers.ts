/** The functions' own handlers over a world in memory: everything but AWS is what deploys. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { InvocationContext, LambdaHandler, UrlReply } from "../../lib/aws/lambda-handler.ts";
import { env } from "../../lib/contract/names.ts";
import * as errors from "../../lib/core/model/errors.ts";
import type { MemoryWorld } from "../support/memory/world.ts";

const context: InvocationContext = { awsRequestId: "request-1", getRemainingTimeInMillis: () => 30_000 };

/** What a caller gets. */
export interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: answers are JSON, and matched by the tests
  readonly body: any;
}
export type FunctionName = "query" | "producer" | "compactor";

export interface Handlers {
  /** By direct invocation. */
  invoke(name: FunctionName, event: unknown): Promise<Answer>;
  /** By POST to the function's URL. */
  post(name: FunctionName, body: string): Promise<Answer>;
  /** Removes what they keep in their temporary folder. */
  remove(): void;
}

/** With `groups`, the query function asks that many others, each a module of its own. With `logs`, they log. */
export function handlersOver(world: MemoryWorld, { groups = 0, logs = false } = {}): Handlers {
  const folder = mkdtempSync(join(tmpdir(), "siltstone-functions-"));
  Object.assign(process.env, {
    POWERTOOLS_LOG_LEVEL: logs ? "INFO" : "SILENT",
    POWERTOOLS_METRICS_DISABLED: String(!logs),
    [env.stage]: "dev",
    [env.store]: "Siltstone-dev",
    [env.bucket]: "siltstone-dev",
    [env.table]: "Siltstone-dev-Table",
    [env.queueUrl]: "http://127.0.0.1:1/queue",
    [env.deadLetterQueueUrl]: "http://127.0.0.1:1/dead",
  });
  // Readers' caches are in the temporary folder, and go with it: no function closes its reader.
  jest.doMock("node:os", () => ({ ...jest.requireActual<object>("node:os"), tmpdir: () => folder }));
  // The world throws errors too: handlers and world must mean the same class.
  jest.doMock("../../lib/core/model/errors.ts", () => errors);
  jest.doMock("../../lib/aws/aws-world.ts", () => ({ awsWorld: () => world }));
  jest.doMock("../../lib/aws/producer-world.ts", () => ({ producerWorld: () => world }));
  const names = Array.from({ length: groups }, (_, group) => `Group${group}`);
  const ofGroups = new Map(names.map((name) => [name, loaded("query")]));
  jest.doMock("@aws-sdk/client-lambda", () => lambdaOf(ofGroups));
  const handlers = {
    query: loaded("query", names),
    producer: loaded("producer"),
    compactor: loaded("compactor"),
  };
  return {
    async invoke(name, event) {
      try {
        return { status: 200, body: await handlers[name](event, context) };
      } catch (error) {
        const { kind, ...failure } = JSON.parse((error as Error).message) as { kind: string };
        return { status: kind === "internal" ? 500 : 400, body: { kind, ...failure } };
      }
    },
    async post(name, body) {
      const event = { version: "2.0", rawPath: "/", requestContext: { http: { method: "POST" } }, body };
      const reply = (await handlers[name](event, context)) as UrlReply;
      return { status: reply.statusCode, body: JSON.parse(reply.body) };
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function loaded(name: FunctionName, groups: readonly string[] = []): LambdaHandler {
  process.env[env.groupFunctions] = groups.join(",");
  let handler: LambdaHandler | undefined;
  jest.isolateModules(() => {
    ({ handler } = jest.requireActual<{ handler: LambdaHandler }>(`../../lambdas/${name}/handler.ts`));
  });
  return handler!;
}

/** What the SDK's client of Lambda does with the functions: events and answers are JSON, an error is its name and message. */
const lambdaOf = (functions: ReadonlyMap<string, LambdaHandler>) => ({
  InvokeCommand: class {
    readonly input: unknown;
    constructor(input: unknown) {
      this.input = input;
    }
  },
  LambdaClient: class {
    async send({ input }: { input: { FunctionName: string; Payload: Buffer } }): Promise<object> {
      const event = JSON.parse(input.Payload.toString()) as unknown;
      try {
        const answer = await functions.get(input.FunctionName)!(event, context);
        return { Payload: Buffer.from(JSON.stringify(answer)) };
      } catch (error) {
        const { name, message } = error as Error;
        const payload = JSON.stringify({ errorType: name, errorMessage: message });
        return { FunctionError: "Unhandled", Payload: Buffer.from(payload) };
      }
    }
  },
});
