/** Reads that name the embedding space they mean: by one function and by query groups, whose handlers are those that deploy. */
import { createCollection, deleteCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { type Handlers, handlersOver } from "../hostile/function-handlers.ts";
import { memoryWorld } from "../support/memory/world.ts";

const make = (embeddingVersion: string) => ({
  name: "docs",
  dims: 2,
  metric: "cosine" as const,
  shards: 2,
  embeddingVersion,
});
const vector = [1, 0];

describe.each([0, 2])("with %d query groups", (groups) => {
  const world = memoryWorld();
  let handlers: Handlers;
  const fill = async (embeddingVersion: string) => {
    await createCollection(world, make(embeddingVersion));
    await produce(world, { collection: "docs", records: [{ id: "r", vector }] });
    await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 1e9 });
  };
  beforeAll(async () => {
    await fill("model-a");
    handlers = handlersOver(world, { groups });
  });
  afterAll(() => handlers.remove());

  const strong = { collection: "docs", consistency: "strong" };
  const calls = {
    query: { ...strong, vector },
    "query by id": { ...strong, id: "r" },
    get: { ...strong, op: "get", ids: ["r"] },
    count: { ...strong, op: "count" },
    stats: { collection: "docs", op: "stats" },
  };
  const asking = (embeddingVersion: string) =>
    Promise.all(
      Object.values(calls).map(async (call) => {
        const { status, body } = await handlers.invoke("query", { ...call, embeddingVersion });
        return status === 200 ? "answered" : `${body.kind} ${body.message}`;
      }),
    );
  const refused = (holds: string, asked: string): string =>
    `invalid embeddingVersion: collection docs holds "${holds}", got "${asked}"; vectors of two models cannot be mixed`;

  test("the collection's is answered, another is refused and both are named", async () => {
    expect(await asking("model-a")).toEqual(Array(5).fill("answered"));
    expect(await asking("model-b")).toEqual(Array(5).fill(refused("model-a", "model-b")));
    expect((await handlers.invoke("query", { ...calls.query, embeddingVersion: 7 })).body.message).toMatch(
      /^embeddingVersion: expected string/,
    );
  });

  test("a collection that was made again in another space answers who means the new one, at once", async () => {
    await deleteCollection(world.store, "docs");
    await fill("model-b");
    expect(await asking("model-b")).toEqual(Array(5).fill("answered"));
    expect(await asking("model-a")).toEqual(Array(5).fill(refused("model-b", "model-a")));
  });
});
