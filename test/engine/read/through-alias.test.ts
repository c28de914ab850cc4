/** Reads by an alias: which side answers, by which alias, at which price; and nothing of it for a collection's own name. */
import { sideOfKey, withOnly, withReadShare, withWriting } from "../../../lib/core/model/alias.ts";
import { changeAlias, createAlias, deleteAlias } from "../../../lib/engine/catalog/aliases.ts";
import { createCollection, deleteCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { FanOut } from "../../../lib/engine/read/fan-out.ts";
import type { Operations } from "../../../lib/engine/read/operations.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { ThroughAlias } from "../../../lib/engine/read/through-alias.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { makeIoSynchronous } from "../../sim/synchronous-io.ts";
import { effects } from "../../support/effects.ts";
import type { MemoryWorld } from "../../support/memory/world.ts";
import { aliasedWorld, move, notes, source, target } from "../write/alias-world.ts";

let undo = (): void => undefined;
beforeAll(() => {
  undo = makeIoSynchronous();
});
afterAll(() => undo());

/** Each side has its own name as the document of "a", so that an answer shows where it is from. */
async function published(options: Parameters<typeof aliasedWorld>[0] = {}): Promise<MemoryWorld> {
  const world = await aliasedWorld(options);
  for (const collection of [source, target])
    await produce(world, { collection, records: [{ id: "a", vector: [1, 2], document: collection }] });
  await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 3_600_000 });
  return world;
}

/** A process that reads, whose requests to the store are counted. */
function processOver(world: MemoryWorld) {
  const watched = effects(world, () => undefined);
  const reader = new Reader(watched, { refreshSeconds: 300, cacheBytesMax: 1e9, traffic: world.traffic });
  const reads = new ThroughAlias(reader, watched);
  const begun = () => watched.effects.begun.filter(({ port }) => port === "store");
  const requests = async (call: () => Promise<unknown>): Promise<string[]> => {
    const before = begun().length;
    await call().catch((error: unknown) => String(error));
    return begun()
      .slice(before)
      .map(({ operation, key }) => `${operation} ${key}`);
  };
  const sideOf = async (routingKey: string) => {
    const { results, alias } = await reads.query(
      { collection: "notes", vector: [1, 2], topK: 1, routingKey },
      10_000,
    );
    expect(results[0]!.document).toBe(alias!.collection);
    return alias!.side;
  };
  return { reader, reads, requests, sideOf, close: () => reader.close() };
}

test("a collection's own name costs no request more than without aliases, on any path, and is answered as before", async () => {
  const world = await published();
  const { token } = await produce(world, { collection: source, records: [{ id: "b", vector: [1, 2] }] });
  const calls: ((reads: Operations) => Promise<unknown>)[] = [
    (reads) => reads.query({ collection: source, vector: [1, 2] }, 1),
    (reads) => reads.query({ collection: source, vector: [1, 2], consistency: "strong" }, 1),
    (reads) =>
      reads.query({ collection: source, vector: [1, 2], consistency: "bounded", maxAgeSeconds: 0 }, 1),
    (reads) => reads.query({ collection: source, vector: [1, 2], atLeast: [token!] }, 1),
    (reads) => reads.query({ collection: source, id: "absent" }, 1),
    (reads) => reads.query({ collection: source, vector: [1] }, 1),
    (reads) => reads.queries({ collection: source, queries: [{ vector: [1, 2] }] }, 1),
    (reads) => reads.get({ collection: source, ids: ["a"] }, 1),
    (reads) => reads.count({ collection: source }, 1),
    (reads) => reads.stats({ collection: source }, 1),
    (reads) => reads.health({ collection: source }, 1),
  ];
  const [without, withAliases] = [processOver(world), processOver(world)];
  for (const call of calls) {
    const before = await without.requests(() => call(without.reader));
    expect(await withAliases.requests(() => call(withAliases.reads))).toEqual(before);
  }
  const answer = await withAliases.reads.get({ collection: source, ids: ["a"], routingKey: "x" }, 1);
  expect(answer).not.toHaveProperty("alias");
  await expect(withAliases.reads.count({ collection: "other" }, 1)).rejects.toMatchObject({
    kind: "notFound",
    message: expect.stringContaining("collection other does not exist"),
  });
  await Promise.all([without.close(), withAliases.close()]);
});

