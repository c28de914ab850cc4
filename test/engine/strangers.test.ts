/** What is not ours below our prefixes is reported, and neither read nor deleted; damage of the newest version is shown. */
import { ulidFloor } from "../../lib/core/model/ulid.ts";
import { createCollection, deleteCollection, listCollections } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { Sweep } from "../../lib/engine/compact/sweep.ts";
import { shardStatus } from "../../lib/engine/operate/status.ts";
import { verify } from "../../lib/engine/operate/verify.ts";
import { Strangers, seeBesideShards } from "../../lib/engine/shard/strangers.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { memoryWorld } from "../support/memory/world.ts";

const hour = 3_600_000;
const ulid = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

async function filled() {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "l2" });
  const write = async (id: string) => {
    await produce(world, { collection: "docs", records: [{ id, vector: [1, 2] }] });
    await compact(world, { ingest: true, upkeep: false, deadlineMs: 9e15 });
  };
  for (let n = 0; n < 12; n++) await write(`r${n}`);
  return { world, collection, write };
}

test("strangers in every place are reported by runs, status and verify, and outlive everything but the collection", async () => {
  const { world, collection, write } = await filled();
  const late = ulidFloor(world.clock.nowMs() + hour);
  const inFolders = [
    `docs/0/deltas/${late.toLowerCase()}.arrow`,
    `docs/0/deltas/${late}.ARROW`,
    `docs/0/deltas/${late}.arrow.tmp`,
    `docs/0/deltas/x/${late}.arrow`,
    `docs/0/deltas/zz`,
    "docs/0/manifests/1.json",
    `docs/0/manifests/000000000001-${ulid.toLowerCase()}.json`,
    "docs/0/pins/UPPER.json",
    "docs/0/pins/v1",
    `docs/0/segments/${ulid}/notes.txt`,
    `docs/0/segments/${ulid}`,
    `docs/0/segments/${ulid.toLowerCase()}/index.hnsw`,
  ];
  // Before the watermark: where runs look once a day.
  const early = `docs/0/deltas/${"0".repeat(27)}.arrow`;
  const others = ["docs/0/quarantine/why.txt", "docs/0/pointer.json.bak", "docs/0/Readme", "docs/0/old/x"];
  const besideShards = ["docs/0.txt", "docs/notes", "docs/1/pointer.json", "docs/x/y"];
  const besideCollections = ["README", "Logs/1", "orphan/x"];
  const all = [...inFolders, early, ...others, ...besideShards, ...besideCollections];
  for (const key of all) await world.store.put(key, Buffer.from("mine"));

  const sweep = new Sweep();
  await write("one more");
  const runs = [await compact(world, { ingest: true, upkeep: true, deadlineMs: 9e15, sweep })];
  const met = runs.flatMap(({ strangers }) => strangers.keys);
  expect(met).toEqual([...inFolders, "README", "Logs/", "orphan/"].sort());
  expect(runs[0]).toMatchObject({ strangers: { count: met.length }, faults: [] });
  expect(runs[0]!.shards.filter(({ error }) => error)).toEqual([]);

  const status = await shardStatus(world, collection, 0);
  const ofShard = [...inFolders, ...others.slice(0, 3), "docs/0/old/"].sort();
  expect(status).toMatchObject({ faults: [], strangers: { count: ofShard.length, keys: ofShard } });
  expect((await verify(world, collection, 0)).strangers.keys).toEqual(
    [...inFolders, early, ...others].sort(),
  );
  expect((await verify(world, collection, 0)).faults).toEqual([]);
  const beside = new Strangers();
  await seeBesideShards(world.store, collection, beside.see);
  expect(beside.found.keys).toEqual(["docs/0.txt", "docs/1/", "docs/notes", "docs/x/"]);
  expect((await listCollections(world.store)).strangers).toEqual(["README", "Logs/", "orphan/"]);

  // Garbage collection deletes versions and segments around them.
  for (let n = 0; n < 40; n++) {
    world.clock.advance(hour);
    runs.push(await compact(world, { ingest: true, upkeep: true, deadlineMs: 9e15, sweep }));
  }
  expect(runs.some(({ strangers }) => strangers.keys.includes(early))).toBe(true);
  expect(all.filter((key) => world.store.bytes(key) === null)).toEqual([]);
  expect(world.store.keys("docs/0/manifests/").length).toBeLessThan(10);
  await deleteCollection(world.store, "docs");
  expect(world.store.keys()).toEqual(besideCollections.toSorted());
});

test("an object that the product makes is never taken for a stranger's", async () => {
  const { world, collection } = await filled();
  await world.store.put("docs/0/pins/before-cleanup.json", Buffer.from("x"));
  for (const kind of ["arrow", "json"])
    await world.store.put(`docs/0/quarantine/${ulid}.${kind}`, Buffer.from("x"));
  await compact(world, { ingest: true, upkeep: true, deadlineMs: 9e15 });
  expect((await verify(world, collection, 0)).strangers).toEqual({ count: 0, keys: [] });
  expect((await shardStatus(world, collection, 0)).strangers).toEqual({ count: 0, keys: [] });
});

test.each([
  ["is gone", () => null, /records\.db is missing$/],
  ["is cut off", (body: Buffer) => body.subarray(1), /has \d+ bytes, its manifest says \d+$/],
  ["is empty", () => Buffer.alloc(0), /has 0 bytes/],
])(
  "a file of the newest version that %s is damage, of an older one it is not",
  async (_, damage, message) => {
    const { world, collection } = await filled();
    const files = world.store.keys("docs/0/segments/").filter((key) => key.endsWith("records.db"));
    const harm = async (key: string) => {
      const body = damage(world.store.bytes(key)!);
      if (body === null) await world.store.delete([key]);
      else await world.store.put(key, body);
    };
    await harm(files[3]!);
    const { faults } = await shardStatus(world, collection, 0);
    expect(faults).toMatchObject([
      { part: "files", kind: "corrupt", message: expect.stringMatching(message) },
    ]);
    await harm(files[4]!);
    expect((await shardStatus(world, collection, 0)).faults[0]!.message).toMatch(/ \(and 1 more files\)$/);
  },
);

test("many strangers are counted, and the first of them named", async () => {
  const { world, collection } = await filled();
  for (let n = 0; n < 250; n++) await world.store.put(`docs/0/pins/${n}.txt`, Buffer.from("x"));
  const { strangers } = await shardStatus(world, collection, 0);
  expect(strangers.count).toBe(250);
  expect(strangers.keys).toHaveLength(100);
  expect((await verify(world, collection, 0)).strangers.count).toBe(250);
});
