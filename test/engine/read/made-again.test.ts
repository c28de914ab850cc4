/**
 * COL-1, QRY-4: a collection that is made again under its name, with another configuration or the same one, while readers
 * have its former self in their caches and may answer from that until the refresh age.
 */

import { decodeToken, encodeToken } from "../../../lib/core/format/token.ts";
import type { CollectionOptions } from "../../../lib/core/model/collection.ts";
import { refreshBehindMs } from "../../../lib/core/policy/time-bounds.ts";
import { embedQuery } from "../../../lib/embedding/collection-embedder.ts";
import { createCollection, deleteCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { FanOut } from "../../../lib/engine/read/fan-out.ts";
import type { QueryRequest } from "../../../lib/engine/read/read-request.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { effects } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const collection = "docs";
const longMs = 60_000;
const former = { name: collection, dims: 2, metric: "l2" as const };
type Options = Partial<CollectionOptions> & { readonly vector?: number[]; readonly metadata?: object };

/** Puts a record and has it ingested; answers the token of the write. */
async function publish(world: MemoryWorld, id: string, { vector = [1, 2], metadata }: Options = {}) {
  const records = [{ id, vector, ...(metadata === undefined ? {} : { metadata }) }];
  const { token } = await produce(world, { collection, records });
  await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 3_600_000 });
  return token!;
}
async function makeAgain(world: MemoryWorld, options: Options = {}): Promise<string> {
  const { vector: _, metadata: __, ...changes } = options;
  await deleteCollection(world.store, collection);
  await createCollection(world, { ...former, ...changes });
  return publish(world, "new", options);
}

/** One reader of all shards, or two behind a fan-out, with the former collection in their caches. */
async function cached(how: "one function" | "query groups") {
  const world = memoryWorld();
  await createCollection(world, former);
  const token = await publish(world, "old");
  const readers = [0, 1].map(
    () => new Reader(world, { refreshSeconds: 300, cacheBytesMax: 1e9, traffic: world.traffic }),
  );
  const fan = new FanOut({
    store: world.store,
    groups: 2,
    ask: (group, event) => {
      const { op, ...call } = JSON.parse(JSON.stringify(event));
      return (readers[group] as unknown as Record<string, (call: object) => Promise<object>>)[op]!(call);
    },
  });
  const query = async (question: object): Promise<string[]> => {
    const call = embedQuery<QueryRequest & { text?: string }>({ collection, topK: 10, ...question });
    const answer = how === "one function" ? await readers[0]!.query(call) : await fan.query(call, longMs);
    return answer.results.map(({ id }) => id);
  };
  expect(await query({ vector: [1, 2] })).toEqual(["old"]);
  const close = async () => {
    for (const reader of readers) await reader.close();
  };
  return { world, token, query, close };
}

