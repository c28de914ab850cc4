/** Collections that a stack declares (PKG-3), by the deployed function under its own role: created, never changed, never deleted. */

import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { collectionKey, pointerKey } from "../../lib/core/format/keys.ts";
import { synthesize } from "../../scripts/build/synthesize.ts";
import { listen } from "../../scripts/local/ports.ts";
import { startLocalStack } from "../../scripts/local/stack.ts";
import { Deployed } from "../e2e/deployed.ts";

jest.setTimeout(120_000);
const deployed = new Deployed();
const docs = { dims: 3, metric: "cosine", fields: { lang: "string" }, shards: 2 } as const;
let lambda: LambdaClient;
let server: Server;
let url: string;
const answers: Record<string, string>[] = [];
beforeAll(async () => {
  await deployed.start(null, { add: (store) => void store.addCollection("docs", docs) });
  lambda = new LambdaClient({ maxAttempts: 1 });
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => {
      body += part;
    });
    request.on("end", () => {
      answers.push(JSON.parse(body));
      response.end();
    });
  });
  url = `http://127.0.0.1:${await listen(server, 0)}/`;
});
afterAll(async () => {
  await deployed.stop();
  deployed.remove();
  lambda?.destroy();
  server?.close();
});

async function invoke(event: object): Promise<{ value: Record<string, unknown>; failed: boolean }> {
  const FunctionName = deployed.stack.outputs.CollectionsFunctionName!;
  const answer = await lambda.send(new InvokeCommand({ FunctionName, Payload: JSON.stringify(event) }));
  return {
    value: JSON.parse(answer.Payload!.transformToString()),
    failed: answer.FunctionError !== undefined,
  };
}

/** What CloudFormation is answered. */
async function asked(
  RequestType: "Create" | "Update" | "Delete",
  configuration: object,
  PhysicalResourceId?: string,
) {
  const ids = { StackId: "stack", RequestId: `r${answers.length}`, LogicalResourceId: "Docs" };
  const ResourceProperties = { ServiceToken: "x", Configuration: JSON.stringify(configuration) };
  await invoke({ RequestType, ResponseURL: url, ...ids, ResourceProperties, PhysicalResourceId });
  const answer = answers.at(-1)!;
  expect(answer).toMatchObject(ids);
  return answer;
}

test("a declared collection is there when the stack is, and again when it is deployed again", async () => {
  const body = JSON.parse(Buffer.from(await bodyOf(collectionKey("docs"))).toString());
  expect(body).toMatchObject({ name: "docs", ...docs });
  for (const shard of [0, 1]) expect(await bodyOf(pointerKey({ collection: "docs", shard }))).toBeDefined();
  expect(await asked("Create", { name: "docs", ...docs })).toMatchObject({
    Status: "SUCCESS",
    PhysicalResourceId: "docs",
  });
  expect(await asked("Update", { name: "docs", ...docs }, "docs")).toMatchObject({ Status: "SUCCESS" });
});

test("one that differs fails, saying in what, and nothing is changed", async () => {
  const before = await bodyOf(collectionKey("docs"));
  const answer = await asked("Update", { name: "docs", ...docs, dims: 4 }, "docs");
  expect(answer).toMatchObject({ Status: "FAILED", PhysicalResourceId: "docs" });
  expect(answer.Reason).toContain("dims is 3, not 4");
  expect(answer.Reason).toContain("a configuration never changes: make another collection");
  expect(await bodyOf(collectionKey("docs"))).toEqual(before);
});

test("one that is declared no more stays", async () => {
  const before = await deployed.keys("docs/");
  expect(await asked("Delete", { name: "docs", ...docs }, "docs")).toMatchObject({ Status: "SUCCESS" });
  expect(await deployed.keys("docs/")).toEqual(before);
  expect(before).toHaveLength(4);
});

test("one that cannot be fails", async () => {
  const answer = await asked("Create", { name: "docs", dims: 3, metric: "hamming" });
  expect(answer).toMatchObject({
    Status: "FAILED",
    Reason: expect.stringContaining("metric must be one of"),
  });
  expect(await asked("Create", { dims: 3 })).toMatchObject({ Status: "FAILED" });
});

test("the function creates by calls as well, for who may invoke it", async () => {
  const made = { name: "called", dims: 8, metric: "l2" };
  expect(await invoke(made)).toMatchObject({ failed: false, value: { created: true, collection: made } });
  expect(await invoke(made)).toMatchObject({ failed: false, value: { created: false } });
  expect(await invoke({ ...made, dims: 9 })).toMatchObject({
    failed: true,
    value: { errorType: "conflict" },
  });
  expect(await invoke({ name: "other" })).toMatchObject({ failed: true, value: { errorType: "invalid" } });
  expect(await invoke({ ...made, colour: "red" })).toMatchObject({
    failed: true,
    value: { errorType: "invalid", errorMessage: expect.stringContaining("colour") },
  });
});

test("a stack whose collection differs from what is there does not start, and says why", async () => {
  await deployed.stop();
  const synthesis = await synthesize("dev", join(deployed.stateDir, "other.out"), {}, (store) => {
    store.addCollection("docs", { ...docs, dims: 5 });
  });
  const ports = { s3: 0, sqs: 0, dynamodb: 0, lambda: 0, functionUrl: 0 };
  const options = { ...synthesis, stateDir: deployed.stateDir, ports, scheduleEveryMs: null };
  await expect(startLocalStack(options)).rejects.toThrow("dims is 3, not 5");
});

async function bodyOf(key: string): Promise<Uint8Array> {
  const found = await deployed.world.store.get(key);
  return (found as { body: Uint8Array }).body;
}
