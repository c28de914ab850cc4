/** What only the local Lambda host promises: processes, freezing, concurrency, URLs, schedules, and no strays. */
import { fork } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  GetFunctionCommand,
  InvokeCommand,
  LambdaClient,
  ListFunctionsCommand,
} from "@aws-sdk/client-lambda";
import { Guardian } from "../../scripts/local/guardian.ts";
import { LambdaHost } from "../../scripts/local/lambda/host.ts";
import { rateMs } from "../../scripts/local/lambda/schedules.ts";
import { isAlive } from "../../scripts/local/state-file.ts";

const codeFolder = resolve(import.meta.dirname, "../contract/lambda-fixture");
let folder: string;
let guardian: Guardian;
let host: LambdaHost;
let client: LambdaClient;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "siltstone-lambda-"));
  guardian = new Guardian();
  host = await LambdaHost.start({
    port: 0,
    region: "us-east-1",
    sandboxFolder: join(folder, "sandboxes"),
    logFolder: join(folder, "logs"),
    endpoints: { AWS_ENDPOINT_URL_S3: "http://127.0.0.1:1" },
    watch: (child) => guardian.watch(child),
    idleMs: 3000,
  });
  const common = { codeFolder, runtime: "nodejs24.x", memoryMegabytes: 256, timeoutMs: 5000 };
  const add = (name: string, handler: string, more: object = {}) =>
    host.addFunction({
      ...common,
      name,
      arn: `arn:aws:lambda:us-east-1:000000000000:function:${name}`,
      handler,
      environment: { MARK: name },
      ...more,
    });
  add("many", "index.handler");
  add("single", "index.handler", { reservedConcurrency: 1 });
  add("http", "index.http");
  add("missing", "absent.handler");
  const credentials = { accessKeyId: "local", secretAccessKey: "local" };
  client = new LambdaClient({ endpoint: host.endpoint, region: "us-east-1", credentials, maxAttempts: 1 });
});
afterAll(async () => {
  client.destroy();
  await host.stop();
  await guardian.stop();
  rmSync(folder, { recursive: true, force: true });
});

const invoke = async (FunctionName: string, event: object) => {
  const answer = await client.send(new InvokeCommand({ FunctionName, Payload: JSON.stringify(event) }));
  return JSON.parse(answer.Payload!.transformToString());
};
/** Waits for something that happens by itself; the bound only ends a hanging test. */
async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500 && !holds(); tries++) await sleep(20);
  expect(holds()).toBe(true);
}

test("a warm sandbox is used again; concurrent calls get sandboxes of their own; idle ones are reaped", async () => {
  const first = await invoke("many", { do: "count" });
  const second = await invoke("many", { do: "count" });
  expect(second).toEqual({ pid: first.pid, invocations: 2 });
  const parallel = await Promise.all([1, 2, 3].map(() => invoke("many", { do: "sleep", ms: 200 })));
  expect(new Set(parallel.map((answer) => answer.pid)).size).toBe(3);
  await until(() => host.function("many").pids.length === 0);
  expect(isAlive(first.pid)).toBe(false);
});

test("nothing runs between invocations", async () => {
  const before = await invoke("single", { do: "ticks" });
  await sleep(1000);
  const after = await invoke("single", { do: "ticks" });
  // 1 s is 50 ticks of a process that is not frozen.
  expect(after - before).toBeLessThan(25);
});

test("reserved concurrency answers 429 while its slot is taken", async () => {
  const slow = invoke("single", { do: "sleep", ms: 1000 });
  await sleep(250);
  await expect(invoke("single", { do: "count" })).rejects.toMatchObject({
    name: "TooManyRequestsException",
    Reason: "ReservedFunctionConcurrentInvocationLimitExceeded",
  });
  expect(await slow).toMatchObject({ slept: 1000 });
});

test("each sandbox has an empty /tmp of its own, which stays while it is warm", async () => {
  const cold = await Promise.all([invoke("many", { do: "tmp" }), invoke("many", { do: "tmp" })]);
  expect(cold).toEqual([[], []]);
  expect(await invoke("many", { do: "tmp" })).toEqual(["left"]);
});

