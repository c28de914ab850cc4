/**
 * SNP-5, QRY-4: the newest version is damaged, and the process that is asked has just started. The newest whole version
 * before it answers reads that ask for no more than that, with a warning, and degraded health; all others get `corrupt`.
 */

import { manifestKey } from "../../../lib/core/format/keys.ts";
import { decodeManifest, encodeManifest } from "../../../lib/core/format/manifest.ts";
import { decodePointer, encodePointer } from "../../../lib/core/format/pointer.ts";
import type { Collection } from "../../../lib/core/model/collection.ts";
import { commitId, snapshotVersion } from "../../../lib/core/model/ids.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { merge } from "../../../lib/engine/compact/merge.ts";
import type { World } from "../../../lib/engine/ports.ts";
import { FanOut } from "../../../lib/engine/read/fan-out.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { effects } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const name = "docs";
const dims = 4;
const hour = 3_600_000;
const pointerKey = `${name}/0/pointer.json`;
const limits = {
  flatSegmentsMax: 1,
  flatRowsMax: 5,
  growth: 4,
  deadShareMax: 0.25,
  staleMsMax: 1e15,
  uncountedMsMax: 1e15,
  segmentComponentsMax: 1e6,
  segmentWeightMax: 1e9,
  clusteredComponentsMin: 1e9,
};
const vectorOf = (n: number): number[] => [n, 1, -n, 2];
const question = { collection: name, vector: vectorOf(3), topK: 3 };
const traffic = { refreshSeconds: 0, cacheBytesMax: 1e9 };
const cold = (world: World & Pick<MemoryWorld, "traffic">) =>
  new Reader(world, { ...traffic, traffic: world.traffic });

async function write(world: MemoryWorld, first: number, count: number): Promise<string> {
  const records = Array.from({ length: count }, (_, i) => ({ id: `r${first + i}`, vector: vectorOf(i) }));
  const { token } = await produce(world, { collection: name, records });
  return token!;
}
const ingest = (world: World) =>
  compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });

/** Four versions, a minute apart: 10 records, 20, the same as a graph, and 30 in the graph and a flat segment. */
async function fourVersions(clusteredComponentsMin = 1e9) {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name, dims, metric: "l2" });
  for (const first of [0, 10]) {
    await write(world, first, 10);
    await ingest(world);
    world.clock.advance(60_000);
  }
  const options = { ...limits, clusteredComponentsMin };
  await merge(world, collection, 0, { deadlineMs: world.clock.nowMs() + hour, limits: options });
  world.clock.advance(60_000);
  const token = await write(world, 20, 10);
  await ingest(world);
  world.clock.advance(60_000);
  const { manifest, pointer } = await readHead(world.store, collection, 0);
  expect(manifest.version).toBe(4);
  const file = (kind: "flat" | "hnsw", file: string) =>
    `${name}/0/segments/${manifest.segments.find((one) => one.kind === kind)!.id}/${file}`;
  return { world, collection, token, file, newest: pointer.manifest! };
}
const manifestOf = (world: MemoryWorld, version: number): string =>
  world.store.keys(`${name}/0/manifests/${String(version).padStart(12, "0")}-`)[0]!;

async function flip(world: MemoryWorld, key: string): Promise<() => Promise<unknown>> {
  const original = Buffer.from(world.store.bytes(key)!);
  const damaged = Buffer.from(original);
  damaged[damaged.length >> 1]! ^= 1;
  await world.store.put(key, damaged);
  return () => world.store.put(key, original);
}

type Scene = Awaited<ReturnType<typeof fourVersions>>;

