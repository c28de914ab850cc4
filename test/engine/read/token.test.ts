/** ING-8: a query that is given a write's token sees the write, compacted or not. */

import * as fc from "fast-check";
import { bounds } from "../../../lib/core/model/bounds.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { makeIoSynchronous } from "../../sim/synchronous-io.ts";
import { effects } from "../../support/effects.ts";
import { memoryWorld } from "../../support/memory/world.ts";
import { underBounds } from "../../support/small-bounds.ts";

let undo = (): void => undefined;
beforeAll(() => {
  undo = makeIoSynchronous();
});
afterAll(() => undo());

const collection = "docs";
const pairs = 1_000;

interface Write {
  readonly ids: readonly number[];
  readonly isDelete: boolean;
  /** Time that passes before the write; 0 makes two writes of one millisecond. */
  readonly waitMs: number;
  readonly compacts: "before the read" | "never" | "by upkeep";
  readonly reader: number;
}
const write: fc.Arbitrary<Write> = fc.record({
  ids: fc.uniqueArray(fc.nat(39), { minLength: 1, maxLength: 2 }),
  isDelete: fc.boolean(),
  waitMs: fc.constantFrom(0, 0, 1, 40),
  compacts: fc.oneof(
    { weight: 8, arbitrary: fc.constant("never" as const) },
    { weight: 2, arbitrary: fc.constant("before the read" as const) },
    { weight: 1, arbitrary: fc.constant("by upkeep" as const) },
  ),
  reader: fc.nat(1),
});

test(`${pairs} random writes, each read back with its token, by readers that never look by themselves`, async () => {
  const world = memoryWorld();
  await createCollection(world, { name: collection, dims: 4, metric: "l2", shards: 2 });
  const options = { refreshSeconds: 300, cacheBytesMax: 1e9, traffic: world.traffic };
  const readers = [new Reader(world, options), new Reader(world, options)];
  const seed = 20_261_121;
  const model = new Map<string, number>();
  for (const [step, { ids: numbers, isDelete, waitMs, compacts, reader }] of fc
    .sample(write, { numRuns: pairs, seed })
    .entries()) {
    world.clock.advance(waitMs);
    const ids = numbers.map((number) => `r${number}`);
    const records = ids.map((id) => ({ id, vector: [step, 1, 1, 1], document: String(step) }));
    const { token } = await produce(world, isDelete ? { collection, deletes: ids } : { collection, records });
    for (const id of ids) {
      if (isDelete) model.delete(id);
      else model.set(id, step);
    }
    if (compacts !== "never") {
      const deadlineMs = world.clock.nowMs() + 1e6;
      await compact(world, { ingest: true, upkeep: compacts === "by upkeep", deadlineMs });
    }
    const atLeast = [token!];
    const read = await readers[reader]!.get({ collection, ids, atLeast, include: ["document"] });
    const found = Object.fromEntries(read.records.map(({ id, document }) => [id, Number(document)]));
    const expected = Object.fromEntries(ids.flatMap((id) => (model.has(id) ? [[id, model.get(id)]] : [])));
    expect({ seed, step, found }).toEqual({ seed, step, found: expected });
  }
  for (const reader of readers) {
    expect((await reader.count({ collection, consistency: "strong" })).count).toBe(model.size);
    await reader.close();
  }
}, 120_000);

test("tokens of several writes are seen together, and a token of another collection is refused", async () => {
  const world = memoryWorld();
  for (const name of [collection, "other"]) await createCollection(world, { name, dims: 4, metric: "l2" });
  const reader = new Reader(world, { refreshSeconds: 300, cacheBytesMax: 1e9, traffic: world.traffic });
  const put = async (id: string, into = collection) =>
    (await produce(world, { collection: into, records: [{ id, vector: [1, 2, 3, 4] }] })).token!;
  const tokens = [await put("a"), await put("b")];
  await put("c");
  const seen = await reader.get({ collection, ids: ["a", "b", "c"], atLeast: tokens });
  expect([seen.records.map(({ id }) => id), seen.missing, seen.deltasOverlaid]).toEqual([
    ["a", "b"],
    ["c"],
    2,
  ]);
  const foreign = await put("x", "other");
  await expect(reader.get({ collection, ids: ["a"], atLeast: [foreign] })).rejects.toMatchObject({
    kind: "invalid",
    message: "atLeast: the token is of collection other, not docs",
  });
  await expect(reader.get({ collection, ids: ["a"], atLeast: ["w1.junk"] })).rejects.toMatchObject({
    kind: "invalid",
  });
  await reader.close();
});

test("a delta that is ingested and deleted just before it is read is seen in the version that ingested it", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: collection, dims: 4, metric: "l2" });
  const { token } = await produce(world, { collection, records: [{ id: "a", vector: [1, 2, 3, 4] }] });
  let ingested = false;
  const slow = effects(world, async ({ operation, key }, moment) => {
    if (ingested || moment !== "before" || operation !== "get" || !key.includes("/deltas/")) return undefined;
    ingested = true;
    await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 1e6 });
    return undefined;
  });
  const reader = new Reader(slow, { refreshSeconds: 300, cacheBytesMax: 1e9, traffic: world.traffic });
  const answer = await reader.get({ collection, ids: ["a"], atLeast: [token!] });
  expect({ ingested, missing: answer.missing, snapshotVersion: answer.snapshotVersion }).toEqual({
    ingested: true,
    missing: [],
    snapshotVersion: 1,
  });
  await reader.close();
});

test("a token of a delta that was put aside is an error that says so, never an answer without the write", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: collection, dims: 4, metric: "l2" });
  const reader = new Reader(world, { refreshSeconds: 300, cacheBytesMax: 1e9, traffic: world.traffic });
  const write = { collection, records: [{ id: "a", vector: [1, 2, 3, 4] }] };
  const { token, deltas } = await produce(world, write);
  world.clock.advance(31 * 24 * 3_600_000);
  await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 1e6 });
  await expect(reader.get({ collection, ids: ["a"], atLeast: [token!] })).rejects.toMatchObject({
    kind: "corrupt",
    message: expect.stringMatching(`delta ${deltas[0]!.delta} .* in quarantine`),
  });
  await reader.close();
});

test("a strong read lays over a bounded number of deltas; more are an error, never an omission", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: collection, dims: 4, metric: "l2" });
  const reader = new Reader(world, { refreshSeconds: 300, cacheBytesMax: 1e9, traffic: world.traffic });
  const put = (id: number) =>
    produce(world, { collection, records: [{ id: `r${id}`, vector: [id, 2, 3, 4] }] });
  const overlaidDeltas = 500;
  await underBounds({ ...bounds, overlaidDeltas }, async () => {
    for (let id = 0; id < overlaidDeltas; id++) await put(id);
    const count = () => reader.count({ collection, consistency: "strong" });
    expect((await count()).count).toBe(overlaidDeltas);
    await put(overlaidDeltas);
    await expect(count()).rejects.toMatchObject({
      kind: "unavailable",
      message: expect.stringContaining(`${overlaidDeltas + 1} deltas of the backlog`),
    });
  });
  await reader.close();
});
