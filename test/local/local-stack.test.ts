/** The whole local AWS stack, provisioned from a template and driven through the AWS SDK. */
import { execFile, fork } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { DynamoDBClient, GetItemCommand, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import {
  DeleteMessageBatchCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";
import { type LocalStack, startLocalStack } from "../../scripts/local/stack.ts";
import { isAlive, type LocalState } from "../../scripts/local/state-file.ts";
import { codeFolders, template } from "./stack-template.ts";

const region = "us-east-1";
const credentials = { accessKeyId: "local", secretAccessKey: "local" };
const anyPorts = { s3: 0, sqs: 0, dynamodb: 0, lambda: 0, functionUrl: 0 };
const run = promisify(execFile);

let stateDir: string;
let stack: LocalStack;
let s3: S3Client;
let sqs: SQSClient;
let dynamodb: DynamoDBClient;

const options = (more: object = {}) => ({
  stackName: "Test",
  template,
  codeFolders,
  stateDir,
  ports: anyPorts,
  scheduleEveryMs: null,
  ...more,
});
const connect = (endpoints: LocalStack["endpoints"]) => {
  s3 = new S3Client({ endpoint: endpoints.s3, region, credentials });
  sqs = new SQSClient({ endpoint: endpoints.sqs, region, credentials });
  dynamodb = new DynamoDBClient({ endpoint: endpoints.dynamodb, region, credentials });
};

beforeAll(async () => {
  stateDir = mkdtempSync(join(tmpdir(), "siltstone-stack-"));
  stack = await startLocalStack(options());
  connect(stack.endpoints);
});
afterAll(async () => {
  for (const client of [s3, sqs, dynamodb]) client.destroy();
  await stack.stop();
  expect(existsSync(join(stateDir, "local.json"))).toBe(false);
  rmSync(stateDir, { recursive: true });
});

const putItem = (sk: string, more: object = {}) =>
  dynamodb.send(
    new PutItemCommand({
      TableName: stack.outputs.TableName!,
      Item: { pk: { S: "p" }, sk: { S: sk } },
      ...more,
    }),
  );
const getItem = (sk: string) =>
  dynamodb.send(
    new GetItemCommand({
      TableName: stack.outputs.TableName!,
      Key: { pk: { S: "p" }, sk: { S: sk } },
      ConsistentRead: true,
    }),
  );
/** Repeats what cannot be waited for otherwise; the bound only ends a hanging test. */
async function eventually<T>(attempt: () => Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < 200; tries++) {
    const found = await attempt().catch(() => undefined);
    if (found !== undefined) return found;
    await sleep(50);
  }
  throw new Error("it never happened");
}

test("local.json says where everything is, and a second stack in the same folder is refused", async () => {
  const state = JSON.parse(readFileSync(join(stateDir, "local.json"), "utf8")) as LocalState;
  expect(state).toMatchObject({ pid: process.pid, endpoints: stack.endpoints, outputs: stack.outputs });
  expect(state.functionUrls).toEqual({ "Test-Web": stack.outputs.WebUrl });
  expect(Object.values(state.endpoints).every((url) => url.startsWith("http://127.0.0.1:"))).toBe(true);
  await expect(startLocalStack(options())).rejects.toThrow("already runs");
});

test("functions get the names of what the template made, and endpoints to reach it", async () => {
  const lambda = new LambdaClient({ endpoint: stack.endpoints.lambda, region, credentials });
  const answer = await lambda.send(
    new InvokeCommand({ FunctionName: stack.outputs.WorkerName!, Payload: '{"do":"environment"}' }),
  );
  lambda.destroy();
  expect(JSON.parse(answer.Payload!.transformToString())).toMatchObject({
    BUCKET: stack.outputs.BucketName,
    QUEUE: stack.outputs.QueueUrl,
    AWS_ENDPOINT_URL_S3: stack.endpoints.s3,
    AWS_ENDPOINT_URL_SQS: stack.endpoints.sqs,
    AWS_ENDPOINT_URL_DYNAMODB: stack.endpoints.dynamodb,
  });
  expect((await fetch(stack.outputs.WebUrl!, { method: "POST", body: "x" })).status).toBe(201);
});

test("SQS: batches, visibility, and redrive after the last receive", async () => {
  const QueueUrl = stack.outputs.QueueUrl!;
  const Entries = ["a", "b"].map((Id) => ({ Id, MessageBody: Id }));
  await sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
  const receive = async (url: string, WaitTimeSeconds = 3) => {
    const input = { QueueUrl: url, MaxNumberOfMessages: 10, WaitTimeSeconds };
    return (await sqs.send(new ReceiveMessageCommand(input))).Messages ?? [];
  };
  const first = await receive(QueueUrl);
  expect(first.map((message) => message.Body).sort()).toEqual(["a", "b"]);
  expect(await receive(QueueUrl, 0)).toEqual([]);
  const kept = first.find((message) => message.Body === "a")!;
  const done = [{ Id: "1", ReceiptHandle: kept.ReceiptHandle! }];
  await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries: done }));
  const second = await receive(QueueUrl);
  expect(second.map((message) => message.Body)).toEqual(["b"]);
  const dead = await eventually(async () => {
    expect(await receive(QueueUrl, 0)).toEqual([]);
    return (await receive(stack.outputs.DeadUrl!, 0))[0];
  });
  expect(dead.Body).toBe("b");
});

