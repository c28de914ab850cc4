/**
 * Writes from the future: where arrival orders them, one would win over every later write and delete of its id, for ever.
 * They are judged by what S3 says of the object, so that no writer's clock has a say.
 */
import { encodeDelta } from "../../lib/core/format/delta.ts";
import { deltaKey } from "../../lib/core/format/keys.ts";
import { encodeToken } from "../../lib/core/format/token.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import type { DeltaRow } from "../../lib/core/model/row.ts";
import { ulidFloor } from "../../lib/core/model/ulid.ts";
import { clockAllowanceMs } from "../../lib/core/policy/time-bounds.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { listQuarantine } from "../../lib/engine/shard/quarantine.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { type Effect, effects } from "../support/effects.ts";
import { memoryWorld } from "../support/memory/world.ts";

const name = "docs";
const ref = { collection: name, shard: 0 };
const minute = 60_000;
const poison = Number.MAX_SAFE_INTEGER;

async function prepare(ordering: "arrival" | "source" = "arrival") {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name, dims: 2, metric: "l2", ordering });
  const put = async (rows: readonly Partial<DeltaRow>[], delta = world.clock.ulid()) => {
    const whole = rows.map((row) => ({
      ...{ id: "a", version: 1, vector: Float32Array.of(1, 2), document: "foreign", metadata: null },
      ...row,
    }));
    const header = {
      ...{ collection: name, collectionId: collection.id, shard: 0, embeddingVersion: "1", dims: 2 },
      ...{ producer: "elsewhere", createdAtMs: world.clock.nowMs() },
    };
    await world.store.put(deltaKey(ref, deltaId(delta)), encodeDelta(header, whole));
    return delta;
  };
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  const documentOf = async (id: string, more: object = { consistency: "strong" }) =>
    (await reader.get({ collection: name, ids: [id], ...more })).records[0]?.document ?? null;
  const ingest = async () =>
    (await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 60 * minute }))
      .shards[0]!.ingest;
  const tokenOf = (delta: string) =>
    encodeToken({
      collection: name,
      collectionId: collection.id,
      deltas: [{ shard: 0, delta: deltaId(delta) }],
    });
  return { world, put, reader, documentOf, ingest, tokenOf };
}

test.each<[string, Partial<DeltaRow>]>([
  ["an upsert of version 2^53 - 1", { version: poison }],
  ["a delete of version 2^53 - 1", { version: poison, vector: null }],
  ["a version in microseconds", { version: Date.UTC(2026, 0, 1) * 1_000 }],
  ["a version of tomorrow", { version: Date.UTC(2026, 0, 2) }],
])("%s makes no id unwritable: it is put aside, and no read ever shows it", async (_, row) => {
  const { world, put, reader, documentOf, ingest, tokenOf } = await prepare();
  await produce(world, { collection: name, records: [{ id: "a", vector: [1, 2], document: "first" }] });
  await ingest();
  const delta = await put([{ id: "b", document: "harmless" }, row]);
  // Live: neither the strong read nor the token read shows what the compactor would put aside.
  const refusal = {
    kind: "corrupt",
    message: expect.stringMatching(/row 1: its version \d+ is \d+ s ahead/),
  };
  await expect(documentOf("a")).rejects.toMatchObject(refusal);
  await expect(documentOf("a", { atLeast: [tokenOf(delta)] })).rejects.toMatchObject(refusal);
  expect(await documentOf("a", { consistency: "eventual" })).toBe("first");

  expect(await ingest()).toMatchObject({ deltas: 0, quarantined: 1, pending: [] });
  expect(await listQuarantine(world.store, ref)).toMatchObject([{ delta, reason: refusal.message }]);
  expect(await documentOf("a")).toBe("first");
  await expect(documentOf("a", { atLeast: [tokenOf(delta)] })).rejects.toMatchObject({
    kind: "corrupt",
    message: expect.stringMatching("quarantine"),
  });
  // A later write and a later delete are what they are acknowledged as.
  const written = await produce(world, {
    collection: name,
    records: [{ id: "a", vector: [1, 2], document: "later" }],
  });
  expect(await documentOf("a", { atLeast: [written.token] })).toBe("later");
  await ingest();
  const gone = await produce(world, { collection: name, deletes: ["a"] });
  expect(await documentOf("a", { atLeast: [gone.token] })).toBeNull();
  expect(await documentOf("a")).toBeNull();
  await ingest();
  expect(await documentOf("a")).toBeNull();
  await reader.close();
});

