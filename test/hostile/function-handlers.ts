/** The functions' own handlers over a world in memory: everything but AWS is what deploys. */
import type { InvocationContext, LambdaHandler, UrlReply } from "../../lib/aws/lambda-door.ts";
import { env } from "../../lib/contract.ts";
import type { MemoryWorld } from "../support/memory/world.ts";

const context: InvocationContext = { awsRequestId: "request-1", getRemainingTimeInMillis: () => 30_000 };

/** What a caller gets. */
export interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: answers are JSON, and matched by the tests
  readonly body: any;
}

export interface Handlers {
  /** By direct invocation. */
  invoke(name: "query" | "producer", event: unknown): Promise<Answer>;
  /** By POST to the function's URL. */
  post(name: "query" | "producer", body: string): Promise<Answer>;
}

export async function handlersOver(world: MemoryWorld): Promise<Handlers> {
  Object.assign(process.env, {
    [env.stage]: "dev",
    [env.bucket]: "siltstone-dev",
    [env.table]: "Siltstone-dev-Table",
    [env.queueUrl]: "http://127.0.0.1:1/queue",
    [env.deadLetterQueueUrl]: "http://127.0.0.1:1/dead",
    POWERTOOLS_DEV: "false",
  });
  jest.doMock("../../lib/aws/aws-world.ts", () => ({ awsWorld: () => world }));
  jest.doMock("../../lib/aws/producer.ts", () => ({ producerWorld: () => world }));
  // The temporary folder of a machine is not a function's: nothing is cleared in it.
  jest.doMock("../../lib/aws/scratch.ts", () => ({ clearScratch: () => {} }));
  const handlers: Record<string, LambdaHandler> = {
    query: jest.requireActual("../../lambdas/query/handler.ts").handler,
    producer: jest.requireActual("../../lambdas/producer/handler.ts").handler,
  };
  return {
    async invoke(name, event) {
      try {
        return { status: 200, body: await handlers[name]!(event, context) };
      } catch (error) {
        const { kind, ...failure } = JSON.parse((error as Error).message) as { kind: string };
        return { status: kind === "internal" ? 500 : 400, body: { kind, ...failure } };
      }
    },
    async post(name, body) {
      const event = { version: "2.0", rawPath: "/", requestContext: { http: { method: "POST" } }, body };
      const reply = (await handlers[name]!(event, context)) as UrlReply;
      return { status: reply.statusCode, body: JSON.parse(reply.body) };
    },
  };
}
