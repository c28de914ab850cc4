/** The compactor's event, the summary of its run, its notes and its metrics. */
import { checkCompactorEvent, compactorEvent } from "../../lambdas/compactor/event.ts";
import { runMetrics } from "../../lambdas/compactor/metrics.ts";
import { parseEvent } from "../../lib/aws/parse-event.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import type { CompactReport } from "../../lib/engine/compact/compact.ts";
import type { IngestReport } from "../../lib/engine/compact/ingest-report.ts";
import { failureOf, noteRun, runNote, summarizeRun } from "../../lib/engine/compact/run-summary.ts";
import type { ShardReport } from "../../lib/engine/compact/shard-reports.ts";
import { shardRunNote } from "../../lib/engine/shard/lease.ts";
import { memoryWorld } from "../support/memory/world.ts";

const refusal = (event: unknown): string => {
  try {
    checkCompactorEvent(parseEvent(compactorEvent, event));
    return "accepted";
  } catch (error) {
    return (error as Error).message;
  }
};

test("the event is strict, and a migration names an exported snapshot", () => {
  expect(refusal({ source: "scheduled" })).toBe("accepted");
  expect(refusal({ source: "manual", collection: "docs", shard: 0 })).toBe("accepted");
  expect(refusal({})).toMatch(/^source: /);
  expect(refusal({ source: "cron" })).toMatch(
    /^source: .*"scheduled"\|"upkeep"\|"manual"\|"optimize"\|"migration"/,
  );
  expect(refusal({ source: "optimize" })).toMatch(/^collection: needs the collection/);
  expect(refusal({ source: "manual", colection: "docs" })).toMatch(/Unrecognized key: "colection"/);
  expect(refusal({ source: "manual", shard: 1 })).toBe("shard: needs the collection");
  expect(refusal({ source: "manual", collection: "docs", shard: 1.5 })).toMatch(/^shard: /);
  expect(refusal({ source: "manual", snapshot_path: "x" })).toBe(
    "snapshot_path: goes with source migration only",
  );
  expect(refusal({ source: "migration" })).toMatch(/^snapshot_path: says which exported snapshot/);
  for (const path of [
    "x",
    "snapshot",
    "snapshot/",
    "docs/0/",
    "snapshot/../docs/",
    "snapshot/a",
    "/snapshot/a/",
    "snapshot//a/",
  ])
    expect(refusal({ source: "migration", snapshot_path: path })).toMatch(
      /^snapshot_path: must be a folder below snapshot\//,
    );
  const migration = { source: "migration", snapshot_path: "snapshot/migration/" };
  expect(refusal(migration)).toBe("accepted");
  expect(refusal({ ...migration, collection: "docs" })).toMatch(
    /^collection: is what the exported snapshot says/,
  );
});

const ingest = (more: Partial<IngestReport> = {}): IngestReport => ({
  outcome: "done",
  version: 3,
  segments: 4,
  deltas: 2,
  rows: 20,
  quarantined: 1,
  pending: [],
  left: [],
  oldestPendingMs: null,
  unseenAfter: null,
  ...more,
});
const nothing = { deltas: 0, rows: 0, quarantined: 0 };
const shard = (collection: string, number: number, more: Partial<ShardReport>): ShardReport => ({
  collection,
  shard: number,
  milliseconds: 5,
  ...more,
});
const summaryOf = (shards: readonly ShardReport[], faults: CompactReport["faults"] = []) => {
  const messages = { settled: 4, gone: 0, deadLettered: 1, left: 0 };
  const pending = shards.reduce((sum, { ingest }) => sum + (ingest?.pending.length ?? 0), 0);
  const report: CompactReport = {
    shards,
    resting: 0,
    faults,
    strangers: { count: 0, keys: [] },
    messages,
    pending,
  };
  return summarizeRun(report, { source: "scheduled", startMs: 1_000_000, endMs: 1_002_500 });
};

const mixed = summaryOf([
  shard("docs", 0, { ingest: ingest() }),
  shard("docs", 1, { ingest: ingest({ ...nothing, version: 7 }) }),
  shard("notes", 0, {
    ingest: ingest({
      ...nothing,
      outcome: "busy",
      pending: ["A", "B"].map((last) => deltaId(last.padStart(26, "0"))),
      oldestPendingMs: 1_000_500,
    }),
  }),
  shard("bad", 0, { error: { kind: "corrupt", message: "why" } }),
  shard("idle", 0, { look: { kind: "idle", version: 5 } }),
  shard("late", 0, { look: { kind: "unseen" } }),
]);

