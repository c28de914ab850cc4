/** Faults and throttling of the local S3 server, which other tests lean on. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { FaultSource } from "../../scripts/local/s3/fault-injection.ts";
import { type RunningS3, startS3Server } from "../../scripts/local/s3/server.ts";

const Bucket = "fault-injection";
let folder: string;
let server: RunningS3;
let s3: S3Client;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "siltstone-s3-"));
  server = await startS3Server({ folder, port: 0, region: "us-east-1" });
  const credentials = { accessKeyId: "local", secretAccessKey: "local" };
  s3 = new S3Client({ endpoint: server.endpoint, region: "us-east-1", credentials, maxAttempts: 1 });
  await s3.send(new CreateBucketCommand({ Bucket }));
});
afterEach(() => server.setFaultInjection({}));
afterAll(async () => {
  s3.destroy();
  await server.stop();
  rmSync(folder, { recursive: true });
});

const put = (Key: string) => s3.send(new PutObjectCommand({ Bucket, Key, Body: "x" }));
const keys = async (Prefix: string) => {
  const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket, Prefix }));
  return (Contents ?? []).map((entry) => entry.Key);
};

test("slowDown and conflict answer as S3 does and change nothing", async () => {
  server.setFaultInjection({
    faults: {
      seed: 1,
      rules: [
        { kind: "slowDown", probability: 1, operations: ["PutObject"], keyIncludes: "busy" },
        { kind: "conflict", probability: 1, operations: ["PutObject"], keyIncludes: "contended" },
      ],
    },
  });
  await expect(put("fault/busy")).rejects.toMatchObject({
    name: "SlowDown",
    $metadata: { httpStatusCode: 503 },
  });
  await expect(put("fault/contended")).rejects.toMatchObject({
    name: "ConditionalRequestConflict",
    $metadata: { httpStatusCode: 409 },
  });
  await put("fault/fine");
  expect(await keys("fault/")).toEqual(["fault/fine"]);
});

test("a lost request did not happen, a lost answer did", async () => {
  const rules = [
    { kind: "lostRequest", probability: 1, keyIncludes: "before" },
    { kind: "lostAnswer", probability: 1, keyIncludes: "after" },
  ] as const;
  server.setFaultInjection({ faults: { seed: 1, rules } });
  await expect(put("lost/before")).rejects.toThrow();
  await expect(put("lost/after")).rejects.toThrow();
  expect(await keys("lost/")).toEqual(["lost/after"]);
});

test.each(["hang", "hangBody"] as const)("%s: the client waits for as long as it will", async (kind) => {
  await s3.send(new PutObjectCommand({ Bucket, Key: `${kind}/a`, Body: Buffer.alloc(1_000_000) }));
  server.setFaultInjection({
    faults: { seed: 1, rules: [{ kind, probability: 1, keyIncludes: `${kind}/` }] },
  });
  const abortSignal = AbortSignal.timeout(200);
  const read = async () => {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key: `${kind}/a` }), { abortSignal });
    return Body!.transformToByteArray();
  };
  await expect(read()).rejects.toThrow();
  expect(abortSignal.aborted).toBe(true);
  server.setFaultInjection({});
  const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key: `${kind}/a` }));
  expect((await Body!.transformToByteArray()).length).toBe(1_000_000);
});

test("the same seed gives the same faults, at about the probability asked for", () => {
  const draws = (seed: number) => {
    const source = new FaultSource({ seed, rules: [{ kind: "slowDown", probability: 0.3 }] });
    return Array.from({ length: 1000 }, () => source.draw("PutObject", "k") !== null);
  };
  expect(draws(7)).toEqual(draws(7));
  expect(draws(7)).not.toEqual(draws(8));
  const hits = draws(7).filter(Boolean).length;
  expect(hits).toBeGreaterThan(250);
  expect(hits).toBeLessThan(350);
});

test("hitsMax ends a rule", async () => {
  const response = await fetch(`${server.endpoint}/_local/fault-injection`, {
    method: "PUT",
    body: JSON.stringify({ faults: { seed: 1, rules: [{ kind: "slowDown", probability: 1, hitsMax: 1 }] } }),
  });
  expect(response.status).toBe(204);
  await expect(put("once")).rejects.toMatchObject({ name: "SlowDown" });
  await put("once");
});

test("throttled answers arrive whole, and no faster than the rate", async () => {
  const bytes = 400_000;
  await s3.send(new PutObjectCommand({ Bucket, Key: "slow", Body: Buffer.alloc(bytes, 5) }));
  server.setFaultInjection({
    throttle: { streamBytesPerSecond: 2_000_000, totalBytesPerSecond: 2_000_000, firstByteMs: 5 },
  });
  const startedMs = performance.now();
  const read = await s3.send(new GetObjectCommand({ Bucket, Key: "slow" }));
  expect((await read.Body!.transformToByteArray()).length).toBe(bytes);
  // A lower bound only: a busy machine may take longer.
  expect(performance.now() - startedMs).toBeGreaterThan(150);
});