test("SQS: a long poll is answered when a message comes", async () => {
  const QueueUrl = stack.outputs.QueueUrl!;
  const waiting = sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 10 }));
  await sleep(100);
  await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: "late" }));
  const { Messages } = await waiting;
  expect(Messages?.[0]?.Body).toBe("late");
});

test("SQS: a mapped function consumes a queue, and gets again what it reported as failed", async () => {
  const QueueUrl = stack.outputs.MailUrl!;
  const Entries = ["good", "bad"].map((Id) => ({ Id, MessageBody: Id }));
  await sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
  const log = () => readFileSync(join(stateDir, "logs", "Test-Consumer.log"), "utf8");
  await eventually(async () => (log().split("consumed bad").length === 3 ? true : undefined));
  expect(log().split("consumed good")).toHaveLength(2);
});

test("DynamoDB: 50 conditional writers, one wins", async () => {
  const ConditionExpression = "attribute_not_exists(pk)";
  const calls = Array.from({ length: 50 }, () => putItem("raced", { ConditionExpression }));
  const results = await Promise.allSettled(calls);
  const lost = results.flatMap((result) => (result.status === "rejected" ? [result.reason.name] : []));
  expect(lost).toHaveLength(49);
  expect(new Set(lost)).toEqual(new Set(["ConditionalCheckFailedException"]));
});

test("S3 and DynamoDB come back on their ports after kill -9, with everything that was acknowledged", async () => {
  const object = { Bucket: stack.outputs.BucketName!, Key: "kept" };
  await s3.send(new PutObjectCommand({ ...object, Body: "through" }));
  await putItem("kept");
  const before = [stack.pid("s3")!, stack.pid("dynamodb")!];
  for (const pid of before) process.kill(pid, "SIGKILL");
  const text = await eventually(async () =>
    (await s3.send(new GetObjectCommand(object))).Body!.transformToString(),
  );
  expect(text).toBe("through");
  const item = await eventually(async () => (await getItem("kept")).Item);
  expect(item.sk).toEqual({ S: "kept" });
  expect(before).not.toContain(stack.pid("s3"));
  expect(before).not.toContain(stack.pid("dynamodb"));
});

test("SQS comes back after kill -9 with its queues, and without its messages", async () => {
  const QueueUrl = stack.outputs.QueueUrl!;
  await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: "in memory only" }));
  const before = stack.pid("sqs")!;
  process.kill(before, "SIGKILL");
  const answer = await eventually(async () => {
    if (stack.pid("sqs") === before) return undefined;
    return sqs.send(new ReceiveMessageCommand({ QueueUrl }));
  });
  expect(answer.Messages ?? []).toEqual([]);
});

