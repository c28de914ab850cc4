/** ENV-2, ENV-3, ENV-4: promotion keeps the order of writes, whatever dies and whatever others do at any of its effects. */
import type { Collection } from "../../../lib/core/model/collection.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { collectGarbage } from "../../../lib/engine/compact/collect-garbage.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { canCopyFiles, promoteFiles } from "../../../lib/engine/operate/promote-files.ts";
import { batchRowsMax, type CarryOptions, promoteRows } from "../../../lib/engine/operate/promote-rows.ts";
import { planPromotion, type Side } from "../../../lib/engine/operate/promotion-plan.ts";
import { verify } from "../../../lib/engine/operate/verify.ts";
import { VersionWrites } from "../../../lib/engine/operate/version-writes.ts";
import type { World } from "../../../lib/engine/ports.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { defaultRetention } from "../../../lib/engine/shard/retention.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { withFolder } from "../../../lib/segment/files.ts";
import { makeIoSynchronous } from "../../sim/synchronous-io.ts";
import { Crash, crashAt, effects } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

let undo = (): void => undefined;
beforeAll(() => {
  undo = makeIoSynchronous();
});
afterAll(() => undo());

const options = { name: "docs", dims: 2, metric: "l2" as const };
const carry: CarryOptions = {
  withoutVectors: false,
  mirror: false,
  batchRows: batchRowsMax,
  embed: null,
  onProgress: () => {},
  interrupted: new AbortController().signal,
};

/** Numbers from 0 to 1, the same for a seed. */
function randoms(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

async function store(seed: number, shards = 1): Promise<{ world: MemoryWorld; collection: Collection }> {
  const world = memoryWorld({ seed });
  const { collection } = await createCollection(world, { ...options, shards });
  return { world, collection };
}
type Store = Awaited<ReturnType<typeof store>>;

let texts = 0;
async function write({ world }: { world: World }, ...ids: string[]): Promise<void> {
  const records = ids
    .filter((id) => !id.startsWith("-"))
    .map((id) => ({ id, vector: [++texts, 1], document: `w${texts}` }));
  const deletes = ids.filter((id) => id.startsWith("-")).map((id) => id.slice(1));
  await produce(world, { collection: "docs", records, deletes });
}
async function work({ world }: { world: World }, { upkeep = false } = {}): Promise<void> {
  const report = await compact(world, { ingest: true, upkeep, deadlineMs: world.clock.nowMs() + 3_600_000 });
  const failed = report.shards.find(({ error }) => error);
  if (failed) throw failed.error;
}
async function sideOf({ world, collection }: { world: World; collection: Collection }): Promise<Side> {
  const shards = Array.from({ length: collection.shards }, (_, shard) => shard);
  const heads = await Promise.all(shards.map((shard) => readHead(world.store, collection, shard)));
  return { world, collection, manifests: heads.map(({ manifest }) => manifest) };
}
const promote = async (from: Store, to: Store, world: World = to.world) =>
  promoteRows(await sideOf(from), { ...(await sideOf(to)), world }, carry);

/** Each id's newest write, deletes included: order and content. */
async function stateOf(of: Store): Promise<Map<string, string>> {
  const state = new Map<string, string>();
  for (const manifest of (await sideOf(of)).manifests) {
    await withFolder(async (folder) => {
      const writes = await VersionWrites.open(of.world, of.collection, manifest, {
        folder,
        withVectors: true,
      });
      for (const { vector, ...write } of writes.all())
        state.set(write.id, JSON.stringify([write, Array.from(vector() ?? [])]));
      writes.close();
    });
  }
  return state;
}
const orderIn = (text: string): string => {
  const [{ version, delta, row }] = JSON.parse(text) as [{ version: number; delta: string; row: number }];
  return `${String(version).padStart(16, "0")} ${delta} ${String(row).padStart(6, "0")}`;
};
/** The later write of each id. */
function union(a: Map<string, string>, b: Map<string, string>): Map<string, string> {
  const both = new Map(a);
  for (const [id, write] of b)
    if (orderIn(write) > orderIn(both.get(id) ?? write) || !both.has(id)) both.set(id, write);
  return both;
}
const sorted = (state: Map<string, string>) => [...state].sort();
async function sound({ world, collection }: Store): Promise<void> {
  for (let shard = 0; shard < collection.shards; shard++)
    expect((await verify(world, collection, shard)).faults).toEqual([]);
}

test.each(process.env.WIDE ? Array.from({ length: 60 }, (_, n) => n + 1) : [1, 2])(
  "of any writes on both sides each id has its latest on both, once each was carried to the other (seed %i)",
  async (seed) => {
    const random = randoms(seed);
    const [a, b] = [await store(10 + seed), await store(20 + seed, 1 + (seed % 3))];
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 10; i++) {
        const side = random() < 0.5 ? a : b;
        const id = `id${Math.floor(random() * 8)}`;
        await write(side, random() < 0.3 ? `-${id}` : id);
        for (const { world } of [a, b]) world.clock.advance(Math.floor(random() * 3));
        if (random() < 0.2) await work(side, { upkeep: random() < 0.5 });
      }
      await work(a);
      await work(b);
      const expected = sorted(union(await stateOf(a), await stateOf(b)));
      await promote(a, b);
      expect(sorted(await stateOf(b))).toEqual(expected);
      await promote(b, a);
      expect(sorted(await stateOf(a))).toEqual(expected);
      // There is nothing left to carry.
      expect(await promote(a, b)).toMatchObject({ rows: 0, deletes: 0, segments: 0 });
    }
    for (const side of [a, b]) {
      await work(side, { upkeep: true });
      await sound(side);
    }
  },
);

