/** silt jobs debug | metrics: one job with why it is where it is, and all of them as numbers. */

import type { Collection } from "../../lib/core/model/collection.ts";
import { isKind, SiltstoneError } from "../../lib/core/model/errors.ts";
import { listCollections } from "../../lib/engine/catalog/collections.ts";
import { readCollection } from "../../lib/engine/shard/head.ts";
import { readSettings } from "../../lib/jobs/control.ts";
import { type Judged, judge } from "../../lib/jobs/embed-all/judge.ts";
import { explain } from "../../lib/jobs/explain.ts";
import { findJob } from "../../lib/jobs/find.ts";
import { endedJob, type Item } from "../../lib/jobs/item.ts";
import { jobMetrics, type Spread } from "../../lib/jobs/job-metrics.ts";
import { noCounts } from "../../lib/jobs/ports.ts";
import type { Deployment } from "./deployment.ts";
import { exitCodes } from "./exit-code.ts";
import { itemFacts } from "./jobs-views.ts";
import type { Outcome } from "./outcome.ts";
import { readChunksOf } from "./read-chunks.ts";
import type { Session } from "./session.ts";
import { duration, pairs } from "./text.ts";

/** Exit code 1 where something is to be done. */
export async function debug(session: Session, job: string): Promise<Outcome> {
  const deployment = await session.open();
  const { world } = deployment;
  const jobs = deployment.jobs();
  const found = await findJob(jobs.table, job);
  if (found === null) {
    const ended = await jobs.table.readEnded(job);
    if (ended === null)
      throw new SiltstoneError(
        "notFound",
        `no job ${job.slice(0, 80)}: it never was, or it ended long ago and is forgotten`,
      );
    const reasons = [
      { said: `a newer save took its place: silt jobs item ${ended.collection} ${ended.item}`, advice: null },
    ];
    return { value: { job: ended, standing: null, reasons }, text: reasons[0]!.said };
  }
  const collection = await collectionOf(deployment, found);
  const judged = await judgedOf(deployment, collection, found);
  const settings = await readSettings(jobs.table);
  const [embedder] = await deployment.configurations("embedder");
  const reasons = explain(judged, { isThere: collection !== null, settings, nowMs: world.clock.nowMs() });
  if (embedder !== undefined && embedder.state !== "Active" && embedder.state !== "Inactive")
    reasons.push({ said: `${embedder.name} is ${embedder.state}`, advice: "deploy the stage again" });
  const { textBytes, highWater, wakeAtMs, revision } = judged.item;
  const advice = reasons.flatMap((one) => one.advice ?? []);
  return {
    value: {
      job: endedJob(judged.item),
      standing: judged.standing,
      chunksExpected: judged.chunks,
      ...{ textBytes, highWater, wakeAtMs, revision, state: settings.state, reasons },
    },
    text: [
      pairs(itemFacts(judged.item, { stands: judged.standing, "chunks expected": judged.chunks })),
      "",
      ...reasons.map(({ said }) => said),
    ].join("\n"),
    next: advice,
    exitCode: advice.length > 0 ? exitCodes.failure : exitCodes.ok,
  };
}

async function collectionOf(
  { world }: Deployment,
  { collection, collectionId }: Item,
): Promise<Collection | null> {
  try {
    const found = await readCollection(world.store, collection);
    return found.id === collectionId ? found : null;
  } catch (error) {
    if (isKind(error, "notFound")) return null;
    throw error;
  }
}

async function judgedOf(deployment: Deployment, collection: Collection | null, item: Item): Promise<Judged> {
  const { table, store } = deployment.jobs();
  if (collection === null) return { item, standing: "without", chunks: 0, bytes: item.textBytes };
  return (await judge({ table, store, readChunks: readChunksOf(deployment) }, collection, [item]))[0]!;
}

export async function metrics(session: Session, { hours }: { readonly hours: number }): Promise<Outcome> {
  const { jobs, world } = await session.open();
  const { table } = jobs();
  const nowMs = world.clock.nowMs();
  const found = await jobMetrics(table, { sinceMs: nowMs - hours * 3_600_000, nowMs });
  const ever = { ...noCounts } as Record<keyof typeof noCounts, number>;
  for (const { id } of (await listCollections(world.store)).collections)
    for (const [name, count] of Object.entries(await table.readCounts(id)))
      ever[name as keyof typeof ever] += count;
  const tokensPerByte = ever.tokenBytes > 0 ? ever.tokens / ever.tokenBytes : null;
  const shown = (value: number) => (value >= 100 ? String(Math.round(value)) : value.toFixed(1));
  const spread = ({ p50, p95, max }: Spread) =>
    p50 === null ? "none" : [p50, p95!, max!].map((seconds) => duration(seconds * 1_000)).join(", ");
  const failures = Object.entries(found.errors).map(([kind, count]) => `${kind} ${count}`);
  return {
    value: { hours, ...found, ever, tokensPerByte },
    text: pairs({
      [`of the last ${hours} h`]: found.isWhole ? "all that ended" : "the latest that ended",
      completed: found.ended.completed,
      failed: `${found.ended.failed}${failures.length > 0 ? ` (${failures.join(", ")})` : ""}`,
      cancelled: found.ended.cancelled,
      "a minute": `${shown(found.perMinute)} items, ${shown(found.chunksPerMinute)} chunks`,
      "save to end": `${spread(found.waitSeconds)} (half, 95 %, longest)`,
      "run to end": spread(found.runSeconds),
      attempts: found.attemptsMean === null ? "none" : found.attemptsMean.toFixed(2),
      waiting: Object.entries(found.waiting)
        .map(([name, count]) => `${count} ${name}`)
        .join(", "),
      "tokens a byte": tokensPerByte === null ? "none counted" : tokensPerByte.toFixed(3),
    }),
  };
}
