/**
 * Who may put an object may not put another in the place of one that is there: under the roles and the bucket's policy of the
 * template, over the local S3, which judges every request by them. Each hand is a function's own access key, or the owner's.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { Template } from "aws-cdk-lib/assertions";
import { Code, Function as LambdaFunction, Runtime } from "aws-cdk-lib/aws-lambda";
import { s3Client } from "../../lib/aws/s3-client.ts";
import { S3ObjectStore } from "../../lib/aws/s3-object-store.ts";
import { systemClock } from "../../lib/aws/system-clock.ts";
import { deltaKey } from "../../lib/core/format/keys.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { requestBounds } from "../../lib/core/policy/time-bounds.ts";
import { createAlias } from "../../lib/engine/catalog/aliases.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import type { ObjectStore } from "../../lib/engine/ports.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { listPins } from "../../lib/engine/shard/history.ts";
import { listQuarantine, retryQuarantined } from "../../lib/engine/shard/quarantine.ts";
import { Traffic } from "../../lib/engine/traffic.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { accessKeyOfFunction } from "../../scripts/local/iam/rules.ts";
import { type RunningS3, startS3Server } from "../../scripts/local/s3/server.ts";
import { functionUrlIds, planStack } from "../../scripts/local/stack-plan.ts";
import type { Template as LocalTemplate } from "../../scripts/local/template.ts";
import { storeStack } from "../constructs/store-template.ts";
import { memoryWorld } from "../support/memory/world.ts";

const region = "us-east-1";
const folder = mkdtempSync(join(tmpdir(), "siltstone-overwriting-"));
let server: RunningS3;
let bucket: string;
/** Access keys, by who they are of. `narrow` may produce to "docs" alone. */
let keys: Record<"producer" | "query" | "compactor" | "narrow" | "owner", string>;
type Hand = keyof typeof keys;

beforeAll(async () => {
  const { stack, store } = storeStack();
  const narrow = new LambdaFunction(stack, "Narrow", {
    runtime: Runtime.NODEJS_24_X,
    handler: "index.handler",
    code: Code.fromInline("exports.handler = async () => 1;"),
  });
  store.grantProduce(narrow, { collections: ["docs"] });
  const template = withoutManaged(Template.fromStack(stack).toJSON() as LocalTemplate);
  const ids = Object.entries(template.Resources).flatMap(([id, { Type }]) =>
    Type === "AWS::Lambda::Function" ? [id] : [],
  );
  const plan = planStack({
    ...{ template, region, stackName: "Siltstone-dev", sqsEndpoint: "http://127.0.0.1:1" },
    codeFolders: Object.fromEntries(ids.map((id) => [id, folder])),
    functionUrls: Object.fromEntries(functionUrlIds(template).map((id) => [id, "http://127.0.0.1:2/"])),
  });
  const keyOf = (part: string) =>
    accessKeyOfFunction(plan.functions.find(({ name }) => name.includes(part))!.name);
  keys = {
    ...{ producer: keyOf("IngestionProducer"), query: keyOf("StoreQuery"), compactor: keyOf("Compactor") },
    ...{ narrow: keyOf("Narrow"), owner: "local" },
  };
  bucket = plan.buckets[0]!.name;
  server = await startS3Server({ folder: join(folder, "s3"), port: 0, region, access: plan.access });
  const { s3 } = handOf("owner");
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
  const VersioningConfiguration = { Status: "Enabled" } as const;
  await s3.send(new PutBucketVersioningCommand({ Bucket: bucket, VersioningConfiguration }));
});
afterAll(async () => {
  for (const client of clients) client.destroy();
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** The role of an inline function has a managed policy of AWS's, for its logs; the local rules know none. */
function withoutManaged(template: LocalTemplate): LocalTemplate {
  for (const { Type, Properties } of Object.values(template.Resources))
    if (Type === "AWS::IAM::Role") delete (Properties as Record<string, unknown>).ManagedPolicyArns;
  return template;
}

const clients: S3Client[] = [];
/** What a principal has with that key: the plain client, and the world of the engine over it. */
function handOf(hand: Hand) {
  const credentials = { accessKeyId: keys[hand], secretAccessKey: "x" };
  const bounds = requestBounds.producer;
  const s3 = s3Client(bounds, { region, credentials, endpoint: server.endpoint, maxAttempts: 1 });
  clients.push(s3);
  const mayList = hand !== "producer" && hand !== "narrow";
  const store = new S3ObjectStore(s3, bucket, new Traffic(), { ...bounds, mayList });
  return { s3, store, world: { ...memoryWorld(), store, clock: systemClock() } };
}

const nameOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "allowed",
    (error: Error) => error.name,
  );
const put = (s3: S3Client, Key: string, condition: object = {}) =>
  nameOf(s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body: "other", ...condition })));