test("faults of S3 are switched on and off while it runs", async () => {
  const rules = [{ kind: "slowDown", probability: 1 }] as const;
  await stack.setFaultInjection({ faults: { seed: 1, rules } });
  const once = new S3Client({ endpoint: stack.endpoints.s3, region, credentials, maxAttempts: 1 });
  const put = () =>
    once.send(new PutObjectCommand({ Bucket: stack.outputs.BucketName!, Key: "fault-injection", Body: "x" }));
  await expect(put()).rejects.toMatchObject({ name: "SlowDown" });
  await stack.setFaultInjection({});
  await put();
  once.destroy();
});

test("a stack that was killed leaves no process behind, and the next one finds its state", async () => {
  const folder = mkdtempSync(join(tmpdir(), "siltstone-stack-"));
  const owner = fork(join(import.meta.dirname, "local-stack-owner.ts"), [folder], {
    execPath: process.execPath,
    execArgv: [],
  });
  const state = await new Promise<LocalState>((found) =>
    owner.once("message", (message) => found(message as LocalState)),
  );
  const other = new S3Client({ endpoint: state.endpoints.s3, region, credentials });
  const object = { Bucket: state.outputs.BucketName!, Key: "survivor" };
  await other.send(new PutObjectCommand({ ...object, Body: "still here" }));
  other.destroy();
  owner.kill("SIGKILL");
  const next = await startLocalStack({ ...options(), stateDir: folder });
  expect(state.childPids.filter(isAlive)).toEqual([]);
  const again = new S3Client({ endpoint: next.endpoints.s3, region, credentials });
  const read = await again.send(new GetObjectCommand(object));
  expect(await read.Body!.transformToString()).toBe("still here");
  again.destroy();
  await next.stop();
  rmSync(folder, { recursive: true });
});

test("a template that cannot be run starts nothing", async () => {
  const folder = mkdtempSync(join(tmpdir(), "siltstone-stack-"));
  const broken = { ...template, Outputs: { X: { Value: { Ref: "Gone" } } } };
  await expect(startLocalStack({ ...options(), template: broken, stateDir: folder })).rejects.toThrow(
    'Outputs.X refers to "Gone"',
  );
  expect(existsSync(join(folder, "local.json"))).toBe(false);
  rmSync(folder, { recursive: true });
});

test("the AWS CLI works against it", async () => {
  const env = { ...process.env, ...stack.environment };
  const aws = async (endpoint: string, ...args: string[]) =>
    (await run("aws", ["--endpoint-url", endpoint, ...args], { env })).stdout;
  try {
    await run("aws", ["--version"]);
  } catch {
    console.info("The AWS CLI is not installed here: its commands are not checked.");
    return;
  }
  const { s3: s3Url, sqs: sqsUrl, dynamodb: dynamodbUrl, lambda } = stack.endpoints;
  const { BucketName, QueueUrl, TableName, WorkerName } = stack.outputs;
  const file = join(stateDir, "cli-file");
  writeFileSync(file, "from the command line");
  await Promise.all([
    (async () => {
      await aws(s3Url, "s3", "cp", file, `s3://${BucketName}/cli/a b+c.txt`);
      expect(await aws(s3Url, "s3", "ls", `s3://${BucketName}/cli/`)).toContain("a b+c.txt");
    })(),
    (async () => {
      const attributes = await aws(
        sqsUrl,
        "sqs",
        "get-queue-attributes",
        "--queue-url",
        QueueUrl!,
        "--attribute-names",
        "All",
      );
      expect(JSON.parse(attributes).Attributes.VisibilityTimeout).toBe("1");
    })(),
    (async () => {
      await putItem("cli");
      expect(await aws(dynamodbUrl, "dynamodb", "scan", "--table-name", TableName!)).toContain('"cli"');
    })(),
    (async () => {
      const out = join(stateDir, "cli-out");
      // Version 2 of the CLI takes payloads in base64 unless told otherwise, version 1 knows no such option.
      const payload = join(stateDir, "cli-payload");
      writeFileSync(payload, '{"do":"count"}');
      await aws(
        lambda,
        "lambda",
        "invoke",
        "--function-name",
        WorkerName!,
        "--payload",
        `fileb://${payload}`,
        out,
      );
      expect(JSON.parse(readFileSync(out, "utf8"))).toHaveProperty("invocations");
    })(),
  ]);
}, 60_000);
