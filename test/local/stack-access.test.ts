/** The local stack refuses what the template's roles do not allow, as AWS does, at every service. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DynamoDBClient, GetItemCommand } from "@aws-sdk/client-dynamodb";
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import {
  CopyObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { accessKeyOfFunction } from "../../scripts/local/iam/rules.ts";
import { type LocalStack, startLocalStack } from "../../scripts/local/stack.ts";
import { codeFolders, template } from "./stack-template.ts";

let stateDir: string;
let stack: LocalStack;
const clients: { destroy(): void }[] = [];

function clientsOf(accessKeyId: string) {
  const common = { region: "us-east-1", credentials: { accessKeyId, secretAccessKey: "x" }, maxAttempts: 1 };
  const { endpoints } = stack;
  const made = {
    s3: new S3Client({ ...common, endpoint: endpoints.s3 }),
    sqs: new SQSClient({ ...common, endpoint: endpoints.sqs }),
    dynamodb: new DynamoDBClient({ ...common, endpoint: endpoints.dynamodb }),
    lambda: new LambdaClient({ ...common, endpoint: endpoints.lambda }),
  };
  clients.push(...Object.values(made));
  return made;
}
type Clients = ReturnType<typeof clientsOf>;

beforeAll(async () => {
  stateDir = mkdtempSync(join(tmpdir(), "siltstone-access-"));
  const ports = { s3: 0, sqs: 0, dynamodb: 0, lambda: 0, functionUrl: 0 };
  const options = { stackName: "Test", template, codeFolders, stateDir, ports, scheduleEveryMs: null };
  stack = await startLocalStack(options);
  const { s3 } = clientsOf("local");
  for (const Key of ["mine/a", "mine/b", "theirs"])
    await s3.send(new PutObjectCommand({ Bucket: stack.buckets[0]!, Key, Body: "x" }));
});
afterAll(async () => {
  for (const client of clients) client.destroy();
  await stack.stop();
  rmSync(stateDir, { recursive: true });
});

const nameOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "allowed",
    (error: Error) => error.name,
  );
const calls = {
  send: ({ sqs }: Clients) =>
    sqs.send(new SendMessageCommand({ QueueUrl: stack.outputs.QueueUrl!, MessageBody: "m" })),
  read: ({ dynamodb }: Clients) =>
    dynamodb.send(
      new GetItemCommand({ TableName: stack.outputs.TableName!, Key: { pk: { S: "p" }, sk: { S: "s" } } }),
    ),
  invoke: ({ lambda }: Clients) =>
    lambda.send(new InvokeCommand({ FunctionName: stack.outputs.WorkerName! })),
  get: ({ s3 }: Clients, Key: string) => s3.send(new GetObjectCommand({ Bucket: stack.buckets[0]!, Key })),
  put: ({ s3 }: Clients, Key: string) =>
    s3.send(new PutObjectCommand({ Bucket: stack.buckets[0]!, Key, Body: "x" })),
};

test("a role that allows everything", async () => {
  const worker = clientsOf(accessKeyOfFunction(stack.outputs.WorkerName!));
  expect(await nameOf(calls.send(worker))).toBe("allowed");
  expect(await nameOf(calls.read(worker))).toBe("allowed");
  expect(await nameOf(calls.invoke(worker))).toBe("allowed");
  expect(await nameOf(calls.put(worker, "mine/c"))).toBe("allowed");
  expect(await nameOf(calls.get(worker, "absent"))).toBe("NoSuchKey");
});

test("a role that allows little is refused the rest, by each service's own error", async () => {
  const poor = clientsOf(accessKeyOfFunction("Test-Poor"));
  expect(await nameOf(calls.send(poor))).toMatch(/^AccessDenied/);
  expect(await nameOf(calls.read(poor))).toBe("AccessDeniedException");
  expect(await nameOf(calls.invoke(poor))).toBe("AccessDeniedException");
  expect(await nameOf(calls.put(poor, "mine/c"))).toBe("AccessDenied");
  expect(await nameOf(calls.get(poor, "mine/a"))).toBe("allowed");
  expect(await nameOf(calls.get(poor, "theirs"))).toBe("AccessDenied");
  const Bucket = stack.buckets[0]!;
  expect(await nameOf(poor.s3.send(new ListObjectsV2Command({ Bucket, Prefix: "mine/" })))).toBe(
    "AccessDenied",
  );
  const copy = new CopyObjectCommand({ Bucket, Key: "mine/copy", CopySource: `${Bucket}/theirs` });
  expect(await nameOf(poor.s3.send(copy))).toBe("AccessDenied");
  await expect(calls.get(poor, "theirs")).rejects.toThrow(
    'arn:aws:sts::000000000000:assumed-role/Test-PoorRole/Test-Poor is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::test-store/theirs"',
  );
});

test("a queue's key is asked for in the caller's name", async () => {
  const send = ({ sqs }: Clients) =>
    sqs.send(new SendMessageCommand({ QueueUrl: stack.outputs.SealedUrl!, MessageBody: "m" }));
  expect(await nameOf(send(clientsOf(accessKeyOfFunction(stack.outputs.WorkerName!))))).toBe("allowed");
  const refused = send(clientsOf(accessKeyOfFunction("Test-Poor")));
  await expect(refused).rejects.toMatchObject({
    name: "KmsAccessDenied",
    message: expect.stringContaining("not authorized to perform: kms:GenerateDataKey on resource"),
  });
});

test("an alias is invoked by its own right, by name, ARN and URL; its processes are started before they are asked for", async () => {
  expect(stack.lambda.function("Test-Web").pids).toHaveLength(2);
  const poor = clientsOf(accessKeyOfFunction("Test-Poor"));
  const arn = stack.lambda.function("Test-Web").definition.arn;
  const invoke = (FunctionName: string, Qualifier?: string) =>
    nameOf(
      poor.lambda.send(
        new InvokeCommand({ FunctionName, ...(Qualifier === undefined ? {} : { Qualifier }) }),
      ),
    );
  expect(await invoke("Test-Web:live")).toBe("allowed");
  expect(await invoke("Test-Web", "live")).toBe("allowed");
  expect(await invoke(`${arn}:live`)).toBe("allowed");
  expect(await invoke("Test-Web")).toBe("AccessDeniedException");
  expect(await invoke("Test-Web:$LATEST")).toBe("AccessDeniedException");
  expect(await invoke("Test-Web:other")).toBe("ResourceNotFoundException");
  const authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyOfFunction("Test-Poor")}/20261127/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0`;
  const statusOf = async (url: string) => (await fetch(url, { headers: { authorization } })).status;
  expect(await statusOf(stack.outputs.LiveUrl!)).not.toBe(403);
  expect(await statusOf(stack.outputs.WebUrl!)).toBe(403);
  // None was started beside them.
  expect(stack.lambda.function("Test-Web").pids).toHaveLength(2);
});

test("who may not list the bucket does not learn that an object is absent", async () => {
  expect(await nameOf(calls.get(clientsOf(accessKeyOfFunction("Test-Poor")), "mine/absent"))).toBe(
    "AccessDenied",
  );
});

test("a list delete deletes what is allowed, and names the others", async () => {
  const { s3 } = clientsOf(accessKeyOfFunction("Test-Poor"));
  const Objects = [{ Key: "mine/b" }, { Key: "theirs" }];
  const answer = await s3.send(new DeleteObjectsCommand({ Bucket: stack.buckets[0]!, Delete: { Objects } }));
  expect(answer.Deleted).toMatchObject([{ Key: "mine/b" }]);
  expect(answer.Errors).toMatchObject([{ Key: "theirs", Code: "AccessDenied" }]);
});

test("an unknown key", async () => {
  const stranger = clientsOf("AKIASTRANGER");
  expect(await nameOf(calls.get(stranger, "theirs"))).toBe("InvalidAccessKeyId");
  expect(await nameOf(calls.send(stranger))).toMatch(/^InvalidClientTokenId/);
  expect(await nameOf(calls.read(stranger))).toBe("UnrecognizedClientException");
  expect(await nameOf(calls.invoke(stranger))).toBe("UnrecognizedClientException");
});
