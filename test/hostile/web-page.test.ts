/** A web page in a browser on this machine, beside the local stack: every local port refuses what it sends. */

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type IncomingHttpHeaders, type OutgoingHttpHeaders, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { dynamoDbCommand } from "../../scripts/local/dynamodb.ts";
import { freePort } from "../../scripts/local/ports.ts";
import { type LocalStack, startLocalStack } from "../../scripts/local/stack.ts";
import { codeFolders, template } from "../local/stack-template.ts";

let stateDir: string;
let stack: LocalStack;

beforeAll(async () => {
  stateDir = mkdtempSync(join(tmpdir(), "siltstone-web-page-"));
  const ports = { s3: 0, sqs: 0, dynamodb: 0, lambda: 0, functionUrl: 0 };
  stack = await startLocalStack({
    stackName: "Test",
    template,
    codeFolders,
    stateDir,
    ports,
    scheduleEveryMs: null,
  });
});
afterAll(async () => {
  await stack?.stop();
  rmSync(stateDir, { recursive: true });
});

interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** node:http, since fetch takes neither Host nor Origin. */
function call(
  url: string,
  options: { method?: string; headers?: OutgoingHttpHeaders; body?: string } = {},
): Promise<Reply> {
  const { method = "GET", headers = {}, body } = options;
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      answer.on("end", () => resolve({ status: answer.statusCode!, headers: answer.headers, body: text }));
    });
    sent.on("error", reject).end(body);
  });
}

/** A page that has the local keys, which are no secret. */
const signedBy = (service: string): string =>
  `AWS4-HMAC-SHA256 Credential=local/20261126/us-east-1/${service}/aws4_request, SignedHeaders=host, Signature=0`;

/** What a page would like to do, at each port of the stack. */
const wishes = (): Record<
  string,
  { url: string; method: string; body?: string; headers?: OutgoingHttpHeaders }
> => ({
  "S3: an object overwritten": {
    url: `${stack.endpoints.s3}/${stack.buckets[0]}/k`,
    method: "PUT",
    headers: { authorization: signedBy("s3") },
    body: "x",
  },
  "S3: the faults switched on": {
    url: `${stack.endpoints.s3}/_local/fault-injection`,
    method: "PUT",
    body: "{}",
  },
  "SQS: a message sent": {
    url: `${stack.endpoints.sqs}/`,
    method: "POST",
    headers: {
      "x-amz-target": "AmazonSQS.ListQueues",
      "content-type": "application/x-amz-json-1.0",
      authorization: signedBy("sqs"),
    },
    body: "{}",
  },
  "DynamoDB: the tables listed": {
    url: `${stack.endpoints.dynamodb}/`,
    method: "POST",
    headers: {
      "x-amz-target": "DynamoDB_20120810.ListTables",
      "content-type": "application/x-amz-json-1.0",
      authorization: signedBy("dynamodb"),
      "x-amz-date": "20261126T000000Z",
    },
    body: "{}",
  },
  "Lambda: a function invoked": {
    url: `${stack.endpoints.lambda}/2015-03-31/functions/${stack.functions[0]}/invocations`,
    method: "POST",
    headers: { authorization: signedBy("lambda") },
    body: "{}",
  },
  "a function URL: a function invoked": { url: stack.outputs.WebUrl!, method: "POST", body: "{}" },
});

const pages: Record<string, OutgoingHttpHeaders> = {
  "of another site": { origin: "https://evil.example" },
  "of a file or a sandboxed frame": { origin: "null" },
  "of another local port": { origin: "http://localhost:3000" },
  "whose name resolves to this machine": { host: "rebound.evil.example" },
  "that embeds the URL as an image": { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors" },
  "of a host that only begins like ours": { host: "127.0.0.1.evil.example" },
};

test.each(Object.entries(pages))("a page %s gets 403 at every port", async (_, headers) => {
  for (const [wish, { url, ...options }] of Object.entries(wishes())) {
    const reply = await call(url, { ...options, headers: { ...options.headers, ...headers } });
    expect({ wish, status: reply.status }).toEqual({ wish, status: 403 });
    expect(reply.headers["access-control-allow-origin"]).toBeUndefined();
  }
});

test("programs on this machine are served, by either name, and no answer invites web pages", async () => {
  for (const [wish, { url, ...options }] of Object.entries(wishes())) {
    for (const name of ["127.0.0.1", "localhost"]) {
      const host = `${name}:${new URL(url).port}`;
      const reply = await call(url, { ...options, headers: { ...options.headers, host } });
      expect({ wish, name, refused: reply.status === 403 }).toEqual({ wish, name, refused: false });
      expect(reply.headers["access-control-allow-origin"]).toBeUndefined();
    }
  }
});

test("a preflight is refused as well", async () => {
  for (const { url } of Object.values(wishes())) {
    const headers = { origin: "https://evil.example", "access-control-request-method": "PUT" };
    expect((await call(url, { method: "OPTIONS", headers })).status).toBe(403);
  }
});

test("the emulator behind the proxy is at an address of its own at every start", async () => {
  const folder = mkdtempSync(join(tmpdir(), "siltstone-dynamodb-"));
  const commands = await Promise.all(Array.from({ length: 20 }, () => dynamoDbCommand(folder)));
  const hosts = new Set(commands.map(({ host }) => host));
  rmSync(folder, { recursive: true });
  if (commands[0]!.emulator === "dynoxide") expect(hosts.size).toBeGreaterThan(15);
  else expect([...hosts]).toEqual(["127.0.0.1"]);
});

test("dynalite, where dynoxide is not, guards its port too", async () => {
  const folder = mkdtempSync(join(tmpdir(), "siltstone-dynalite-"));
  const port = await freePort(0);
  const main = join(import.meta.dirname, "../../scripts/local/dynalite-main.ts");
  const settings = JSON.stringify({ folder: join(folder, "db"), port });
  const child = spawn(process.execPath, [main, settings], { stdio: ["pipe", "ignore", "inherit"] });
  try {
    const url = `http://127.0.0.1:${port}/`;
    let status = 0;
    for (let tries = 0; tries < 100 && status === 0; tries++) {
      status = await call(url).then(
        (reply) => reply.status,
        () => 0,
      );
      if (status === 0) await sleep(50);
    }
    expect(status).not.toBe(403);
    expect((await call(url, { headers: { origin: "https://evil.example" } })).status).toBe(403);
  } finally {
    child.stdin!.end();
    await new Promise((resolve) => child.once("exit", resolve));
    rmSync(folder, { recursive: true });
  }
});

test("the scripts start no server without the guard", () => {
  const servers = [
    "s3/server.ts",
    "sqs/main.ts",
    "dynalite-main.ts",
    "guarded-proxy.ts",
    "lambda/invoke-api.ts",
  ];
  for (const file of [...servers, "lambda/function-url.ts", "lambda/runtime-api.ts"]) {
    const source = readFileSync(join(import.meta.dirname, "../../scripts/local", file), "utf8");
    expect({ file, guards: /guarded\(|refusalOf\(/.test(source) }).toEqual({ file, guards: true });
  }
});
