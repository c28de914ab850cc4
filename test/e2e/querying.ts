/** Asking: every operation, over direct invocation and over the URL, and what an answer costs. */
import { setTimeout as sleep } from "node:timers/promises";
import { settings } from "../../lib/contract/settings.ts";
import { segmentKey } from "../../lib/core/format/keys.ts";
import { readMarginMs, refreshHoldMs } from "../../lib/core/policy/time-bounds.ts";
import { lexicalVector } from "../../lib/embedding/lexical-embedder.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { readCollection, readHead } from "../../lib/engine/shard/head.ts";
import { base64Of, type Deployed, dims, json, vectorOf } from "./deployed.ts";

export function querying(deployed: Deployed): void {
  const collection = "asked";
  const rows = 300;
  const ask = (event: object) => deployed.answer("query", { collection, ...event });
  const fresh = { consistency: "bounded", maxAgeSeconds: 0 };
  const idsOf = (answer: { results: { id: string }[] }) => answer.results.map(({ id }) => id);
  const write = (event: object) => deployed.answer("producer", { collection, ...event });
  const headOf = async () =>
    readHead(deployed.world.store, await readCollection(deployed.world.store, collection), 0);
  const compactNow = () => deployed.answer("compactor", { source: "manual", collection });

  beforeAll(async () => {
    await createCollection(deployed.world, {
      name: collection,
      dims,
      metric: "cosine",
      fields: { kind: "string", n: "number" },
    });
  });

  test("a collection without a snapshot is an error, never an empty answer; strong reads see what is written", async () => {
    const call = { collection, vector: vectorOf(0) };
    expect(await deployed.failure("query", call)).toMatchObject({ kind: "unavailable" });
    expect(await deployed.http("query", "/", json(call))).toMatchObject({ status: 503 });
    const records = Array.from({ length: rows }, (_, n) => ({
      id: `r${n}`,
      vector: vectorOf(n),
      document: `document ${n}`,
      metadata: { kind: n % 3 === 0 ? "fizz" : "plain", n },
    }));
    await write({ records });
    const strong = await ask({ vector: vectorOf(7), topK: 1, consistency: "strong" });
    expect(strong).toMatchObject({ results: [{ id: "r7" }], deltasOverlaid: 1, snapshotVersion: 0 });
    await compactNow();
  });

  test("a query by vector, by base64 vector and by id has the same answer, which says where it comes from", async () => {
    const byVector = await ask({ vector: vectorOf(5), topK: 3, ...fresh });
    expect(byVector.results[0]).toMatchObject({
      id: "r5",
      document: "document 5",
      metadata: { kind: "plain", n: 5 },
      score: expect.closeTo(1, 5),
      distance: expect.closeTo(0, 5),
    });
    expect(byVector).toMatchObject({
      snapshotVersion: 1,
      consistency: "bounded",
      segments: 1,
      deltasOverlaid: 0,
    });
    const byText = await ask({ vector: base64Of(vectorOf(5)), topK: 3 });
    expect(idsOf(byText)).toEqual(idsOf(byVector));
    const byId = await ask({ id: "r5", topK: 3, include: ["vector"] });
    expect(idsOf(byId)).toEqual(idsOf(byVector));
    expect(Object.keys(byId.results[0]).sort()).toEqual(["distance", "id", "score", "vector", "version"]);
  });

  test("filter, minScore, excludeIds and topK", async () => {
    const filtered = await ask({ vector: vectorOf(6), topK: 1_000, filter: { kind: "fizz" } });
    expect(filtered.results).toHaveLength(rows / 3);
    expect(filtered.results[0].id).toBe("r6");
    const near = await ask({ vector: vectorOf(6), topK: 1_000, minScore: 0.9 });
    expect(near.results.length).toBeGreaterThan(0);
    expect(near.results.length).toBeLessThan(rows);
    expect(near.results.every(({ score }: { score: number }) => score >= 0.9)).toBe(true);
    const others = await ask({ vector: vectorOf(6), topK: 5, excludeIds: ["r6", idsOf(near)[1]] });
    expect(idsOf(others)).toEqual(expect.not.arrayContaining(["r6", idsOf(near)[1]]));
    expect(others.results).toHaveLength(5);
    expect((await ask({ vector: vectorOf(6), topK: 0 })).results).toEqual([]);
    expect((await ask({ vector: vectorOf(6) })).results).toHaveLength(10);
    expect(await ask({ op: "count", filter: { n: { $lt: 30 } } })).toMatchObject({ count: 30 });
  });

  test("a query by text is answered where the collection has the built-in embedder", async () => {
    const name = "texts";
    await createCollection(deployed.world, { name, dims: 384, metric: "cosine", embedder: "lexical" });
    const texts = ["sandstone is a sedimentary rock", "the compactor merges deltas", "granite is igneous"];
    const records = texts.map((text, n) => ({
      id: String(n),
      document: text,
      vector: [...lexicalVector(text)],
    }));
    const { token } = await deployed.answer("producer", { collection: name, records });
    const answer = await deployed.answer("query", {
      collection: name,
      text: "which rocks are sedimentary?",
      atLeast: token,
      topK: 1,
    });
    expect(answer.results[0].document).toBe(texts[0]);
    expect((await deployed.failure("query", { collection, text: "rock" })).message).toContain(
      "has no embedder",
    );
  });

  test("a wrong call is a 4xx that says what is wrong", async () => {
    const refused: [object, number, RegExp][] = [
      [{ vector: [1, 2] }, 400, /^vector: has 2 values instead of 8/],
      [{ vector: [...vectorOf(1).slice(1), null] }, 400, /^vector: value 7 is null/],
      [{ vector: base64Of([...vectorOf(1).slice(1), Number.NaN]) }, 400, /^vector: value 7 is NaN/],
      [{ vector: vectorOf(1), id: "r1" }, 400, /exactly one of vector, id and text, got 2/],
      [{}, 400, /exactly one of vector, id and text, got 0/],
      [{ id: "absent" }, 404, /no record "absent"/],
      [{ vector: vectorOf(1), topK: 1_001 }, 400, /^topK: must be an integer from 0 to 1000/],
      [{ vector: vectorOf(1), limit: 3 }, 400, /Unrecognized key: "limit"/],
      [
        { vector: vectorOf(1), filter: { colour: "red" } },
        400,
        /^filter\.colour is not a declared field; declared are kind \(string\), n \(number\)/,
      ],
      [{ vector: vectorOf(1), consistency: "bounded" }, 400, /^maxAgeSeconds: /],
      [{ vector: vectorOf(1), atLeast: "junk" }, 400, /^atLeast: /],
      [{ op: "drop" }, 400, /^op: must be one of/],
      [{ collection: "absent", vector: vectorOf(1) }, 404, /absent/],
    ];
    for (const [call, status, message] of refused) {
      const answer = await deployed.http("query", "/", json({ collection, ...call }));
      expect([call, answer.status]).toEqual([call, status]);
      expect(answer.body.message).toMatch(message);
    }
    const nan = `{"collection":"${collection}","vector":[NaN,1,1,1,1,1,1,1]}`;
    expect((await deployed.http("query", "/", { method: "POST", body: nan })).status).toBe(400);
  });

  test("get, count, stats, health, ping; the last three by GET as well", async () => {
    expect(await ask({ op: "get", ids: ["r1", "none", "r0"] })).toMatchObject({
      records: [{ id: "r1" }, { id: "r0" }],
      missing: ["none"],
    });
    expect(await ask({ op: "count" })).toMatchObject({ count: rows });
    await write({ records: [{ id: "later", vector: vectorOf(1) }] });
    const stats = { dims, metric: "cosine", vectors: rows, pendingDeltas: 1, snapshotVersion: 1 };
    expect(await ask({ op: "stats" })).toMatchObject(stats);
    expect(await deployed.http("query", `/stats?collection=${collection}`)).toMatchObject({
      status: 200,
      body: stats,
    });
    const health = await deployed.http("query", "/health");
    const held = { shards: expect.any(Number), faults: 0, bytes: expect.any(Number) };
    expect(health).toEqual({ status: 200, body: { status: "ok", stage: "dev", held } });
    expect((await deployed.http("query", `/health?collection=${collection}`)).body.shards).toEqual([
      {
        shard: `${collection}/0`,
        version: 1,
        ageSeconds: expect.any(Number),
        bytes: expect.any(Number),
        fault: null,
      },
    ]);
    expect(await deployed.http("query", "/ping")).toEqual({ status: 200, body: { pong: true } });
    expect((await deployed.http("query", "/drop")).status).toBe(400);
    await compactNow();
  });

  test("a warm function fetches only what is new", async () => {
    const before = await ask({ op: "count", ...fresh });
    expect(before.segments).toBe(2);
    const unchanged = await ask({ op: "count", ...fresh });
    expect(unchanged).toMatchObject({ requests: 1, bytesRead: 0 });
    expect(await ask({ op: "count" })).toMatchObject({ requests: 0, bytesRead: 0 });
    await write({ records: [{ id: "newest", vector: vectorOf(2) }] });
    await deployed.answer("compactor", { source: "scheduled", collection });
    const after = await ask({ op: "count", ...fresh });
    const { manifest } = await headOf();
    const added = manifest.segments.at(-1)!.files;
    const newBytes = added["vectors.f32"]!.bytes + added["records.db"]!.bytes;
    expect(after).toMatchObject({
      count: before.count + 1,
      segments: 3,
      snapshotVersion: before.snapshotVersion + 1,
    });
    // Pointer, manifest, and the two files of the one new segment.
    expect(after.requests).toBe(4);
    expect(after.bytesRead).toBeGreaterThanOrEqual(newBytes);
    expect(after.bytesRead).toBeLessThan(newBytes + 8_192);
  });

  test("a damaged new version is reported, and the one before it answers", async () => {
    const { count, snapshotVersion } = await ask({ op: "count", ...fresh });
    await write({ records: [{ id: "doomed", vector: vectorOf(3) }] });
    await deployed.answer("compactor", { source: "scheduled", collection });
    const { manifest } = await headOf();
    const key = segmentKey({ collection, shard: 0 }, manifest.segments.at(-1)!.id, "records.db");
    const found = await deployed.world.store.get(key);
    if (found.kind !== "found") throw new Error(`${key} is ${found.kind}`);
    const damaged = Buffer.from(found.body);
    damaged[damaged.length - 100]! ^= 1;
    await deployed.replace(key, damaged);
    // A bound is kept or refused; stats look at the pointer at once, and eventual reads go on as they found it.
    expect(await deployed.failure("query", { collection, op: "count", ...fresh })).toMatchObject({
      kind: "corrupt",
      message: expect.stringContaining(key),
    });
    const fallback = { snapshotVersion, warning: expect.stringContaining(key) };
    expect(await ask({ op: "stats" })).toMatchObject({ vectors: count, ...fallback });
    expect(await ask({ op: "count" })).toMatchObject({ count, ...fallback });
    const degraded = { status: 200, body: { status: "degraded" } };
    expect(await deployed.http("query", "/health")).toMatchObject(degraded);
    // A process that has just started does no worse.
    for (const start of [1, 2]) {
      await deployed.killProcesses("query");
      const call = start === 1 ? { vector: vectorOf(5), topK: 1 } : { op: "get", ids: ["r5"] };
      expect(await ask(call)).toMatchObject(fallback);
      expect(await ask({ op: "count" })).toMatchObject({ count, ...fallback });
      expect(await deployed.http("query", "/health")).toMatchObject(degraded);
    }
    expect(deployed.log("query")).toMatch(/"SnapshotFallback":1[,}]/);
    await deployed.replace(key, found.body);
    expect(await ask({ op: "count", ...fresh })).toMatchObject({ count: count + 1 });
    expect((await deployed.http("query", "/health")).body.status).toBe("ok");
  });

  test("S3 that does not answer: who has a view answers from it, the others are told, and no process is lost", async () => {
    const timeoutMs = readMarginMs + 5_000;
    await deployed.redefine("query", (definition) => ({
      ...definition,
      timeoutMs,
      environment: { ...definition.environment, [settings["query.refreshSeconds"].variable]: "1" },
    }));
    const { count } = await ask({ op: "count", ...fresh });
    const [pid] = deployed.pids("query");
    await write({ records: [{ id: "unseen", vector: vectorOf(4) }] });
    await deployed.answer("compactor", { source: "scheduled", collection });
    await sleep(2_200);
    const silence = (kind: "hang" | "hangBody") =>
      deployed.stack.setFaultInjection({
        faults: { seed: 1, rules: [{ kind, probability: 1, operations: ["GetObject"] }] },
      });
    for (const kind of ["hang", "hangBody"] as const) {
      await silence(kind);
      const started = performance.now();
      const held = await ask({ op: "count" });
      expect(held).toMatchObject({ count, warning: expect.stringContaining("S3 is slow or silent") });
      expect(performance.now() - started).toBeGreaterThan(refreshHoldMs - 100);
      expect(held.milliseconds).toBeLessThan(timeoutMs - readMarginMs);
      await sleep(1_100);
    }
    // A promise cannot be kept; the call is given up before the function is.
    expect(await deployed.failure("query", { collection, op: "count", ...fresh })).toMatchObject({
      kind: "unavailable",
      message: expect.stringMatching(/no answer within \d+ ms|timed out/),
    });
    // Frozen with requests on their way, it wakes up when their time is long over, and S3 answers again.
    await deployed.stack.setFaultInjection({});
    await sleep(3_000);
    const after = await ask({ op: "count", ...fresh });
    expect(after).toMatchObject({ count: count + 1 });
    expect(after).not.toHaveProperty("warning");
    expect(deployed.pids("query")).toEqual([pid]);

    await deployed.killProcesses("query");
    await silence("hang");
    expect(await deployed.failure("query", { collection, op: "count" })).toMatchObject({
      kind: "unavailable",
    });
    const [other] = deployed.pids("query");
    await deployed.stack.setFaultInjection({});
    expect(await ask({ op: "count" })).toMatchObject({ count: count + 1 });
    expect(deployed.pids("query")).toEqual([other]);
  });
}