describe.each([
  ["the manifest", 3, ({ newest }: Scene) => newest],
  ["vectors of the flat segment", 3, ({ file }: Scene) => file("flat", "vectors.f32")],
  ["records of the flat segment", 3, ({ file }: Scene) => file("flat", "records.db")],
  ["the graph", 2, ({ file }: Scene) => file("hnsw", "index.hnsw")],
  ["records of the graph", 2, ({ file }: Scene) => file("hnsw", "records.db")],
] as const)("damaged: %s", (_, version, keyOf) => {
  test.each(["flipped", "missing"])("%s", async (how) => {
    const scene = await fourVersions();
    const { world, token } = scene;
    const key = keyOf(scene);
    const bytes = Buffer.from(world.store.bytes(key)!);
    if (how === "flipped") await flip(world, key);
    else await world.store.delete([key]);
    const warning = expect.stringContaining(key);
    const fallback = { snapshotVersion: version, warning };
    const reader = cold(world);
    for (let i = 0; i < 2; i++) {
      expect(await reader.query(question)).toMatchObject(fallback);
      expect(await reader.count({ collection: name })).toMatchObject({ count: 20, ...fallback });
      const get = await reader.get({ collection: name, ids: ["r5", "r25"] });
      expect(get).toMatchObject({ records: [{ id: "r5" }], missing: ["r25"], ...fallback });
      expect(await reader.stats({ collection: name })).toMatchObject({ vectors: 20, ...fallback });
    }
    expect(await reader.health({ collection: name })).toMatchObject({
      status: "degraded",
      shards: [{ version, fault: warning }],
    });
    // It was the newest until the next one was published: one minute for each version since.
    const [shard] = (await reader.count({ collection: name })).shards;
    expect(shard!.ageSeconds).toBeCloseTo((4 - version) * 60, 0);
    // A read that was promised more is refused, by this process and by one that has served no other.
    const other = cold(world);
    for (const asked of [reader, other]) {
      for (const promise of [
        { consistency: "strong" },
        { consistency: "bounded", maxAgeSeconds: 300 },
        { atLeast: [token] },
      ] as const) {
        await expect(asked.count({ collection: name, ...promise })).rejects.toMatchObject({
          kind: "corrupt",
          message: warning,
        });
      }
    }
    await world.store.put(key, bytes);
    expect(await reader.count({ collection: name })).toMatchObject({ count: 30, snapshotVersion: 4 });
    expect(await reader.count({ collection: name })).not.toHaveProperty("warning");
    expect((await reader.health({})).status).toBe("ok");
    for (const one of [reader, other]) await one.close();
  });
});

test("a file that is damaged in several versions is passed over with one fetch, and one behind the other as well", async () => {
  const { world, file } = await fourVersions();
  const graph = file("hnsw", "index.hnsw");
  await flip(world, graph);
  await flip(world, manifestOf(world, 2));
  let fetched = 0;
  const counted = effects(world, ({ key, operation }, moment) => {
    if (moment === "before" && operation === "get" && key === graph) fetched += 1;
    return undefined;
  });
  const reader = cold(counted);
  expect(await reader.count({ collection: name })).toMatchObject({ count: 10, snapshotVersion: 1 });
  expect(fetched).toBe(1);
  await reader.close();
});

test("nothing whole is left: corrupt, by name, and health says so", async () => {
  const { world, newest } = await fourVersions();
  for (const version of [1, 2, 3, 4]) await flip(world, manifestOf(world, version));
  const reader = cold(world);
  await expect(reader.query(question)).rejects.toMatchObject({
    kind: "corrupt",
    message: expect.stringContaining(newest),
  });
  expect(await reader.health({ collection: name })).toMatchObject({
    status: "degraded",
    shards: [{ version: null, fault: expect.stringContaining(newest) }],
  });
  await reader.close();
});

test("a version below the floor serves no read", async () => {
  const { world, file } = await fourVersions();
  await flip(world, file("hnsw", "index.hnsw"));
  const pointer = decodePointer(world.store.bytes(pointerKey)!, pointerKey, { collection: name, shard: 0 });
  const floor = { ...pointer.floor, version: snapshotVersion(3), generation: 1 };
  await world.store.put(pointerKey, encodePointer({ ...pointer, floor }));
  const reader = cold(world);
  await expect(reader.count({ collection: name })).rejects.toMatchObject({ kind: "corrupt" });
  await reader.close();
});