const bytesOf = async (Key: string) => {
  const { Body, ETag } = await handOf("owner").s3.send(new GetObjectCommand({ Bucket: bucket, Key }));
  return { bytes: Buffer.from(await Body!.transformToByteArray()), etag: ETag! };
};

/** Every way that S3 has to make an object, over one that is there: what each is answered. */
async function overwritten(s3: S3Client, Key: string): Promise<string[]> {
  const { etag } = await bytesOf(Key);
  const object = { Bucket: bucket, Key };
  const inParts = async (condition: object) => {
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand(object));
    const part = { ...object, UploadId, PartNumber: 1 };
    const { ETag } = await s3.send(new UploadPartCommand({ ...part, Body: "other" }));
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag: ETag! }] };
    return s3.send(
      new CompleteMultipartUploadCommand({ ...object, UploadId, MultipartUpload, ...condition }),
    );
  };
  const copy = (condition: object) =>
    s3.send(new CopyObjectCommand({ ...object, CopySource: `${bucket}/${Key}`, ...condition }));
  return [
    await put(s3, Key),
    await put(s3, Key, { IfMatch: etag }),
    await put(s3, Key, { IfMatch: "*" }),
    await put(s3, Key, { IfNoneMatch: "*" }),
    await nameOf(inParts({})),
    await nameOf(inParts({ IfMatch: etag })),
    await nameOf(inParts({ IfNoneMatch: "*" })),
    await nameOf(copy({ MetadataDirective: "REPLACE" })),
    await nameOf(copy({ MetadataDirective: "REPLACE", IfMatch: etag })),
  ];
}
const denied = "AccessDenied";
const refused = [
  denied,
  denied,
  denied,
  "PreconditionFailed",
  denied,
  denied,
  "PreconditionFailed",
  denied,
  denied,
];

test("an acknowledged delta that waits cannot be replaced or removed by who may put deltas, nor replaced at all", async () => {
  const { world } = handOf("owner");
  await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  await createCollection(world, { name: "others", dims: 2, metric: "l2" });
  const producer = handOf("producer");
  const call = { collection: "docs", records: [{ id: "a", vector: [1, 2] }] };
  const { deltas, token } = await produce(producer.world, call);
  const key = deltaKey({ collection: "docs", shard: 0 }, deltas[0]!.delta);
  const before = await bytesOf(key);
  // The compactor makes deltas of exported snapshots.
  for (const hand of ["producer", "narrow", "owner", "compactor"] as const)
    expect([hand, await overwritten(handOf(hand).s3, key)]).toEqual([hand, refused]);
  expect(await put(handOf("query").s3, key, { IfNoneMatch: "*" })).toBe(denied);
  for (const hand of ["producer", "narrow", "query"] as const)
    expect(await nameOf(handOf(hand).s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: key })))).toBe(
      denied,
    );
  expect(await bytesOf(key)).toEqual(before);

  await compact(world, { ingest: true, upkeep: true, deadlineMs: Date.now() + 60_000 });
  expect(await listQuarantine(world.store, { collection: "docs", shard: 0 })).toEqual([]);
  const reader = new Reader(handOf("query").world, {
    ...{ refreshSeconds: 0, cacheBytesMax: 1e9, traffic: new Traffic() },
  });
  const { records } = await reader.get({
    collection: "docs",
    ids: ["a"],
    include: ["vector"],
    atLeast: [token!],
  });
  expect(records).toMatchObject([{ id: "a", vector: [1, 2] }]);
  await reader.close();
});

