/** Watching work: silt jobs monitor | tail | wait-for-completion. */
import { readSound } from "../../lib/jobs/change.ts";
import { findItems } from "../../lib/jobs/find.ts";
import { endedJob } from "../../lib/jobs/item.ts";
import type { JobTable } from "../../lib/jobs/ports.ts";
import { exitCodes } from "./exit-code.ts";
import { row } from "./jobs-views.ts";
import type { Outcome } from "./outcome.ts";
import type { Session } from "./session.ts";
import { duration, plural } from "./text.ts";

const lookMs = 2_000;
/** Later than the index by as much it may be. */
const overlapMs = 5_000;

const countSince = async (
  table: JobTable,
  status: "completed" | "failed",
  sinceMs: number,
): Promise<number> => {
  let count = 0;
  for await (const page of table.list(status, { sinceMs })) count += page.length;
  return count;
};

export async function monitor(
  session: Session,
  { every, times = Number.POSITIVE_INFINITY }: { readonly every: number; readonly times?: number },
): Promise<Outcome> {
  const { jobs, world } = await session.open();
  const { table } = jobs();
  const startMs = world.clock.nowMs();
  for (let line = 0; line < times && !session.interrupted.aborted; line++) {
    if (line > 0) await world.clock.sleep(every * 1_000);
    const nowMs = world.clock.nowMs();
    const windowMs = Math.max(60_000, nowMs - startMs);
    const [waiting, running] = [await table.count("pending"), await table.count("processing")];
    const finished = await countSince(table, "completed", nowMs - windowMs);
    const perMinute = (finished * 60_000) / windowMs;
    const errors: Record<string, number> = {};
    for await (const { error } of findItems(table, { statuses: ["failed"], sinceMs: nowMs - windowMs }))
      errors[error?.kind ?? "unknown"] = (errors[error?.kind ?? "unknown"] ?? 0) + 1;
    let oldestMs = nowMs;
    for await (const page of table.list("pending", { limit: 10 }))
      for (const one of await Promise.all(page.map((key) => readSound(table, key))))
        if (one !== null) oldestMs = Math.min(oldestMs, one.createdAtMs);
    const etaSeconds = perMinute > 0 ? Math.round(((waiting + running) / perMinute) * 60) : null;
    const value = {
      waiting,
      running,
      perMinute: Math.round(perMinute),
      oldestSeconds: Math.round((nowMs - oldestMs) / 1_000),
      etaSeconds,
      errors,
    };
    const failures = Object.entries(errors).map(([kind, count]) => `${kind} ${count}`);
    session.writeLine(
      session.json
        ? JSON.stringify(value)
        : `${waiting} wait, ${running} run, ${value.perMinute} a minute, oldest ${duration(nowMs - oldestMs)}` +
            `${etaSeconds === null ? "" : `, ${duration(etaSeconds * 1_000)} left`}${failures.length > 0 ? `; failed: ${failures.join(", ")}` : ""}`,
    );
  }
  return { value: null, text: "" };
}

export async function tail(
  session: Session,
  { since, times = Number.POSITIVE_INFINITY }: { readonly since?: number; readonly times?: number },
): Promise<Outcome> {
  const { jobs, world } = await session.open();
  const { table } = jobs();
  const seen = new Set<string>();
  let sinceMs = since ?? world.clock.nowMs();
  for (let look = 0; look < times && !session.interrupted.aborted; look++) {
    if (look > 0) await world.clock.sleep(lookMs);
    const nextMs = world.clock.nowMs() - overlapMs;
    for await (const item of findItems(table, { statuses: ["completed", "failed", "cancelled"], sinceMs })) {
      if (seen.has(item.stamp)) continue;
      seen.add(item.stamp);
      const job = endedJob(item);
      session.writeLine(session.json ? JSON.stringify(job) : row(job).join("  "));
    }
    sinceMs = Math.max(sinceMs, nextMs);
  }
  return { value: null, text: "" };
}

export async function waitForCompletion(
  session: Session,
  { timeout }: { readonly timeout: number },
): Promise<Outcome> {
  const { jobs, world } = await session.open();
  const { table } = jobs();
  const startMs = world.clock.nowMs();
  for (;;) {
    const active = (await table.count("pending")) + (await table.count("processing"));
    const tookMs = world.clock.nowMs() - startMs;
    if (active === 0) {
      const failed = await countSince(table, "failed", startMs);
      return {
        value: { completed: true, failed, seconds: Math.round(tookMs / 1_000) },
        text: `no job waits or runs${failed > 0 ? `; ${plural(failed, "job")} failed meanwhile` : ""}`,
        next: failed > 0 ? ["see why: silt jobs report"] : [],
        exitCode: failed > 0 ? exitCodes.failure : exitCodes.ok,
      };
    }
    if (session.interrupted.aborted || tookMs >= timeout * 1_000)
      return {
        value: { completed: false, active, seconds: Math.round(tookMs / 1_000) },
        text: `${plural(active, "job")} left after ${duration(tookMs)}`,
        next: ["what keeps them: silt jobs health"],
        exitCode: session.interrupted.aborted ? exitCodes.interrupted : exitCodes.unavailable,
      };
    await world.clock.sleep(Math.min(lookMs, timeout * 1_000 - tookMs));
  }
}
