/**
 * What a caller of the query function may know of collections that he does not name: that there are some, how many shards of
 * them a process holds and how many of these are at fault (docs/security.md). By one function and by query groups.
 */
import { pointerKey } from "../../lib/core/format/keys.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { memoryWorld } from "../support/memory/world.ts";
import { type Handlers, handlersOver } from "./function-handlers.ts";
import { plantedBodies, plantedCalls } from "./planted.ts";

const dims = 4;
const other = "another-tenants";

describe.each([0, 2])("with %d query groups", (groups) => {
  const world = memoryWorld();
  let handlers: Handlers;

  beforeAll(async () => {
    for (const name of ["docs", other]) {
      const fields = { kind: "string", year: "number" } as const;
      await createCollection(world, { name, dims, metric: "cosine", shards: 2, fields });
      await produce(world, { collection: name, records: [{ id: "r", vector: [1, 0, 0, 0] }] });
    }
    await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 1e9 });
    handlers = handlersOver(world, { groups });
    for (const collection of ["docs", other]) await handlers.invoke("query", { op: "count", collection });
  });
  afterAll(() => handlers.remove());

  const held = (shards: number, faults: number) => ({ shards, faults, bytes: expect.any(Number) });

  test("health names no collection, and of the one that is named only its own shards", async () => {
    const whole = { status: "ok", stage: "dev", held: held(4, 0) };
    expect((await handlers.invoke("query", { op: "health" })).body).toEqual(whole);
    const named = (await handlers.invoke("query", { op: "health", collection: "docs" })).body;
    expect(named).toMatchObject({ status: "ok", held: held(2, 0) });
    expect(named.shards.map(({ shard }: { shard: string }) => shard).sort()).toEqual(["docs/0", "docs/1"]);
    // A name that is the beginning of another, and one of no collection.
    for (const collection of ["another", "another-tenant", "absent"])
      expect((await handlers.invoke("query", { op: "health", collection })).body).toMatchObject({
        shards: [],
        held: held(0, 0),
      });
    const wrong = await handlers.invoke("query", { op: "health", collection: "another-tenants/0" });
    expect(wrong).toMatchObject({ status: 400, body: { kind: "invalid" } });
  });

  test("damage of another collection is a count", async () => {
    await world.store.put(pointerKey({ collection: other, shard: 1 }), Buffer.from(`damaged ${other}`));
    await handlers.invoke("query", { op: "stats", collection: other });
    const whole = { status: "degraded", stage: "dev", held: held(4, 1) };
    expect((await handlers.invoke("query", { op: "health" })).body).toEqual(whole);
    const { body } = await handlers.invoke("query", { op: "health", collection: "docs" });
    expect(body).toMatchObject({ status: "ok", held: held(2, 0) });
    const theirs = (await handlers.invoke("query", { op: "health", collection: other })).body;
    expect(theirs.shards.filter(({ fault }: { fault: string | null }) => fault !== null)).toHaveLength(1);
  });

  test("no answer and no refusal of a call names a collection that the call does not", async () => {
    const answers = [
      await handlers.invoke("query", { op: "health" }),
      await handlers.invoke("query", { op: "ping" }),
      await handlers.invoke("query", { op: "stats", collection: "docs" }),
      await handlers.invoke("query", { op: "count", collection: "absent" }),
    ];
    for (const [name, event] of plantedCalls("docs", dims)) answers.push(await handlers.invoke(name, event));
    for (const body of plantedBodies) answers.push(await handlers.post("query", body));
    expect(answers.filter(({ body }) => JSON.stringify(body).includes(other))).toEqual([]);
    expect(answers.length).toBeGreaterThan(40);
  });
});
