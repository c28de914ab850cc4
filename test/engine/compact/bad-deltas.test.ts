/** A shard is never stopped by one delta: one that cannot be ingested is found out, and its neighbours are ingested past it. */
import * as fc from "fast-check";
import { encodeDelta } from "../../../lib/core/format/delta.ts";
import type { DeltaHeader } from "../../../lib/core/format/delta-header.ts";
import { deltaKey } from "../../../lib/core/format/keys.ts";
import { SiltstoneError } from "../../../lib/core/model/errors.ts";
import { deltaId } from "../../../lib/core/model/ids.ts";
import type { DeltaRow } from "../../../lib/core/model/row.ts";
import { ulidFloor } from "../../../lib/core/model/ulid.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { verify } from "../../../lib/engine/operate/verify.ts";
import type { World } from "../../../lib/engine/ports.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { ingestLease } from "../../../lib/engine/shard/lease.ts";
import { listQuarantine } from "../../../lib/engine/shard/quarantine.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { RecordsWriter } from "../../../lib/segment/records-db.ts";
import { Crash, effects } from "../../support/effects.ts";
import { memoryWorld } from "../../support/memory/world.ts";

const name = "docs";
const ref = { collection: name, shard: 0 };
const minute = 60_000;
const fields = { kind: "string", size: "number", on: "boolean", tags: "string[]" } as const;

async function prepare() {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name, dims: 2, metric: "l2", fields });
  const header = (): DeltaHeader => ({
    ...{ collection: name, collectionId: collection.id, shard: 0, embeddingVersion: "1", dims: 2 },
    ...{ producer: "elsewhere", createdAtMs: world.clock.nowMs() },
  });
  const put = async (rows: readonly DeltaRow[], delta = world.clock.ulid()) => {
    await world.store.put(deltaKey(ref, deltaId(delta)), encodeDelta(header(), rows));
    return delta;
  };
  const write = async (id: string, document?: string) => {
    const record = { id, vector: [1, 2], ...(document === undefined ? {} : { document }) };
    return (await produce(world, { collection: name, records: [record] })).deltas[0]!.delta;
  };
  const ids = async () => {
    const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
    const { results } = await reader.query({
      collection: name,
      vector: [1, 2],
      topK: 1_000,
      consistency: "strong",
    });
    await reader.close();
    return results.map(({ id }) => id).sort();
  };
  return { world, collection, put, write, ids };
}
const ingest = async (world: World) =>
  (await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 60 * minute }))
    .shards[0]!;

afterEach(() => jest.restoreAllMocks());

test("a delete that says what it deletes is a delete, and later writes are ingested (I5)", async () => {
  const { world, collection, put, write, ids } = await prepare();
  await write("gone");
  const gone = { id: "gone", version: world.clock.nowMs(), vector: null };
  await put([{ ...gone, document: "old text", metadata: null }]);
  await put([{ ...gone, document: null, metadata: '{"kind":"x"}' }]);
  await put([{ ...gone, document: "", metadata: "not even JSON" }]);
  for (const id of ["a", "b", "c"]) await write(id);
  expect(await ids()).toEqual(["a", "b", "c"]);
  expect(await ingest(world)).toMatchObject({
    ingest: { outcome: "done", deltas: 7, quarantined: 0, pending: [] },
  });
  expect(await ids()).toEqual(["a", "b", "c"]);
  expect((await verify(world, collection, 0)).faults).toEqual([]);
});

