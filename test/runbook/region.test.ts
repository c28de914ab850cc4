/**
 * The disaster drill: a region is lost, its bucket's replica in another is adopted by a new stack, and the runbook's section brings back
 * all that was acknowledged, though the replica is not what the bucket was: it lags by key, each in the worst way.
 */
import { CreateBucketCommand, PutBucketVersioningCommand, S3Client } from "@aws-sdk/client-s3";
import { deltaPrefix, manifestPrefix, pointerKey, shardPrefix } from "../../lib/core/format/keys.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import type { ObjectStore } from "../../lib/engine/ports.ts";
import { Deployed, dims, vectorOf } from "../e2e/deployed.ts";
import { Operator } from "./operator.ts";
import { Runbook } from "./runbook.ts";

jest.setTimeout(120_000);
const collection = "docs";
const shards = 2;
const lost = new Deployed();
const found = new Deployed();
/** What was acknowledged: document by id. */
const written = new Map<string, string>();
afterAll(async () => {
  for (const deployed of [lost, found]) {
    await deployed.stop();
    deployed.remove();
  }
});

async function write(deployed: Deployed, ids: readonly number[], text: string): Promise<void> {
  const records = ids.map((n) => ({ id: `r${n}`, vector: vectorOf(n), document: `${text} ${n}` }));
  await deployed.answer("producer", { collection, records });
  for (const { id, document } of records) written.set(id, document);
}
async function remove(deployed: Deployed, ids: readonly string[]): Promise<void> {
  await deployed.answer("producer", { collection, deletes: ids.map((id) => ({ id })) });
  for (const id of ids) written.delete(id);
}
const range = (start: number, limit: number) => Array.from({ length: limit - start }, (_, i) => start + i);
const compact = (deployed: Deployed) => deployed.answer("compactor", { source: "manual", collection });

async function readAll(deployed: Deployed): Promise<Map<string, string>> {
  const ids = range(0, 400).map((n) => `r${n}`);
  const ask = { op: "get", collection, ids, consistency: "strong", include: ["document"] };
  const { records } = await deployed.answer("query", ask);
  return new Map((records as { id: string; document: string }[]).map(({ id, document }) => [id, document]));
}

/** Every object that is there, with its content. */
async function contentsOf(store: ObjectStore): Promise<Map<string, Buffer>> {
  const contents = new Map<string, Buffer>();
  for await (const page of store.list(""))
    for (const { key } of page) {
      const object = await store.get(key);
      if (object.kind === "found") contents.set(key, object.body);
    }
  return contents;
}
const keysBelow = (contents: ReadonlyMap<string, Buffer>, prefix: string) =>
  [...contents.keys()].filter((key) => key.startsWith(prefix));

test("a region is lost: the replica is adopted, nothing acknowledged is lost, and the time that it took is said", async () => {
  await lost.start(null);
  await createCollection(lost.world, { name: collection, dims, metric: "l2", shards });
  await write(lost, range(0, 200), "first");
  await compact(lost);
  await write(lost, range(50, 100), "second");
  const before = await contentsOf(lost.world.store);
  await remove(lost, ["r1", "r2", "r60", "r61"]);
  const pending = await contentsOf(lost.world.store);
  await compact(lost);
  await write(lost, range(180, 230), "third");
  await remove(lost, ["r3", "r185"]);
  const last = await contentsOf(lost.world.store);

  await lost.stop();
  const startMs = performance.now();
  const replica = "replica-in-another-region";
  await found.start(null, { bucket: replica });
  const client = new S3Client({ forcePathStyle: true });
  await client.send(new CreateBucketCommand({ Bucket: replica }));
  await client.send(
    new PutBucketVersioningCommand({ Bucket: replica, VersioningConfiguration: { Status: "Enabled" } }),
  );
  client.destroy();
  const { store } = found.world;
  const arrive = async (key: string, body: Buffer) =>
    expect(await store.put(key, body, { ifAbsent: true })).toMatchObject({ kind: "written" });
  // Shard 0: the pointer did not arrive in its last version, and the deletions of the deltas that it had ingested did.
  const [first, second] = range(0, shards).map((shard) => ({ collection, shard }));
  for (const key of keysBelow(pending, deltaPrefix(first!))) {
    await arrive(key, pending.get(key)!);
    await store.delete([key]);
  }
  // Shard 1: the pointer is there before its manifest, and a delta comes after the first run.
  const lateManifest = keysBelow(last, manifestPrefix(second!)).sort().at(-1)!;
  const [lateDelta = ""] = keysBelow(last, deltaPrefix(second!));
  const late = [lateManifest, lateDelta];
  expect(late.every((key) => last.has(key))).toBe(true);
  for (const [key, body] of last) {
    if (late.includes(key)) continue;
    await arrive(key, key === pointerKey(first!) ? before.get(key)! : body);
  }
  expect(keysBelow(last, shardPrefix(first!)).length).toBeGreaterThan(5);

  process.env.SILTSTONE_STATE_DIR = found.stateDir;
  const runbook = new Runbook(new Operator(() => found.stack).execute);
  const values = {
    ...{ NAME: collection, STAGE: "dev", REPLICA: replica },
    ...{ SINCE: new Date(Date.now() - 3 * 3_600_000).toISOString(), UNTIL: new Date().toISOString() },
  };
  const walk = (only: RegExp) => runbook.run("Another region", "", values, only);
  await walk(/cdk deploy/);
  expect(await walk(/status/)).toMatchObject([{ code: 6, out: expect.stringContaining(lateManifest) }]);
  await arrive(lateManifest, last.get(lateManifest)!);
  expect((await walk(/verify|compact/)).filter(({ code }) => code !== 0)).toEqual([]);
  await arrive(lateDelta, last.get(lateDelta)!);
  expect((await walk(/quarantine|restore|compact|verify/)).filter(({ code }) => code !== 0)).toEqual([]);

  expect(await readAll(found)).toEqual(written);
  await write(found, range(300, 310), "after");
  expect(await readAll(found)).toEqual(written);
  const tookMs = performance.now() - startMs;
  console.info(`another region: ${written.size} records, none lost; recovered in ${Math.round(tookMs)} ms`);
  expect(runbook.left.filter((line) => line.startsWith("Another region"))).toEqual([]);
});
