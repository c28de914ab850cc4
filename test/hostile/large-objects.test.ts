/**
 * Objects below deltas/ that are not deltas and larger than anything that may be read or copied at once, on the local S3:
 * they are files without blocks, so that 6 GiB take no disk.
 */
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { CopyObjectCommand, CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { S3ObjectStore } from "../../lib/aws/s3-object-store.ts";
import { systemClock } from "../../lib/aws/system-clock.ts";
import { deltaKey, quarantinedDeltaKey } from "../../lib/core/format/keys.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import type { World } from "../../lib/engine/ports.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { listQuarantine, quarantinedBytesMax } from "../../lib/engine/shard/quarantine.ts";
import { Traffic } from "../../lib/engine/traffic.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { type RunningS3, startS3Server } from "../../scripts/local/s3/server.ts";
import { localCredentials } from "../contract/aws-target.ts";
import { memoryWorld } from "../support/memory/world.ts";

const gibibyte = 1024 ** 3;
const name = "docs";
const ref = { collection: name, shard: 0 };
/** The last bytes of every one. */
const mark = Buffer.from("the end");
const folder = mkdtempSync(join(tmpdir(), "siltstone-large-"));
const traffic = new Traffic();
let server: RunningS3;
let client: S3Client;
let world: World;

async function start(): Promise<void> {
  server = await startS3Server({ folder, port: 0, region: "us-east-1" });
  client = new S3Client({ endpoint: server.endpoint, region: "us-east-1", credentials: localCredentials });
  const clock = { ...systemClock(), sleep: async () => {}, ulid: () => memory.clock.ulid() };
  world = { ...memory, clock, store: new S3ObjectStore(client, "large", traffic) };
}
async function stop(): Promise<void> {
  client.destroy();
  await server.stop();
}
const memory = memoryWorld({ startMs: Date.now() });

beforeAll(async () => {
  await start();
  await client.send(new CreateBucketCommand({ Bucket: "large" }));
});
afterAll(async () => {
  await stop();
  rmSync(folder, { recursive: true });
});

/** Makes a stored object's only file, and what the server says of its size, as large as wanted. */
async function stretch(key: string, bytes: number): Promise<void> {
  await stop();
  const catalog = new DatabaseSync(join(folder, "catalog.db"));
  const row = catalog.prepare("SELECT sequence, files FROM versions WHERE key = ?").get(Buffer.from(key));
  const [file] = JSON.parse(row!.files as string) as { name: string }[];
  const path = join(folder, "blobs", file!.name);
  truncateSync(path, bytes);
  const descriptor = openSync(path, "r+");
  writeSync(descriptor, mark, 0, mark.length, bytes - mark.length);
  closeSync(descriptor);
  catalog
    .prepare("UPDATE versions SET bytes = ?, files = ? WHERE sequence = ?")
    .run(bytes, JSON.stringify([{ name: file!.name, bytes }]), row!.sequence as number);
  catalog.close();
  await start();
}

test("objects of 1.8 GB, 6 GiB and more than is ever copied stop no shard, and are not read", async () => {
  await createCollection(world, { name, dims: 2, metric: "l2" });
  const write = (id: string) => produce(world, { collection: name, records: [{ id, vector: [1, 2] }] });
  const sizes = [1.8e9, 6 * gibibyte, quarantinedBytesMax + 1];
  const large: string[] = [];
  for (const bytes of sizes) {
    const delta = deltaId(memory.clock.ulid());
    large.push(delta);
    // More than 64 KiB: a file of its own.
    await world.store.put(deltaKey(ref, delta), Buffer.alloc(100_000));
    await stretch(deltaKey(ref, delta), bytes);
    await write(`r${bytes}`);
  }
  const CopySource = `large/${deltaKey(ref, deltaId(large[1]!))}`;
  await expect(
    client.send(new CopyObjectCommand({ Bucket: "large", Key: "copy", CopySource })),
  ).rejects.toMatchObject({ name: "InvalidRequest", message: expect.stringContaining("larger than") });
  const before = traffic.snapshot();
  const [shard] = (await compact(world, { ingest: true, upkeep: false, deadlineMs: 9e15 })).shards;
  expect(shard).toMatchObject({
    ingest: { outcome: "done", deltas: 3, quarantined: 2, pending: [large[2]] },
  });
  expect(shard!.ingest!.left).toEqual([
    {
      delta: large[2],
      reason: expect.stringMatching(/has 34359738369 bytes; .* too large to be copied; delete it by hand/),
    },
  ]);
  expect(traffic.since(before).bytesRead).toBeLessThan(100_000);

  const aside = await listQuarantine(world.store, ref);
  expect(aside.map(({ delta, bytes }) => [delta, bytes])).toEqual([
    [large[0], sizes[0]],
    [large[1], sizes[1]],
  ]);
  for (const { delta, bytes } of aside) {
    expect(await world.store.head(deltaKey(ref, delta))).toBeNull();
    const end = { start: bytes - mark.length, limit: bytes };
    const found = await world.store.get(quarantinedDeltaKey(ref, delta), { range: end });
    expect(found).toMatchObject({ body: mark });
  }
  // What is left alone waits, and is looked at again by every run, which goes on past it.
  await write("later");
  const [again] = (await compact(world, { ingest: true, upkeep: false, deadlineMs: 9e15 })).shards;
  expect(again).toMatchObject({ ingest: { outcome: "done", deltas: 1, pending: [large[2]] } });
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic });
  expect((await reader.count({ collection: name })).count).toBe(4);
  await reader.close();
}, 60_000);
