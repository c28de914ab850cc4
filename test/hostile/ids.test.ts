/** Ids that look like others, or command a terminal: new ones are refused, those that are there can be read and deleted. */
import { encodeDelta } from "../../lib/core/format/delta.ts";
import { deltaKey } from "../../lib/core/format/keys.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { listQuarantine } from "../../lib/engine/shard/quarantine.ts";
import { memoryWorld } from "../support/memory/world.ts";
import { type Handlers, handlersOver } from "./function-handlers.ts";

const vector = [1, 0];
const shard = { collection: "docs", shard: 0 };
const world = memoryWorld();
let handlers: Handlers;

const points = (start: number, limit: number) => Array.from({ length: limit - start }, (_, i) => start + i);
const c1 = points(0x80, 0xa0);
const directions = [0x061c, 0x200e, 0x200f, ...points(0x202a, 0x202f), ...points(0x2066, 0x206a)];
const named = (code: number) => `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
const idOf = (code: number) => `invoice${String.fromCodePoint(code)}fdp.exe`;

beforeAll(async () => {
  await createCollection(world, { name: "docs", dims: 2, metric: "cosine" });
  handlers = handlersOver(world);
});
afterAll(() => handlers.remove());

test("a new id has no C0 or C1 control and no mark of direction, and the refusal does not show them", async () => {
  for (const code of [...points(0, 0x20), 0x7f, ...c1, ...directions]) {
    const records = [{ id: idOf(code), vector }];
    const { status, body } = await handlers.invoke("producer", { collection: "docs", records });
    expect([named(code), status]).toEqual([named(code), 400]);
    expect(body.problems).toMatchObject([
      { field: "id", reason: expect.stringContaining(` ${named(code)}, which is invisible`) },
    ]);
  }
  expect(world.store.keys("docs/0/deltas/")).toEqual([]);
});

test("any other text is an id, in any script and direction", async () => {
  const ids = [
    "مستند-١",
    "מסמך",
    "石/🪨",
    "e\u0301",
    "a\u200db",
    "a\u00a0b",
    "a\u00adb",
    "\ufeffa",
    "x\u2028y",
    "\u{e0001}",
  ];
  const { status, body } = await handlers.invoke("producer", {
    collection: "docs",
    records: ids.map((id) => ({ id, vector })),
  });
  expect([status, body.written]).toEqual([200, ids.length]);
});

test("ids of an older version, ingested or not yet, are read, found, counted and deleted", async () => {
  const ids = [...c1, ...directions].map(idOf);
  const { collection } = await createCollection(world, { name: "docs", dims: 2, metric: "cosine" });
  const putOld = async (written: readonly string[]) => {
    const delta = deltaId(world.clock.ulid());
    const header = {
      ...{ collection: "docs", collectionId: collection.id, shard: 0, embeddingVersion: "1", dims: 2 },
      ...{ producer: "older", createdAtMs: world.clock.nowMs() },
    };
    const rows = written.map((id) => ({
      id,
      version: 1,
      vector: new Float32Array(vector),
      document: null,
      metadata: null,
    }));
    await world.store.put(deltaKey(shard, delta), encodeDelta(header, rows));
  };
  await putOld(ids);
  const strong = { collection: "docs", consistency: "strong" };
  const readAll = async () => (await handlers.invoke("query", { op: "get", ids, ...strong })).body;
  expect((await readAll()).missing).toEqual([]);
  await compact(world, { ingest: true, upkeep: true, deadlineMs: world.clock.nowMs() + 1e9 });
  expect(await listQuarantine(world.store, shard)).toEqual([]);
  expect((await readAll()).records.map(({ id }: { id: string }) => id)).toEqual(ids);
  expect((await handlers.invoke("query", { id: ids[0]!, ...strong })).status).toBe(200);
  const { status, body } = await handlers.invoke("producer", { collection: "docs", deletes: ids });
  expect([status, body.deleted]).toEqual([200, ids.length]);
  expect((await readAll()).missing).toEqual(ids);
});

test("an id that is no Unicode finds, leaves out and names no record that looks like it to SQLite", async () => {
  const records = [{ id: "a\ufffdb", vector }];
  expect((await handlers.invoke("producer", { collection: "docs", records })).status).toBe(200);
  const strong = { collection: "docs", consistency: "strong" };
  for (const call of [
    { op: "get", ids: ["a", "a\ud800b"], ...strong },
    { id: "a\ud800b", ...strong },
    { vector, excludeIds: ["a\udc00b"], ...strong },
  ]) {
    const invoked = await handlers.invoke("query", call);
    const posted = await handlers.post("query", JSON.stringify(call));
    for (const { status, body } of [invoked, posted])
      expect([status, body.message]).toEqual([400, expect.stringContaining("is not well-formed Unicode")]);
  }
});
