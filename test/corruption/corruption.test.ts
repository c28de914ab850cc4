/**
 * SNP-3, SNP-5, QRY-4: every kind of object on S3, damaged in every way, is reported by its name and never served; a
 * reader that was warm goes on with the version that it has; and the process lives (hnswlib never sees such bytes).
 */

import { decodeManifest, encodeManifest } from "../../lib/core/format/manifest.ts";
import { encodeSealed } from "../../lib/core/format/sealed-json.ts";
import type { Collection } from "../../lib/core/model/collection.ts";
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { snapshotVersion } from "../../lib/core/model/ids.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { collectGarbage } from "../../lib/engine/compact/collect-garbage.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { merge } from "../../lib/engine/compact/merge.ts";
import { verify } from "../../lib/engine/operate/verify.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import { pinVersion } from "../../lib/engine/shard/history.ts";
import { listQuarantine } from "../../lib/engine/shard/quarantine.ts";
import { fetchClusters } from "../../lib/engine/shard/segment-transfer.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { random } from "../support/memory/clock.ts";
import { type MemoryWorld, memoryWorld } from "../support/memory/world.ts";

const dims = 8;
const hour = 3_600_000;
const name = "docs";
const other = "other";
const limits = {
  flatSegmentsMax: 1,
  flatRowsMax: 20,
  growth: 4,
  deadShareMax: 0.25,
  staleMsMax: 1e15,
  uncountedMsMax: 1e15,
  segmentComponentsMax: 1e6,
  segmentWeightMax: 1e9,
  clusteredComponentsMin: 1,
};

const vectorOf = (n: number): number[] =>
  Array.from({ length: dims }, (_, i) => Math.sin(n * 7.3 + i * 1.7 + 1));
const put = (world: MemoryWorld, collection: string, first: number, count: number) =>
  produce(world, {
    collection,
    records: Array.from({ length: count }, (_, i) => ({
      id: `r${first + i}`,
      vector: vectorOf(first + i),
      document: `d${first + i}`,
    })),
  });
const ingest = (world: MemoryWorld) =>
  compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });
const reader = (world: MemoryWorld) =>
  new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
const question = { collection: name, vector: vectorOf(3), topK: 5 };

interface Scene {
  readonly world: MemoryWorld;
  readonly collection: Collection;
  /** It has seen version 1; everything after that is new to it. */
  readonly warm: Reader;
  readonly files: Readonly<Record<FileKind, string>>;
}
const fileKinds = [
  "collection.json",
  "pointer.json",
  "manifest",
  "vectors.f32 of a flat segment",
  "records.db of a flat segment",
  "index.hnsw",
  "records.db of a graph",
  "vectors.f32 of a graph",
  "clusters.bin",
  "delta",
  "pin",
  "quarantine reason",
] as const;
type FileKind = (typeof fileKinds)[number];

/** Version 1 is one flat segment; the current version is a graph and a flat segment; a delta waits. */
async function prepare(): Promise<Scene> {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name, dims, metric: "cosine" });
  await createCollection(world, { name: other, dims, metric: "cosine" });
  await put(world, other, 100, 60);
  await put(world, name, 0, 5);
  await ingest(world);
  const warm = reader(world);
  await warm.query(question);
  await put(world, name, 5, 55);
  await ingest(world);
  for (const shardOwner of [
    collection,
    (await createCollection(world, { name: other, dims, metric: "cosine" })).collection,
  ]) {
    await merge(world, shardOwner, 0, { deadlineMs: world.clock.nowMs() + hour, limits });
  }
  await put(world, name, 60, 4);
  await world.store.put(`${name}/0/deltas/${world.clock.ulid()}.arrow`, Buffer.from("not a delta"));
  await ingest(world);
  await pinVersion(world, () => readHead(world.store, collection, 0), {
    name: "kept",
    version: snapshotVersion(2),
  });
  await put(world, name, 64, 3);
  await put(world, other, 300, 3);
  const { manifest, pointer } = await readHead(world.store, collection, 0);
  const of = (kind: "flat" | "hnsw", file: string) =>
    `${name}/0/segments/${manifest.segments.find((one) => one.kind === kind)!.id}/${file}`;
  const under = (folder: string, suffix: string) =>
    world.store.keys(`${name}/0/${folder}/`).find((key) => key.endsWith(suffix))!;
  const files = {
    "collection.json": `${name}/collection.json`,
    "pointer.json": `${name}/0/pointer.json`,
    manifest: pointer.manifest!,
    "vectors.f32 of a flat segment": of("flat", "vectors.f32"),
    "records.db of a flat segment": of("flat", "records.db"),
    "index.hnsw": of("hnsw", "index.hnsw"),
    "records.db of a graph": of("hnsw", "records.db"),
    "vectors.f32 of a graph": of("hnsw", "vectors.f32"),
    "clusters.bin": of("hnsw", "clusters.bin"),
    delta: under("deltas", ".arrow"),
    pin: under("pins", ".json"),
    "quarantine reason": under("quarantine", ".json"),
  };
  return { world, collection, warm, files };
}