const text = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string({ unit: "grapheme" }),
  fc.constantFrom("", "\u0000", "a\u0000b", "\ufeffx", "\u2028", "\uffff", "'", '"', "\\", " ", "\u{10ffff}"),
);
const json = fc.oneof(
  fc.constantFrom(
    "{}",
    ' {"size":1} ',
    '{"size":1,"size":2}',
    '{"size":-0}',
    '{"size":1e308}',
    '{"size":5e-324}',
  ),
  fc.constantFrom(
    '{"kind":"\\u0000"}',
    '{"kind":"\\ud800"}',
    '{"tags":["a","a",""]}',
    '{"on":true}',
    "[]",
    "null",
    "",
  ),
  fc
    .dictionary(text, fc.oneof(text, fc.double(), fc.boolean(), fc.array(text)))
    .map((value) => JSON.stringify(value)),
);
const component = fc.constantFrom(0, -0, 1, -1, 1e-45, -1e-45, 1e-38, 1e18, 9e18, 3.4e38);
const foreignRow: fc.Arbitrary<DeltaRow> = fc.record({
  id: fc.oneof(fc.constantFrom("a", "b", "c", "\ufeffa"), text),
  version: fc.constantFrom(0, 1, 2, 2 ** 40),
  vector: fc.option(fc.tuple(component, component).map((values) => Float32Array.from(values))),
  document: fc.option(text),
  metadata: fc.option(json),
});

test("a foreign row that is accepted is stored exactly: no batch of them ever fails conservation", async () => {
  const { world, collection, put } = await prepare();
  const outcomes = { deltas: 0, quarantined: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(foreignRow, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 6 }),
      async (deltas) => {
        for (const rows of deltas) await put(rows);
        const { ingest: report, error } = await ingest(world);
        expect(error).toBeUndefined();
        expect(report).toMatchObject({ outcome: "done", pending: [], left: [] });
        outcomes.deltas += report!.deltas;
        outcomes.quarantined += report!.quarantined;
        for (const { reason } of await listQuarantine(world.store, ref))
          expect(reason).not.toMatch("make no segment");
        world.clock.advance(minute);
      },
    ),
    { numRuns: 60, seed: 7 },
  );
  expect((await verify(world, collection, 0)).faults).toEqual([]);
  expect(outcomes.deltas).toBeGreaterThan(40);
  expect(outcomes.quarantined).toBeGreaterThan(40);
}, 60_000);

/** Segments lose the documents of these ids, as a defect of ours might. */
function loseDocumentsOf(loses: (id: string) => boolean): void {
  const addRow = RecordsWriter.prototype.addRow;
  jest.spyOn(RecordsWriter.prototype, "addRow").mockImplementation(function (
    this: RecordsWriter,
    label,
    row,
  ) {
    return addRow.call(this, label, loses(row.id) ? { ...row, document: null } : row);
  });
}

