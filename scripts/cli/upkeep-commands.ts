/** silt compact | verify | gc */
import type { Command } from "commander";
import { checkCollectionName } from "../../lib/core/model/collection.ts";
import { type CollectReport, collectGarbage } from "../../lib/engine/compact/collect-garbage.ts";
import type { RunSummary, ShardSummary } from "../../lib/engine/compact/run-summary.ts";
import { type VerifyReport, verify } from "../../lib/engine/operate/verify.ts";
import { Strangers, seeBesideShards } from "../../lib/engine/shard/strangers.ts";
import { openCollection, shardOption, shardsOf } from "./arguments.ts";
import { eachShard, exitCodeOfFailures, failureLine } from "./each-shard.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { adviceForStrangers } from "./status-advice.ts";
import { bytes, plural, table } from "./text.ts";

/** Runs of the compactor that one `silt compact` asks for: each of them works for up to 15 minutes. */
const runsMax = 100;
/** Runs that met a lease in a row before giving up, and the wait between them. */
const busyRunsMax = 20;
const busyWaitMs = 3_000;

export function addUpkeepCommands(program: Command, run: Runner): void {
  program
    .command("compact")
    .description(
      "ingest, merge and collect garbage now, through the compactor function, until nothing is left",
    )
    .argument("[name]", "one collection; all by default")
    .addOption(shardOption())
    .action(run(compact));
  program
    .command("verify")
    .description(
      "prove the current snapshot from S3: every hash, every row's checksum, the pointer's history",
    )
    .argument("<name>")
    .addOption(shardOption())
    .action(run(verifyCollection));
  program
    .command("gc")
    .description("delete what no kept version, pin or writer needs")
    .argument("<name>")
    .addOption(shardOption())
    .option("--dry-run", "only list it")
    .action(run(collect));
}

/** What several runs did to one shard. */
interface Done {
  deltas: number;
  rows: number;
  quarantined: number;
  merges: number;
  collectedObjects: number;
  last: ShardSummary;
}

async function compact(
  session: Session,
  name: string | undefined,
  options: { shard?: number },
): Promise<Outcome> {
  if (name !== undefined) checkCollectionName(name);
  const deployment = await session.open();
  const event = { source: "manual", ...(name === undefined ? {} : { collection: name }), ...options };
  const done = new Map<string, Done>();
  const progress = session.progress("compact");
  let runs = 0;
  let busyRuns = 0;
  let total = 0;
  let summary: RunSummary;
  try {
    do {
      summary = (await deployment.call("compactor", event)) as RunSummary;
      runs += 1;
      for (const shard of summary.shards) add(done, shard);
      const ingested = summary.shards.reduce((sum, { deltas }) => sum + deltas, 0);
      total += ingested;
      progress.update(total, total + summary.pending, `${total} deltas ingested, ${summary.pending} left`);
      const busy = summary.shards.some(({ outcome }) => outcome === "busy");
      busyRuns = busy && ingested === 0 ? busyRuns + 1 : 0;
      if (busyRuns > 0 && busyRuns < busyRunsMax) await deployment.world.clock.sleep(busyWaitMs);
    } while (
      isUnfinished(summary) &&
      runs < runsMax &&
      busyRuns < busyRunsMax &&
      !session.interrupted.aborted
    );
  } finally {
    progress.stop();
  }
  const isInterrupted = session.interrupted.aborted && isUnfinished(summary);
  return compactOutcome({ summary, runs, done: [...done.values()], isInterrupted });
}

/** A run in which a shard failed throws. */
const isUnfinished = ({ shards }: RunSummary): boolean =>
  shards.some(({ outcome }) => ["busy", "outOfTime", "overtaken", "unseen"].includes(outcome));

