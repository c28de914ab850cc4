/** silt verify | gc */
import type { Command } from "commander";
import { type CollectReport, collectGarbage } from "../../lib/engine/compact/collect-garbage.ts";
import { type VerifyReport, verify } from "../../lib/engine/operate/verify.ts";
import { Strangers, seeBesideShards } from "../../lib/engine/shard/strangers.ts";
import { openCollection, shardOption, shardsOf } from "./arguments.ts";
import { eachShard, exitCodeOfFailures, failureLine } from "./each-shard.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { adviceForStrangers } from "./status-advice.ts";
import { bytes, plural } from "./text.ts";

export function addUpkeepCommands(program: Command, run: Runner): void {
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
