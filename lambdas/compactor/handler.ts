/**
 * The compactor function (lib/engine/compact/compact.ts). `scheduled` ingests, `upkeep` merges and collects garbage, `manual`
 * does both, `optimize` merges more than `upkeep` would, `migration` takes an exported snapshot over and ingests it. A run in which something failed does everything else, reports, and then fails, so that CloudWatch sees it.
 */
import { awsWorld } from "../../lib/aws/aws-world.ts";
import { parseEnvironment } from "../../lib/aws/environment.ts";
import { lambdaHandler } from "../../lib/aws/lambda-handler.ts";
import { parseEvent } from "../../lib/aws/parse-event.ts";
import { budgetHere, clearScratch } from "../../lib/aws/scratch.ts";
import { errorFacts, telemetry } from "../../lib/aws/telemetry.ts";
import { optimizeLimits } from "../../lib/core/policy/merge-plan.ts";
import { busyRunMs, requestBounds, runMarginMs } from "../../lib/core/policy/time-bounds.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import {
  failureOf,
  isEventful,
  noteRun,
  type RunSummary,
  summarizeRun,
} from "../../lib/engine/compact/run-summary.ts";
import { Sweep } from "../../lib/engine/compact/sweep.ts";
import { checkCompactorEvent, compactorEvent } from "./event.ts";
import { runMetrics } from "./metrics.ts";
import { migrate } from "./migration.ts";

/** Of one run: a shard's next run that has something to do has a line as well. */
const shardLinesMax = 100;

clearScratch(process.env);
const environment = parseEnvironment(process.env);
const world = awsWorld(environment, requestBounds.compactor);
const service = telemetry({ ...environment, service: "compactor" });
const sweep = new Sweep();

export const handler = lambdaHandler(
  { telemetry: service, failureMetric: "CompactionFailure" },
  async (event, context) => {
    const call = parseEvent(compactorEvent, event);
    checkCompactorEvent(call);
    const { source, shard } = call;
    const startMs = Date.now();
    const deadlineMs = startMs + context.getRemainingTimeInMillis() - runMarginMs.compactor;
    const migration =
      source === "migration" ? await migrate(world, call.snapshot_path!, { startMs, deadlineMs }) : null;
    const collection = migration?.collection ?? call.collection;
    const report = await compact(world, {
      ...(collection === undefined ? {} : { collection }),
      ...(shard === undefined ? {} : { shard }),
      ingest: source !== "upkeep" && source !== "optimize",
      upkeep: source !== "scheduled" && source !== "migration",
      ...(source === "optimize" ? { mergeLimits: optimizeLimits } : {}),
      ...(source === "scheduled" ? { busyMs: busyRunMs } : {}),
      budget: budgetHere(process.env),
      ...(source === "manual" || source === "optimize" || collection !== undefined ? {} : { sweep }),
      deadlineMs,
    });
    const summary = summarizeRun(report, { source, startMs, endMs: Date.now() });
    for (const line of runMetrics(summary)) service.emit(line.collection, line.values);
    logRun(summary);
    if (migration !== null) service.log("info", "migration", { ...migration });
    await noteRun(world.leases, summary).catch((error) =>
      service.log("warn", "run not noted", errorFacts(error)),
    );
    const failure = failureOf(summary);
    if (failure !== null) throw failure;
    return migration === null ? summary : { ...summary, migration };
  },
);

/** A line for the run, and one for each shard that it did something for and each part of it that failed. */
function logRun({ shards, faults, ...run }: RunSummary): void {
  service.log("info", "run", { ...run, strangers: { ...run.strangers } });
  for (const { message: said, ...fault } of faults) service.log("error", "fault", { ...fault, said });
  for (const shard of shards.filter(isEventful).slice(0, shardLinesMax))
    service.log(shard.error ? "error" : "info", "shard", { ...shard });
}