function add(done: Map<string, Done>, shard: ShardSummary): void {
  const key = `${shard.collection}/${shard.shard}`;
  const before = done.get(key) ?? { deltas: 0, rows: 0, quarantined: 0, merges: 0, collectedObjects: 0 };
  done.set(key, {
    deltas: before.deltas + shard.deltas,
    rows: before.rows + shard.rows,
    quarantined: before.quarantined + shard.quarantined,
    merges: before.merges + shard.merges,
    collectedObjects: before.collectedObjects + shard.collectedObjects,
    last: shard,
  });
}

function compactOutcome({
  summary,
  runs,
  done,
  isInterrupted,
}: {
  summary: RunSummary;
  runs: number;
  done: Done[];
  isInterrupted: boolean;
}): Outcome {
  const shards = done.map(({ last, ...counts }) => ({ ...last, ...counts }));
  const rows = shards.map((shard) => [
    `${shard.collection}/${shard.shard}`,
    shard.outcome === "nothing" && shard.deltas + shard.merges > 0 ? "done" : shard.outcome,
    shard.version ?? "-",
    shard.deltas,
    shard.rows,
    shard.quarantined,
    shard.merges,
    shard.collectedObjects,
    shard.pending ?? "-",
  ]);
  const head = [
    "SHARD",
    "OUTCOME",
    "VERSION",
    "DELTAS",
    "ROWS",
    "QUARANTINED",
    "MERGES",
    "COLLECTED",
    "LEFT",
  ];
  const next = shards.flatMap(({ collection, shard, outcome, quarantined, left }) => [
    ...(outcome === "busy"
      ? [`another run holds ${collection}/${shard}: silt lease show ${collection}`]
      : []),
    ...(outcome === "outOfTime" || outcome === "unseen"
      ? [`${collection}/${shard} has more to do: run it again`]
      : []),
    ...(quarantined > 0 ? [`deltas were put aside: silt quarantine list ${collection}`] : []),
    ...(left
      ? [`${collection}/${shard}: ${plural(left.deltas, "delta")} stays in the backlog: ${left.reason}`]
      : []),
  ]);
  const { messages } = summary;
  const busy = shards.some(({ outcome }) => outcome === "busy" || outcome === "overtaken");
  if (messages.deadLettered > 0)
    next.push(`${messages.deadLettered} messages made no sense and are in the dead-letter queue`);
  const text = rows.length === 0 ? "there is nothing to compact" : table(head, rows);
  return {
    value: { ...summary, runs, shards },
    text,
    next,
    exitCode: isInterrupted ? exitCodes.interrupted : busy ? exitCodes.conflict : exitCodes.ok,
  };
}

async function verifyCollection(
  session: Session,
  name: string,
  options: { shard?: number },
): Promise<Outcome> {
  const { world, collection } = await openCollection(session, name);
  const shards = shardsOf(collection, options.shard);
  const progress = session.progress("verify");
  const { done: reports, failed } = await eachShard(
    shards,
    (shard) =>
      verify(world, collection, shard, (done, all) => {
        // Parts in thousandths of a shard: shards differ in their number of segments.
        const part = all === 0 ? 1 : done / all;
        progress.update(
          (shards.indexOf(shard) + part) * 1000,
          shards.length * 1000,
          `${name}/${shard}: segment ${done} of ${all}`,
        );
      }),
    () => session.interrupted.aborted,
  ).finally(() => progress.stop());
  const beside = new Strangers();
  await seeBesideShards(world.store, collection, beside.see);
  for (const { strangers } of reports) beside.add(strangers);
  const faults = reports.reduce((sum, report) => sum + report.faults.length, 0);
  const complete = reports.length + failed.length === shards.length;
  const ok = faults + failed.length === 0 && complete;
  return {
    value: { collection: name, ok, faults, shards: reports, failed, strangers: beside.found },
    text: [
      ...reports.map(verifyText),
      ...failed.map((one) => failureLine({ collection: name, shard: one.shard }, one)),
    ].join("\n"),
    next: [
      ...(faults > 0
        ? [
            `${plural(faults, "fault")} found; go back to a sound version: silt snapshot list ${name}, or docs/runbook.md`,
          ]
        : []),
      ...adviceForStrangers(beside.found),
    ],
    exitCode:
      faults > 0
        ? exitCodes.corrupt
        : failed.length > 0
          ? exitCodeOfFailures(failed)
          : complete
            ? exitCodes.ok
            : exitCodes.interrupted,
  };
}

