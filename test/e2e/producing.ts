/** Writing: through the producer function, its URL, and the library. */

import { contentHash, createProducer, derivedId } from "../../lib/clients/producer.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { base64Of, type Deployed, dims, json, vectorOf } from "./deployed.ts";

/** In documents, vectors and metadata of the calls; no log may ever show them. */
export const secrets = ["quartz-seam", "0.61803399", "feldspar-tag"] as const;

export function producing(deployed: Deployed): void {
  const collection = "written";
  const prefix = `${collection}/0/deltas/`;
  const read = (ids: string[]) =>
    deployed.answer("query", {
      op: "get",
      collection,
      ids,
      consistency: "strong",
      include: ["vector", "document"],
    });

  beforeAll(async () => {
    await createCollection(deployed.world, {
      name: collection,
      dims,
      metric: "cosine",
      fields: { kind: "string", year: "number" },
    });
  });

  test("a call makes one delta and one message, and its token is good at once", async () => {
    const answer = await deployed.answer("producer", {
      collection,
      records: [
        {
          id: "a",
          vector: [0.61803399, ...vectorOf(1).slice(1)],
          document: "in the quartz-seam",
          metadata: { kind: "feldspar-tag", year: 1998 },
        },
        { id: "b", vector: base64Of(vectorOf(2)) },
      ],
    });
    expect(answer).toMatchObject({ written: 2, deleted: 0, rejected: [], notified: true });
    const [{ delta }] = answer.deltas;
    expect(await deployed.keys(prefix)).toEqual([`${prefix}${delta}.arrow`]);
    expect((await deployed.receive("queueUrl")).map(({ Body }) => JSON.parse(Body!))).toEqual([
      { format: 1, collection, collectionId: expect.stringMatching(/^[0-9A-Z]{26}$/), shard: 0, delta },
    ]);
    const seen = await deployed.answer("query", {
      op: "get",
      collection,
      ids: ["b"],
      atLeast: answer.token,
      include: ["vector"],
    });
    expect(seen).toMatchObject({ deltasOverlaid: 1, missing: [] });
    expect(seen.records[0].vector).toEqual([...new Float32Array(vectorOf(2))]);
  });

  test("a bad call is refused whole: every bad record is named, and nothing is written", async () => {
    const before = await deployed.keys(prefix);
    const refusal = await deployed.failure("producer", {
      collection,
      records: [
        { id: "good", vector: vectorOf(1) },
        { id: "short", vector: [1, 2] },
        { id: "null", vector: [...vectorOf(1).slice(1), null] },
        { id: "", vector: vectorOf(1) },
        { id: "typed", vector: vectorOf(1), metadata: { year: "1998" } },
        { id: "nan", vector: base64Of([...vectorOf(1).slice(1), Number.NaN]) },
        { id: "stray", vector: vectorOf(1), text: "?" },
      ],
      deletes: ["x".repeat(513)],
    });
    expect(refusal.kind).toBe("invalid");
    expect(refusal.problems.map(({ index, field }) => `${index} ${field}`)).toEqual([
      "1 vector",
      "2 vector",
      "3 id",
      "4 metadata.year",
      "5 vector",
      "6 text",
      "0 deletes.id",
    ]);
    expect(refusal.problems[0]).toEqual({
      id: "short",
      index: 1,
      field: "vector",
      reason: "has 2 values instead of 8",
    });
    expect(await deployed.keys(prefix)).toEqual(before);
  });

  test("a call with skip writes the good records and lists the bad ones; deletes remove", async () => {
    const answer = await deployed.answer("producer", {
      collection,
      onInvalid: "skip",
      records: [
        { id: "c", vector: vectorOf(3), document: "kept" },
        { id: "d", vector: [] },
      ],
      deletes: ["a"],
    });
    expect(answer).toMatchObject({
      written: 1,
      deleted: 1,
      rejected: [{ id: "d", index: 1, field: "vector" }],
    });
    expect((await read(["a", "b", "c", "d"])).missing).toEqual(["a", "d"]);
  });

  test("a refusal of tens of thousands of records fits into an answer", async () => {
    const records = Array.from({ length: 40_000 }, (_, n) => ({ id: `bad-${n}`, vector: [n] }));
    const refusal = await deployed.failure("producer", { collection, records });
    expect([refusal.problems.length, refusal.problemsOmitted]).toEqual([1_000, undefined]);
    expect(refusal.message).toMatch(/^1000 of the first 1000 of 40000 .* the other 39000 were not looked at/);
    const skipped = await deployed.answer("producer", { collection, records, onInvalid: "skip" });
    expect(skipped).toMatchObject({ written: 0, token: null, rejectedOmitted: 39_000 });
  });

  test("over its URL: JSON, a base64 body, and errors as HTTP statuses", async () => {
    const call = { collection, records: [{ id: "url", vector: vectorOf(4) }] };
    expect(await deployed.http("producer", "/", json(call))).toMatchObject({
      status: 200,
      body: { written: 1 },
    });
    // Not said to be text: a function URL hands such a body over in base64.
    const binary = {
      method: "POST",
      headers: { "content-type": "application/x-call" },
      body: JSON.stringify(call),
    };
    expect(await deployed.http("producer", "/", binary)).toMatchObject({ status: 200, body: { written: 1 } });
    const status = async (body: unknown, init: RequestInit = json(body)) => {
      const answer = await deployed.http("producer", "/", init);
      return [answer.status, answer.body.kind, answer.body.message];
    };
    expect(await status({ collection })).toEqual([
      400,
      "invalid",
      "the call has neither records nor deletes",
    ]);
    expect(await status({ ...call, collection: "absent" })).toEqual([
      404,
      "notFound",
      expect.stringContaining("absent"),
    ]);
    expect(await status({ ...call, collection: "../x" })).toEqual([
      400,
      "invalid",
      expect.stringMatching(/^collection: /),
    ]);
    expect(await status({ ...call, colour: 1 })).toEqual([
      400,
      "invalid",
      expect.stringContaining('"colour"'),
    ]);
    expect(await status({ ...call, embeddingVersion: "other" })).toEqual([
      400,
      "invalid",
      expect.stringMatching(/^embeddingVersion: .*cannot be mixed$/),
    ]);
    expect(await status(null, { method: "POST", body: "{" })).toEqual([
      400,
      "invalid",
      expect.stringContaining("not JSON"),
    ]);
    expect(await status(null, { method: "PUT", body: "{}" })).toEqual([
      400,
      "invalid",
      expect.stringContaining("PUT"),
    ]);
  });

  test("a producer that writes over a delta, or makes one without the condition, gets 403", async () => {
    const { deltas } = await deployed.answer("producer", {
      collection,
      records: [{ id: "kept", vector: vectorOf(6) }],
    });
    const key = `${prefix}${deltas[0].delta}.arrow`;
    const there = await deployed.world.store.head(key);
    for (const name of [key, `${prefix}${deployed.world.clock.ulid()}.arrow`])
      await expect(deployed.world.store.put(name, Buffer.from("other"))).rejects.toMatchObject({
        kind: "unavailable",
        message: expect.stringMatching(/explicit deny .*WrittenOnce/),
        cause: { name: "AccessDenied", $metadata: { httpStatusCode: 403 } },
      });
    const other = await deployed.world.store.put(key, Buffer.from("other"), { ifAbsent: true });
    expect(other).toEqual({ kind: "preconditionFailed" });
    expect(await deployed.world.store.head(key)).toEqual(there);
  });

  test("the library writes the same without the hop, and derives ids", async () => {
    const producer = createProducer({
      bucket: deployed.output("bucket"),
      queueUrl: deployed.output("queueUrl"),
    });
    const text = "from upstream";
    const id = derivedId({ tenant: "t", source: "notes", contentHash: contentHash(text), chunk: 0 });
    const record = { id, vector: vectorOf(5), document: text };
    const { token, notified } = await producer.produce({
      collection,
      records: [record],
      producer: "upstream",
    });
    expect(notified).toBe(true);
    const seen = await deployed.answer("query", { op: "get", collection, ids: [id], atLeast: [token] });
    expect(seen.records).toMatchObject([{ id, document: text, metadata: null }]);
    await expect(producer.produce({ collection, records: [{ id, vector: [] }] })).rejects.toMatchObject({
      kind: "invalid",
      problems: [{ id, index: 0, field: "vector", reason: "has 0 values instead of 8" }],
    });
  });
}