/** A target with writes of its own, newer and older than the source's. */
async function prepared(): Promise<{ from: Store; to: Store }> {
  const [from, to] = [await store(1), await store(2)];
  const tick = () => [from, to].map(({ world }) => world.clock.advance(1_000));
  await write(from, "a", "b", "c");
  tick();
  await write(to, "b", "-c", "d");
  tick();
  await write(from, "-a", "d", "e");
  await work(from);
  await work(to);
  return { from, to };
}

test("a crash at any effect leaves the old state or a newer one, and the next run ends it", async () => {
  const { from, to } = await prepared();
  const expected = sorted(union(await stateOf(from), await stateOf(to)));
  let crashed = 0;
  for (const moment of ["before", "after"] as const) {
    for (let index = 1; ; index++) {
      const one = await prepared();
      const dying = effects(one.to.world, crashAt(index, moment));
      const outcome = await promote(one.from, one.to, dying).catch((error: unknown) => error);
      if (!(outcome instanceof Crash)) break;
      crashed += 1;
      one.to.world.clock.advance(5 * 60_000);
      await promote(one.from, one.to);
      expect((await stateOf(one.to)).size).toBe(expected.length);
      expect([...(await stateOf(one.to)).keys()].sort()).toEqual(expected.map(([id]) => id));
      await sound(one.to);
      // What the crash left is garbage, and found.
      one.to.world.clock.advance(40 * 3_600_000);
      await collectGarbage(one.to.world, one.to.collection, 0, {
        retention: defaultRetention,
        thorough: true,
      });
      const { manifest } = await readHead(one.to.world.store, one.to.collection, 0);
      const named = new Set<string>(manifest.segments.map(({ id }) => id));
      const there = one.to.world.store.keys("docs/0/segments/").map((key) => key.split("/")[3]!);
      const kept = (await sideOf(one.to)).manifests[0]!.version;
      expect(kept).toBeGreaterThan(0);
      for (const id of new Set(there)) if (!named.has(id)) expect(await isKept(one.to, id)).toBe(true);
    }
  }
  expect(crashed).toBeGreaterThan(10);
});

/** Whether another version names it. */
const isKept = async ({ world }: Store, id: string): Promise<boolean> =>
  world.store
    .keys("docs/0/manifests/")
    .some((key) => world.store.bytes(key)!.toString("latin1").includes(id));