/** Damaged bytes by description: flips at the head, in the middle, at the tail and anywhere, cut short, grown, emptied. */
function* damages(bytes: Buffer, grows = true): Generator<[string, Buffer]> {
  const next = random(bytes.length);
  const places = [0, 1, 15, Math.floor(bytes.length / 2), bytes.length - 2, bytes.length - 1];
  for (let i = 0; i < 10; i++) places.push(Math.floor(next() * bytes.length));
  for (const place of places) {
    const flipped = Buffer.from(bytes);
    flipped[place]! ^= 1 << Math.floor(next() * 8);
    yield [`bit flipped in byte ${place} of ${bytes.length}`, flipped];
  }
  yield ["last byte missing", bytes.subarray(0, -1)];
  yield ["half missing", bytes.subarray(0, bytes.length >> 1)];
  if (grows) yield ["one byte more", Buffer.concat([bytes, Buffer.from([0])])];
  yield ["empty", Buffer.alloc(0)];
  yield ["zeros", Buffer.alloc(bytes.length)];
}

let scene: Scene;
beforeAll(async () => {
  scene = await prepare();
});
afterAll(() => scene.warm.close());

/** Does `work` with other bytes (or none) under a key, and puts the true ones back. */
async function damaged<T>(key: string, bytes: Buffer | null, work: () => Promise<T>): Promise<T> {
  const { store } = scene.world;
  const original = Buffer.from(store.bytes(key)!);
  if (bytes === null) await store.delete([key]);
  else await store.put(key, bytes);
  try {
    return await work();
  } finally {
    await store.put(key, original);
  }
}

const caught = async (work: () => Promise<unknown>): Promise<unknown> =>
  work().then(
    () => null,
    (error: unknown) => error,
  );

/** What a process that has just started says to a read that needs the object. */
async function readAnew(kind: FileKind): Promise<unknown> {
  const { world } = scene;
  const fresh = reader(world);
  try {
    if (kind === "delta") return await caught(() => fresh.query({ ...question, consistency: "strong" }));
    if (kind === "vectors.f32 of a graph")
      return await caught(() => fresh.get({ collection: name, ids: ["r3"], include: ["vector"] }));
    // A bounded read is not answered from clusters.bin: it needs the graphs.
    return await caught(() => fresh.query({ ...question, consistency: "bounded", maxAgeSeconds: 0 }));
  } finally {
    await fresh.close();
  }
}

async function strongCount(): Promise<number> {
  const fresh = reader(scene.world);
  try {
    return (await fresh.count({ collection: name, consistency: "strong" })).count;
  } finally {
    await fresh.close();
  }
}

function expectNamed(error: unknown, key: string, how: string): void {
  const told =
    error instanceof SiltstoneError ? { kind: error.kind, names: error.message.includes(key) } : error;
  expect({ how, told }).toEqual({ how, told: { kind: "corrupt", names: true } });
}

const read = fileKinds.filter((kind) => !["pin", "quarantine reason", "clusters.bin"].includes(kind));

test.each(["clusters.bin", "vectors.f32 of a graph"] as const)(
  "%s: whatever happens to it, a cold query is answered rightly, by the graphs",
  async (kind) => {
    const { world, files } = scene;
    const coldAnswer = await (async () => {
      const fresh = reader(world);
      const answer = await fresh.query(question);
      await fresh.close();
      return answer;
    })();
    expect(coldAnswer.cold).toBe(true);
    const bytes = Buffer.from(world.store.bytes(files[kind])!);
    let byGraphs = 0;
    for (const [how, damage] of [...damages(bytes, false), ["missing", null] as [string, null]]) {
      await damaged(files[kind], damage, async () => {
        const fresh = reader(world);
        const { results, cold } = await fresh.query(question);
        expect({ how, results }).toEqual({ how, results: coldAnswer.results });
        if (!cold) byGraphs += 1;
        await fresh.close();
      });
    }
    expect(byGraphs).toBeGreaterThan(5);
  },
);