test("strong, bounded and token reads and stats ask for the alias in each call; eventual ones at most each five seconds, however many come", async () => {
  const world = await published();
  const { reads, requests, close } = processOver(world);
  const ofAlias = async (more: object, times = 1) =>
    (
      await requests(async () => {
        const call = { collection: "notes", vector: [1, 2], ...more };
        await Promise.all(Array.from({ length: times }, () => reads.query(call, 1)));
      })
    ).filter((request) => request === "get notes/alias.json").length;
  const { token } = await produce(world, { collection: "notes", records: [{ id: "b", vector: [1, 2] }] });
  expect(await ofAlias({})).toBe(1);
  expect(await ofAlias({}, 50)).toBe(0);
  for (const fresh of [
    { consistency: "strong" },
    { consistency: "bounded", maxAgeSeconds: 60 },
    { atLeast: [token!] },
  ])
    expect(await ofAlias(fresh)).toBe(1);
  expect(await requests(() => reads.stats({ collection: "notes" }, 1))).toContain("get notes/alias.json");
  world.clock.advance(4_999);
  expect(await ofAlias({})).toBe(0);
  world.clock.advance(1);
  expect(await ofAlias({}, 50)).toBe(1);
  await close();
});

test("eventual reads are shared out by their keys, the same key to the same side; all others go to the writing side", async () => {
  const world = await published();
  await changeAlias(world, notes, (alias, by) => withReadShare(alias, 200, by));
  const { reads, sideOf, close } = processOver(world);
  const keys = Array.from({ length: 200 }, (_, n) => `user-${n}`);
  const before = new Map<string, string>();
  for (const key of keys) {
    before.set(key, await sideOf(key));
    expect(before.get(key)).toBe(sideOfKey({ name: "notes", readShare: 200 }, key));
  }
  expect(new Set(before.values()).size).toBe(2);
  await changeAlias(world, notes, (alias, by) => withReadShare(alias, 500, by));
  world.clock.advance(5_000);
  for (const key of keys) if (before.get(key) === "target") expect(await sideOf(key)).toBe("target");
  // Without a key, the question is one.
  const vectors = Array.from({ length: 40 }, (_, n) => [n, 1]);
  const sides = async () => {
    const answers = vectors.map((vector) => reads.query({ collection: "notes", vector }, 1));
    return (await Promise.all(answers)).map(({ alias }) => alias!.side);
  };
  const first = await sides();
  expect(new Set(first).size).toBe(2);
  expect(await sides()).toEqual(first);
  for (const key of keys.slice(0, 20))
    expect(
      (await reads.get({ collection: "notes", ids: ["a"], consistency: "strong", routingKey: key }, 1)).alias,
    ).toEqual({ name: "notes", collection: source, side: "source", revision: 4 });
  await close();
});

test("a read by a token of the side that the alias has left is strong; of another alias, or a collection beside it, refused", async () => {
  const world = await published();
  const write = async (collection: string) =>
    (await produce(world, { collection, records: [{ id: "b", vector: [1, 2], document: "new" }] })).token!;
  const [token, own, beside] = [await write("notes"), await write(source), await write(target)];
  const { reads, close } = processOver(world);
  const get = (atLeast: string[]) => reads.get({ collection: "notes", ids: ["b"], atLeast }, 1);
  expect(await get([token, own])).toMatchObject({ records: [{ id: "b" }], consistency: "eventual" });
  await expect(get([beside])).rejects.toMatchObject({
    kind: "invalid",
    message: expect.stringContaining("of collection notes_v2, and alias notes leads writes to notes_v1"),
  });
  await move(world, "target");
  const answer = await get([token, await write("notes")]);
  expect(answer).toMatchObject({
    records: [{ document: "new" }],
    consistency: "strong",
    alias: { side: "target" },
  });
  await expect(get([own])).rejects.toMatchObject({ kind: "invalid" });
  await createAlias(world, { ...notes, name: "others", collection: target });
  const others = await write("others");
  await expect(get([others])).rejects.toMatchObject({ message: expect.stringContaining("of alias others") });
  // By the collection's own name, what its deltas are counts.
  expect(await reads.get({ collection: target, ids: ["b"], atLeast: [others] }, 1)).toMatchObject({
    missing: [],
  });
  await close();
});