test("the culprits of a batch that fails conservation are put aside with the reason, and the others are ingested", async () => {
  const { world, collection, write, ids } = await prepare();
  const culprits: string[] = [];
  const good: string[] = [];
  for (let i = 0; i < 60; i++) {
    const id = i === 17 || i === 18 || i === 59 ? `poison ${i}` : `r${i}`;
    const delta = await write(id, "text");
    (id.startsWith("poison") ? culprits : good).push(id.startsWith("poison") ? delta : id);
  }
  loseDocumentsOf((id) => id.startsWith("poison"));
  expect(await ingest(world)).toMatchObject({
    ingest: { outcome: "done", deltas: 57, quarantined: 3, pending: [] },
  });
  const aside = await listQuarantine(world.store, ref);
  expect(aside.map(({ delta }) => delta)).toEqual(culprits);
  for (const { reason } of aside)
    expect(reason).toMatch(/its rows make no segment \(docs\/0 is corrupt: conservation check failed/);
  // Halving: few segments, not one for each delta.
  expect((await readHead(world.store, collection, 0)).manifest.segments.length).toBeLessThan(20);
  jest.restoreAllMocks();
  expect(await ids()).toEqual(good.sort());
  expect((await verify(world, collection, 0)).faults).toEqual([]);
});

test("a defect that every segment has puts nothing aside: the run fails, and the deltas stay", async () => {
  const { world, write, ids } = await prepare();
  for (const id of ["a", "b", "c"]) await write(id, "text");
  loseDocumentsOf(() => true);
  expect(await ingest(world)).toMatchObject({
    error: { kind: "corrupt", message: expect.stringMatching("conservation") },
  });
  jest.restoreAllMocks();
  expect(await listQuarantine(world.store, ref)).toEqual([]);
  expect(await ingest(world)).toMatchObject({ ingest: { deltas: 3 } });
  expect(await ids()).toEqual(["a", "b", "c"]);
});

test.each<[string, Error, RegExp]>([
  [
    "a full disk",
    Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" }),
    /^no space is left on the local disk/,
  ],
  [
    "a full disk, as SQLite says it",
    Object.assign(new Error("database or disk is full"), { code: "ERR_SQLITE_ERROR", errcode: 13 }),
    /^no space is left on the local disk/,
  ],
  [
    "descriptors, found out later",
    new SiltstoneError("corrupt", "records.db is corrupt", {
      cause: Object.assign(new Error("EMFILE"), { code: "EMFILE" }),
    }),
    /records.db is corrupt/,
  ],
])("a shortage of the machine is not a delta's fault: %s", async (_, lack, says) => {
  const { world, write, ids } = await prepare();
  for (const id of ["a", "b", "c"]) await write(id, "text");
  const spy = jest.spyOn(RecordsWriter.prototype, "finish").mockImplementation(() => {
    throw lack;
  });
  const failed = await ingest(world).then(
    ({ error }) => error?.message,
    (error: Error) => error.message,
  );
  expect(failed).toMatch(says);
  expect(spy).toHaveBeenCalledTimes(1);
  jest.restoreAllMocks();
  expect(await listQuarantine(world.store, ref)).toEqual([]);
  expect(await ingest(world)).toMatchObject({ ingest: { deltas: 3 } });
  expect(await ids()).toEqual(["a", "b", "c"]);
});

/** Runs, some minutes apart, each of which dies when it reads one of these deltas; until one ends alive. */
async function runsUntilAlive(world: World, killers: readonly string[], between = async () => {}) {
  let deaths = 0;
  for (; deaths < 20; deaths++) {
    const dying = effects(world, ({ operation, key }, moment) => {
      if (moment === "before" && operation === "get" && killers.some((killer) => key.includes(killer)))
        throw new Crash("out of memory");
      return undefined;
    });
    const outcome = await ingest(dying).then(
      (shard) => shard.ingest,
      () => null,
    );
    if (outcome !== null && outcome?.outcome !== "busy") return { deaths, outcome };
    await world.clock.sleep(3 * minute);
    await between();
  }
  throw new Error("it goes on for ever");
}

test.each([
  [1, 2],
  [2, 2],
  [32, 2],
  [33, 3],
  [200, 3],
])(
  "of %i deltas one kills every run that reads it: after %i deaths it is put aside, the others are ingested",
  async (count, deathsMax) => {
    const { world, write, ids } = await prepare();
    const expected: string[] = [];
    let killer = "";
    for (let i = 0; i < count; i++) {
      const delta = await write(`r${i}`);
      if (i === count >> 1) killer = delta;
      else expected.push(`r${i}`);
    }
    const { deaths, outcome } = await runsUntilAlive(world, [killer]);
    expect(deaths).toBe(deathsMax);
    expect(outcome).toMatchObject({ outcome: "done", quarantined: 1, pending: [] });
    expect(await listQuarantine(world.store, ref)).toMatchObject([
      {
        delta: killer,
        reason: expect.stringMatching("two runs of the compactor died while they were ingesting this delta"),
      },
    ]);
    expect(await ids()).toEqual(expected.sort());
    await write("later");
    expect(await ingest(world)).toMatchObject({ ingest: { deltas: 1, quarantined: 0 } });
  },
);

test("several killers, and new deltas that sort before them, are told apart all the same", async () => {
  const { world, put, write, ids } = await prepare();
  const killers: string[] = [];
  const expected: string[] = [];
  for (let i = 0; i < 40; i++) {
    if (i % 13 === 5) killers.push(await write(`killer ${i}`));
    else {
      await write(`r${i}`);
      expected.push(`r${i}`);
    }
  }
  const firstMs = world.clock.nowMs() - 10 * minute;
  let early = 0;
  const { outcome } = await runsUntilAlive(world, killers, async () => {
    const row = {
      id: `early ${early}`,
      version: 1,
      vector: Float32Array.of(1, 2),
      document: null,
      metadata: null,
    };
    await put([row], `${ulidFloor(firstMs + early).slice(0, 25)}1`);
    expected.push(row.id);
    early += 1;
  });
  expect(outcome).toMatchObject({ outcome: "done", pending: [] });
  expect((await listQuarantine(world.store, ref)).map(({ delta }) => delta)).toEqual(killers);
  expect(await ids()).toEqual(expected.sort());
});

test("the lease of a run that died is free two minutes later, and until then no run waits for it", async () => {
  const { world, write } = await prepare();
  const killer = await write("a");
  const dying = effects(world, ({ key }, moment) => {
    if (moment === "before" && key.includes(killer) && key.endsWith(".arrow"))
      throw new Crash("out of memory");
    return undefined;
  });
  await expect(ingest(dying)).rejects.toThrow(Crash);
  expect(await ingest(world)).toMatchObject({ ingest: { outcome: "busy" } });
  const held = await world.leases.read(ingestLease("docs/0"));
  expect(held!.expiresAtMs - world.clock.nowMs()).toBeLessThanOrEqual(2 * minute);
  world.clock.advance(2 * minute + 1);
  expect(await ingest(world)).toMatchObject({ ingest: { outcome: "done", deltas: 1 } });
});

test("runs that die of something else cost no delta, and neither does a lost note", async () => {
  const { world, write, ids } = await prepare();
  const dieAt = (operation: string, file: string) =>
    effects(world, (effect, moment) => {
      if (moment === "before" && effect.operation === operation && effect.key.includes(file))
        throw new Crash("");
      return undefined;
    });
  // One death for each of five deltas, alone; and runs that die before they take anything.
  for (const id of ["a", "b", "c", "d", "e"]) {
    await write(id);
    await expect(ingest(dieAt("put", "pointer.json"))).rejects.toThrow(Crash);
    world.clock.advance(3 * minute);
    for (let i = 0; i < 3; i++) {
      await expect(ingest(dieAt("list", "deltas/"))).rejects.toThrow(Crash);
      await expect(ingest(dieAt("readNote", "attempt/"))).rejects.toThrow(Crash);
      world.clock.advance(3 * minute);
    }
    expect(await ingest(world)).toMatchObject({ ingest: { outcome: "done", deltas: 1, quarantined: 0 } });
  }
  // A death after the commit is no death of the batch.
  await write("f");
  await expect(ingest(dieAt("delete", "deltas/"))).rejects.toThrow(Crash);
  world.clock.advance(3 * minute);
  await write("g");
  expect(await ingest(world)).toMatchObject({ ingest: { outcome: "done", deltas: 1, quarantined: 0 } });
  for (const note of [
    { batch: 7 },
    { batch: ["x"], suspects: [[]], deltasMax: -1, isDeadly: "yes" },
    { batch: null },
  ]) {
    await world.leases.note("attempt/docs/0", note);
    const id = await write(JSON.stringify(note));
    expect(await ingest(world)).toMatchObject({ ingest: { deltas: 1 } });
    expect(id).not.toBe("");
  }
  expect((await ids()).length).toBe(10);
  expect(await listQuarantine(world.store, ref)).toEqual([]);
});

test("a delta that the store refuses to give is left, reported, and ingested once it is given; the others go on", async () => {
  const { world, write, ids } = await prepare();
  const archived = await write("archived");
  const error = new SiltstoneError("unavailable", "S3 GetObject: InvalidObjectState: it is archived");
  const refusing = effects(world, ({ operation, key }, moment) =>
    moment === "before" && operation === "get" && key.includes(archived)
      ? { kind: "answer", value: { kind: "refused", error } }
      : undefined,
  );
  for (const id of ["a", "b"]) {
    await write(id);
    world.clock.advance(3 * 60 * minute);
    expect(await ingest(refusing)).toMatchObject({
      ingest: {
        outcome: "done",
        deltas: 1,
        pending: [archived],
        left: [{ delta: archived, reason: error.message }],
      },
    });
  }
  // With nothing else to do, the run says so by failing.
  expect(await ingest(refusing)).toMatchObject({ error: { kind: "unavailable", message: error.message } });
  expect(await ingest(world)).toMatchObject({ ingest: { outcome: "done", deltas: 1, pending: [] } });
  expect(await ids()).toEqual(["a", "archived", "b"]);
});
