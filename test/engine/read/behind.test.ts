/**
 * QRY-2: the next view is built behind the answers. Eventual reads take the view that there is while it is younger than a
 * stated bound, by the clock when they come; no promise is kept by it.
 */
import { loadBehindMs, refreshBehindMs } from "../../../lib/core/policy/time-bounds.ts";
import { createCollection, deleteCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { effects, type Verdict } from "../../support/effects.ts";
import { memoryWorld } from "../../support/memory/world.ts";

const collection = "docs";
const hour = 3_600_000;
const refreshSeconds = 10;
const refreshMs = refreshSeconds * 1_000;
const eventual = { collection };

/** A warm reader of version 1; version 2 is the newest. Keys that `hold` names wait for `release`. */
async function warm(seconds = refreshSeconds) {
  const world = memoryWorld();
  await createCollection(world, { name: collection, dims: 2, metric: "l2" });
  const publish = async (id: string) => {
    const { token } = await produce(world, { collection, records: [{ id, vector: [1, 1] }] });
    await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });
    return token!;
  };
  let held: RegExp | null = null;
  let released = Promise.withResolvers<Verdict | undefined>();
  const asked: string[] = [];
  const store = effects(world, async ({ key, operation }, moment) => {
    if (moment === "after" || operation !== "get") return undefined;
    asked.push(key);
    return held?.test(key) ? released.promise : undefined;
  });
  const reader = new Reader(store, { refreshSeconds: seconds, cacheBytesMax: 1e9, traffic: world.traffic });
  await publish("first");
  expect((await reader.count(eventual)).count).toBe(1);
  const token = await publish("second");
  asked.length = 0;
  return {
    world,
    reader,
    token,
    asked,
    hold: (keys: RegExp) => (held = keys),
    release: (verdict?: Verdict) => {
      held = null;
      released.resolve(verdict);
      released = Promise.withResolvers();
    },
    versions: () => reader.shards.map(({ version }) => version),
  };
}
const until = async (isSo: () => boolean) => {
  for (let tries = 0; !isSo(); tries++) {
    if (tries > 1_000) throw new Error("it never happened");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};
const pointers = (asked: readonly string[]) => asked.filter((key) => key.endsWith("pointer.json"));

test.each([["pointer.json"], ["manifests/"], ["records.db"]])(
  "while %s is on its way, any number of eventual reads answer from the view that there is; one refresh serves them all",
  async (what) => {
    const { world, reader, asked, hold, release, versions } = await warm();
    world.clock.advance(refreshMs);
    hold(new RegExp(what));
    for (let i = 0; i < 40; i++) {
      const answer = await reader.count(eventual);
      expect(answer).toMatchObject({ count: 1 });
      expect(answer).not.toHaveProperty("warning");
      expect(answer.shards[0]!.ageSeconds).toBe((refreshMs + i * 1_000) / 1_000);
      world.clock.advance(1_000);
    }
    await until(() => asked.some((key) => key.includes(what)));
    expect(pointers(asked)).toHaveLength(1);
    release();
    await until(() => versions()[0] === 2);
    // Its age counts from when the pointer was asked: the next check is due, and holds no call up either.
    const next = await reader.count(eventual);
    expect(next.count).toBe(2);
    await until(() => pointers(asked).length === 2);
    expect(asked.filter((key) => key.includes("records.db"))).toHaveLength(1);
    await reader.close();
  },
);

test("the answer that finds a check due makes no request itself, and the one after it has the next version", async () => {
  const { world, reader, asked, versions } = await warm();
  world.clock.advance(refreshMs - 1);
  expect((await reader.count(eventual)).count).toBe(1);
  expect(asked).toEqual([]);
  world.clock.advance(1);
  expect((await reader.count(eventual)).count).toBe(1);
  await until(() => versions()[0] === 2);
  expect((await reader.count(eventual)).count).toBe(2);
  await reader.close();
});

test("a view beyond the bound is waited for", async () => {
  const { world, reader } = await warm();
  world.clock.advance(refreshBehindMs(refreshMs));
  expect((await reader.count(eventual)).count).toBe(2);
  await reader.close();
});

test("with an interval of 0 every eventual read looks, and has what is new", async () => {
  const { reader, asked } = await warm(0);
  expect((await reader.count(eventual)).count).toBe(2);
  expect((await reader.count(eventual)).count).toBe(2);
  expect(pointers(asked)).toHaveLength(2);
  await reader.close();
});

test("a load that takes longer than its bound is waited for", async () => {
  const { world, reader, hold, release } = await warm();
  world.clock.advance(refreshMs);
  hold(/records\.db/);
  expect((await reader.count(eventual)).count).toBe(1);
  world.clock.advance(loadBehindMs(refreshMs) - refreshMs - 1);
  expect((await reader.count(eventual)).count).toBe(1);
  world.clock.advance(1);
  const waiting = reader.count(eventual);
  release();
  expect((await waiting).count).toBe(2);
  await reader.close();
});

test("a process that was frozen in the middle of a refresh judges the age when the next call comes", async () => {
  const { world, reader, hold, release } = await warm();
  world.clock.advance(refreshMs);
  hold(/pointer\.json/);
  expect((await reader.count(eventual)).count).toBe(1);
  // The answer went out, and Lambda froze the process with the look-up in it.
  world.clock.advance(hour);
  await produce(world, { collection, records: [{ id: "third", vector: [1, 1] }] });
  await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });
  const woken = reader.count(eventual);
  release();
  const answer = await woken;
  expect(answer.count).toBe(3);
  expect(answer.shards[0]!.ageSeconds).toBeLessThan(refreshSeconds);
  await reader.close();
});

test("strong, bounded and token reads wait while eventual ones do not", async () => {
  const { world, reader, token, hold, release } = await warm();
  world.clock.advance(refreshMs);
  hold(/records\.db/);
  expect((await reader.count(eventual)).count).toBe(1);
  const promised = [
    reader.count({ ...eventual, consistency: "bounded", maxAgeSeconds: refreshSeconds }),
    reader.count({ ...eventual, consistency: "strong" }),
    reader.count({ ...eventual, atLeast: [token] }),
  ];
  expect((await reader.count(eventual)).count).toBe(1);
  release();
  expect((await Promise.all(promised)).map(({ count }) => count)).toEqual([2, 2, 2]);
  await reader.close();
});

test("what fails behind an answer is told to the next: a silent store by a warning, a collection made again by itself", async () => {
  const { world, reader, hold, release, asked } = await warm();
  world.clock.advance(refreshMs);
  hold(/pointer\.json/);
  expect(await reader.count(eventual)).not.toHaveProperty("warning");
  release({ kind: "refuse" });
  await until(() => reader.shards[0]!.fault !== null);
  expect(await reader.count(eventual)).toMatchObject({
    count: 1,
    requests: 0,
    warning: expect.stringContaining("pointer.json"),
  });
  world.clock.advance(refreshMs);
  expect((await reader.count(eventual)).count).toBe(2);

  // Beside a view that may still serve: what no age excuses is not put off until it is over.
  await deleteCollection(world.store, collection);
  world.clock.advance(refreshMs);
  const before = pointers(asked).length;
  await reader.count(eventual).catch(() => {});
  await until(() => pointers(asked).length > before);
  await new Promise((resolve) => setTimeout(resolve, 50));
  await expect(reader.count(eventual)).rejects.toMatchObject({ kind: "notFound" });
  await reader.close();
});
