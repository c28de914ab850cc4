/** The contract of JobTable, for every implementation. Each test uses a collection's id of its own. */
import { ulid } from "ulid";
import type { Item, ItemKey, Status } from "../../../lib/jobs/item.ts";
import { type BulkRun, type JobTable, type ListRange, noCounts } from "../../../lib/jobs/ports.ts";

const racers = 30;
const far = Date.UTC(2100, 0, 1);

export function itemOf(change: Partial<Item> = {}): Item {
  return {
    ...{
      collection: "notes",
      collectionId: ulid(),
      item: "a",
      stamp: ulid(),
      job: ulid(),
      operationId: ulid(),
    },
    ...{ operation: "create", priority: "normal", status: "pending", attempts: 0, attemptsMax: 3, deaths: 0 },
    ...{ createdAtMs: 1, scheduledAtMs: 1, startedAtMs: null, completedAtMs: null, error: null },
    ...{
      contentHash: "0".repeat(64),
      embeddingVersion: "1",
      lease: null,
      source: null,
      revision: 1,
      version: 5,
    },
    ...{
      text: { inline: "ä\u0000 text" },
      textBytes: 8,
      metadata: { tags: ["x"] },
      highWater: 1,
      chunks: null,
      wakeAtMs: 1,
    },
    ...change,
  };
}

