/**
 * A cold start in a process that is frozen between its calls, as Lambda freezes one (docs/adr/0008): the query function's
 * handler over the local S3, whose line is slow.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { merge } from "../../../lib/engine/compact/merge.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { memoryWorld } from "../../support/memory/world.ts";
import { type LocalBucket, localBucket, QueryProcess } from "../../support/query-process.ts";

const name = "docs";
const dims = 64;
const rows = 6_000;
const hour = 3_600_000;
const limits = {
  flatSegmentsMax: 1,
  flatRowsMax: 20,
  growth: 1,
  deadShareMax: 0.25,
  staleMsMax: 1e15,
  uncountedMsMax: 1e15,
  segmentComponentsMax: 1e9,
  clusteredComponentsMin: 1,
  segmentWeightMax: 1e9,
};
const vectorOf = (n: number): number[] => Array.from({ length: dims }, (_, i) => Math.sin(n * 7.3 + i * 1.7));
let bucket: LocalBucket;

beforeAll(async () => {
  bucket = await localBucket();
  const world = memoryWorld({ startMs: Date.now() });
  const { collection } = await createCollection(world, { name, dims, metric: "cosine" });
  const records = Array.from({ length: rows }, (_, n) => ({ id: `r${n}`, vector: vectorOf(n) }));
  await produce(world, { collection: name, records });
  await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });
  await merge(world, collection, 0, { deadlineMs: world.clock.nowMs() + hour, limits });
  await bucket.fill(world.store, "");
});
afterAll(() => bucket.close());

test("the first call is answered from clusters, and one after the graphs should be there waits for them", async () => {
  // The graph and the records take some seconds.
  bucket.server.setFaultInjection({ throttle: { totalBytesPerSecond: 1_000_000 } });
  const asked = new QueryProcess(bucket);
  const question = { collection: name, vector: vectorOf(7), topK: 3 };
  const first = await asked.ask(question);
  expect(first.answer).toMatchObject({ cold: true, results: [{ id: "r7" }, {}, {}] });
  asked.freeze();
  await sleep(3_000);
  asked.wake();
  const second = await asked.ask(question);
  expect(second.answer.failed).toBeUndefined();
  expect(second.answer.cold).toBeUndefined();
  expect(second.answer.results).toMatchObject([{ id: "r7" }, {}, {}]);
  await asked.end();
}, 60_000);
