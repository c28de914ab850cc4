/**
 * What Siltstone relies on in Lambda, told through the AWS SDK alone: over the local host always, and over a deployed
 * function when CONTRACT_AWS=1 and CONTRACT_FUNCTION name one with the code of lambda-fixture/.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InvokeCommand, type InvokeCommandInput, LambdaClient } from "@aws-sdk/client-lambda";
import { Guardian } from "../../scripts/local/guardian.ts";
import { LambdaHost } from "../../scripts/local/lambda/host.ts";

interface LambdaTarget {
  readonly client: LambdaClient;
  readonly functionName: string;
  close(): Promise<void>;
}

async function localLambda(): Promise<LambdaTarget> {
  const folder = mkdtempSync(join(tmpdir(), "siltstone-lambda-"));
  const guardian = new Guardian();
  const host = await LambdaHost.start({
    port: 0,
    region: "us-east-1",
    sandboxFolder: join(folder, "sandboxes"),
    logFolder: join(folder, "logs"),
    endpoints: {},
    watch: (child) => guardian.watch(child),
  });
  host.addFunction({
    name: "fixture",
    arn: "arn:aws:lambda:us-east-1:000000000000:function:fixture",
    codeFolder: join(import.meta.dirname, "lambda-fixture"),
    handler: "index.handler",
    runtime: "nodejs24.x",
    memoryMegabytes: 256,
    timeoutMs: 2000,
    environment: {},
  });
  const credentials = { accessKeyId: "local", secretAccessKey: "local" };
  const client = new LambdaClient({ endpoint: host.endpoint, region: "us-east-1", credentials });
  const close = async () => {
    client.destroy();
    await host.stop();
    await guardian.stop();
    rmSync(folder, { recursive: true });
  };
  return { client, functionName: "fixture", close };
}

async function realLambda(): Promise<LambdaTarget> {
  const client = new LambdaClient({});
  return { client, functionName: process.env.CONTRACT_FUNCTION!, close: async () => client.destroy() };
}

const runsOnAws = process.env.CONTRACT_AWS === "1" && process.env.CONTRACT_FUNCTION !== undefined;
if (!runsOnAws) {
  console.info(
    "The Lambda contract's AWS half is skipped: CONTRACT_AWS=1 and CONTRACT_FUNCTION are not both set.",
  );
}
const targets: [string, () => Promise<LambdaTarget>][] = [
  ["the local Lambda host", localLambda],
  ...(runsOnAws ? ([["AWS Lambda", realLambda]] as [string, () => Promise<LambdaTarget>][]) : []),
];

describe.each(targets)("%s", (_name, open) => {
  let target: LambdaTarget;
  beforeAll(async () => {
    target = await open();
  });
  afterAll(() => target.close());

  const invoke = async (event: object, more: Partial<InvokeCommandInput> = {}) => {
    const answer = await target.client.send(
      new InvokeCommand({ FunctionName: target.functionName, Payload: JSON.stringify(event), ...more }),
    );
    return {
      ...answer,
      value: answer.Payload?.length ? JSON.parse(answer.Payload.transformToString()) : undefined,
    };
  };

  test("the event goes in, the answer comes out, with a deadline and a request id", async () => {
    const { value, StatusCode, FunctionError, ExecutedVersion } = await invoke({
      do: "echo",
      text: "stone é 日本",
    });
    expect({ StatusCode, FunctionError, ExecutedVersion }).toEqual({
      StatusCode: 200,
      FunctionError: undefined,
      ExecutedVersion: "$LATEST",
    });
    expect(value.event.text).toBe("stone é 日本");
    expect(value.remainingMs).toBeGreaterThan(0);
    expect(value.remainingMs).toBeLessThanOrEqual(2000);
    expect(value.requestId).toMatch(/^[0-9a-f-]{36}$/);
  });

  test("an error of the handler comes back as its type and message", async () => {
    const { value, FunctionError } = await invoke({ do: "fail" });
    expect(FunctionError).toBe("Unhandled");
    expect(value).toMatchObject({ errorType: "RangeError", errorMessage: "too deep" });
    expect(value.trace[0]).toContain("too deep");
  });

  test("the log tail holds what was printed, and the REPORT line", async () => {
    const { LogResult } = await invoke({ do: "log", text: "layer upon layer" }, { LogType: "Tail" });
    const log = Buffer.from(LogResult!, "base64").toString();
    expect(log).toContain("layer upon layer");
    expect(log).toMatch(
      /REPORT RequestId: \S+\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 256 MB/,
    );
  });

  test("an invocation that outlives the timeout is killed, and the next one works", async () => {
    const { value, FunctionError } = await invoke({ do: "sleep", ms: 10_000 });
    expect(FunctionError).toBe("Unhandled");
    expect(value.errorMessage).toContain("Task timed out after 2.00 seconds");
    expect((await invoke({ do: "count" })).FunctionError).toBeUndefined();
  });

  test("a process that ends itself is an error, and the next one works", async () => {
    const { value } = await invoke({ do: "exit" });
    expect(value).toMatchObject({ errorType: "Runtime.ExitError" });
    expect(value.errorMessage).toContain("exit status 3");
    expect((await invoke({ do: "count" })).value.invocations).toBe(1);
  });

  test("more memory than the function has kills it", async () => {
    const { value, FunctionError } = await invoke({ do: "allocate", megabytes: 600 });
    expect(FunctionError).toBe("Unhandled");
    expect(value.errorType).toMatch(/^Runtime\.(OutOfMemory|ExitError)$/);
  });

  test("responses end at 6 MB", async () => {
    const fits = await invoke({ do: "big", bytes: 6 * 1024 * 1024 - 10 });
    expect(fits.value).toHaveLength(6 * 1024 * 1024 - 10);
    const { value, FunctionError } = await invoke({ do: "big", bytes: 6 * 1024 * 1024 + 1000 });
    expect(FunctionError).toBe("Unhandled");
    expect(value.errorType).toBe("Function.ResponseSizeTooLarge");
  });

  test("requests end at 6 MB", async () => {
    const tooLarge = invoke({ do: "echo", text: "x".repeat(6 * 1024 * 1024) });
    await expect(tooLarge).rejects.toMatchObject({ name: "RequestTooLargeException" });
  });

  test("an unknown function, and a payload that is no JSON, are errors of the call", async () => {
    await expect(invoke({}, { FunctionName: "no-such-function" })).rejects.toMatchObject({
      name: "ResourceNotFoundException",
    });
    await expect(invoke({}, { Payload: "{not json" })).rejects.toMatchObject({
      name: "InvalidRequestContentException",
    });
  });

  test("an asynchronous invocation is accepted at once, a dry run does nothing", async () => {
    expect((await invoke({ do: "count" }, { InvocationType: "Event" })).StatusCode).toBe(202);
    expect((await invoke({ do: "exit" }, { InvocationType: "DryRun" })).StatusCode).toBe(204);
  });

  test("the environment is Lambda's", async () => {
    const { value } = await invoke({ do: "environment" });
    expect(value).toMatchObject({
      AWS_LAMBDA_FUNCTION_NAME: target.functionName,
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: "256",
      AWS_LAMBDA_FUNCTION_VERSION: "$LATEST",
      AWS_EXECUTION_ENV: "AWS_Lambda_nodejs24.x",
    });
  });
});
