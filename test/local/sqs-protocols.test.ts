/**
 * SQS on the local stack as the AWS CLI speaks it: the query protocol of 1.x (a form, answered in XML) and the JSON protocol
 * of 2.x, each over raw HTTP with the headers and bodies that they send. No SDK is in between.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { accessKeyOfFunction } from "../../scripts/local/iam/rules.ts";
import { xmlElements, xmlText } from "../../scripts/local/s3/xml.ts";
import { type LocalStack, startLocalStack } from "../../scripts/local/stack.ts";
import { codeFolders, template } from "./stack-template.ts";

let stateDir: string;
let stack: LocalStack;
beforeAll(async () => {
  stateDir = mkdtempSync(join(tmpdir(), "siltstone-sqs-"));
  const ports = { s3: 0, sqs: 0, dynamodb: 0, lambda: 0, functionUrl: 0 };
  const options = { stackName: "Test", template, codeFolders, stateDir, ports, scheduleEveryMs: null };
  stack = await startLocalStack(options);
});
afterAll(async () => {
  await stack?.stop();
  rmSync(stateDir, { recursive: true });
});

const signed = (key: string, userAgent: string) => ({
  authorization: `AWS4-HMAC-SHA256 Credential=${key}/20261126/us-east-1/sqs/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=0`,
  "user-agent": userAgent,
  "x-amz-date": "20261126T000000Z",
});

/** As botocore 1.2x of Debian's `aws` posts a form. */
async function query(Action: string, parameters: Record<string, string> = {}, key = "local", path = "/") {
  const response = await fetch(new URL(path, stack.endpoints.sqs), {
    method: "POST",
    headers: {
      ...signed(key, "aws-cli/1.22.34 Python/3.10.6 Linux/5.15 botocore/1.23.34"),
      "content-type": "application/x-www-form-urlencoded; charset=utf-8",
    },
    body: new URLSearchParams({ Action, Version: "2012-11-05", ...parameters }),
  });
  return { status: response.status, type: response.headers.get("content-type"), xml: await response.text() };
}

/** As `aws` 2.x does. */
async function json(operation: string, parameters: object, key = "local") {
  const response = await fetch(stack.endpoints.sqs, {
    method: "POST",
    headers: {
      ...signed(key, "aws-cli/2.22.0 md/awscrt#0.22.0 ua/2.0 os/linux"),
      "content-type": "application/x-amz-json-1.0",
      "x-amz-target": `AmazonSQS.${operation}`,
      "x-amzn-query-mode": "true",
    },
    body: JSON.stringify(parameters),
  });
  // biome-ignore lint/suspicious/noExplicitAny: answers are JSON, and matched by the tests
  return { status: response.status, body: (await response.json()) as any };
}

test("both protocols send, receive, hide, delete, count and purge the same messages", async () => {
  const QueueUrl = stack.outputs.DeadUrl!;
  const sent = await query("SendMessage", {
    QueueUrl,
    MessageBody: 'a < b & "c"',
    "MessageAttribute.1.Name": "reason",
    "MessageAttribute.1.Value.StringValue": "it makes no sense",
    "MessageAttribute.1.Value.DataType": "String",
  });
  expect(sent).toMatchObject({ status: 200, type: expect.stringContaining("text/xml") });
  expect(sent.xml).toContain('<SendMessageResponse xmlns="http://queue.amazonaws.com/doc/2012-11-05/">');
  expect(xmlText(sent.xml, "MD5OfMessageBody")).toMatch(/^[0-9a-f]{32}$/);
  const batch = await query("SendMessageBatch", {
    QueueUrl,
    "SendMessageBatchRequestEntry.1.Id": "one",
    "SendMessageBatchRequestEntry.1.MessageBody": "1",
    "SendMessageBatchRequestEntry.2.Id": "two",
    "SendMessageBatchRequestEntry.2.MessageBody": "2",
    "SendMessageBatchRequestEntry.2.DelaySeconds": "0",
  });
  expect(xmlElements(batch.xml, "SendMessageBatchResultEntry").map((entry) => xmlText(entry, "Id"))).toEqual([
    "one",
    "two",
  ]);

  const seen = await json("ReceiveMessage", {
    QueueUrl,
    MaxNumberOfMessages: 10,
    VisibilityTimeout: 0,
    MessageAttributeNames: ["All"],
    AttributeNames: ["All"],
  });
  expect(seen.body.Messages.map(({ Body }: { Body: string }) => Body).sort()).toEqual([
    "1",
    "2",
    'a < b & "c"',
  ]);
  const received = await query("ReceiveMessage", {
    QueueUrl,
    MaxNumberOfMessages: "10",
    VisibilityTimeout: "60",
    "MessageAttributeName.1": "All",
    "AttributeName.1": "SentTimestamp",
    "AttributeName.2": "ApproximateReceiveCount",
  });
  const messages = xmlElements(received.xml, "Message");
  const mine = messages.find((one) => xmlText(one, "Body") === 'a < b & "c"')!;
  expect(xmlText(mine, "MessageId")).toBe(xmlText(sent.xml, "MessageId"));
  expect(mine).toContain("<Name>reason</Name>");
  expect(mine).toContain(
    "<Value><StringValue>it makes no sense</StringValue><DataType>String</DataType></Value>",
  );
  expect(mine).toMatch(/<Attribute><Name>SentTimestamp<\/Name><Value>\d{13}<\/Value><\/Attribute>/);
  expect((await json("ReceiveMessage", { QueueUrl })).body.Messages).toBeUndefined();

  const receipts = messages.map((one) => xmlText(one, "ReceiptHandle")!);
  const shown = await query("ChangeMessageVisibilityBatch", {
    QueueUrl,
    "ChangeMessageVisibilityBatchRequestEntry.1.Id": "0",
    "ChangeMessageVisibilityBatchRequestEntry.1.ReceiptHandle": receipts[0]!,
    "ChangeMessageVisibilityBatchRequestEntry.1.VisibilityTimeout": "0",
  });
  expect(xmlElements(shown.xml, "ChangeMessageVisibilityBatchResultEntry")).toHaveLength(1);
  const dropped = await query("DeleteMessage", { QueueUrl, ReceiptHandle: receipts[1]! });
  expect(dropped).toMatchObject({ status: 200 });
  expect(dropped.xml).not.toContain("Result>");
  const counted = await query("GetQueueAttributes", { QueueUrl, "AttributeName.1": "All" });
  expect(counted.xml).toContain("<Name>ApproximateNumberOfMessages</Name><Value>1</Value>");
  expect(counted.xml).toContain("<Name>ApproximateNumberOfMessagesNotVisible</Name><Value>1</Value>");
  // The queue's own URL is an address of it.
  const path = new URL(QueueUrl).pathname;
  expect(await query("PurgeQueue", {}, "local", path)).toMatchObject({ status: 200 });
  expect((await json("ReceiveMessage", { QueueUrl })).body.Messages).toBeUndefined();
});

