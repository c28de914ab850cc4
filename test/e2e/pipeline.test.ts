/** The whole pipeline, end to end: the bundles that deploy, in Lambda runtime processes, over the local AWS stack. */
import { metrics } from "../../lib/contract/metrics.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { planted } from "../hostile/planted.ts";
import { compacting } from "./compacting.ts";
import { Deployed, dims, eventually, vectorOf } from "./deployed.ts";
import { numbers } from "./numbers.ts";
import { planting } from "./planting.ts";
import { producing, secrets } from "./producing.ts";
import { querying } from "./querying.ts";

jest.setTimeout(120_000);
const deployed = new Deployed();
beforeAll(() => deployed.start(null));
afterAll(async () => {
  await deployed.stop();
  deployed.remove();
});

test("an empty store is compacted without complaint", async () => {
  expect(await deployed.answer("compactor", { source: "scheduled" })).toMatchObject({
    shards: [],
    failed: 0,
  });
});

describe("producing", () => producing(deployed));
describe("compacting", () => compacting(deployed));
describe("values that no log may show", () => planting(deployed));
describe("numbers", () => numbers(deployed));
describe("querying", () => querying(deployed));

test("every metric is emitted, and no log shows an id, a vector, a text or metadata, in lines below 4 KB", () => {
  const lines = deployed.logLines();
  const logs = lines.join("\n");
  const emitted = Object.keys(metrics).filter((name) => logs.includes(`{"Name":"${name}",`));
  // Nothing has failed that a caller did not cause, so far; there are no query groups (query-groups.test.ts), and no memory is short (alarms.test.ts).
  const absent: string[] = ["ProduceErrors", "PartialAnswers", "MemoryUsed"];
  // Those of items are seen by jobs.test.ts.
  const ofItems = Object.entries(metrics).filter(
    ([name, { emittedBy }]) => emittedBy === "embedder" || name === "ItemsSaved",
  );
  const expected = Object.keys(metrics).filter((name) => !ofItems.some(([one]) => one === name));
  expect(emitted).toEqual(expected.filter((name) => !absent.includes(name)));
  const isShown = (line: string) => [...secrets, ...planted].some((value) => line.includes(value));
  expect(lines.filter(isShown)).toEqual([]);
  expect(lines.filter((line) => Buffer.byteLength(line) > 4_096)).toEqual([]);
});

test("everything is there after a restart, and the schedule compacts by itself", async () => {
  await createCollection(deployed.world, { name: "timed", dims, metric: "l2" });
  await deployed.answer("producer", { collection: "timed", records: [{ id: "a", vector: vectorOf(1) }] });
  await deployed.stop();
  await deployed.start(1_000);
  const seen = async (ids: number) =>
    eventually(async () => {
      const { value, failed } = await deployed.invoke("query", { op: "count", collection: "timed" });
      return !failed && value.count === ids ? value : undefined;
    });
  expect(await seen(1)).toMatchObject({ snapshotVersion: 1 });
  await deployed.answer("producer", { collection: "timed", records: [{ id: "b", vector: vectorOf(2) }] });
  expect(await seen(2)).toMatchObject({ snapshotVersion: 2 });
});
