/**
 * What the adapters make of every answer that a service may give, by its status: a write that is answered by a server's
 * error, or not at all, may have happened, and no caller may be told that it did not.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { S3Client } from "@aws-sdk/client-s3";
import { SQSClient } from "@aws-sdk/client-sqs";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { DynamoDbLeaseTable } from "../../lib/aws/dynamodb-lease-table.ts";
import { S3ObjectStore } from "../../lib/aws/s3-object-store.ts";
import { SqsDeltaQueue } from "../../lib/aws/sqs-delta-queue.ts";
import type { SiltstoneError } from "../../lib/core/model/errors.ts";
import { epoch } from "../../lib/core/model/ids.ts";
import { Traffic } from "../../lib/engine/traffic.ts";
import { listen } from "../../scripts/local/ports.ts";

/** "reset": the connection breaks off without an answer. */
type Answer = number | "reset";
let server: Server;
let endpoint: string;
let answer: Answer = 500;
const folder = mkdtempSync(join(tmpdir(), "siltstone-answers-"));
const path = join(folder, "file");
beforeAll(async () => {
  writeFileSync(path, "content");
  server = createServer((request, response) => {
    request.resume();
    request.once("end", () => {
      if (answer === "reset") return request.socket.destroy();
      const isS3 = !("x-amz-target" in request.headers);
      const body = isS3
        ? "<Error><Code>Told</Code><Message>so</Message></Error>"
        : JSON.stringify({ __type: "x#Told", message: "so" });
      response.writeHead(answer, { "content-type": isS3 ? "application/xml" : "application/x-amz-json-1.0" });
      response.end(request.method === "HEAD" ? undefined : body);
    });
  });
  endpoint = `http://127.0.0.1:${await listen(server, 0)}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true });
});

const one = { region: "us-east-1", credentials: { accessKeyId: "a", secretAccessKey: "b" }, maxAttempts: 1 };
const store = () => new S3ObjectStore(new S3Client({ ...one, endpoint }), "bucket", new Traffic());
const queue = () => {
  const url = `${endpoint}/000000000000/q`;
  return new SqsDeltaQueue(new SQSClient({ ...one, endpoint }), { queueUrl: url, deadLetterQueueUrl: url });
};
const leases = () =>
  new DynamoDbLeaseTable(DynamoDBDocumentClient.from(new DynamoDBClient({ ...one, endpoint })), "table");
const lease = { name: "a/0", owner: "me", epoch: epoch(1), expiresAtMs: 1_000 };
const message = { receipt: "r", body: "b" };

const writes: Readonly<Record<string, () => Promise<unknown>>> = {
  "S3 put": () => store().put("key", Buffer.from("x")),
  "S3 put if absent": () => store().put("key", Buffer.from("x"), { ifAbsent: true }),
  "S3 put if it matches": () => store().put("key", Buffer.from("x"), { ifMatch: '"x"' }),
  "S3 putFile": () => store().putFile("key", path),
  "S3 delete": () => store().delete(["key"]),
  "SQS send": () => queue().send("b"),
  "SQS delete": () => queue().delete([message]),
  "SQS deadLetter": () => queue().deadLetter(message, "why"),
  "DynamoDB extend": () => leases().extend(lease, { leaseMs: 1, nowMs: 0 }),
  "DynamoDB release": () => leases().release(lease),
  "DynamoDB forceRelease": () => leases().forceRelease("a/0", lease),
  "DynamoDB note": () => leases().note("a/0", {}),
};
const reads: Readonly<Record<string, () => Promise<unknown>>> = {
  "S3 get": () => store().get("key"),
  "S3 head": () => store().head("key"),
  "S3 list": async () => {
    for await (const _ of store().list("prefix/")) void _;
  },
  "SQS receive": () => queue().receive(),
  "DynamoDB read": () => leases().read("a/0"),
  "DynamoDB readNote": () => leases().readNote("a/0"),
};
const mayHaveHappened: readonly Answer[] = [500, 502, 503, 504, "reset"];

const kindOf = async (call: () => Promise<unknown>, given: Answer): Promise<string> => {
  answer = given;
  return call().then(
    (value) => `answered ${JSON.stringify(value)}`,
    (error: SiltstoneError) => error.kind,
  );
};

test.each(Object.keys(writes))("%s: an error of the server is no refusal", async (name) => {
  for (const given of mayHaveHappened)
    expect([given, await kindOf(writes[name]!, given)]).toEqual([given, "uncertain"]);
  expect(await kindOf(writes[name]!, 403)).toBe("unavailable");
});

test.each(Object.keys(reads))("%s: nothing has happened, whatever the answer", async (name) => {
  for (const given of [...mayHaveHappened, 403] as const)
    expect([given, await kindOf(reads[name]!, given)]).toEqual([given, "unavailable"]);
});
