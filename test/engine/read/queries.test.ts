/** QRY-12: up to 64 queries in one call, over one snapshot, by one reader and by query groups. */
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { FanOut } from "../../../lib/engine/read/fan-out.ts";
import type { Question } from "../../../lib/engine/read/read-request.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import type { effects } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const longMs = 60_000;
const collection = "docs";
const vectorOf = (n: number): number[] =>
  Array.from({ length: 8 }, (_, i) => Math.sin(n * 7.3 + i * 1.7 + 1));
const questions: Question[] = [
  ...Array.from({ length: 60 }, (_, n) => ({ vector: vectorOf(n), topK: 1 + (n % 5) })),
  { id: "r3", topK: 3, excludeIds: ["r3"] },
  { id: "r150", filter: { kind: "fizz" } },
  { vector: vectorOf(9), minScore: 0.9, include: ["vector"], vectorFormat: "base64" },
  { vector: vectorOf(9), topK: 0, ef: 2_000 },
];

async function storeOf() {
  const world = memoryWorld();
  await createCollection(world, {
    name: collection,
    dims: 8,
    metric: "cosine",
    shards: 5,
    fields: { kind: "string" },
  });
  const records = Array.from({ length: 400 }, (_, n) => ({
    id: `r${n}`,
    vector: vectorOf(n),
    metadata: { kind: n % 3 === 0 ? "fizz" : "plain" },
  }));
  await produce(world, { collection, records });
  await compact(world, { ingest: true, upkeep: true, deadlineMs: world.clock.nowMs() + 1e6 });
  return world;
}
const readerOf = (world: Parameters<typeof effects>[0], traffic: MemoryWorld["traffic"]) =>
  new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic });

test("the answers are those of the queries one by one, for the requests of one", async () => {
  const world = await storeOf();
  const reader = readerOf(world, world.traffic);
  const single = await Promise.all(questions.map((one) => reader.query({ collection, ...one })));
  const one = await reader.query({ collection, ...questions[0]! });
  const { answers, requests, snapshotVersion } = await reader.queries({ collection, queries: questions });
  expect(answers.map(({ results }) => results)).toEqual(single.map(({ results }) => results));
  expect([requests, snapshotVersion]).toEqual([one.requests, one.snapshotVersion]);

  const readers = [readerOf(world, world.traffic), readerOf(world, world.traffic)];
  let calls = 0;
  const fan = new FanOut({
    store: world.store,
    groups: 2,
    ask: async (group, event) => {
      calls += 1;
      const { op: _, ...call } = JSON.parse(JSON.stringify(event));
      return JSON.parse(JSON.stringify(await readers[group]!.queries(call)));
    },
  });
  const spread = await fan.queries({ collection, queries: questions }, longMs);
  expect(spread.answers).toEqual(answers.map(({ results }) => ({ results })));
  // Two ids are looked up where they are, then each group is asked once.
  expect(calls).toBeLessThanOrEqual(4);
  for (const each of [reader, ...readers]) await each.close();
});

test("all of them see one snapshot, whatever is published meanwhile", async () => {
  const world = await storeOf();
  const other = readerOf(world, world.traffic);
  const reader = readerOf(world, world.traffic);
  const before = await reader.count({ collection });
  let published: Promise<unknown> | null = null;
  const vector = async () => {
    published ??= (async () => {
      await produce(world, { collection, records: [{ id: "new", vector: vectorOf(9) }] });
      await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 1e6 });
      expect((await other.count({ collection })).count).toBe(before.count + 1);
    })();
    await published;
    return Float32Array.from(vectorOf(9));
  };
  const { answers, snapshotVersion } = await reader.queries({
    collection,
    queries: [
      { vector: vectorOf(9), topK: 2 },
      { vector, topK: 2 },
      { vector: vectorOf(9), topK: 2 },
    ],
  });
  expect(snapshotVersion).toBe(before.snapshotVersion);
  for (const { results } of answers) expect(results).toEqual(answers[0]!.results);
  expect(answers[0]!.results.map(({ id }) => id)).not.toContain("new");
  for (const each of [reader, other]) await each.close();
});

test("what is wrong is named: their number, an ef", async () => {
  const world = await storeOf();
  const reader = readerOf(world, world.traffic);
  const many = Array.from({ length: 65 }, () => questions[0]!);
  for (const [queries, says] of [
    [[], "queries: must be 1 to 64, got 0"],
    [many, "queries: must be 1 to 64, got 65"],
    [[{ vector: vectorOf(1), ef: 9 }], "ef: must be an integer from 10 to 2000, got 9"],
  ] as const)
    await expect(reader.queries({ collection, queries })).rejects.toMatchObject({
      kind: "invalid",
      message: expect.stringContaining(says),
    });
  await reader.close();
});