test("clusters.bin: a bit that flipped in an inverted list, in its labels or its codes, is found before anything is scored by it", async () => {
  const { world, files, collection } = scene;
  const { manifest } = await readHead(world.store, collection, 0);
  const segment = manifest.segments.find(({ kind }) => kind === "hnsw")!;
  const clusters = await fetchClusters(world.store, { collection: name, shard: 0 }, segment, collection);
  // A segment as small as this one is read in all of its lists.
  const [start, limit] = [clusters.listRange(0).start, clusters.listRange(clusters.shape.groups - 1).limit];
  const bytes = Buffer.from(world.store.bytes(files["clusters.bin"])!);
  const step = Math.max(1, Math.floor((limit - start) / 60));
  for (let place = start; place < limit; place += step) {
    const flipped = Buffer.from(bytes);
    flipped[place]! ^= 0x40;
    await damaged(files["clusters.bin"], flipped, async () => {
      const fresh = reader(world);
      const { cold } = await fresh.query(question);
      expect({ place, cold }).toEqual({ place, cold: undefined });
      await fresh.close();
    });
  }
});

test.each(read)("%s: flipped, cut or emptied, it is refused by name", async (kind) => {
  const key = scene.files[kind];
  // Of a segment file, exactly the bytes that the manifest counts are read: what follows them belongs to no segment.
  for (const [how, bytes] of damages(
    Buffer.from(scene.world.store.bytes(key)!),
    !key.includes("/segments/"),
  )) {
    await damaged(key, bytes, async () => {
      const error = await readAnew(kind);
      // A delta proves its content, not how Arrow laid it out: padding may change when the rows do not.
      if (kind === "delta" && error === null) expect(await strongCount()).toBe(67);
      else expectNamed(error, key, how);
    });
  }
});

test.each(read.filter((kind) => kind !== "collection.json" && kind !== "delta"))(
  "%s: missing, it is refused by name",
  async (kind) => {
    const key = scene.files[kind];
    await damaged(key, null, async () => expectNamed(await readAnew(kind), key, "missing"));
  },
);

test.each(read)("%s: another one of its kind is refused by name", async (kind) => {
  const { world, files } = scene;
  const key = files[kind];
  // The same kind of object of the other collection: the file name of the one, the folder of the others.
  const [folder, file] = key.split("/").slice(-2) as [string, string];
  const isAlike = (one: string) =>
    /^[a-z]+\.[a-z0-9]+$/.test(file) ? one.endsWith(`/${file}`) : one.includes(`/${folder}/`);
  const foreign = world.store.keys(`${other}/`).find(isAlike)!;
  await damaged(key, Buffer.from(world.store.bytes(foreign)!), async () =>
    expectNamed(await readAnew(kind), key, `swapped for ${foreign}`),
  );
});

test("a manifest with an intact seal and other content than the pointer's is refused by name", async () => {
  const { world, files } = scene;
  const key = files.manifest;
  const manifest = decodeManifest(world.store.bytes(key)!, key, { collection: name, shard: 0 });
  // Whatever the change: without the applied deltas, a reader would lay them over a second time.
  for (const change of [{ applied: [] }, { createdAt: "2020-01-01T00:00:00.000Z" }]) {
    await damaged(key, encodeManifest({ ...manifest, ...change }), async () =>
      expectNamed(await readAnew("manifest"), key, JSON.stringify(change)),
    );
  }
});

test.each([
  ["collection.json", 2],
  ["pointer.json", 1],
] as const)("%s of a later format than %d says so", async (kind, reads) => {
  const key = scene.files[kind];
  const { seal: _seal, ...rest } = JSON.parse(scene.world.store.bytes(key)!.toString()) as { seal: string };
  await damaged(key, encodeSealed({ ...rest, format: reads + 1 }), async () => {
    expect(await readAnew(kind)).toMatchObject({
      kind: "unavailable",
      message: expect.stringContaining(`${key} has format ${reads + 1} and this version reads ${reads}`),
    });
  });
  const flipped = Buffer.from(scene.world.store.bytes(key)!.toString().replace('"format": 1', '"format": 3'));
  await damaged(key, flipped, async () => expectNamed((await readAnew(kind)) as Error, key, "format 3"));
});

