/**
 * A collection of several shards behind two query groups, end to end: the bundles that deploy, in Lambda runtime
 * processes over the local stack, first with one query function and then, over the same data, with groups.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { planted, plantedCalls } from "../hostile/planted.ts";
import { Operator } from "../runbook/operator.ts";
import { type PartName, partNames, Runbook } from "../runbook/runbook.ts";
import { Deployed, dims, json, type Reply, vectorOf } from "./deployed.ts";

jest.setTimeout(120_000);
const collection = "spread";
const shards = 4;
const rows = 400;
const ids = ["r3", "none", "r1", "r250"];
const questions: Record<string, object> = {
  query: { vector: vectorOf(5), topK: 50 },
  filtered: { vector: vectorOf(5), topK: 1_000, filter: { n: { $lt: 100 } }, include: ["vector"] },
  "by id": { id: "r17", topK: 20, excludeIds: ["r17"] },
  strong: { vector: vectorOf(1_000), topK: 3, consistency: "strong" },
  count: { op: "count" },
  "filtered count": { op: "count", filter: { n: { $gte: 390 } }, consistency: "strong" },
  get: { op: "get", ids, include: ["metadata"] },
  stats: { op: "stats" },
};

const deployed = new Deployed();
const broken = mkdtempSync(join(tmpdir(), "siltstone-broken-"));
const ask = (event: object): Promise<Reply["value"]> => deployed.answer("query", { collection, ...event });
const operator = new Operator(() => deployed.stack);
const breakGroup = () =>
  operator.replace(deployed.stack.functions.find((name) => name.includes("QueryGroup1"))!, {
    codeFolder: broken,
  });
const single: Record<string, Reply["value"]> = {};

beforeAll(async () => {
  await deployed.start(null);
  await createCollection(deployed.world, {
    name: collection,
    dims,
    metric: "cosine",
    shards,
    fields: { n: "number" },
  });
  const records = Array.from({ length: rows }, (_, n) => ({
    id: `r${n}`,
    vector: vectorOf(n),
    document: `document ${n}`,
    metadata: { n },
  }));
  await deployed.answer("producer", { collection, records });
  await deployed.answer("compactor", { source: "manual", collection });
  await deployed.answer("producer", { collection, records: [{ id: "new", vector: vectorOf(1_000) }] });
  for (const [name, question] of Object.entries(questions)) single[name] = await ask(question);
  await deployed.stop();
  await deployed.start(null, { queryGroups: 2 });
});
afterAll(async () => {
  await deployed.stop();
  deployed.remove();
  rmSync(broken, { recursive: true, force: true });
});

test("the answers are those of one function", async () => {
  expect(single.strong.results[0].id).toBe("new");
  expect(single.query.results).toHaveLength(50);
  for (const [name, question] of Object.entries(questions)) {
    const [one, many] = [single[name], await ask(question)];
    expect([name, Object.keys(many).sort()]).toEqual([name, Object.keys(one).sort()]);
    for (const field of [
      "results",
      "records",
      "missing",
      "count",
      "vectors",
      "pendingDeltas",
      "deltasOverlaid",
    ])
      expect([name, field, many[field]]).toEqual([name, field, one[field]]);
    if (name !== "get") expect(many.snapshotVersion).toBe(one.snapshotVersion);
  }
  const { status, body } = await deployed.http("query", `/health?collection=${collection}`);
  expect([status, body.status, body.held.shards]).toEqual([200, "ok", shards]);
  expect(body.shards.map(({ shard }: { shard: string }) => shard).sort()).toEqual(
    [0, 1, 2, 3].map((shard) => `${collection}/${shard}`),
  );
});

test("each group holds its own shards and no others", async () => {
  const groups = deployed.stack.functions.filter((name) => name.includes("QueryGroup"));
  const held = groups.map(async (name) => {
    const call = Buffer.from(JSON.stringify({ op: "health", collection }));
    const { outcome } = await deployed.stack.lambda.function(name).invoke(call);
    const { shards: open } = JSON.parse(outcome.payload.toString()) as { shards: { shard: string }[] };
    return open.map(({ shard }) => shard).sort();
  });
  expect(await Promise.all(held)).toEqual([
    ["spread/0", "spread/2"],
    ["spread/1", "spread/3"],
  ]);
});

test("no log of the groups, or of who asks them, shows what a call holds", async () => {
  for (const [name, event] of plantedCalls(collection, dims)) {
    expect((await deployed.http(name, "/", json(event))).status).toBeLessThan(500);
    await deployed.invoke(name, event);
  }
  const lines = deployed.logLines();
  expect(lines.filter((line) => planted.some((value) => line.includes(value)))).toEqual([]);
  expect(lines.filter((line) => Buffer.byteLength(line) > 4_096)).toEqual([]);
});

describe.each([
  ["throws", "async () => { throw new Error('out of order'); }", /out of order/],
  ["is silent", "() => new Promise((resolve) => setTimeout(resolve, 600_000))", /no answer within \d+ ms/],
])("when the function of a group %s", (_, code, reason) => {
  const call = { vector: vectorOf(5), topK: 1_000, deadlineMs: 2_000 };

  beforeAll(async () => {
    writeFileSync(join(broken, "handler.js"), `exports.handler = ${code};\n`);
    await breakGroup();
  });

  test("the call fails, and says which shards are missing and why", async () => {
    const failure = await deployed.failure("query", { collection, ...call });
    expect(failure.kind).toBe("unavailable");
    expect(failure.message).toMatch(/^collection spread: query group 1 \(shards 1, 3\): /);
    expect(failure.message).toMatch(reason);
    const body = JSON.stringify({ collection, ...call });
    expect((await deployed.http("query", "/", { method: "POST", body })).status).toBe(503);
  });

  test("a call with allowPartial is answered with what is there, and a metric counts it", async () => {
    const body = JSON.stringify({ collection, ...call, allowPartial: true });
    const { status, body: answer } = await deployed.http("query", "/", { method: "POST", body });
    expect(status).toBe(200);
    expect(answer.partial).toEqual({ missingShards: [1, 3], reasons: [expect.stringMatching(reason)] });
    expect(answer.shards.map(({ shard }: { shard: number }) => shard)).toEqual([0, 2]);
    const { count } = await ask({ op: "count", deadlineMs: 2_000, allowPartial: true });
    expect(count).toBe(answer.results.length);
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThan(rows);
    expect(deployed.log("query")).toMatch(new RegExp(`"${"PartialAnswers"}":1[,}]`));
  });
});

test("the runbook's section shows which group fails, and mends it", async () => {
  process.env.SILTSTONE_STATE_DIR = deployed.stateDir;
  writeFileSync(join(broken, "handler.js"), "throw new Error('a bad deploy');\n");
  await breakGroup();
  const title = "A query group fails";
  const runbook = new Runbook(operator.execute);
  const [, , look, mend, mended] = partNames;
  const walk = (part: PartName) =>
    runbook.run(title, part, { NAME: collection, STAGE: "dev", GROUPS: "2", MIB: "2048" });
  expect(await walk(look)).toMatchObject([
    { code: 5, err: expect.stringContaining("query group 1 (shards 1, 3)") },
  ]);
  expect(await walk(mend)).toMatchObject([{ code: 0 }]);
  expect(await walk(mended)).toMatchObject([{ code: 0, err: "" }]);
  expect(runbook.left.filter((line) => line.startsWith(title))).toEqual([]);
});