function verifyText(report: VerifyReport): string {
  const { shard, version, faults } = report;
  const proved = [
    `${plural(report.versionsChecked, "version")} in an unbroken chain`,
    `${plural(report.files, "file")} of ${plural(report.segments, "segment")} (${bytes(report.bytes)}) by sha256`,
    `${plural(report.rows, "row")} and ${plural(report.tombstones, "tombstone")} by their checksums`,
    "the ledger balances",
  ];
  if (faults.length === 0) return `${shard}  version ${version}: sound\n  ${proved.join("\n  ")}`;
  return `${shard}  version ${version ?? "unknown"}: ${plural(faults.length, "fault")}\n  ${faults.join("\n  ")}`;
}

async function collect(
  session: Session,
  name: string,
  options: { shard?: number; dryRun?: boolean },
): Promise<Outcome> {
  const { world, collection } = await openCollection(session, name);
  const dryRun = options.dryRun === true;
  const shards = shardsOf(collection, options.shard);
  const { done: reports, failed } = await eachShard(
    shards,
    async (shard) => ({
      shard,
      ...(await collectGarbage(world, collection, shard, { dryRun, thorough: true })),
    }),
    () => session.interrupted.aborted,
  );
  const size = reports.reduce((sum, report) => sum + report.bytes, 0);
  const objects = reports.reduce((sum, report) => sum + report.keys.length, 0);
  const busy = reports.some(({ outcome }) => outcome === "busy" || outcome === "conflict");
  const isComplete = reports.length + failed.length === shards.length;
  const late = reports.reduce((sum, { lateDeltas }) => sum + lateDeltas.length, 0);
  const lines = reports.flatMap((report) => collectLines(name, report, dryRun));
  const failureLines = failed.map((one) => failureLine({ collection: name, shard: one.shard }, one));
  return {
    value: { collection: name, dryRun, objects, bytes: size, shards: reports, failed },
    text: [
      ...lines,
      ...failureLines,
      `${dryRun ? "would delete" : "deleted"} ${plural(objects, "object")}, ${bytes(size)} of segments`,
    ].join("\n"),
    next: [
      ...(dryRun && objects > 0 ? [`delete them: silt gc ${name}`] : []),
      ...(late > 0
        ? [`${plural(late, "delta")} appeared too late to be ingested: silt quarantine list ${name}`]
        : []),
      ...(busy ? ["another process collects garbage or publishes: run it again in a moment"] : []),
    ],
    exitCode:
      failed.length > 0
        ? exitCodeOfFailures(failed)
        : !isComplete
          ? exitCodes.interrupted
          : busy
            ? exitCodes.conflict
            : exitCodes.ok,
  };
}

function collectLines(name: string, report: CollectReport & { shard: number }, dryRun: boolean): string[] {
  const { outcome, versionsKept, versionsCollected, segments } = report;
  const shard = `${name}/${report.shard}`;
  if (outcome === "busy") return [`${shard}: another collector is at work`];
  if (outcome === "conflict") return [`${shard}: the pointer moved; nothing was deleted`];
  const versions = versionsCollected.length === 0 ? "" : ` (${versionsCollected.join(", ")})`;
  const line =
    `${shard}: keeps ${plural(versionsKept, "version")}; garbage: ` +
    `${plural(versionsCollected.length, "version")}${versions}, ${plural(segments.length, "segment")}`;
  return dryRun ? [line, ...report.keys.map((key) => `  ${key}`)] : [line];
}
