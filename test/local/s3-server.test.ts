/** What the SDK never sends or shows by itself: raw requests to the local S3 server, and its files. */
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { type IncomingHttpHeaders, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { type RunningS3, startS3Server } from "../../scripts/local/s3/server.ts";

const Bucket = "raw-bucket";
let folder: string;
let server: RunningS3;
let s3: S3Client;

async function start(): Promise<void> {
  server = await startS3Server({ folder, port: 0, region: "us-east-1" });
  const credentials = { accessKeyId: "local", secretAccessKey: "local" };
  s3 = new S3Client({ endpoint: server.endpoint, region: "us-east-1", credentials, maxAttempts: 1 });
}
async function stop(): Promise<void> {
  s3.destroy();
  await server.stop();
}
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "siltstone-s3-"));
  await start();
  await s3.send(new CreateBucketCommand({ Bucket }));
});
afterAll(async () => {
  await stop();
  rmSync(folder, { recursive: true });
});

function raw(method: string, path: string, headers: Record<string, string>, body?: string | Buffer) {
  return new Promise<{ status: number; headers: IncomingHttpHeaders; body: string }>((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port: server.port, method, path, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () =>
        resolve({
          status: response.statusCode!,
          headers: response.headers,
          body: Buffer.concat(chunks).toString(),
        }),
      );
    });
    sent.on("error", reject);
    sent.end(body);
  });
}
const text = async (Key: string) =>
  (await s3.send(new GetObjectCommand({ Bucket, Key }))).Body!.transformToString();
const blobs = () => readdirSync(join(folder, "blobs"));

test("the server listens on 127.0.0.1 only", () => {
  expect(server.endpoint).toBe(`http://127.0.0.1:${server.port}`);
});

test.each([`${Bucket}.localhost`, `${Bucket}.s3.us-east-1.amazonaws.com`])(
  "a bucket in the Host header is refused: %s",
  async (host) => {
    expect((await raw("PUT", "/virtual/key", { host }, host)).status).toBe(403);
  },
);

test("a path is taken as it is, never normalised", async () => {
  await raw("PUT", `/${Bucket}/a//b/../c`, {}, "dots");
  expect(await text("a//b/../c")).toBe("dots");
});

test("a chunked body is unwrapped, and a broken frame or trailer is refused", async () => {
  const headers = {
    "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "content-encoding": "aws-chunked",
    "x-amz-decoded-content-length": "9",
    "x-amz-trailer": "x-amz-checksum-sha1",
  };
  const sha1 = createHash("sha1").update("siltstone").digest("base64");
  const framed = (sum: string) =>
    `4\r\nsilt\r\n5;chunk-signature=00\r\nstone\r\n0\r\nx-amz-checksum-sha1:${sum}\r\n\r\n`;
  expect((await raw("PUT", `/${Bucket}/chunked`, headers, framed(sha1))).status).toBe(200);
  expect(await text("chunked")).toBe("siltstone");
  const wrong = await raw("PUT", `/${Bucket}/chunked2`, headers, framed(createHash("sha1").digest("base64")));
  expect(wrong).toMatchObject({ status: 400, body: expect.stringContaining("<Code>BadDigest</Code>") });
  const cut = await raw("PUT", `/${Bucket}/chunked2`, headers, "4\r\nsil");
  expect(cut).toMatchObject({ status: 400, body: expect.stringContaining("<Code>IncompleteBody</Code>") });
  await expect(text("chunked2")).rejects.toMatchObject({ name: "NoSuchKey" });
});

test("a body that is not what x-amz-content-sha256 says is refused", async () => {
  const answer = await raw("PUT", `/${Bucket}/signed`, { "x-amz-content-sha256": "0".repeat(64) }, "body");
  expect(answer).toMatchObject({ status: 400, body: expect.stringContaining("XAmzContentSHA256Mismatch") });
});

test("an operation that is not implemented says so", async () => {
  const answer = await raw("PUT", `/${Bucket}/x?tagging`, {}, "<Tagging/>");
  expect(answer).toMatchObject({ status: 501, body: expect.stringContaining("<Code>NotImplemented</Code>") });
});

test("a client that goes away in the middle of a body leaves nothing behind", async () => {
  const before = blobs();
  const socket = connect(server.port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(`PUT /${Bucket}/half HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000000\r\n\r\n`);
  socket.write(randomBytes(300_000));
  for (let tries = 0; tries < 200 && blobs().length === before.length; tries++)
    await new Promise((r) => setTimeout(r, 10));
  socket.destroy();
  for (let tries = 0; tries < 200 && blobs().length > before.length; tries++)
    await new Promise((r) => setTimeout(r, 10));
  expect(blobs()).toEqual(before);
  await expect(text("half")).rejects.toMatchObject({ name: "NoSuchKey" });
});

test("an overwritten object without versioning stays whole for its readers, and its file goes", async () => {
  const before = blobs().length;
  const old = randomBytes(8_000_000);
  await s3.send(new PutObjectCommand({ Bucket, Key: "overwritten", Body: old }));
  const reading = await s3.send(new GetObjectCommand({ Bucket, Key: "overwritten" }));
  await s3.send(new PutObjectCommand({ Bucket, Key: "overwritten", Body: randomBytes(100_000) }));
  const seen: Buffer[] = [];
  for await (const piece of reading.Body as Readable) seen.push(piece);
  expect(Buffer.concat(seen).equals(old)).toBe(true);
  for (let tries = 0; tries < 200 && blobs().length > before + 1; tries++)
    await new Promise((r) => setTimeout(r, 10));
  expect(blobs()).toHaveLength(before + 1);
  await s3.send(new DeleteObjectCommand({ Bucket, Key: "overwritten" }));
  expect(blobs()).toHaveLength(before);
});

test("suspended versioning keeps old versions and writes the null one over and over", async () => {
  const suspended = "suspended";
  const put = (Body: string) => s3.send(new PutObjectCommand({ Bucket: suspended, Key: "k", Body }));
  const set = (Status: "Enabled" | "Suspended") =>
    s3.send(new PutBucketVersioningCommand({ Bucket: suspended, VersioningConfiguration: { Status } }));
  await s3.send(new CreateBucketCommand({ Bucket: suspended }));
  await set("Enabled");
  const first = await put("kept");
  await set("Suspended");
  await put("null 1");
  await put("null 2");
  const { Versions } = await s3.send(new ListObjectVersionsCommand({ Bucket: suspended }));
  expect(Versions!.map((version) => version.VersionId)).toEqual(["null", first.VersionId]);
});

test("a restart finds everything, sweeps files that nothing names, and refuses a second server in the folder", async () => {
  await s3.send(new PutObjectCommand({ Bucket, Key: "large", Body: Buffer.alloc(200_000, 3) }));
  const named = blobs().sort();
  writeFileSync(join(folder, "blobs", "nameless"), "left by a crash");
  await stop();
  await start();
  expect(blobs().sort()).toEqual(named);
  expect(await text("a//b/../c")).toBe("dots");
  expect((await text("large")).length).toBe(200_000);
  await expect(startS3Server({ folder, port: 0, region: "us-east-1" })).rejects.toThrow("locked");
});