/** A manifest of a version that lost its race: it was never published. It has the rows of version 1. */
async function leaveUnpublished(world: MemoryWorld, of: number): Promise<void> {
  const version = snapshotVersion(of);
  const read = (key: string) => decodeManifest(world.store.bytes(key)!, key, { collection: name, shard: 0 });
  const [first, published] = [1, version].map((one) => read(manifestOf(world, one)));
  const commit = commitId(world.clock.ulid());
  const lost = { ...first!, version, commit, parent: published!.parent };
  await world.store.put(manifestKey(lost, version, commit), encodeManifest(lost));
}

test("the published one of several manifests of one version serves, or none of them", async () => {
  const { world, newest, file } = await fourVersions();
  await leaveUnpublished(world, 3);
  await leaveUnpublished(world, 2);
  const counted = async () => {
    const reader = cold(world);
    try {
      return await reader.count({ collection: name });
    } finally {
      await reader.close();
    }
  };
  // The newest manifest is whole, and names its parent.
  const mend = await flip(world, file("flat", "records.db"));
  expect(await counted()).toMatchObject({ count: 20, snapshotVersion: 3 });
  await mend();
  // It is not: either of the two may have been its parent. Both of these name the same one before them.
  await flip(world, newest);
  expect(await counted()).toMatchObject({ count: 20, snapshotVersion: 2 });
  await flip(world, manifestOf(world, 3));
  expect(await counted()).toMatchObject({ count: 10, snapshotVersion: 1 });
});

test("an answer from clusters whose graph turns out damaged is given up for the version before, with a warning", async () => {
  const { world, file, token } = await fourVersions(1);
  const key = file("hnsw", "index.hnsw");
  await flip(world, key);
  const reader = cold(world);
  const first = await reader.query(question);
  expect(first).toMatchObject({ cold: true, snapshotVersion: 4 });
  expect(first).not.toHaveProperty("warning");
  const fallback = { snapshotVersion: 2, warning: expect.stringContaining(key) };
  expect(await reader.count({ collection: name })).toMatchObject({ count: 20, ...fallback });
  const later = await reader.query(question);
  expect(later).toMatchObject(fallback);
  expect(later).not.toHaveProperty("cold");
  for (const promise of [
    { consistency: "strong" },
    { consistency: "bounded", maxAgeSeconds: 300 },
    { atLeast: [token] },
  ] as const)
    await expect(reader.count({ collection: name, ...promise })).rejects.toMatchObject({ kind: "corrupt" });
  await reader.close();
});

test("a read that looks at the configuration before an older version serves takes what another call finds meanwhile", async () => {
  const { world, file } = await fourVersions();
  const back = await flip(world, file("flat", "records.db"));
  const looking = Promise.withResolvers<void>();
  const go = Promise.withResolvers<undefined>();
  let looks = 0;
  const reader = cold(
    effects(world, ({ key }, moment) => {
      if (moment === "after" || key !== `${name}/collection.json` || ++looks !== 2) return undefined;
      looking.resolve();
      return go.promise;
    }),
  );
  const held = reader.count({ collection: name });
  await looking.promise;
  await back();
  const whole = { count: 30, snapshotVersion: 4 };
  expect(await reader.count({ collection: name, consistency: "strong" })).toMatchObject(whole);
  go.resolve(undefined);
  const answer = await held;
  expect(answer).toMatchObject(whole);
  expect(answer).not.toHaveProperty("warning");
  expect((await reader.health({})).status).toBe("ok");
  await reader.close();
});