test("a name of the year 2300 is put aside without being read, whatever is in it", async () => {
  const { world, put, documentOf, reader } = await prepare();
  const future = `${ulidFloor(Date.UTC(2300, 0, 1)).slice(0, 25)}1`;
  await put([{}], future);
  await expect(documentOf("a")).rejects.toMatchObject({
    message: expect.stringMatching("its name is .* s ahead"),
  });
  const begun: Effect[] = [];
  const watching = effects(world, (effect, moment) => void (moment === "before" && begun.push(effect)));
  await compact(watching, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 60 * minute });
  expect(begun.filter(({ operation, key }) => operation === "get" && key.includes("/deltas/"))).toEqual([]);
  expect(await listQuarantine(world.store, ref)).toMatchObject([{ delta: future }]);
  expect(await documentOf("a")).toBeNull();
  await reader.close();
});

test("the allowance is that of S3's clock and the delta's own name, whichever is earlier", async () => {
  const { world, put, reader, ingest } = await prepare();
  // In whole seconds, as S3 says it.
  const nowMs = world.clock.nowMs();
  expect(nowMs % 1_000).toBe(0);
  const at = (ms: number, last: string) => `${ulidFloor(ms).slice(0, 25)}${last}`;
  const version = (ms: number) => ({ id: `v${ms - nowMs}`, version: ms });
  await put([version(nowMs)], at(nowMs + clockAllowanceMs, "1"));
  await put([version(nowMs + clockAllowanceMs)], at(nowMs, "2"));
  await put([version(nowMs - 40 * minute + clockAllowanceMs)], at(nowMs - 40 * minute, "3"));
  const aside = [
    await put([version(nowMs)], at(nowMs + clockAllowanceMs + 1, "1")),
    await put([version(nowMs + clockAllowanceMs + 1)], at(nowMs, "4")),
    // One allowance does not follow another.
    await put([version(nowMs + clockAllowanceMs + 1)], at(nowMs + clockAllowanceMs, "6")),
    // Its name is old: the write was on its way for long, and its version cannot be of now.
    await put([version(nowMs - 40 * minute + clockAllowanceMs + 1)], at(nowMs - 40 * minute, "5")),
  ];
  expect(await ingest()).toMatchObject({ deltas: 3, quarantined: 4 });
  expect((await listQuarantine(world.store, ref)).map(({ delta }) => delta)).toEqual(aside.sort());
  await reader.close();
});

test("versions are the source's own where it orders the writes; names are judged all the same", async () => {
  const { put, documentOf, ingest, reader } = await prepare("source");
  await put([{ version: poison }]);
  await put([{ id: "b" }], `${ulidFloor(Date.UTC(2300, 0, 1)).slice(0, 25)}1`);
  expect(await ingest()).toMatchObject({ deltas: 1, quarantined: 1 });
  expect(await documentOf("a")).toBe("foreign");
  await reader.close();
});

test("producers whose clocks differ by all that S3 accepts are never put aside", async () => {
  const { world, ingest, reader, documentOf } = await prepare();
  for (const [i, skewMs] of [-15 * minute, -minute, 0, minute, 15 * minute].entries()) {
    const clock = world.clock.fork({ seed: 7 + i, skewMs });
    world.clock.advance(999);
    await produce(
      { ...world, clock },
      { collection: name, records: [{ id: `r${i}`, vector: [1, 2], document: "d" }] },
    );
    expect(await documentOf(`r${i}`)).toBe("d");
  }
  expect(await ingest()).toMatchObject({ deltas: 5, quarantined: 0 });
  await reader.close();
});