export function jobTableContract(name: string, makeTable: () => Promise<JobTable>): void {
  describe(`job table contract: ${name}`, () => {
    let table: JobTable;
    let collectionId: string;
    beforeAll(async () => {
      table = await makeTable();
    });
    beforeEach(() => {
      collectionId = ulid();
    });
    const item = (change: Partial<Item> = {}): Item => itemOf({ collectionId, ...change });
    const listed = async (status: Status, range?: ListRange): Promise<string[]> => {
      const found: ItemKey[] = [];
      for await (const page of table.list(status, range)) found.push(...page);
      return found.filter((key) => key.collectionId === collectionId).map((key) => key.item);
    };

    test("an item is written where nothing is, and read as it was", async () => {
      const first = item();
      expect(await table.read(first)).toBeNull();
      expect(await table.swap(null, first)).toBe(true);
      expect(await table.read(first)).toEqual(first);
      expect(await table.swap(null, item())).toBe(false);
      expect(await table.read(first)).toEqual(first);
    });

    test("a change is made where what it was made from stands, of any number of racers by one", async () => {
      const first = item();
      await table.swap(null, first);
      const others = Array.from({ length: racers }, (_, i) => item({ version: 100 + i }));
      const won = await Promise.all(others.map((other) => table.swap(first, other)));
      expect(won.filter(Boolean)).toHaveLength(1);
      expect(await table.read(first)).toEqual(others[won.indexOf(true)]);
      expect(await table.swap(first, item())).toBe(false);
    });

    test("a change that is made again, as after an answer that was lost, counts as made", async () => {
      const first = item();
      await table.swap(null, first);
      const next = item({ version: 6 });
      expect(await table.swap(first, next)).toBe(true);
      expect([true, false]).toContain(await table.swap(first, next));
      expect(await table.read(first)).toEqual(next);
    });

    test("an item is removed as it was seen, and not as it was before", async () => {
      const first = item();
      const next = item({ version: 6 });
      await table.swap(null, first);
      await table.swap(first, next);
      expect(await table.remove(first)).toBe(false);
      expect(await table.remove(next)).toBe(true);
      expect(await table.read(first)).toBeNull();
    });

    test("items are listed by status within a time, the earliest or the latest first, and counted", async () => {
      const before = await table.count("failed");
      for (const [i, id] of ["a", "b", "c", "d"].entries())
        await table.swap(null, item({ item: id, status: "failed", completedAtMs: 1_000 + i }));
      await table.swap(null, item({ item: "e", status: "completed", completedAtMs: 1_001 }));
      expect((await listed("failed")).sort()).toEqual(["a", "b", "c", "d"]);
      expect((await listed("failed", { sinceMs: 1_001, untilMs: 1_003 })).sort()).toEqual(["b", "c"]);
      expect(await listed("failed", { first: "latest", limit: 1 })).toContain("d");
      expect(await listed("completed")).toEqual(["e"]);
      expect(await table.count("failed")).toBe(before + 4);
    });

    test("an item that changes its status is listed under the new one alone", async () => {
      const first = item();
      await table.swap(null, first);
      expect(await listed("pending")).toEqual(["a"]);
      const lease = { owner: "w", untilMs: 7_000 };
      await table.swap(first, item({ status: "processing", lease }));
      expect(await listed("pending")).toEqual([]);
      expect(await listed("processing", { untilMs: 7_000 })).toEqual([]);
      expect(await listed("processing", { untilMs: 7_001 })).toEqual(["a"]);
    });

    test("all items of a collection are found, and of no other", async () => {
      const ids = Array.from({ length: 40 }, (_, i) => `i#${i}`);
      await Promise.all(ids.map((id) => table.swap(null, item({ item: id }))));
      await table.swap(null, itemOf({ item: "other" }));
      const found: string[] = [];
      for await (const page of table.items(collectionId)) {
        expect(page.every((key) => key.collectionId === collectionId)).toBe(true);
        found.push(...page.map((key) => key.item));
      }
      expect(found.sort()).toEqual(ids.sort());
    });

    test("a job that ended is kept, and counts add up", async () => {
      const { stamp: _, text: _t, textBytes: _b, metadata: _m, highWater: _h, wakeAtMs: _w, ...job } = item();
      await table.keepEnded(job, far);
      await table.keepEnded(job, far);
      expect(await table.readEnded(job.job)).toEqual(job);
      expect(await table.readEnded(ulid())).toBeNull();
      expect(await table.readCounts(collectionId)).toEqual(noCounts);
      await Promise.all(
        Array.from({ length: racers }, () => table.addCounts(collectionId, { completed: 2, failed: 1 })),
      );
      expect(await table.readCounts(collectionId)).toEqual({
        ...noCounts,
        completed: 2 * racers,
        failed: racers,
      });
    });

    test("settings are changed by one of those who saw the same", async () => {
      const seen = (await table.readSettings())?.revision ?? 0;
      const won = await Promise.all(
        Array.from({ length: 10 }, (_, i) => table.writeSettings(`{"a":${i}}`, seen)),
      );
      expect(won.filter(Boolean)).toHaveLength(1);
      expect(await table.readSettings()).toEqual({ text: `{"a":${won.indexOf(true)}}`, revision: seen + 1 });
      expect(await table.writeSettings("{}", seen)).toBe(false);
    });

    test("bulk runs are kept as they were written last, the newest first, each collection's own", async () => {
      const runs = [1, 2, 3].map(
        (i): BulkRun => ({
          ...{ id: ulid(far - 10_000 + i), collectionId, collection: "notes", tag: null, priority: "low" },
          ...{ batchItems: 50, stagePercent: 100, by: "me", startedAtMs: i, state: "queueing", queued: 0 },
        }),
      );
      for (const run of runs) await table.writeRun(run, far);
      await table.writeRun({ ...runs[0]!, collectionId: ulid() }, far);
      const over = { ...runs[1]!, state: "queued" as const, queued: 7 };
      await table.writeRun(over, far);
      expect(await table.runs(collectionId, 2)).toEqual([runs[2], over]);
      expect(await table.readRun(collectionId, over.id)).toEqual(over);
      expect(await table.readRun(collectionId, ulid())).toBeNull();
      expect(await table.runs(ulid(), 9)).toEqual([]);
    });

    test("the audit log gives the newest entries first", async () => {
      const entries = [1, 2, 3].map((i) => ({ id: ulid(far - 10_000 + i), who: "me", what: `step ${i}` }));
      for (const entry of entries) await table.addAudit(entry, far);
      expect(await table.audit(2)).toEqual([entries[2], entries[1]]);
    });
  });
}