test("an object that the compactor wrote is never replaced; a pointer only by who may write it and knows what is there", async () => {
  const { s3, store } = handOf("owner");
  const written: string[] = [];
  for await (const page of store.list("docs/")) for (const { key } of page) written.push(key);
  const once = written.filter((key) => !key.endsWith("/pointer.json"));
  expect(once.map((key) => key.split("/").at(-1)!.replace(/^.*\./, "")).sort()).toEqual(
    expect.arrayContaining(["json", "db", "f32"]),
  );
  for (const key of once) {
    for (const hand of ["compactor", "owner"] as const) {
      // It may not even make another's.
      const isAnothers = hand === "compactor" && /\/(name|collection)\.json$/.test(key);
      const expected = isAnothers ? refused.map(() => denied) : refused;
      expect([key, await overwritten(handOf(hand).s3, key)]).toEqual([key, expected]);
    }
  }
  for (const key of written)
    for (const hand of ["producer", "narrow", "query"] as const)
      expect([key, await put(handOf(hand).s3, key, { IfNoneMatch: "*" })]).toEqual([key, denied]);
  // Of others' making: kinds that are not known yet are written once as well.
  expect(await put(s3, "docs/0/pins/a.json")).toBe(denied);
  expect(await put(s3, "docs/0/quarantine/a.json")).toBe(denied);
  expect(await put(s3, "docs/anything")).toBe(denied);

  const pointer = "docs/0/pointer.json";
  const { bytes, etag } = await bytesOf(pointer);
  const compactor = handOf("compactor");
  expect(await put(compactor.s3, pointer)).toBe(denied);
  expect(await put(compactor.s3, pointer, { IfNoneMatch: "*" })).toBe("PreconditionFailed");
  expect(await put(compactor.s3, pointer, { IfMatch: '"00000000000000000000000000000000"' })).toBe(
    "PreconditionFailed",
  );
  expect(await put(handOf("producer").s3, pointer, { IfMatch: etag })).toBe(denied);
  expect(await compactor.store.put(pointer, bytes, { ifMatch: etag })).toMatchObject({ kind: "written" });
});

test("an alias is replaced over the one that is known alone, and by no producer; a claim of a name never", async () => {
  const owner = handOf("owner");
  const notes = { name: "notes", actor: "owner", reason: "test" };
  await createAlias(owner.world, { ...notes, collection: "docs" });
  const key = "notes/alias.json";
  const { bytes, etag } = await bytesOf(key);
  expect(await put(owner.s3, key)).toBe(denied);
  expect(await put(owner.s3, key, { IfNoneMatch: "*" })).toBe("PreconditionFailed");
  expect(await put(owner.s3, key, { IfMatch: '"00000000000000000000000000000000"' })).toBe(
    "PreconditionFailed",
  );
  for (const hand of ["producer", "narrow", "query"] as const)
    expect(await put(handOf(hand).s3, key, { IfMatch: etag })).toBe(denied);
  expect(await owner.store.put(key, bytes, { ifMatch: etag })).toMatchObject({ kind: "written" });
  expect(await overwritten(owner.s3, "notes/name.json")).toEqual(refused);
});

test("the compactor writes no configuration and no pin, and deletes no configuration, pin or pointer", async () => {
  const { s3 } = handOf("compactor");
  const remove = (Key: string) => nameOf(s3.send(new DeleteObjectCommand({ Bucket: bucket, Key })));
  for (const key of ["new/collection.json", "docs/0/pins/a.json", "docs/anything"])
    expect([key, await put(s3, key, { IfNoneMatch: "*" })]).toEqual([key, denied]);
  for (const key of ["docs/collection.json", "docs/0/pointer.json", "docs/0/pins/a.json"])
    expect([key, await remove(key)]).toEqual([key, denied]);
});

test("what a producer puts where a pattern of its rights reaches, and no delta is, stops nothing and is taken for nothing", async () => {
  const below = ["pins", "quarantine", "manifests", "segments", "deltas", "deltas/quarantine", "../others/0"];
  const names = ["a.json", "pointer.json", "collection.json", "01JD0000000000000000000000.arrow"];
  const keysOf = below.flatMap((part) => names.map((name) => `docs/0/${part}/deltas/${name}`));
  const odd = [
    "docs/x/deltas/a",
    "docs/0/deltas/",
    "docs/0/deltas/.",
    "docs//deltas/a",
    "docs/00/deltas/a.arrow",
  ];
  const { s3 } = handOf("narrow");
  for (const key of [...keysOf, ...odd]) {
    // Some of them are below quarantine/ or named as a pointer: there another condition holds, and none of them is read.
    expect([key, await put(s3, key, { IfNoneMatch: "*" })]).toEqual([key, "allowed"]);
    expect([key, await put(s3, key, { IfNoneMatch: '"0"' })]).not.toEqual([key, "allowed"]);
  }
  for (const key of [
    "docs/0/pins/a.json",
    "docs/deltas/a",
    "docs/0/Deltas/a",
    "docs/0/deltas",
    "docsx/0/deltas/a",
  ])
    expect([key, await put(s3, key, { IfNoneMatch: "*" })]).toEqual([key, denied]);
  const { world, store } = handOf("compactor");
  const { shards } = await compact(world, { ingest: true, upkeep: true, deadlineMs: Date.now() + 60_000 });
  expect(shards.map(({ collection, error }) => [collection, error])).toEqual([
    ["docs", undefined],
    ["others", undefined],
  ]);
  const ref = { collection: "docs", shard: 0 };
  expect(await listQuarantine(store, ref)).toEqual([]);
  expect(await listPins(store, ref)).toEqual([]);
});