describe("a lost pointer", () => {
  const repair = {
    kind: "corrupt",
    message: expect.stringMatching(
      /pointer\.json is corrupt: it is missing.*silt snapshot repair docs --shard 0/,
    ),
  };

  test("a shard whose version 0 this process has seen is corrupt, and not unpublished", async () => {
    const world = memoryWorld();
    await createCollection(world, { name, dims, metric: "l2" });
    const reader = cold(world);
    await expect(reader.query(question)).rejects.toThrow("nothing has been published");
    await write(world, 0, 10);
    await ingest(world);
    await world.store.delete([pointerKey]);
    for (const call of [
      () => reader.query(question),
      () => reader.count({ collection: name }),
      () => reader.get({ collection: name, ids: ["r1"] }),
      () => reader.stats({ collection: name }),
      () => reader.count({ collection: name, consistency: "strong" }),
    ])
      await expect(call()).rejects.toMatchObject(repair);
    expect((await reader.health({})).status).toBe("degraded");
    await reader.close();
  });

  test("one shard of two whose version 0 was seen is corrupt, and not half of the records", async () => {
    const world = memoryWorld();
    await createCollection(world, { name, dims, metric: "l2", shards: 2 });
    const reader = cold(world);
    // r0 to r4 are of both shards: the first is ingested alone.
    await write(world, 0, 5);
    const only = { ingest: true, upkeep: false, collection: name, deadlineMs: world.clock.nowMs() + hour };
    await compact(world, { ...only, shard: 1 });
    const half = (await reader.count({ collection: name })).count;
    expect(half).toBeGreaterThan(0);
    expect(half).toBeLessThan(5);
    await compact(world, only);
    await world.store.delete([pointerKey]);
    await expect(reader.count({ collection: name })).rejects.toMatchObject(repair);
    await reader.close();
  });
});

describe("over query groups", () => {
  /** Two groups, each a reader of its own; the front asks them. */
  async function twoGroups() {
    const world = memoryWorld();
    const { collection } = await createCollection(world, { name, dims, metric: "l2", shards: 2 });
    const readers = [cold(world), cold(world)];
    const ask = (group: number, event: object) => {
      const { op, ...call } = event as { op: "query" | "count" | "get" | "stats" };
      return readers[group]![op](call as never);
    };
    const front = new FanOut({ store: world.store, groups: 2, ask });
    return { world, collection, front, readers };
  }
  const last = async (world: MemoryWorld, collection: Collection, shard: number) => {
    const { manifest } = await readHead(world.store, collection, shard);
    return `${name}/${shard}/segments/${manifest.segments.at(-1)!.id}/records.db`;
  };

  test("the group with the damaged shard falls back, and the whole answer warns", async () => {
    const { world, collection, front, readers } = await twoGroups();
    for (const first of [0, 10]) {
      await write(world, first, 10);
      await ingest(world);
    }
    const key = await last(world, collection, 1);
    await flip(world, key);
    const warning = expect.stringContaining(key);
    const { count, ...rest } = await front.count({ collection: name }, 1_000);
    expect(rest).toMatchObject({ snapshotVersion: 3, warning });
    expect(count).toBeGreaterThan(10);
    expect(count).toBeLessThan(20);
    expect(await front.query(question, 1_000)).toMatchObject({ snapshotVersion: 3, warning });
    expect(await front.stats({ collection: name }, 1_000)).toMatchObject({ vectors: count, warning });
    for (const reader of readers) await reader.close();
  });

  test("a lost pointer where version 0 was seen is corrupt", async () => {
    const { world, front, readers } = await twoGroups();
    await expect(front.count({ collection: name }, 1_000)).rejects.toThrow("nothing has been published");
    await write(world, 0, 10);
    await ingest(world);
    await world.store.delete([pointerKey]);
    await expect(front.count({ collection: name }, 1_000)).rejects.toMatchObject({
      kind: "corrupt",
      message: expect.stringContaining("silt snapshot repair docs --shard 0"),
    });
    for (const reader of readers) await reader.close();
  });

  test("S3 that fails where version 0 was seen is not taken for nothing published", async () => {
    const world = memoryWorld();
    await createCollection(world, { name, dims, metric: "l2" });
    let isDown = false;
    const reader = cold(
      effects(world, (_, moment) => (isDown && moment === "before" ? { kind: "refuse" } : undefined)),
    );
    const ask = (_: number, event: object) => reader.count(event as never);
    const front = new FanOut({ store: world.store, groups: 2, ask });
    await expect(front.count({ collection: name }, 1_000)).rejects.toThrow("nothing has been published");
    isDown = true;
    await expect(front.count({ collection: name }, 1_000)).rejects.toMatchObject({
      kind: "unavailable",
      message: expect.stringContaining("injected"),
    });
    await reader.close();
  });
});