test("whatever others do at any effect, later writes stand", async () => {
  let tried = 0;
  for (let index = 1; ; index++) {
    const { from, to } = await prepared();
    let met = false;
    const slow = effects(to.world, async (effect, moment) => {
      if (effect.index !== index || moment !== "before") return undefined;
      met = true;
      to.world.clock.advance(1_000);
      await write(to, "e", "-d", "f");
      // The lease of the one who sleeps has run out.
      to.world.clock.advance(3 * 60_000);
      await work(to, { upkeep: true });
      return undefined;
    });
    const outcome = await promote(from, to, slow).catch((error: unknown) => error);
    if (!met) break;
    tried += 1;
    if (outcome instanceof Error) await promote(from, to);
    await work(to);
    const documents = await stateOf(to);
    expect(documents.get("d")).toContain('"isDelete":true');
    expect(documents.get("a")).toContain('"isDelete":true');
    expect(documents.get("f")).toContain('"isDelete":false');
    expect(JSON.parse(documents.get("e")!)[0].version).toBeGreaterThan(
      JSON.parse((await stateOf(from)).get("e")!)[0].version,
    );
    await sound(to);
  }
  expect(tried).toBeGreaterThan(10);
});

test("a tombstone that a merge is about to drop is kept when an older row joins meanwhile", async () => {
  const [from, to] = [await store(1), await store(2)];
  await write(from, "a", "b");
  await work(from);
  to.world.clock.advance(1_000);
  await write(to, "-a", "c");
  await work(to);
  for (const { world } of [from, to]) world.clock.advance(32 * 24 * 3_600_000);
  await write(to, "d");
  let joined = false;
  const slow = effects(to.world, async ({ operation, key }, moment) => {
    // The merge has its output, and is about to publish it.
    if (joined || moment !== "before" || operation !== "put" || !key.includes("/manifests/"))
      return undefined;
    const { manifest } = await readHead(to.world.store, to.collection, 0);
    if (manifest.segments.length < 2) return undefined;
    joined = true;
    await promote(from, to);
    return undefined;
  });
  await work({ world: slow }, { upkeep: true });
  expect(joined).toBe(true);
  expect((await stateOf(to)).get("a") ?? "").toContain('"isDelete":true');
});

test("files that are copied have new names, what is known of stale rows comes along, and collectors leave them", async () => {
  const [from, to] = [await store(1), await store(2)];
  for (let i = 0; i < 4; i++) {
    await write(from, "a", "b", `c${i}`);
    from.world.clock.advance(1_000);
    await work(from, { upkeep: true });
  }
  const source = await sideOf(from);
  const target = await sideOf(to);
  expect(canCopyFiles(source, target)).toBe(true);
  const copied = await promoteFiles(source, target, {
    copy: async (key, copy) => {
      const body = from.world.store.bytes(key)!;
      await to.world.store.put(copy, body, { ifAbsent: true });
      return { bytes: body.length };
    },
    onProgress: () => {},
  });
  expect(copied.segments).toBe(source.manifests[0]!.segments.length);
  expect(sorted(await stateOf(to))).toEqual(sorted(await stateOf(from)));
  const { manifest } = await readHead(to.world.store, to.collection, 0);
  const known = new Set(manifest.segments.map(({ id }) => id));
  for (const { id, stale } of manifest.segments) {
    expect(source.manifests[0]!.segments.map((one) => one.id)).not.toContain(id);
    for (const other of Object.keys(stale?.by ?? {})) expect(known).toContain(other);
  }
  to.world.clock.advance(40 * 3_600_000);
  await collectGarbage(to.world, to.collection, 0, { retention: defaultRetention, thorough: true });
  await sound(to);
  expect(canCopyFiles(source, await sideOf(to))).toBe(false);
});

test("a copy that is not whole is not published", async () => {
  const [from, to] = [await store(1), await store(2)];
  await write(from, "a");
  await work(from);
  const cut = promoteFiles(await sideOf(from), await sideOf(to), {
    copy: async () => ({ bytes: 1 }),
    onProgress: () => {},
  });
  await expect(cut).rejects.toMatchObject({ kind: "corrupt" });
  expect((await sideOf(to)).manifests[0]!.version).toBe(0);
});

test("a plan counts what a promotion then carries", async () => {
  const { from, to } = await prepared();
  const plan = await planPromotion(await sideOf(from), await sideOf(to), carry);
  expect(plan.counts).toEqual({
    ...{ added: 1, replaced: 1, deleted: 0, buried: 1, returning: 0, same: 0, older: 2 },
  });
  expect(plan.onlyThere).toBe(0);
  expect(await promote(from, to)).toMatchObject({ rows: 2, deletes: 1 });
});