test("the environment is the function's and the endpoints', not this process's", async () => {
  process.env.SILTSTONE_TEST_LEAK = "1";
  const environment = await invoke("many", { do: "environment" });
  expect(environment).toMatchObject({ MARK: "many", AWS_ENDPOINT_URL_S3: "http://127.0.0.1:1" });
  expect(environment.AWS_ENDPOINT_URL_LAMBDA).toBe(host.endpoint);
  expect(environment).not.toHaveProperty("SILTSTONE_TEST_LEAK");
});

test("a bundle that cannot be loaded is an error of its invocation", async () => {
  expect(await invoke("missing", {})).toMatchObject({
    errorType: expect.stringContaining("ImportModuleError"),
  });
});

test("functions are listed and described, by name and by ARN", async () => {
  const { Functions } = await client.send(new ListFunctionsCommand({}));
  expect(Functions!.map((entry) => entry.FunctionName)).toEqual(["many", "single", "http", "missing"]);
  const arn = "arn:aws:lambda:us-east-1:000000000000:function:single";
  const { Configuration, Concurrency } = await client.send(new GetFunctionCommand({ FunctionName: arn }));
  expect(Configuration).toMatchObject({ FunctionName: "single", MemorySize: 256, Timeout: 5 });
  expect(Concurrency).toEqual({ ReservedConcurrentExecutions: 1 });
  expect(await invoke(arn, { do: "count" })).toHaveProperty("invocations");
});

test("a function URL carries requests in payload format 2.0 and answers back", async () => {
  const url = await host.addUrl("http", "AWS_IAM", 0);
  const answer = await fetch(`${url}a/b?x=1&x=2&y=é`, { method: "POST", body: Buffer.from([0, 255, 7]) });
  expect(answer.status).toBe(201);
  expect(answer.headers.get("x-layer")).toBe("7");
  expect(answer.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
  expect([...new Uint8Array(await answer.arrayBuffer())]).toEqual([0, 255, 7]);
  const raw = await fetch(`${url}raw?x=1&x=2&y=%C3%A9`, {
    method: "POST",
    body: '{"q":1}',
    headers: { "content-type": "application/json", cookie: "c=3; d=4" },
  });
  expect(((await raw.json()) as { seen: object }).seen).toMatchObject({
    version: "2.0",
    rawPath: "/raw",
    rawQueryString: "x=1&x=2&y=%C3%A9",
    queryStringParameters: { x: "1,2", y: "é" },
    cookies: ["c=3", "d=4"],
    body: '{"q":1}',
    isBase64Encoded: false,
    requestContext: {
      http: { method: "POST", path: "/raw" },
      authorizer: { iam: { accountId: "000000000000" } },
    },
  });
  expect((await fetch(`${url}fail`)).status).toBe(502);
});

test("schedules run, soon and again, and rates are read", async () => {
  expect([rateMs("rate(1 minute)"), rateMs("rate(5 minutes)"), rateMs("rate(2 hours)")]).toEqual([
    60_000, 300_000, 7_200_000,
  ]);
  expect(() => rateMs("cron(0 * * * ? *)")).toThrow("cron");
  const input = JSON.stringify({ do: "log", text: "scheduled run" });
  host.startSchedules(
    [{ name: "s", roleArn: "", expression: "rate(1 minute)", functionName: "many", input }],
    60,
  );
  const runs = () => {
    try {
      return readFileSync(join(folder, "logs", "many.log"), "utf8").split("scheduled run").length - 1;
    } catch {
      return 0;
    }
  };
  await until(() => runs() >= 3);
});

test("the sandboxes of a killed host end, frozen and busy ones alike", async () => {
  const owner = fork(join(import.meta.dirname, "lambda-host-owner.ts"), [codeFolder, folder], {
    execPath: process.execPath,
    execArgv: [],
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const pids = await new Promise<number[]>((found) =>
    owner.once("message", (message) => found(message as number[])),
  );
  expect(pids).toHaveLength(2);
  expect(pids.map(isAlive)).toEqual([true, true]);
  owner.kill("SIGKILL");
  await until(() => !pids.some(isAlive));
});