describe.each(["one function", "query groups"] as const)("%s", (how) => {
  test.each<[string, Options, object]>([
    ["dims", { dims: 3, vector: [1, 2, 3] }, { vector: [1, 2, 3] }],
    [
      "fields",
      { fields: { kind: "string" }, metadata: { kind: "a" } },
      { vector: [1, 2], filter: { kind: "a" } },
    ],
    ["an embedder", { dims: 64, embedder: "lexical", vector: Array(64).fill(1) }, { text: "hello" }],
    [
      "an embedding space",
      { embeddingVersion: "b", vector: [1, 2] },
      { vector: [1, 2], embeddingVersion: "b" },
    ],
  ])(
    "made again with other %s, a call that is right by the new configuration is answered at once",
    async (_, options, question) => {
      const { world, query, close } = await cached(how);
      await makeAgain(world, options);
      expect(await query(question)).toEqual(["new"]);
      await close();
    },
  );

  test("made again with more shards, a token that names one of them is seen at once", async () => {
    const { world, query, close } = await cached(how);
    const tokens: string[] = [];
    await makeAgain(world, { shards: 16 });
    for (const id of ["a", "b", "c", "d"]) tokens.push(await publish(world, id));
    expect(Math.max(...tokens.map((token) => decodeToken(token).deltas[0]!.shard))).toBeGreaterThan(0);
    const found = await query({ vector: [1, 2], atLeast: tokens });
    expect(found.sort()).toEqual(["a", "b", "c", "d", "new"]);
    await close();
  });

  test("a call that is wrong by the new configuration too is refused by it", async () => {
    const { world, query, close } = await cached(how);
    await makeAgain(world, { dims: 3, vector: [1, 2, 3] });
    const question = { vector: [1, 2, 3, 4] };
    await expect(query(question)).rejects.toMatchObject({
      kind: "invalid",
      message: expect.stringMatching(/3/),
    });
    await close();
  });

  test("a call that a deleted collection's configuration refuses is told that there is no such collection", async () => {
    const { world, query, close } = await cached(how);
    await deleteCollection(world.store, collection);
    await expect(query({ vector: [1, 2, 3] })).rejects.toMatchObject({ kind: "notFound" });
    await close();
  });

  test("the former view answers until the bound of a refresh behind it, and no longer, where the configuration is the same", async () => {
    const { world, query, close } = await cached(how);
    await makeAgain(world);
    const question = { vector: [1, 2] };
    expect(await query(question)).toEqual(["old"]);
    world.clock.advance(299_000);
    expect(["old", "new"]).toContain((await query(question))[0]);
    world.clock.advance(refreshBehindMs(300_000) - 299_000);
    // Told once that the call is of another collection now, and never again given the former one.
    const after = await query(question).catch(({ kind }) => kind as string);
    expect([["new"], "conflict"]).toContainEqual(after);
    expect(await query(question)).toEqual(["new"]);
    await close();
  });

  test.each(["strong", "bounded"])(
    "with the same configuration, a %s read is never answered from the former",
    async (consistency) => {
      const { world, query, close } = await cached(how);
      await makeAgain(world);
      const question = {
        vector: [1, 2],
        consistency,
        ...(consistency === "bounded" ? { maxAgeSeconds: 0 } : {}),
      };
      const first = await query(question).catch(({ kind }) => kind as string);
      expect([["new"], "conflict"]).toContainEqual(first);
      expect(await query(question)).toEqual(["new"]);
      await close();
    },
  );

  test("a token of the former one is told apart, one of the new one answers at once", async () => {
    const { world, token, query, close } = await cached(how);
    const newer = await makeAgain(world);
    expect(await query({ vector: [1, 2], atLeast: [newer] })).toEqual(["new"]);
    for (let calls = 0; calls < 2; calls++)
      await expect(query({ vector: [1, 2], atLeast: [newer, token] })).rejects.toMatchObject({
        kind: "conflict",
        message: expect.stringContaining("atLeast: the token is of a former collection docs"),
      });
    expect(await query({ vector: [1, 2] })).toEqual(["new"]);
    await close();
  });
});

test("a configuration that cannot be looked at again leaves the refusal as it was", async () => {
  const world = memoryWorld();
  await createCollection(world, former);
  await publish(world, "old");
  let isBroken = false;
  const store = effects(world, ({ key }, moment) => {
    if (isBroken && moment === "before" && key.endsWith("collection.json")) throw new Error("S3 is down");
    return undefined;
  });
  const reader = new Reader(store, { refreshSeconds: 300, cacheBytesMax: 1e9, traffic: world.traffic });
  expect((await reader.query({ collection, vector: [1, 2] })).results).toHaveLength(1);
  isBroken = true;
  await expect(reader.query({ collection, vector: [1, 2, 3] })).rejects.toMatchObject({ kind: "invalid" });
  await reader.close();
});

test("a token that older code made has no id, and is read as before", async () => {
  const world = memoryWorld();
  await createCollection(world, former);
  const { deltas, collectionId } = decodeToken(await publish(world, "a"));
  expect(collectionId).not.toBeNull();
  const older = encodeToken({ collection, collectionId: null, deltas });
  expect(older).toMatch(/^w1\./);
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  expect((await reader.query({ collection, vector: [1, 2], atLeast: [older] })).results).toHaveLength(1);
  await reader.close();
});