test("a segment goes up in parts, and is put aside again by a run that repeats one that died", async () => {
  const { store, world } = handOf("compactor");
  const path = join(folder, "file");
  writeFileSync(path, randomBytes(9 * 1024 * 1024));
  const key = "docs/0/segments/01JD0000000000000000000000/index.hnsw";
  await store.putFile(key, path);
  await store.putFile(key, path);
  writeFileSync(path, "shorter");
  await expect(store.putFile(key, path)).rejects.toMatchObject({ kind: "unavailable" });

  const shard = { collection: "others", shard: 0 };
  const delta = deltaId(world.clock.ulid());
  const { store: owner } = handOf("owner");
  await owner.put(deltaKey(shard, delta), Buffer.from("no arrow"), { ifAbsent: true });
  // The copy of a run that died before its reason was written.
  await store.copy(deltaKey(shard, delta), `others/0/quarantine/${delta}.arrow`);
  await compact(world, { ingest: true, upkeep: false, deadlineMs: Date.now() + 60_000 });
  expect(await listQuarantine(store, shard)).toMatchObject([
    { delta, reason: expect.stringMatching(/arrow/i) },
  ]);
  expect(await owner.head(deltaKey(shard, delta))).toBeNull();

  // A retry notes its new name in the reason, which is there.
  const reason = `others/0/quarantine/${delta}.json`;
  expect(await put(handOf("owner").s3, reason)).toBe(denied);
  const again = await retryQuarantined(handOf("owner").world, shard, delta);
  expect(JSON.parse((await bytesOf(reason)).bytes.toString())).toMatchObject({ delta, retriedAs: again });
});

test("a producer writes and proves its own, and finds out nothing else", async () => {
  for (const hand of ["producer", "narrow"] as const) {
    const { s3, store, world } = handOf(hand);
    const call = (collection: string) => ({ collection, records: [{ id: hand, vector: [1, 2] }] });
    expect(await produce(world, call("docs"))).toMatchObject({ written: 1 });
    if (hand === "narrow")
      await expect(produce(world, call("others"))).rejects.toMatchObject({
        kind: "notFound",
        message: expect.stringMatching(
          /^collection others does not exist.*or this caller may not write to it$/,
        ),
      });
    else expect(await produce(world, call("others"))).toMatchObject({ written: 1 });
    await expect(produce(world, call("absent"))).rejects.toMatchObject({ kind: "notFound" });
    for (const Prefix of ["", "docs/0/deltas/"])
      expect(await nameOf(s3.send(new ListObjectsV2Command({ Bucket: bucket, Prefix })))).toBe(denied);
    for (const Key of ["docs/0/pointer.json", "others/0/pointer.json"])
      expect(await nameOf(s3.send(new GetObjectCommand({ Bucket: bucket, Key })))).toBe(denied);
    // An answer that was lost: the same bytes are a success, others and none are not.
    const again = produceOf(world, store);
    expect(await again.sameBytes()).toMatchObject({ written: 1 });
    await expect(again.gone()).rejects.toMatchObject({ kind: "uncertain" });
  }
});

/** Produces through a store whose first PUT of each delta is answered as if it had been there already. */
function produceOf(world: ReturnType<typeof handOf>["world"], store: S3ObjectStore) {
  const call = { collection: "docs", records: [{ id: "again", vector: [1, 2] }] };
  const through = (isWritten: boolean) => {
    const partly: Partial<ObjectStore> = {
      get: (key) => store.get(key),
      getBounded: (key, bytesMax) => store.getBounded(key, bytesMax),
      async put(key, body) {
        if (isWritten) await store.put(key, body, { ifAbsent: true });
        return isWritten ? store.put(key, body, { ifAbsent: true }) : { kind: "preconditionFailed" };
      },
    };
    return { ...world, store: partly as ObjectStore };
  };
  return { sameBytes: () => produce(through(true), call), gone: () => produce(through(false), call) };
}
