/** The contracts of the ports over the AWS adapters: on the local servers, and on real AWS when CONTRACT_AWS=1. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { DynamoDBDocumentClient, PutCommand } from "@aws-sdk/lib-dynamodb";
import { type AwsNames, awsWorld } from "../../../lib/aws/aws-world.ts";
import { S3ObjectStore } from "../../../lib/aws/s3-object-store.ts";
import { systemClock } from "../../../lib/aws/system-clock.ts";
import type { SiltstoneError } from "../../../lib/core/model/errors.ts";
import type { Lease, LeaseTable } from "../../../lib/engine/ports.ts";
import { Traffic } from "../../../lib/engine/traffic.ts";
import { startS3Server } from "../../../scripts/local/s3/server.ts";
import { localCredentials, type S3Target, s3Targets } from "../aws-target.ts";
import {
  type LeaseTableUnderTest,
  leaseTable,
  queueMaker,
  type RunningServer,
  runsOnAws,
  startDynamoDbServer,
  startSqsServer,
} from "./aws-servers.ts";
import { clockContract } from "./clock.ts";
import { jobTableContract } from "./job-table.ts";
import { leaseTableContract } from "./leases.ts";
import { limitTableContract } from "./limits.ts";
import { objectStoreContract } from "./object-store.ts";
import { deltaQueueContract } from "./queue.ts";

describe.each(s3Targets)("S3ObjectStore over %s", (name, open) => {
  let target: S3Target;
  beforeAll(async () => {
    target = await open();
  });
  afterAll(() => target.close());

  objectStoreContract(name, async () => {
    const store = new S3ObjectStore(target.s3, target.bucket, new Traffic());
    return { store, keysBelow: target.prefix, pageKeys: 1000, nowMs: Date.now };
  });

  test("traffic counts requests where they leave, and the bytes of bodies", async () => {
    const traffic = new Traffic();
    const store = new S3ObjectStore(target.s3, target.bucket, traffic);
    await store.put(`${target.prefix}traffic`, Buffer.alloc(1000));
    const before = traffic.snapshot();
    await store.get(`${target.prefix}traffic`, { range: { start: 100, limit: 350 } });
    await store.get(`${target.prefix}absent`);
    expect(traffic.since(before)).toEqual({ requests: 2, bytesRead: 250, bytesWritten: 0 });
    expect(before.bytesWritten).toBe(1000);
  });

  test("a bucket that is not there is no absent key", async () => {
    const store = new S3ObjectStore(target.s3, "siltstone-no-such-bucket-3f81", new Traffic());
    const failure = {
      kind: "unavailable",
      message: expect.stringContaining("s3://siltstone-no-such-bucket-3f81/key"),
    };
    await expect(store.get("key")).rejects.toMatchObject(failure);
    await expect(store.put("key", Buffer.alloc(1), { ifMatch: '"x"' })).rejects.toMatchObject(failure);
  });
});

test.each([
  [403, "InvalidObjectState", "refused"],
  [403, "AccessDenied", "refused"],
  [400, "InvalidRequest", "refused"],
  [404, "NoSuchKey", "absent"],
  [500, "InternalError", "unavailable"],
])("S3 answers a GET with %i %s: %s", async (status, code, expected) => {
  const server = createServer((_, response) => {
    response.writeHead(status, { "content-type": "application/xml" });
    response.end(`<Error><Code>${code}</Code><Message>told so</Message></Error>`);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const s3 = new S3Client({ endpoint, region: "us-east-1", credentials: localCredentials, maxAttempts: 1 });
  const store = new S3ObjectStore(s3, "bucket", new Traffic());
  const outcome = await store.getBounded("key", 10).then(
    (found) => found.kind,
    (error: SiltstoneError) => error.kind,
  );
  expect(outcome).toBe(expected);
  s3.destroy();
  server.close();
});

const providers: { name: string; start: (() => Promise<RunningServer>) | null; queue: boolean }[] = [
  { name: "SqsDeltaQueue over a local server", start: startSqsServer, queue: true },
  { name: "DynamoDbLeaseTable over a local server", start: startDynamoDbServer, queue: false },
  ...(runsOnAws
    ? [
        { name: "SqsDeltaQueue over Amazon SQS", start: null, queue: true },
        { name: "DynamoDbLeaseTable over Amazon DynamoDB", start: null, queue: false },
      ]
    : []),
];

describe.each(providers.filter(({ queue }) => queue))("$name", ({ name, start }) => {
  let server: RunningServer | null = null;
  let queues: ReturnType<typeof queueMaker> | null = null;
  beforeAll(async () => {
    server = start && (await start());
    queues = queueMaker(server?.endpoint ?? null);
  });
  afterAll(async () => {
    await queues?.close();
    await server?.stop();
  });
  deltaQueueContract(name, () => queues!.make());
});

describe.each(providers.filter(({ queue }) => !queue))("$name", ({ name, start }) => {
  let server: RunningServer | null = null;
  let made: LeaseTableUnderTest | null = null;
  beforeAll(async () => {
    server = start && (await start());
    made = await leaseTable(server?.endpoint ?? null);
  });
  afterAll(async () => {
    await made?.close();
    await server?.stop();
  });
  leaseTableContract(name, async () => ({ leases: made!.leases, namesBelow: "" }));
  limitTableContract(name, async () => made!.limits);
  jobTableContract(name, async () => made!.jobs);

  const leaseMs = 1_000;
  const late = { owner: "b", leaseMs, nowMs: 50_000 };
  test.each<[string, string, (leases: LeaseTable, lease: Lease) => Promise<unknown>]>([
    ["extends it", "a", (leases, lease) => leases.extend(lease, { leaseMs, nowMs: 49_900 })],
    [
      "gives it up, and another takes it",
      "c",
      async (leases, lease) => {
        await leases.release(lease);
        await leases.acquire(lease.name, { owner: "c", leaseMs, nowMs: 49_900 });
      },
    ],
  ])("an expired lease is not taken when its holder %s meanwhile", async (what, holder, happens) => {
    const { leases, interrupted } = made!;
    const taken = await leases.acquire(`race ${what}`, { owner: "a", leaseMs, nowMs: 0 });
    if (taken.kind !== "acquired") throw new Error("it is free");
    const racer = interrupted(() => happens(leases, taken.lease));
    expect(await racer.acquire(taken.lease.name, late)).toMatchObject({
      kind: "held",
      by: { owner: holder, expiresAtMs: 50_900 },
    });
    expect(await leases.read(taken.lease.name)).toMatchObject({ owner: holder });
  });

  test("no epoch is given twice, though the lease is as free as before when another had it meanwhile", async () => {
    const { leases, interrupted } = made!;
    const take = async (owner: string, from = leases) => {
      const answer = await from.acquire("race epoch", { owner, leaseMs, nowMs: 0 });
      if (answer.kind !== "acquired") throw new Error("it is free");
      return answer.lease;
    };
    await leases.release(await take("a"));
    const racer = interrupted(async () => leases.release(await take("c")));
    expect((await take("b", racer)).epoch).toBe(3);
  });

  test("a lease that its holder gives up meanwhile is taken", async () => {
    const { leases, interrupted } = made!;
    const taken = await leases.acquire("race release", { owner: "a", leaseMs, nowMs: 0 });
    if (taken.kind !== "acquired") throw new Error("it is free");
    const racer = interrupted(() => leases.release(taken.lease));
    const answer = await racer.acquire(taken.lease.name, late);
    expect(answer).toMatchObject({ kind: "acquired", lease: { owner: "b", epoch: taken.lease.epoch + 1 } });
    expect(await leases.extend(taken.lease, { leaseMs, nowMs: 50_001 })).toBeNull();
  });
});

clockContract("system clock", systemClock);

describe("awsWorld through AWS_ENDPOINT_URL_* alone", () => {
  const folder = mkdtempSync(join(tmpdir(), "siltstone-world-"));
  const set = new Map<string, string | undefined>();
  const servers: { stop(): Promise<void> }[] = [];
  let names: AwsNames;

  beforeAll(async () => {
    const s3 = await startS3Server({ folder, port: 0, region: "us-east-1" });
    servers.push(s3);
    const sqs = await startSqsServer();
    servers.push(sqs);
    const dynamodb = await startDynamoDbServer();
    servers.push(dynamodb);
    const variables = {
      AWS_ENDPOINT_URL_S3: s3.endpoint,
      AWS_ENDPOINT_URL_SQS: sqs.endpoint,
      AWS_ENDPOINT_URL_DYNAMODB: dynamodb.endpoint,
      AWS_REGION: "us-east-1",
      AWS_ACCESS_KEY_ID: localCredentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: localCredentials.secretAccessKey,
    };
    for (const [name, value] of Object.entries(variables)) {
      set.set(name, process.env[name]);
      process.env[name] = value;
    }
    await new S3Client({}).send(new CreateBucketCommand({ Bucket: "world" }));
    const { tableName } = await leaseTable(dynamodb.endpoint);
    const queueUrl = `${sqs.endpoint}/000000000000/none`;
    names = { bucket: "world", table: tableName, queueUrl, deadLetterQueueUrl: queueUrl };
  });
  afterAll(async () => {
    for (const [name, value] of set) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
    await Promise.all(servers.map((server) => server.stop()));
    rmSync(folder, { recursive: true });
  });

  test("every port reaches its service; a missing queue is named", async () => {
    const world = awsWorld(names);
    expect((await world.store.put("a/b", Buffer.from("x"), { ifAbsent: true })).kind).toBe("written");
    expect(await world.store.listLevel("")).toMatchObject({ folders: ["a"] });
    expect(world.traffic.snapshot()).toEqual({ requests: 2, bytesRead: 0, bytesWritten: 1 });
    expect((await world.leases.acquire("a/0", { owner: "me", leaseMs: 1, nowMs: 0 })).kind).toBe("acquired");
    await expect(world.queue.send("x")).rejects.toMatchObject({
      kind: "unavailable",
      message: expect.stringContaining(`SQS SendMessage ${names.queueUrl}`),
    });
  });

  test("a lease and a note that are damaged are named, with what mends them; a new note takes a damaged one's place", async () => {
    const world = awsWorld(names);
    const client = DynamoDBDocumentClient.from(new DynamoDBClient({}));
    const item = (sk: string, rest: object) =>
      client.send(new PutCommand({ TableName: names.table, Item: { pk: "lease#bad/0", sk, ...rest } }));
    for (const note of ["{", "", undefined]) {
      await item("note", note === undefined ? {} : { note });
      await expect(world.leases.readNote("bad/0")).rejects.toMatchObject({
        kind: "corrupt",
        message: expect.stringMatching(/^note bad\/0 in table .* the next run writes it anew$/),
      });
    }
    await world.leases.note("bad/0", { outcome: "done" });
    expect(await world.leases.readNote("bad/0")).toEqual({ outcome: "done" });
    await item("lease", { epoch: "high" });
    const damaged = { kind: "corrupt", message: expect.stringMatching(/^lease bad\/0 .* delete the item/) };
    await expect(world.leases.read("bad/0")).rejects.toMatchObject(damaged);
    const request = { owner: "me", leaseMs: 1, nowMs: 0 };
    await expect(world.leases.acquire("bad/0", request)).rejects.toMatchObject(damaged);
    client.destroy();
  });

  test("a server that is gone: reads are unavailable, writes uncertain", async () => {
    const world = awsWorld(names);
    await Promise.all(servers.splice(0).map((server) => server.stop()));
    await expect(world.store.get("a/b")).rejects.toMatchObject({ kind: "unavailable" });
    await expect(world.store.put("a/b", Buffer.from("y"))).rejects.toMatchObject({ kind: "uncertain" });
    await expect(world.queue.receive()).rejects.toMatchObject({ kind: "unavailable" });
    await expect(world.leases.read("a/0")).rejects.toMatchObject({ kind: "unavailable" });
    await expect(world.leases.note("a/0", {})).rejects.toMatchObject({ kind: "uncertain" });
  });
});
