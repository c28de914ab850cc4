import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { verify } from "../../lib/engine/operate/verify.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { describeWithDataset, readDataset } from "../support/datasets.ts";
import { type MemoryWorld, memoryWorld } from "../support/memory/world.ts";

const far = 9e15;
const readerOf = (world: MemoryWorld) =>
  new Reader(world, { refreshSeconds: 300, cacheBytesMax: 4e9, traffic: world.traffic });

/** Share of the true nearest k that an answer has; a tie in distance counts, since either row is as near. */
function recallAt(
  k: number,
  results: readonly { id: string; distance: number }[],
  truth: { ids: string[]; last: number },
) {
  const wanted = truth.ids.slice(0, k);
  const ids = new Set(wanted);
  const good = results.slice(0, k).filter(({ id, distance }) => ids.has(id) || distance <= truth.last + 1e-6);
  return wanted.length === 0 ? 1 : good.length / wanted.length;
}

describeWithDataset("sift5k-128", "recall on sift5k-128 (l2)", () => {
  test("recall@10 is at least 0.99 at default settings", async () => {
    const data = readDataset("sift5k-128");
    const world = memoryWorld();
    await createCollection(world, { name: "sift", dims: data.dims, metric: "l2" });
    const idOf = (row: number) => String(data.lines[row]!.id);
    for (let start = 0; start < data.rows; start += 1000) {
      const records = data.base
        .slice(start, Math.min(data.rows, start + 1000))
        .map((vector, i) => ({ id: idOf(start + i), vector }));
      await produce(world, { collection: "sift", records });
    }
    await compact(world, { ingest: true, upkeep: true, deadlineMs: far });
    const reader = readerOf(world);
    let recall = 0;
    for (const [q, vector] of data.queries.entries()) {
      const { results } = await reader.query({ collection: "sift", vector });
      const truth = { ids: [...data.truth[q]!].slice(0, 10).map(idOf), last: data.truthDistances[q]![9]! };
      recall += recallAt(10, results, truth);
    }
    expect(recall / data.queries.length).toBeGreaterThanOrEqual(0.99);
    await reader.close();
  });
});

describeWithDataset("aimath-bgemicro384", "recall on aimath-bgemicro384 (cosine)", () => {
  const data = readDataset("aimath-bgemicro384");
  const world = memoryWorld();
  const reader = readerOf(world);
  const idOf = (row: number) => String(data.lines[row]!.id);
  const fields = { kind: "string", top: "string", sub: "string", tokens: "number" } as const;

  beforeAll(async () => {
    await createCollection(world, { name: "aimath", dims: data.dims, metric: "cosine", fields });
    for (let start = 0; start < data.rows; start += 2000) {
      const records = data.base.slice(start, Math.min(data.rows, start + 2000)).map((vector, i) => {
        const { kind, top, sub, tokens, text } = data.lines[start + i] as Record<string, string>;
        return { id: idOf(start + i), vector, document: text, metadata: { kind, top, sub, tokens } };
      });
      await produce(world, { collection: "aimath", records });
    }
    await compact(world, { ingest: true, upkeep: true, deadlineMs: far });
  }, 180_000);
  afterAll(() => reader.close());

  test("every row is there, in one graph", async () => {
    const answer = await reader.count({ collection: "aimath" });
    expect(answer).toMatchObject({ count: 26_008, segments: 1 });
  });

  test("recall@10 is at least 0.99 at default settings", async () => {
    let recall = 0;
    for (const [q, vector] of data.queries.entries()) {
      const { results } = await reader.query({ collection: "aimath", vector });
      expect(results).toHaveLength(10);
      recall += recallAt(10, results, {
        ids: [...data.truth[q]!].slice(0, 10).map(idOf),
        last: data.truthDistances[q]![9]!,
      });
    }
    expect(recall / data.queries.length).toBeGreaterThanOrEqual(0.99);
  });

  test.each([
    ["sub_probability", { sub: "01.Maths/Probability" }, 4990],
    ["top_ml", { top: "04.ML" }, 3214],
    ["tok_ge400", { tokens: { $gte: 400 } }, 6049],
    ["kind_note", { kind: "note" }, 296],
    ["and_range", { top: "01.Maths", tokens: { $gte: 50, $lt: 120 } }, 1118],
    ["rare_python_short", { top: "02.Python", tokens: { $lt: 60 } }, 5],
    ["not_maths", { top: { $ne: "01.Maths" } }, 5033],
  ])("filter %s: recall@10 at least 0.95, always min(k, matches) results", async (name, filter, matches) => {
    expect((await reader.count({ collection: "aimath", filter })).count).toBe(matches);
    const truth = data.filterTruth(name);
    let recall = 0;
    for (const [q, vector] of data.queries.entries()) {
      const { results } = await reader.query({ collection: "aimath", vector, filter });
      expect(results).toHaveLength(Math.min(10, matches));
      const ids = [...truth[q]!]
        .filter((row) => row >= 0)
        .slice(0, 10)
        .map(idOf);
      recall += recallAt(10, results, { ids, last: Number.NEGATIVE_INFINITY });
    }
    expect(recall / data.queries.length).toBeGreaterThanOrEqual(0.95);
  });

  test("the real edit history, replayed in its order, ends on exactly the static set", async () => {
    const replay = memoryWorld({ seed: 2 });
    const { collection } = await createCollection(replay, {
      name: "churn",
      dims: data.dims,
      metric: "cosine",
      ordering: "source",
    });
    // Folded by a plain Map: the static set, and the 500 rows that the dataset holds out as queries.
    const expected = new Map<string, Float32Array>();
    let version = 0;
    let records: { id: string; vector: Float32Array; version: number }[] = [];
    let deletes: { id: string; version: number }[] = [];
    const flush = async () => {
      if (records.length + deletes.length > 0)
        await produce(replay, { collection: "churn", records, deletes });
      records = [];
      deletes = [];
    };
    let commit = -1;
    for (const op of data.churn) {
      if (op.c !== commit) {
        await flush();
        commit = op.c;
        if (commit % 5 === 0) await compact(replay, { ingest: true, upkeep: true, deadlineMs: far });
      }
      version += 1;
      if (op.op === "put") expected.set(op.id, data.base[op.row!]!);
      else expected.delete(op.id);
      if (op.op === "put") records.push({ id: op.id, vector: data.base[op.row!]!, version });
      else deletes.push({ id: op.id, version });
    }
    await flush();
    await compact(replay, { ingest: true, upkeep: true, deadlineMs: far });
    const after = readerOf(replay);
    expect(expected.size).toBe(data.rows + data.queries.length);
    expect((await after.count({ collection: "churn" })).count).toBe(expected.size);
    const ids = [...expected.keys()];
    for (let start = 0; start < ids.length; start += 1000) {
      const wanted = ids.slice(start, start + 1000);
      const { records: found, missing } = await after.get({
        collection: "churn",
        ids: wanted,
        include: ["vector"],
      });
      expect(missing).toEqual([]);
      for (const { id, vector } of found)
        expect(Float32Array.from(vector as number[])).toEqual(expected.get(id));
    }
    expect((await verify(replay, collection, 0)).faults).toEqual([]);
    await after.close();
  }, 300_000);
});