test("queues are found by name, made and tagged by the query protocol", async () => {
  const url = await query("GetQueueUrl", {
    QueueName: new URL(stack.outputs.QueueUrl!).pathname.split("/").pop()!,
  });
  expect(xmlText(url.xml, "QueueUrl")).toContain("/000000000000/");
  const made = await query("CreateQueue", {
    QueueName: "by-query",
    "Attribute.1.Name": "VisibilityTimeout",
    "Attribute.1.Value": "7",
    "Tag.1.Key": "team",
    "Tag.1.Value": "search",
  });
  const QueueUrl = xmlText(made.xml, "QueueUrl")!;
  expect(
    (await json("GetQueueAttributes", { QueueUrl, AttributeNames: ["All"] })).body.Attributes,
  ).toMatchObject({
    VisibilityTimeout: "7",
  });
  expect((await query("ListQueueTags", { QueueUrl })).xml).toContain(
    "<Tag><Key>team</Key><Value>search</Value></Tag>",
  );
  expect(xmlElements((await query("ListQueues")).xml, "QueueUrl")).toContain(QueueUrl);
  expect(await query("DeleteQueue", { QueueUrl })).toMatchObject({ status: 200 });
});

test("failures come in the protocol's own form, and both protocols are judged", async () => {
  const absent = await query("SendMessage", {
    QueueUrl: `${stack.endpoints.sqs}/000000000000/no`,
    MessageBody: "m",
  });
  expect(absent).toMatchObject({ status: 400 });
  expect(xmlText(absent.xml, "Code")).toBe("AWS.SimpleQueueService.NonExistentQueue");
  expect(xmlText(absent.xml, "Type")).toBe("Sender");
  const poor = accessKeyOfFunction("Test-Poor");
  const message = { QueueUrl: stack.outputs.QueueUrl!, MessageBody: "m" };
  const denied = await query("SendMessage", message, poor);
  expect(denied.status).toBe(403);
  expect(xmlText(denied.xml, "Code")).toBe("AccessDenied");
  expect(denied.xml).toContain("is not authorized to perform: sqs:SendMessage");
  expect(await json("SendMessage", message, poor)).toMatchObject({ status: 403 });
  const stranger = await query("SendMessage", message, "AKIASTRANGER");
  expect(xmlText(stranger.xml, "Code")).toBe("InvalidClientTokenId");
});

test("what is no call of SQS is refused: the server behind would answer as S3 and SNS, judged by nothing", async () => {
  expect(await query("CreateTopic", { Name: "t" })).toMatchObject({ status: 400 });
  const { sqs } = stack.endpoints;
  for (const [method, path] of [
    ["PUT", "/bucket"],
    ["GET", "/bucket/key"],
    ["GET", "/_fauxqs/queues"],
  ] as const) {
    expect((await fetch(new URL(path, sqs), { method })).status).toBe(400);
  }
});