test("a summary counts, and puts first what happened", () => {
  expect(mixed).toMatchObject({
    source: "scheduled",
    startedAt: "1970-01-01T00:16:40.000Z",
    milliseconds: 2500,
    failed: 1,
    pending: 2,
    shardsOmitted: 0,
    messages: { settled: 4, gone: 0, deadLettered: 1, left: 0 },
  });
  expect(mixed.shards.map(({ collection, shard, outcome }) => `${collection}/${shard} ${outcome}`)).toEqual([
    "docs/0 done",
    "notes/0 busy",
    "bad/0 failed",
    "docs/1 nothing",
    "idle/0 nothing",
    "late/0 unseen",
  ]);
  expect(mixed.shards[4]).toMatchObject({ version: 5, pending: 0 });
  expect(mixed.shards[5]).toMatchObject({ version: null, pending: null });
  expect(mixed.shards[1]).toMatchObject({ pending: 2, oldestPendingSeconds: 2, version: 3 });
  expect(mixed.shards[2]).toMatchObject({ pending: null, version: null, error: { kind: "corrupt" } });
});

test("ten thousand shards with a backlog each still fit one answer", () => {
  const pending = Array.from({ length: 100 }, () => deltaId("0".repeat(26)));
  const shards = Array.from({ length: 10_000 }, (_, i) =>
    shard(`c${"x".repeat(60)}`, i, { ingest: ingest({ pending, oldestPendingMs: 1 }) }),
  );
  const summary = summaryOf(shards);
  expect(summary.shardsOmitted).toBe(5_000);
  expect(JSON.stringify(summary).length).toBeLessThan(3_000_000);
});

test("metrics: the run once, each collection's own; a backlog that was not looked at is not zero", () => {
  const [run, ...collections] = runMetrics(mixed);
  expect(run).toEqual({
    collection: null,
    values: {
      CompactionDuration: 2500,
      CompactionFaults: 1,
      MessagesDeadLettered: 1,
      LockAcquisitionFailed: 1,
      DeltasPending: 2,
      OldestUnmergedDeltaAge: 2,
      Segments: 4,
    },
  });
  expect(collections).toEqual([
    {
      collection: "docs",
      values: {
        DeltasMerged: 2,
        DeltasQuarantined: 1,
        DeltasPending: 0,
        OldestUnmergedDeltaAge: 0,
        Segments: 4,
      },
    },
    {
      collection: "notes",
      values: {
        DeltasMerged: 0,
        DeltasQuarantined: 0,
        DeltasPending: 2,
        OldestUnmergedDeltaAge: 2,
        Segments: 4,
      },
    },
    { collection: "bad", values: { DeltasMerged: 0, DeltasQuarantined: 0 } },
  ]);
  const fault = { part: "queue: receive", kind: "unavailable" as const, message: "m".repeat(5_000) };
  const queueless = summaryOf([], [fault]);
  expect(queueless.faults[0]!.message).toHaveLength(1_000);
  expect(runMetrics(queueless)[0]!.values).toEqual({
    CompactionDuration: 2500,
    CompactionFaults: 1,
    MessagesDeadLettered: 1,
    LockAcquisitionFailed: 0,
  });
  const idle = summaryOf([]);
  expect(runMetrics(idle)[0]!.values).toMatchObject({ CompactionSuccess: 1, CompactionDuration: 2500 });
});

test("a run fails with everything that failed, damage first, and not at all when nothing did", () => {
  expect(failureOf(mixed)).toMatchObject({
    kind: "corrupt",
    message: "1 of 6 shards failed; bad/0: corrupt: why",
    problems: [{ field: "bad/0", reason: "corrupt: why" }],
  });
  const fault = { part: "queue: receive", kind: "unavailable" as const, message: "no answer" };
  expect(failureOf(summaryOf([], [fault]))).toMatchObject({
    kind: "unavailable",
    message: "1 other part failed; queue: receive: unavailable: no answer",
  });
  expect(failureOf(summaryOf([]))).toBeNull();
});

test("notes: the run, and the shards where something happened", async () => {
  const { leases } = memoryWorld();
  await noteRun(leases, mixed);
  expect(await leases.readNote(runNote)).toMatchObject({
    source: "scheduled",
    milliseconds: 2500,
    failed: 1,
    shards: 6,
  });
  expect(await leases.readNote(shardRunNote({ collection: "docs", shard: 0 }))).toMatchObject({
    outcome: "done",
    startedAt: "1970-01-01T00:16:40.000Z",
    milliseconds: 5,
    deltas: 2,
    rows: 20,
    version: 3,
  });
  expect(await leases.readNote(shardRunNote({ collection: "bad", shard: 0 }))).toMatchObject({
    outcome: "failed",
  });
  expect(await leases.readNote(shardRunNote({ collection: "docs", shard: 1 }))).toBeNull();
});
