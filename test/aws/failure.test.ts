/** What AWS's refusals mean, as the services spell them, over the real SDK and HTTP. */
import { createServer, type Server } from "node:http";
import { DynamoDBClient, GetItemCommand } from "@aws-sdk/client-dynamodb";
import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { failure, refusalOf } from "../../lib/aws/failure.ts";
import { isDenied } from "../../lib/aws/s3-failure.ts";
import { listen } from "../../scripts/local/ports.ts";

let server: Server;
let endpoint: string;
let answer = { status: 500, headers: {}, body: "" };
beforeAll(async () => {
  server = createServer((request, response) => {
    request.resume();
    response.writeHead(answer.status, answer.headers).end(answer.body);
  });
  endpoint = `http://127.0.0.1:${await listen(server, 0)}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const region = "us-east-1";
const credentials = { accessKeyId: "a", secretAccessKey: "b" };
const calls = {
  s3: () => {
    const client = new S3Client({ endpoint, region, credentials, maxAttempts: 1, forcePathStyle: true });
    return client.send(new PutObjectCommand({ Bucket: "b", Key: "k", Body: "x" }));
  },
  dynamodb: () => {
    const client = new DynamoDBClient({ endpoint, region, credentials, maxAttempts: 1 });
    return client.send(new GetItemCommand({ TableName: "t", Key: { pk: { S: "p" } } }));
  },
  sqs: () => {
    const client = new SQSClient({ endpoint, region, credentials, maxAttempts: 1 });
    return client.send(new SendMessageCommand({ QueueUrl: `${endpoint}/1/q`, MessageBody: "m" }));
  },
} as const;
const xml = (code: string, message: string) =>
  `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`;
const json = (type: string, message: string) =>
  JSON.stringify({ __type: `com.amazon.coral.service#${type}`, message });

async function meant(call: keyof typeof calls, status: number, body: string) {
  const type = call === "s3" ? "application/xml" : "application/x-amz-json-1.0";
  answer = { status, headers: { "content-type": type }, body };
  const error = await calls[call]().then(
    () => null,
    (thrown: unknown) => thrown,
  );
  return failure(error, { call, subject: "x", writes: true, permission: "s3:PutObject" });
}

const expired = "the AWS credentials have expired; sign in again";
const unknown = "AWS does not know these credentials";
const denied = "access denied; the role needs s3:PutObject";

test.each([
  ["s3", 400, xml("ExpiredToken", "The provided token has expired."), expired],
  ["s3", 400, xml("TokenRefreshRequired", "The provided token must be refreshed."), expired],
  [
    "s3",
    403,
    xml("InvalidAccessKeyId", "The Access Key Id you provided does not exist in our records."),
    unknown,
  ],
  ["s3", 403, xml("SignatureDoesNotMatch", "The signature we calculated does not match."), unknown],
  ["s3", 403, xml("AccessDenied", "Access Denied"), denied],
  [
    "dynamodb",
    400,
    json("ExpiredTokenException", "The security token included in the request is expired"),
    expired,
  ],
  [
    "dynamodb",
    400,
    json("UnrecognizedClientException", "The security token in the request is invalid"),
    unknown,
  ],
  ["dynamodb", 400, json("AccessDeniedException", "User is not authorized to perform"), denied],
  ["sqs", 403, json("ExpiredToken", "The security token included in the request is expired"), expired],
  [
    "sqs",
    403,
    json("InvalidClientTokenId", "The security token included in the request is expired"),
    expired,
  ],
  [
    "sqs",
    403,
    json("InvalidClientTokenId", "The security token included in the request is invalid."),
    unknown,
  ],
  ["sqs", 403, json("AccessDenied", "Access to the resource is denied."), denied],
  [
    "s3",
    400,
    xml("AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong; expecting 'eu-west-1'"),
    "it is in another region",
  ],
] as const)("%s %i %s", async (call, status, body, said) => {
  const error = await meant(call, status, body);
  // Nothing happened, so a write is not uncertain.
  expect(error).toMatchObject({ kind: "unavailable", message: expect.stringContaining(said) });
  expect(refusalOf(error)).toBe(
    said === denied ? "denied" : said.includes("region") ? "region" : "credentials",
  );
});

test("a call without credentials sends nothing, and its error says how to get some", () => {
  const error = new Error("Could not load credentials from any providers");
  error.name = "CredentialsProviderError";
  const meant = failure(error, {
    call: "S3 PutObject",
    subject: "x",
    writes: true,
    permission: "s3:PutObject",
  });
  expect(meant).toMatchObject({ kind: "unavailable", message: expect.stringContaining("`aws sso login`") });
});

test("a service that may not use a KMS key in the caller's name is told apart from one that may not be called", async () => {
  const message = "User: u is not authorized to perform: kms:GenerateDataKey on resource: k";
  const said = "the role needs kms:GenerateDataKey on the key by which it is encrypted";
  expect((await meant("s3", 403, xml("AccessDenied", message))).message).toContain(said);
  const ofQueue = await meant("sqs", 400, json("KmsAccessDenied", message));
  expect(ofQueue.message).toContain(said);
  expect(refusalOf(ofQueue)).toBe("denied");
  expect(isDenied(Object.assign(new Error("Access Denied"), { name: "AccessDenied" }))).toBe(true);
  // Without the right to list, a refusal means that a key is absent: one of a KMS key does not.
  expect(isDenied(Object.assign(new Error(message), { name: "AccessDenied" }))).toBe(false);
});
