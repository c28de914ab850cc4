/** QRY-2: how old an answer may be. A bound is one of the view's age, which only a check that succeeded makes younger. */
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { effects } from "../../support/effects.ts";
import { memoryWorld } from "../../support/memory/world.ts";

const collection = "docs";
const hour = 3_600_000;

/** A warm reader of version 1, an hour and 50 s old; version 2 is the newest, and S3 fails while `isDown`. */
async function overtaken() {
  const world = memoryWorld();
  const { collection: configuration } = await createCollection(world, {
    name: collection,
    dims: 2,
    metric: "l2",
  });
  const publish = async (id: string) => {
    const { token } = await produce(world, { collection, records: [{ id, vector: [1, 1] }] });
    await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });
    return token!;
  };
  let isDown = false;
  const store = effects(world, ({ operation }, moment) =>
    isDown && operation === "get" && moment === "before" ? { kind: "refuse" } : undefined,
  );
  const reader = new Reader(store, { refreshSeconds: 10, cacheBytesMax: 1e9, traffic: world.traffic });
  const first = await publish("first");
  expect((await reader.count({ collection })).count).toBe(1);
  world.clock.advance(50_000);
  const second = await publish("second");
  world.clock.advance(hour);
  const damage = async () => {
    const { manifest } = await readHead(world.store, configuration, 0);
    const key = `${collection}/0/segments/${manifest.segments.at(-1)!.id}/records.db`;
    const bytes = Buffer.from(world.store.bytes(key)!);
    bytes[100]! ^= 1;
    await world.store.put(key, bytes);
    return key;
  };
  return { world, reader, first, second, damage, fail: (now: boolean) => (isDown = now) };
}
const bounded = (maxAgeSeconds: number) => ({ collection, consistency: "bounded" as const, maxAgeSeconds });

describe.each(["without a token", "with a token that is ingested"])("%s", (how) => {
  const atLeast = (token: string) => (how === "without a token" ? {} : { atLeast: [token] });

  test("a check that failed makes a view no younger: a bounded read looks again, or is refused", async () => {
    const { reader, first: token, fail } = await overtaken();
    const call = { ...bounded(10), ...atLeast(token) };
    fail(true);
    const old = await reader.count({ collection, ...atLeast(token) });
    expect(old).toMatchObject({ count: 1, warning: expect.stringContaining("pointer.json") });
    expect(old.shards[0]!.ageSeconds).toBeGreaterThan(3_600);
    await expect(reader.count(call)).rejects.toMatchObject({ kind: "unavailable" });
    // Eventual reads do not ask again at once, and go on.
    expect((await reader.count({ collection, ...atLeast(token) })).requests).toBe(0);
    fail(false);
    const answer = await reader.count(call);
    expect(answer.count).toBe(2);
    expect(answer.shards[0]!.ageSeconds).toBeLessThan(10);
    await reader.close();
  });

  test("within its bound a bounded read takes the view, also while nothing can be checked", async () => {
    const { world, reader, second: token, fail } = await overtaken();
    await reader.count({ collection, ...atLeast(token) });
    world.clock.advance(9_000);
    fail(true);
    expect(await reader.count({ ...bounded(10), ...atLeast(token) })).toMatchObject({
      count: 2,
      requests: 0,
    });
    world.clock.advance(1_000);
    await expect(reader.count({ ...bounded(10), ...atLeast(token) })).rejects.toMatchObject({
      kind: "unavailable",
    });
    await reader.close();
  });

  test("the version before a damaged one answers eventual reads, with a warning, and no bounded one", async () => {
    const { reader, first: token, damage } = await overtaken();
    const key = await damage();
    for (let i = 0; i < 2; i++) {
      expect(await reader.count({ collection, ...atLeast(token) })).toMatchObject({
        count: 1,
        warning: expect.stringContaining(key),
      });
      await expect(reader.count({ ...bounded(300), ...atLeast(token) })).rejects.toMatchObject({
        kind: "corrupt",
        message: expect.stringContaining(key),
      });
    }
    await reader.close();
  });
});

test("stats look at the pointer now, and fall back as eventual reads do", async () => {
  const { reader } = await overtaken();
  expect(await reader.stats({ collection })).toMatchObject({ vectors: 2, snapshotVersion: 2 });
  await reader.close();
  const other = await overtaken();
  const key = await other.damage();
  expect(await other.reader.stats({ collection })).toMatchObject({
    vectors: 1,
    snapshotVersion: 1,
    warning: expect.stringContaining(key),
  });
  await other.reader.close();
});
