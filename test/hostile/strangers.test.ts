/** Objects without end that are not deltas, in the place of deltas: their shard is stopped and says why, and no other one. */
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { listedStrangersMax, Strangers } from "../../lib/engine/shard/strangers.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { memoryWorld } from "../support/memory/world.ts";

const refusal = expect.stringMatching(
  /^docs\/0\/deltas\/ has more than 10000 objects that are not deltas, .* delete them/,
);

test("strangers without end stop the shard that has them, after a bounded LIST, and no other", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: "docs", dims: 2, metric: "l2", shards: 2 });
  const ids = Array.from({ length: 20 }, (_, n) => `r${n}`);
  const write = (vector: number[]) =>
    produce(world, { collection: "docs", records: ids.map((id) => ({ id, vector })) });
  const run = () => compact(world, { ingest: true, upkeep: false, deadlineMs: 9e15 });
  await write([1, 2]);
  await run();
  // After the watermark.
  const names = Array.from({ length: listedStrangersMax + 1_001 }, (_, n) => `docs/0/deltas/01KZ-${n}`);
  for (const name of names) await world.store.put(name, Buffer.from("x"));
  await write([3, 4]);

  const { shards, strangers } = await run();
  expect(shards).toMatchObject([
    { shard: 0, error: { kind: "unavailable", message: refusal } },
    { shard: 1, ingest: { deltas: 1 } },
  ]);
  expect(shards[1]!.error).toBeUndefined();
  expect(strangers.count).toBeGreaterThan(listedStrangersMax);
  expect(strangers.keys).toHaveLength(100);

  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  const question = { collection: "docs", vector: [1, 2], topK: 20 };
  expect((await reader.query(question)).results).toHaveLength(20);
  const strong = { ...question, consistency: "strong" as const };
  await expect(reader.query(strong)).rejects.toMatchObject({ kind: "unavailable" });

  await world.store.delete(names);
  const freed = await run();
  expect(freed.shards.find(({ shard }) => shard === 0)).toMatchObject({ ingest: { deltas: 1 } });
  expect((await reader.query(strong)).results.every(({ score }) => score < 1)).toBe(true);
  await reader.close();
});

test("strangers are counted further than they are kept", () => {
  const strangers = new Strangers();
  for (let n = 0; n < 50_000; n++) strangers.see(String(n).padStart(5, "0"));
  for (let n = 0; n < 1_000; n++) strangers.see(String(n).padStart(5, "0"));
  expect(strangers.found.count).toBe(50_000);
  expect(strangers.found.keys.slice(0, 2)).toEqual(["00000", "00001"]);
});
