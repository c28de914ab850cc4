/** A call over sixteen shards, and many collections with a delta each. */
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { type MemoryWorld, memoryWorld } from "../../../test/support/memory/world.ts";
import { rowOf } from "../data.ts";
import { interleaved, median, round, timed } from "../measure.ts";
import { emptyStore, far } from "../store.ts";
import { counted, type Part, slow } from "./part.ts";

const callTurns = 7;
/** One call over sixteen shards. */
export const sixteenShards: Part = async ({ dims, requestMs }, vectors) => {
  const shards = 16;
  const store = await emptyStore(vectors, { shards });
  const { world, most } = slow(store.world, requestMs);
  const records = Array.from({ length: 200 }, (_, i) => ({ id: `r${i}`, vector: rowOf(vectors, i) }));
  const before = store.world.traffic.snapshot();
  const { call } = await interleaved(
    { call: () => produce(world, { collection: "bench", records }) },
    { turns: callTurns },
  );
  const requests = store.world.traffic.since(before).requests / callTurns;
  return {
    table: {
      title: `A call of 200 records × ${dims} over ${shards} shards, ${requestMs} ms a request`,
      columns: ["requests to S3", "at once", "ms: least", "median"],
      rows: [[requests, most(), round(Math.min(...call)), round(median(call))]],
    },
    checks: [
      counted("all PUTs are under way at once", most(), most() === shards),
      { target: "≤ 120 ms", measured: round(median(call)), met: median(call) <= 120 },
    ],
  };
};

/** A delta in each of many collections. */
export const manyCollections: Part = async ({ dims, collections, requestMs }, vectors) => {
  const world: MemoryWorld = memoryWorld();
  for (let i = 0; i < collections; i++) {
    await createCollection(world, { name: `c${i}`, dims, metric: "cosine" });
    await produce(world, { collection: `c${i}`, records: [{ id: "a", vector: rowOf(vectors, i) }] });
  }
  const { world: slowed, most } = slow(world, requestMs);
  const before = world.traffic.snapshot();
  const { ms, cpuMs } = await timed(() => compact(slowed, { ingest: true, upkeep: false, deadlineMs: far }));
  const each = (world.traffic.since(before).requests - 1 - collections) / collections;
  return {
    table: {
      title: `${collections} collections with a delta each, ${requestMs} ms a request`,
      columns: ["requests to S3 a shard", "at once", "ms", "processor ms"],
      rows: [[round(each), most(), round(ms), round(cpuMs)]],
    },
    checks: [
      counted("≤ 8 requests to S3 a shard, beside its configuration", each, each <= 8),
      counted("sixteen shards side by side", most(), most() >= 12),
      { target: "200 collections ≤ 12 s", measured: `${round(ms / 1000)} s`, met: ms <= 12_000 },
    ],
  };
};