test("where the sides have two embedding spaces, vectors say of which they are, and that side answers; ids and texts are shared out", async () => {
  const world = await published({ embeddingVersions: ["1", "2"] });
  await changeAlias(world, notes, (alias, by) => withReadShare(alias, 1_000, by));
  const { reads, close } = processOver(world);
  const query = (more: object) => reads.query({ collection: "notes", topK: 1, ...more }, 1);
  await expect(query({ vector: [1, 2] })).rejects.toMatchObject({
    kind: "invalid",
    message: expect.stringContaining('the sides of alias notes hold "1" and "2"'),
  });
  expect(await query({ vector: [1, 2], embeddingVersion: "1" })).toMatchObject({ alias: { side: "source" } });
  expect(await query({ vector: [1, 2], embeddingVersion: "2" })).toMatchObject({ alias: { side: "target" } });
  await expect(query({ vector: [1, 2], embeddingVersion: "2", consistency: "strong" })).rejects.toMatchObject(
    {
      kind: "invalid",
    },
  );
  expect(await query({ id: "a" })).toMatchObject({ alias: { side: "target" } });
  expect(await query({ vector: async () => new Float32Array([1, 2]) })).toMatchObject({
    alias: { side: "target" },
  });
  await close();
});

test("an alias that is deleted, made again as a collection, or whose left side is deleted under a held one, is looked at anew", async () => {
  const world = await published();
  const { reads, close } = processOver(world);
  const count = () => reads.count({ collection: "notes" }, 1);
  expect(await count()).toMatchObject({ alias: { collection: source } });
  expect((await reads.health({ collection: "notes" }, 1)).shards).toMatchObject([{ shard: `${source}/0` }]);
  await changeAlias(world, notes, (alias, by) => withReadShare(withWriting(alias, "target", by), 1_000, by));
  await changeAlias(world, notes, (alias, by) => withOnly(alias, "target", by));
  await deleteCollection(world.store, source);
  // The cached view of what was deleted may answer for its time; a process without it looks at the alias again.
  const other = processOver(world);
  const holding = new ThroughAlias(other.reader, world);
  await holding.count({ collection: "notes" }, 1);
  await other.close();
  await deleteAlias(world, "notes");
  world.clock.advance(5_000);
  await expect(count()).rejects.toMatchObject({ kind: "notFound" });
  await createCollection(world, { name: "notes", dims: 2, metric: "l2" });
  expect(await reads.count({ collection: "notes", consistency: "strong" }, 1)).not.toHaveProperty("alias");
  await close();
});

test("a held alias that leads to a side which is gone by now is looked at again within the call", async () => {
  const world = await published();
  const slow = effects(world, async ({ operation, key }, moment) => {
    if (operation !== "get" || key !== `${source}/collection.json` || moment !== "before") return undefined;
    await changeAlias(world, notes, (alias, by) =>
      withReadShare(withWriting(alias, "target", by), 1_000, by),
    );
    await changeAlias(world, notes, (alias, by) => withOnly(alias, "target", by));
    await deleteCollection(world.store, source);
    return undefined;
  });
  const { reader, close } = processOver(world);
  const reads = new ThroughAlias(
    new Reader(slow, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic }),
    slow,
  );
  expect(await reads.count({ collection: "notes" }, 1)).toMatchObject({ alias: { collection: target } });
  expect(reader.shards).toEqual([]);
  await close();
});

test("with query groups, the function that is asked chooses the side; groups are asked for its collection, and never for the alias", async () => {
  const world = await published({ shards: [4, 4] });
  await changeAlias(world, notes, (alias, by) => withReadShare(alias, 500, by));
  const groups = [processOver(world), processOver(world)];
  const asked = new Set<string>();
  const fanOut = new FanOut({
    ...{ store: world.store, groups: 2 },
    ask: async (group, event) => {
      const { op, ...call } = event as { op: "query"; collection: string; vector: number[] };
      asked.add(call.collection);
      expect(call).not.toHaveProperty("routingKey");
      return groups[group]!.reads.query(call, 1_000);
    },
  });
  const reads = new ThroughAlias(fanOut, world);
  for (let n = 0; n < 20; n++) {
    const { alias, results } = await reads.query(
      { collection: "notes", vector: [1, 2], routingKey: `${n}` },
      1_000,
    );
    expect(results.map(({ document }) => document)).toEqual([alias!.collection]);
  }
  expect([...asked].sort()).toEqual([source, target]);
  await Promise.all(groups.map(({ close }) => close()));
});