test.each(read.filter((kind) => !["collection.json", "delta", "vectors.f32 of a graph"].includes(kind)))(
  "%s: damaged in a new version, a warm reader serves the newest whole one, with a warning, and recovers",
  async (kind) => {
    // Versions 2 and 3 are new to it as well: 4 adds the flat segment, 3 the graph; without the pointer that is not known.
    const version = kind === "pointer.json" ? 1 : kind === "index.hnsw" || kind.endsWith("graph") ? 2 : 3;
    const key = scene.files[kind];
    const expected = ["r3", "r0", "r1", "r2", "r4"].sort();
    const { warm, world } = await prepare();
    const mine = { ...scene };
    scene = { ...mine, world };
    try {
      const itsKey = key.startsWith(`${name}/0/segments/`) || kind === "manifest" ? keyLike(world, key) : key;
      const bytes = Buffer.from(world.store.bytes(itsKey)!);
      bytes[bytes.length >> 1]! ^= 1;
      await damaged(itsKey, bytes, async () => {
        const answer = await warm.query(question);
        expect(answer.snapshotVersion).toBe(version);
        expect(answer.warning).toContain(itsKey);
        if (version === 1) expect(answer.results.map(({ id }) => id).sort()).toEqual(expected);
        const { status, shards } = await warm.health({ collection: name });
        expect(status).toBe("degraded");
        expect(shards![0]!.ageSeconds).toBeGreaterThanOrEqual(0);
        expectNamed(await caught(() => warm.query({ ...question, consistency: "strong" })), itsKey, "strong");
      });
      const answer = await warm.query(question);
      expect(answer.snapshotVersion).toBeGreaterThan(1);
      expect(answer.warning).toBeUndefined();
    } finally {
      scene = mine;
      await warm.close();
    }
  },
);

/** Worlds of one seed have the same keys. */
function keyLike(world: MemoryWorld, key: string): string {
  expect(world.store.keys()).toContain(key);
  return key;
}

test.each(fileKinds.filter((kind) => !["collection.json", "delta", "quarantine reason"].includes(kind)))(
  "%s: verify finds it",
  async (kind) => {
    const { world, collection, files } = scene;
    const key = files[kind];
    const bytes = Buffer.from(world.store.bytes(key)!);
    bytes[bytes.length >> 1]! ^= 1;
    await damaged(key, bytes, async () => {
      const { faults } = await verify(world, collection, 0);
      expect(faults.some((fault) => fault.includes(key))).toBe(true);
    });
    expect((await verify(world, collection, 0)).faults).toEqual([]);
  },
);

test("a damaged pin stops garbage collection, which names the pin", async () => {
  const { world, collection, files } = scene;
  for (const [how, bytes] of damages(Buffer.from(world.store.bytes(files.pin)!))) {
    await damaged(files.pin, bytes, async () =>
      expectNamed(await caught(() => collectGarbage(world, collection, 0)), files.pin, how),
    );
  }
});

test("a damaged quarantine reason leaves the delta listed", async () => {
  const { world, files } = scene;
  const key = files["quarantine reason"];
  for (const [, bytes] of damages(Buffer.from(world.store.bytes(key)!))) {
    await damaged(key, bytes, async () =>
      expect(await listQuarantine(world.store, { collection: name, shard: 0 })).toHaveLength(1),
    );
  }
});

test("a pointer from the past is refused by a reader that has seen the future", async () => {
  const { world, files } = scene;
  const key = files["pointer.json"];
  const past = Buffer.from(world.store.bytes(key)!);
  const warm = reader(world);
  await warm.query(question);
  await put(world, name, 70, 1);
  const future = await prepareNext(world);
  await warm.query(question);
  await damaged(key, past, async () => {
    const answer = await warm.query(question);
    expect(answer.snapshotVersion).toBe(future);
    expect(answer.warning).toContain("went back");
  });
  await warm.close();
});

async function prepareNext(world: MemoryWorld): Promise<number> {
  await ingest(world);
  return (await readHead(world.store, scene.collection, 0)).pointer.version;
}

test("a damaged pointer or manifest stops the compactor, which says so and changes nothing", async () => {
  const { world, collection } = scene;
  const head = await readHead(world.store, collection, 0);
  await put(world, name, 80, 1);
  for (const key of [scene.files["pointer.json"], head.pointer.manifest!]) {
    const bytes = Buffer.from(world.store.bytes(key)!);
    bytes[bytes.length >> 1]! ^= 1;
    const before = world.store.keys();
    await damaged(key, bytes, async () => {
      const report = await ingest(world);
      const error = report.shards.find((shard) => shard.collection === name)?.error;
      expect(error?.kind).toBe("corrupt");
      expect(error?.message).toContain(key);
    });
    expect(world.store.keys()).toEqual(before);
  }
});
